//! Events one by one: how long a verdict takes.

use super::host::{Bench, Numbers, Shape};
use crate::hubs::bench::address;
use crate::hubs::programs::{Process, wait_for};
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Connections that events come over.
const CONNECTIONS: u64 = 4;
const PATIENCE: Duration = Duration::from_mins(1);

/// Milliseconds from an event to its verdict.
pub(super) struct Latencies {
    pub(super) median: f64,
    /// Of ninety-nine in a hundred.
    pub(super) most_of: f64,
    pub(super) worst: f64,
}

/// An event as a line.
pub(super) fn write_event(
    line: &mut String,
    event: u64,
    entity: u64,
    fields: usize,
    mut value: impl FnMut() -> f64,
) -> Result<()> {
    line.clear();
    write!(line, "{{\"id\":\"b{event}\",\"device\":\"device-{entity:07}\",\"time\":{event}")?;
    for field in 0..fields {
        write!(line, ",\"x{field}\":{:.4}", value())?;
    }
    line.push_str("}\n");
    Ok(())
}

/// From the start of a host to its first verdict, its module's code being kept from before.
pub(super) fn first_verdict(bench: &Bench) -> Result<Duration> {
    let state = bench.path("start-state");
    let events = bench.events(Shape { events: 1, entities: 1, fields: 16 })?;
    // The first run compiles and keeps; the second one counts.
    let mut taken = Duration::ZERO;
    for _ in 0..2 {
        // What was scored is not scored again, but the code stays.
        for name in ["checkpoints", "journal"] {
            drop(fs::remove_dir_all(state.join(name)));
        }
        let verdicts = bench.path("verdicts.ndjson");
        drop(fs::remove_file(&verdicts));
        let mut host = bench.host(&bench.module("forest"), &state);
        let began = Instant::now();
        let mut host = host.arg("--replay").arg(&events).spawn().context("taskset cannot start")?;
        while fs::metadata(&verdicts).map_or(0, |file| file.len()) == 0 {
            ensure!(began.elapsed() < PATIENCE, "there is no verdict after {PATIENCE:?}");
            thread::sleep(Duration::from_micros(200));
        }
        taken = began.elapsed();
        ensure!(host.wait()?.success(), "the host failed");
    }
    Ok(taken)
}

/// Sends events at a steady rate and watches the file of verdicts.
pub(super) fn latencies(bench: &Bench, state: &Path, events: u64, rate: u64) -> Result<Latencies> {
    let mut command = bench.host(&bench.module("forest"), state);
    command.args(["--listen", "127.0.0.1:0"]).env("RUST_LOG", "info");
    let mut host = Process::start(&mut command, bench.path("http.log"))?;
    let address = address(&mut host)?;
    let verdicts = bench.path("verdicts.ndjson");
    wait_for("the host to open its file", || Ok(verdicts.is_file()))?;
    let file = verdicts.clone();
    let watcher = thread::spawn(move || watch(&file, events));
    let began = Instant::now();
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|connection| {
            let address = address.clone();
            thread::spawn(move || send(&address, connection, events, rate, began))
        })
        .collect();
    let mut sent = vec![None; events as usize];
    for sender in senders {
        let times = sender.join().expect("a sender returns its errors")?;
        for (event, time) in times {
            sent[event as usize] = Some(time);
        }
    }
    let seen = watcher.join().expect("the watcher returns its errors")?;
    host.stop()?;
    let mut waits = Vec::new();
    for (event, seen) in seen {
        let sent = sent[event as usize].context("a verdict on what was not sent")?;
        waits.push(seen.duration_since(sent).as_secs_f64() * 1e3);
    }
    waits.sort_by(f64::total_cmp);
    let at = |share: f64| waits[((waits.len() - 1) as f64 * share) as usize];
    Ok(Latencies { median: at(0.5), most_of: at(0.99), worst: at(1.0) })
}

/// Sends each of so many events when it is due, and tells when it was sent.
fn send(
    address: &str,
    connection: u64,
    events: u64,
    rate: u64,
    began: Instant,
) -> Result<Vec<(u64, Instant)>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let (mut numbers, mut line, mut sent) = (Numbers(connection), String::new(), Vec::new());
    for event in (connection..events).step_by(CONNECTIONS as usize) {
        // A device for each event, so that a verdict tells which one it is about.
        write_event(&mut line, event, event, 16, || numbers.normal())?;
        let due = began + Duration::from_secs_f64(event as f64 / rate as f64);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: {}\r\n\r\n",
            line.len()
        );
        sent.push((event, Instant::now()));
        stream.write_all((head + &line).as_bytes())?;
        read_answer(&mut answers)?;
    }
    Ok(sent)
}

fn read_answer(answers: &mut BufReader<TcpStream>) -> Result<()> {
    let (mut line, mut length) = (String::new(), 0);
    answers.read_line(&mut line)?;
    ensure!(line.contains(" 202 ") || line.contains(" 200 "), "the host answers {line}");
    loop {
        line.clear();
        answers.read_line(&mut line)?;
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body)?;
    Ok(())
}

/// When each verdict was there.
fn watch(path: &Path, events: u64) -> Result<Vec<(u64, Instant)>> {
    let (mut file, mut text, mut seen) = (File::open(path)?, Vec::new(), Vec::new());
    let began = Instant::now();
    while (seen.len() as u64) < events {
        ensure!(began.elapsed() < 3 * PATIENCE, "{} verdicts of {events}", seen.len());
        if file.read_to_end(&mut text)? == 0 {
            thread::sleep(Duration::from_micros(200));
            continue;
        }
        let now = Instant::now();
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let verdict: serde_json::Value = serde_json::from_slice(line)?;
            let device = verdict["subject"].as_str().context("a verdict names its entity")?;
            seen.push((device.trim_start_matches("device-").parse()?, now));
        }
        text.drain(..whole);
    }
    Ok(seen)
}
