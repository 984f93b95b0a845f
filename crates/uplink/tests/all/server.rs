//! A server that takes CloudEvents over HTTP and fails as it is told to: a model of what lies
//! between a device and its cloud.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::common::number_of;

/// What becomes of a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Nothing is kept; this status and these headers are the answer.
    Answer(u16, &'static str),
    /// The connection ends after half of the body.
    CutBody,
    /// All is kept, and the connection ends without an answer.
    CutAnswer,
    /// All is kept, and the answer breaks off behind its head.
    HalfAnswer,
    /// All is kept, and the answer comes after this long.
    Slow(Duration),
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) script: VecDeque<Act>,
    /// A batch that holds one of these is refused with 400.
    pub(crate) bad: Vec<u64>,
    /// The token that it wants.
    pub(crate) token: Option<String>,
    pub(crate) arrived: Vec<u64>,
    /// Head of each request.
    pub(crate) heads: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), Arc::default()).await
    }

    pub(crate) async fn at(address: SocketAddr, state: Arc<Mutex<State>>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, kept, tracker) =
            (CancellationToken::new(), Arc::clone(&state), TaskTracker::new());
        let stopped = stop.clone();
        tracker.clone().spawn(async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (state, stopped) = (Arc::clone(&kept), stopped.clone());
                tracker.spawn(async move {
                    stopped.run_until_cancelled(converse(stream, state)).await;
                });
            }
        });
        Self { address, state, _stop: stop.drop_guard() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    pub(crate) fn arrived(&self) -> Vec<u64> {
        self.state.lock().unwrap().arrived.clone()
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.lock().unwrap().heads.clone()
    }

    pub(crate) fn act(&self, acts: impl IntoIterator<Item = Act>) {
        self.state.lock().unwrap().script.extend(acts);
    }
}

/// Requests of one connection, until it ends or is ended.
async fn converse(mut stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut input = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
                break String::from_utf8(input.drain(..end + 4).collect()).unwrap();
            }
            more(&mut stream, &mut input).await?;
        };
        let length = header(&head, "content-length")?.parse::<usize>().unwrap();
        let act = {
            let mut state = state.lock().unwrap();
            state.heads.push(head.clone());
            state.script.pop_front()
        };
        if matches!(act, Some(Act::CutBody)) {
            while input.len() < length / 2 {
                more(&mut stream, &mut input).await?;
            }
            return None;
        }
        while input.len() < length {
            more(&mut stream, &mut input).await?;
        }
        let body: Vec<u8> = input.drain(..length).collect();
        let answer = answer(&mut state.lock().unwrap(), &head, &body, act.as_ref());
        match act {
            Some(Act::CutAnswer) => return None,
            Some(Act::HalfAnswer) => {
                stream
                    .write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 99\r\n\r\nhalf")
                    .await
                    .ok()?;
                return None;
            }
            Some(Act::Slow(pause)) => tokio::time::sleep(pause).await,
            _ => {}
        }
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

async fn more(stream: &mut TcpStream, input: &mut Vec<u8>) -> Option<()> {
    (stream.read_buf(input).await.ok()? > 0).then_some(())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn answer(state: &mut State, head: &str, body: &[u8], act: Option<&Act>) -> String {
    let plain = |status: u16, headers: &str, body: &str| {
        format!("HTTP/1.1 {status} S\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    if let Some(Act::Answer(status, headers)) = act {
        return plain(*status, headers, "");
    }
    if let Some(token) = &state.token
        && header(head, "authorization") != Some(&format!("Bearer {token}"))
    {
        let shown = header(head, "authorization").unwrap_or_default();
        return plain(401, "", &format!("the token {shown} is wrong"));
    }
    let numbers = numbers(head, body);
    if numbers.iter().any(|number| state.bad.contains(number)) {
        return plain(400, "", "a record is bad");
    }
    state.arrived.extend(numbers);
    plain(202, "", "")
}

fn numbers(head: &str, body: &[u8]) -> Vec<u64> {
    match header(head, "content-type").unwrap() {
        "application/x-ndjson" => body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(number_of)
            .collect(),
        "application/cloudevents-batch+json" => {
            let events: Vec<serde_json::Value> = serde_json::from_slice(body).unwrap();
            events.iter().map(|event| event["id"].as_str().unwrap().parse().unwrap()).collect()
        }
        other => panic!("{other} is no batch"),
    }
}
