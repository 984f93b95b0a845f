//! Devices that do what a test says: one that speaks Modbus through `tokio-modbus`, and one that
//! puts any bytes on the wire.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_modbus::server::Service;
use tokio_modbus::server::tcp::{Server, accept_tcp_connection};
use tokio_modbus::{ExceptionCode, Request, Response, SlaveRequest};

/// What a device does with a request; no response is silence.
pub(crate) type Script =
    Arc<dyn Fn(&Request<'static>) -> Result<Option<Response>, ExceptionCode> + Send + Sync>;

/// A device on a free port of the loopback; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) address: SocketAddr,
    /// Unit and request, in the order of their coming.
    requests: Arc<Mutex<Vec<(u8, Request<'static>)>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Scripted {
    script: Script,
    requests: Arc<Mutex<Vec<(u8, Request<'static>)>>>,
}

type Answer = Result<Option<Response>, ExceptionCode>;

impl Service for Scripted {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let answer = (self.script)(&request.request);
        self.requests.lock().unwrap().push((request.slave, request.request));
        Box::pin(std::future::ready(answer))
    }
}

impl Device {
    pub(crate) async fn new(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let service = Scripted { script, requests: Arc::clone(&requests) };
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let on_connected = |stream, peer| {
                let service = service.clone();
                async move { accept_tcp_connection(stream, peer, |_| Ok(Some(service.clone()))) }
            };
            Server::new(listener).serve(&on_connected, |_error| {}).await.unwrap();
        });
        Self { address, requests, _tasks: tasks }
    }

    /// Requests until now, which are forgotten.
    pub(crate) fn take_requests(&self) -> Vec<(u8, Request<'static>)> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

/// A request as it came over the wire: always 12 bytes for reads.
pub(crate) type Frame = [u8; 12];

/// Bytes to answer a request with, and whether the connection is closed behind them.
pub(crate) type RawScript = Box<dyn FnMut(&Frame) -> (Vec<u8>, bool) + Send>;

/// A device that answers with any bytes; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct RawDevice {
    pub(crate) address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl RawDevice {
    pub(crate) async fn new(mut script: RawScript) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // One connection at a time, like many a real one.
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                answer(stream, &mut script).await;
            }
        });
        Self { address, _tasks: tasks }
    }
}

/// Until the other side goes away or the script closes.
async fn answer(mut stream: TcpStream, script: &mut RawScript) {
    let mut frame = [0; 12];
    while stream.read_exact(&mut frame).await.is_ok() {
        let (bytes, closes) = script(&frame);
        if stream.write_all(&bytes).await.is_err() || closes {
            break;
        }
    }
}

/// The right answer to a request for words: each holds its own address.
pub(crate) fn right_answer(frame: &Frame) -> Vec<u8> {
    let start = u16::from_be_bytes([frame[8], frame[9]]);
    let count = u16::from_be_bytes([frame[10], frame[11]]);
    let words = (start..start + count).flat_map(u16::to_be_bytes);
    let mut pdu = vec![frame[7], (count * 2) as u8];
    pdu.extend(words);
    framed(frame, &pdu)
}

/// Puts the header of an answer to `frame` before `pdu`.
pub(crate) fn framed(frame: &Frame, pdu: &[u8]) -> Vec<u8> {
    let mut answer = frame[..4].to_vec();
    answer.extend(u16::try_from(pdu.len() + 1).unwrap().to_be_bytes());
    answer.push(frame[6]);
    answer.extend(pdu);
    answer
}
