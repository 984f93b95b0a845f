//! Measures the broker without an SDK: raw frames over loopback, 200-byte bodies in batches.
//!
//! `taskset -c 0 cargo run --release -p twinge-eventhubs-local --example throughput` puts the
//! broker and this client on one core.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use twinge_eventhubs_local::{Broker, HubSettings, Settings};
use twinge_platform::{RealDisk, SystemClock};

const EVENTS: u32 = 2_000_000;
const BATCH_EVENTS: u32 = 1_000;
const BODY_BYTES: usize = 200;
/// How many batches are under way: what two producers that wait for each answer have.
const AHEAD: u32 = 4;
const BATCH_FORMAT: u32 = 0x8001_3700;

fn main() -> anyhow::Result<()> {
    let directory = std::env::temp_dir().join(format!("throughput-{}", std::process::id()));
    let hub = HubSettings { name: "events".to_owned(), partitions: 1 };
    let settings = Settings::new(&directory, vec![hub]);
    let broker = Broker::open(settings, Arc::new(RealDisk), Arc::new(SystemClock::new()))?;
    let (address, connection_string) = (broker.address(), broker.connection_string());
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::spawn(move || runtime.block_on(broker.run(stopped)));
    let key = connection_string.split("SharedAccessKey=").nth(1).unwrap_or_default();
    let mut peer = Peer(TcpStream::connect(address)?, Vec::new(), 0);
    peer.open(key.split(';').next().unwrap_or_default())?;
    report("in", peer.send_all()?);
    report("out, from disk", peer.receive_all(1)?);
    report("out, again", peer.receive_all(2)?);
    stop.cancel();
    drop(peer);
    thread.join().expect("the broker does not panic")?;
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are what this program prints")]
fn report(name: &str, took: Duration) {
    let seconds = took.as_secs_f64();
    println!(
        "{name}: {:.0} events/s ({EVENTS} events in {seconds:.2} s)",
        f64::from(EVENTS) / seconds
    );
}

/// A client, what it has read, and how much of that it has seen.
struct Peer(TcpStream, Vec<u8>, usize);

impl Peer {
    fn open(&mut self, key: &str) -> anyhow::Result<()> {
        let login = format!("\0RootManageSharedAccessKey\0{key}");
        let response = [&[0xa0, login.len() as u8], login.as_bytes()].concat();
        self.0.write_all(b"AMQP\x03\x01\x00\x00")?;
        self.0.write_all(&frame(1, &composite(0x41, &[b"\xa3\x05PLAIN", &response])))?;
        self.0.read_exact(&mut [0; 8])?;
        self.frame()?;
        self.frame()?;
        let begin: [&[u8]; 4] = [&[0x40], &uint(0), &uint(u32::MAX >> 2), &uint(u32::MAX >> 2)];
        self.0.write_all(b"AMQP\x00\x01\x00\x00")?;
        self.0.write_all(&frame(0, &composite(0x10, &[&text("peer")])))?;
        self.0.write_all(&frame(0, &composite(0x11, &begin)))?;
        self.0.read_exact(&mut [0; 8])?;
        self.until(0x11)
    }

    fn send_all(&mut self) -> anyhow::Result<Duration> {
        self.attach(0, false, "me", "events/Partitions/0")?;
        self.until(0x13)?;
        let message = data(&[b'x'; BODY_BYTES]);
        let batch = data(&message).repeat(BATCH_EVENTS as usize);
        let started = Instant::now();
        let (mut sent, mut settled) = (0, 0);
        while settled < EVENTS / BATCH_EVENTS {
            while sent < EVENTS / BATCH_EVENTS && sent - settled < AHEAD {
                self.transfer(sent, &batch)?;
                sent += 1;
            }
            settled += self.settled()?;
        }
        Ok(started.elapsed())
    }

    fn transfer(&mut self, id: u32, batch: &[u8]) -> anyhow::Result<()> {
        let mut parts = batch.chunks(60_000).peekable();
        let mut bytes = Vec::with_capacity(batch.len() + 4_096);
        while let Some(part) = parts.next() {
            let more = [if parts.peek().is_some() { 0x41 } else { 0x42 }];
            let (id, format) = (uint(id), uint(BATCH_FORMAT));
            let fields: [&[u8]; 6] = [&uint(0), &id, b"\xa0\x01x", &format, &[0x42], &more];
            bytes.extend(frame(0, &[&composite(0x14, &fields), part].concat()));
        }
        Ok(self.0.write_all(&bytes)?)
    }

    /// How many deliveries the next disposition settles.
    fn settled(&mut self) -> anyhow::Result<u32> {
        loop {
            let body = self.frame()?;
            if body[2] == 0x15 {
                let mut numbers = Vec::new();
                let mut rest = &body[7..];
                while numbers.len() < 2 {
                    rest = match rest {
                        [0x43, rest @ ..] => push(&mut numbers, Some(0), rest),
                        [0x52, number, rest @ ..] => {
                            push(&mut numbers, Some((*number).into()), rest)
                        }
                        [0x70, a, b, c, d, rest @ ..] => {
                            push(&mut numbers, Some(u32::from_be_bytes([*a, *b, *c, *d])), rest)
                        }
                        rest => push(&mut numbers, None, &rest[1..]),
                    };
                }
                let first = numbers[0].unwrap_or_default();
                return Ok(numbers[1].unwrap_or(first) - first + 1);
            }
        }
    }

    fn receive_all(&mut self, handle: u32) -> anyhow::Result<Duration> {
        let started = Instant::now();
        self.attach(handle, true, "events/ConsumerGroups/a/Partitions/0", "me")?;
        let window = uint(u32::MAX >> 2);
        let fields: [&[u8]; 7] =
            [&uint(0), &window, &uint(0), &window, &uint(handle), &uint(0), &uint(EVENTS)];
        self.0.write_all(&frame(0, &composite(0x13, &fields)))?;
        let mut received = 0;
        while received < EVENTS {
            received += u32::from(self.frame()?[2] == 0x14);
        }
        Ok(started.elapsed())
    }

    fn attach(
        &mut self,
        handle: u32,
        receiver: bool,
        source: &str,
        target: &str,
    ) -> anyhow::Result<()> {
        let role = [if receiver { 0x41 } else { 0x42 }];
        let name = text(&format!("link {handle}"));
        let (source, target) =
            (composite(0x28, &[&text(source)]), composite(0x29, &[&text(target)]));
        let none: &[u8] = &[0x40];
        // Receivers ask for settled deliveries.
        let fields: [&[u8]; 10] = [
            &name,
            &uint(handle),
            &role,
            &[0x50, u8::from(receiver)],
            none,
            &source,
            &target,
            none,
            none,
            &uint(0),
        ];
        self.0.write_all(&frame(0, &composite(0x12, &fields)))?;
        self.until(0x12)
    }

    fn until(&mut self, code: u8) -> anyhow::Result<()> {
        while self.frame()?[2] != code {}
        Ok(())
    }

    /// The body of the next frame, up to its first bytes for a large one.
    fn frame(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            let rest = &self.1[self.2..];
            if let Some(head) = rest.first_chunk::<4>() {
                let size = u32::from_be_bytes(*head) as usize;
                if rest.len() >= size {
                    let body = rest[8..size.min(64)].to_vec();
                    self.2 += size;
                    return Ok(body);
                }
            }
            self.1.drain(..self.2);
            self.2 = 0;
            let mut bytes = vec![0; 64 << 10];
            let count = self.0.read(&mut bytes)?;
            anyhow::ensure!(count > 0, "the broker closed the connection");
            self.1.extend_from_slice(&bytes[..count]);
        }
    }
}

fn push<'a>(numbers: &mut Vec<Option<u32>>, number: Option<u32>, rest: &'a [u8]) -> &'a [u8] {
    numbers.push(number);
    rest
}

fn uint(number: u32) -> Vec<u8> {
    [&[0x70], &number.to_be_bytes()[..]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&[0xa1, text.len() as u8], text.as_bytes()].concat()
}

fn data(bytes: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, 0x75, 0xb0], &(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

fn composite(code: u8, fields: &[&[u8]]) -> Vec<u8> {
    let inside = fields.concat();
    let size = (inside.len() as u32 + 4).to_be_bytes();
    let count = (fields.len() as u32).to_be_bytes();
    [&[0x00, 0x53, code, 0xd0], &size[..], &count, &inside].concat()
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = (body.len() as u32 + 8).to_be_bytes();
    [&size[..], &[2, kind, 0, 0], body].concat()
}
