//! More than a host can do: it says so, keeps what it took, and comes back by itself.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "figures are for whoever reads the output")]

mod common;

use common::{Running, Workshop, wait_for};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Verdicts a second that their reader takes, which is what bounds the host here.
const CAPACITY: usize = 1500;
/// Events a second that are offered while there are too many.
const OFFERED: usize = 3 * CAPACITY;
/// How often events are offered, and verdicts taken.
const TICK: Duration = Duration::from_millis(20);
const TICKS_A_SECOND: usize = 50;
/// Requests that are refused before the load ends.
const REFUSED: usize = 100;
/// Longest from the end of the load until everything is taken again.
const RECOVERY: Duration = Duration::from_mins(1);
/// Memory that a host may come to hold, in kB.
const MEMORY_KB_MAX: u64 = 400_000;

/// Reads verdicts as slowly as it is told to, and keeps their ids.
#[derive(Clone, Default)]
struct Reader {
    ids: Arc<Mutex<BTreeSet<String>>>,
    is_fast: Arc<AtomicBool>,
}

impl Reader {
    fn read(&self, output: ChildStdout) {
        let mut lines = BufReader::with_capacity(4096, output).lines();
        loop {
            for _ in 0..CAPACITY / TICKS_A_SECOND {
                let Some(Ok(line)) = lines.next() else { return };
                if line.contains(twinge_contract::drift::DRIFT_TYPE) {
                    continue;
                }
                let record: serde_json::Value = serde_json::from_str(&line).unwrap();
                let id = record["id"].as_str().unwrap().to_owned();
                assert!(self.ids.lock().unwrap().insert(id), "a verdict came twice: {line}");
            }
            if !self.is_fast.load(Ordering::Relaxed) {
                thread::sleep(TICK);
            }
        }
    }

    fn count(&self) -> usize {
        self.ids.lock().unwrap().len()
    }
}

/// Offers events; how many of them were taken.
struct Sender {
    agent: ureq::Agent,
    url: String,
    events: std::vec::IntoIter<String>,
    taken: usize,
    refused: usize,
}

impl Sender {
    /// One request, whether it was taken.
    fn offer(&mut self, count: usize) -> bool {
        // With much that no detector asks for, so that the journal is full soon.
        let noted = |event: String| format!("{{\"note\":\"{}\",{}", "x".repeat(5000), &event[1..]);
        let body: Vec<String> = self.events.by_ref().take(count).map(noted).collect();
        assert_eq!(body.len(), count, "there are events enough");
        let answer = self.agent.post(&self.url).send(body.join("\n")).unwrap();
        let is_taken = answer.status().as_u16() == 202;
        if is_taken {
            self.taken += count;
        } else {
            assert_eq!(answer.status().as_u16(), 429);
            let wait: u32 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&wait), "come again in {wait} s");
            self.refused += 1;
        }
        is_taken
    }
}

#[test]
fn three_times_too_much_is_refused_by_rule_and_nothing_that_was_taken_is_lost() {
    let workshop = Workshop::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.arg("--allow-unsigned").arg("--module").arg(&workshop.module);
    command.arg("--state").arg(workshop.path("overload.state"));
    command.arg("--dead-letters").arg(workshop.dead_letters("overload"));
    command.args(["--verdicts", "-", "--journal-mib", "64", "--checkpoint-seconds", "0.2"]);
    command.stdin(Stdio::null()).env("RUST_LOG", "info");
    let (host, output) = Running::listening_and_told(command.stdout(Stdio::piped()));
    let reader = Reader::default();
    let reading = {
        let reader = reader.clone();
        thread::spawn(move || reader.read(output))
    };
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let mut sender = Sender {
        agent: config.into(),
        url: format!("http://{}/v1/events", host.address),
        events: workshop.events(5, 200_000).into_iter(),
        taken: 0,
        refused: 0,
    };
    let began = Instant::now();
    while sender.refused < REFUSED {
        assert!(began.elapsed() < Duration::from_mins(2), "{} were refused", sender.refused);
        sender.offer(OFFERED / TICKS_A_SECOND);
        thread::sleep(TICK);
    }
    assert!(sender.taken > 0);
    // The load ends; a tenth of the capacity is offered until ten requests in a row are taken.
    let (ended, mut in_a_row) = (Instant::now(), 0);
    while in_a_row < 10 {
        assert!(ended.elapsed() < RECOVERY, "it still refuses a minute after the load ended");
        in_a_row = if sender.offer(CAPACITY / TICKS_A_SECOND / 10) { in_a_row + 1 } else { 0 };
        thread::sleep(TICK);
    }
    println!(
        "{} events taken, {} requests refused in {:?}; everything taken again after {:?}",
        sender.taken,
        sender.refused,
        ended - began,
        ended.elapsed()
    );
    let held = memory_kb(host.id());
    assert!(held < MEMORY_KB_MAX, "the host held {held} kB");
    reader.is_fast.store(true, Ordering::Relaxed);
    let dead = || {
        let letters = fs::read_to_string(workshop.dead_letters("overload")).unwrap_or_default();
        letters.lines().count()
    };
    wait_for("a record of each event", || reader.count() + dead() >= sender.taken);
    assert_eq!(host.stop(), Some(0));
    reading.join().unwrap();
    assert_eq!(reader.count() + dead(), sender.taken, "of what was refused nothing is there");
}

/// The most that a process has held.
fn memory_kb(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Files that this process may still open.
fn files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX)
}

#[test]
fn thousands_of_connections_keep_nobody_out() {
    let workshop = Workshop::new();
    let host = Running::listening(&mut workshop.host("crowd"));
    let wanted = std::env::var("TWINGE_CONNECTIONS").map_or(2000, |count| count.parse().unwrap());
    let count = files_max().saturating_sub(200).min(wanted);
    println!("{count} connections");
    let connected = AtomicUsize::new(0);
    thread::scope(|scope| {
        let crowd = scope.spawn(|| {
            let connect = |number: usize| {
                let mut stream = TcpStream::connect(&host.address).unwrap();
                // Some say nothing, some begin and stop, some say what is no HTTP. The host may have
                // closed the connection by then.
                let words: &[u8] = [b"".as_slice(), b"GET / HT", b"\x16\x03\x01\x02\0"][number % 3];
                drop(stream.write_all(words));
                connected.fetch_add(1, Ordering::Relaxed);
                stream
            };
            (0..count).map(connect).collect::<Vec<_>>()
        });
        let (mut answered, mut tries) = (0, 0);
        while !crowd.is_finished() {
            tries += ask(&host.address);
            answered += 1;
        }
        let crowd = crowd.join().unwrap();
        assert!(answered > 0, "somebody was answered while they came");
        // All are there, or were shown out, and it is still served.
        ask(&host.address);
        let open = fs::read_dir(format!("/proc/{}/fd", host.id())).unwrap().count();
        assert!(open < 400, "the host has {open} files open");
        let held = memory_kb(host.id());
        assert!(held < MEMORY_KB_MAX, "the host held {held} kB");
        println!(
            "{answered} answers to {tries} requests meanwhile, {open} files, {held} kB, {} came",
            crowd.len()
        );
    });
    assert_eq!(host.stop(), Some(0));
}

/// Tries of somebody who behaves: where a connection is closed without a word, the next one may have
/// more luck.
const TRIES_MAX: usize = 20;

/// A request until it is answered; how many it took.
fn ask(address: &str) -> usize {
    let once = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let is_answer = |answer: std::io::Result<String>| match answer {
        Ok(answer) => answer.starts_with("HTTP/1.1 200"),
        Err(_) => false,
    };
    let answered = (1..=TRIES_MAX).find(|_| is_answer(once()));
    answered.expect("somebody who behaves is answered")
}
