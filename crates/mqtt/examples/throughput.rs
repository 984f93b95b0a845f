//! How many messages a second the client takes in, and what each costs in processor time:
//! `cargo run --release -p twinge-mqtt --example throughput [messages [bytes]]`.
//!
//! First against a Mosquitto broker and a sender, then against a stub that writes messages as
//! fast as they are acknowledged; each runs as a process of its own. This process receives with
//! acknowledgements by hand, in batches, on one thread, and reads its processor time from `/proc`.

#[path = "../src/testing.rs"]
#[expect(dead_code, unreachable_pub, reason = "only the broker is used")]
mod testing;

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use twinge_mqtt::{Counts, Messages, Options, Outgoing, Settings, Status, Version, connect};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Messages that the sender hands over at once.
const BURST: u32 = 4_096;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let number = |place: usize, default: u32| {
        arguments.get(place).map_or(Ok(default), |text| text.parse::<u32>())
    };
    match arguments.get(1).map(String::as_str) {
        Some("send") => return runtime.block_on(send(&arguments[2], number(3, 0)?, number(4, 0)?)),
        Some("flood") => return flood(number(2, 0)?, number(3, 0)?),
        _ => {}
    }
    let (count, bytes) = (number(1, 300_000)?, number(2, 200)?);
    for version in [Version::V311, Version::V5] {
        runtime.block_on(with_mosquitto(version, count, bytes))?;
        runtime.block_on(with_stub(version, count, bytes))?;
    }
    Ok(())
}

async fn with_mosquitto(version: Version, count: u32, bytes: u32) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let Some(broker) = testing::Mosquitto::start(directory.path(), "") else { return Ok(()) };
    let settings = Settings { version, ..Settings::new(broker.url(), "receiver") };
    measure("Mosquitto", &settings, count, || {
        Ok(Command::new(std::env::current_exe()?)
            .args(["send", &broker.url(), &count.to_string(), &bytes.to_string()])
            .spawn()?)
    })
    .await
}

async fn with_stub(version: Version, count: u32, bytes: u32) -> Outcome<()> {
    let mut stub = Command::new(std::env::current_exe()?)
        .args(["flood", &count.to_string(), &bytes.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut port = String::new();
    BufReader::new(stub.stdout.take().ok_or("the stub has no output")?).read_line(&mut port)?;
    let url = format!("mqtt://127.0.0.1:{}", port.trim());
    let settings = Settings { version, ..Settings::new(url, "receiver") };
    measure("a stub", &settings, count, || Ok(stub)).await
}

/// Receives while the process that `start` starts, or has started, makes messages.
async fn measure(
    what: &str,
    settings: &Settings,
    count: u32,
    start: impl FnOnce() -> Outcome<Child>,
) -> Outcome<()> {
    let (publisher, mut messages, driver) = connect(settings, vec!["load".into()])?;
    let stop = CancellationToken::new();
    let receiving = async {
        // Answered after the subscription, which is then in place.
        publisher.publish("ready", "", Options::default()).await?;
        let source = start()?;
        let (wall, processor) = receive(&mut messages, count).await?;
        stop.cancel();
        Ok::<_, Box<dyn Error>>((source, wall, processor))
    };
    let (outcome, ()) = tokio::join!(receiving, driver.run(stop.clone()));
    let (mut source, wall, processor) = outcome?;
    if !source.wait()?.success() {
        return Err("the other process failed".into());
    }
    report(&format!("{:?} from {what}", settings.version), count, wall, processor)
}

/// Takes and acknowledges `count` messages; the time on the wall and on the processor, in seconds.
async fn receive(messages: &mut Messages, count: u32) -> Outcome<(f64, f64)> {
    let mut batch = Vec::with_capacity(1_024);
    let mut taken = 0;
    let mut started = None;
    while taken < count as usize {
        batch.clear();
        taken += messages.next_many(&mut batch, 1_024).await;
        if started.is_none() {
            started = Some((Instant::now(), processor_seconds()?));
        }
        messages.ack(batch.iter().filter_map(|message| message.receipt));
    }
    let (wall, processor) = started.ok_or("no message came")?;
    Ok((wall.elapsed().as_secs_f64(), processor_seconds()? - processor))
}

/// The time that this process, which has one thread, has spent on the processor, in seconds.
fn processor_seconds() -> Outcome<f64> {
    let statistics = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds =
        statistics.split_whitespace().next().ok_or("/proc/self/schedstat is empty")?;
    Ok(nanoseconds.parse::<f64>()? / 1e9)
}

fn report(what: &str, count: u32, wall: f64, processor: f64) -> Outcome<()> {
    let count = f64::from(count);
    writeln!(
        std::io::stdout(),
        "{what}: {:.0} messages/s on the wall, {:.2} us of processor time each, \
         which is {:.0} messages/s on a whole core",
        count / wall,
        processor / count * 1e6,
        count / processor,
    )?;
    Ok(())
}

/// Publishes `count` messages of `bytes` and waits until the broker has taken them.
async fn send(url: &str, count: u32, bytes: u32) -> Outcome<()> {
    let settings = Settings::new(url, "sender");
    let (publisher, _messages, driver) = connect(&settings, Vec::new())?;
    let stop = CancellationToken::new();
    let sending = async {
        let mut status = publisher.monitor().status();
        status.wait_for(|status| matches!(status, Status::Connected { .. })).await?;
        let payload: Vec<u8> = vec![b'x'; bytes as usize];
        for first in (0..count).step_by(BURST as usize) {
            let burst = BURST.min(count - first);
            let message = |_| Outgoing {
                topic: "load".into(),
                payload: payload.clone().into(),
                options: Options::default(),
            };
            for answer in publisher.publish_many((0..burst).map(message)).await {
                answer?;
            }
        }
        stop.cancel();
        Ok(())
    };
    let counts = publisher.monitor().clone();
    let (outcome, ()) = tokio::join!(sending, driver.run(stop.clone()));
    let Counts { published, .. } = counts.counts();
    if published < u64::from(count) {
        return Err(format!("only {published} messages were taken").into());
    }
    outcome
}

/// How far the stub runs ahead of the acknowledgements.
const WINDOW: usize = 8_192;

/// A stub of a broker: accepts one connection and sends it `count` messages of `bytes`.
fn flood(count: u32, bytes: u32) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    let (mut stream, _) = listener.accept()?;
    let v5 = read_packet(&mut stream)?[6] == 5;
    stream.write_all(if v5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] })?;
    let subscribe = read_packet(&mut stream)?;
    let (high, low) = (subscribe[0], subscribe[1]);
    let granted: &[u8] = if v5 { &[0x90, 4, high, low, 0, 1] } else { &[0x90, 3, high, low, 1] };
    stream.write_all(granted)?;
    let publish = read_packet(&mut stream)?;
    stream.write_all(&[0x40, 2, publish[7], publish[8]])?;
    let (acked, acks) = mpsc::channel();
    let mut reader = stream.try_clone()?;
    let counting = std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = reader.read(&mut buffer) {
            // An acknowledgement has 4 bytes; a remainder is made up by the next read.
            if acked.send(length).is_err() {
                break;
            }
        }
    });
    send_flood(&mut stream, count, bytes, v5, &acks)?;
    counting.join().map_err(|_panic| "the counting thread failed")?;
    Ok(())
}

fn send_flood(
    stream: &mut TcpStream,
    count: u32,
    bytes: u32,
    v5: bool,
    acks: &mpsc::Receiver<usize>,
) -> Outcome<()> {
    let (mut sent, mut acked_bytes) = (0usize, 0usize);
    let mut chunk = Vec::new();
    while sent < count as usize {
        while sent - acked_bytes / 4 >= WINDOW {
            acked_bytes += acks.recv()?;
        }
        chunk.clear();
        for _ in 0..64.min(count as usize - sent) {
            sent += 1;
            let packet_id = u16::try_from(sent % 50_000 + 1)?;
            write_message(&mut chunk, packet_id, bytes as usize, v5);
        }
        stream.write_all(&chunk)?;
    }
    Ok(())
}

fn write_message(into: &mut Vec<u8>, packet_id: u16, bytes: usize, v5: bool) {
    let body = 2 + 4 + 2 + usize::from(v5) + bytes;
    into.extend([0x32, (body % 128) as u8 | 0x80, (body / 128) as u8, 0, 4]);
    into.extend(b"load");
    into.extend(packet_id.to_be_bytes());
    into.extend(v5.then_some(0));
    into.resize(into.len() + bytes, b'x');
}

/// The body of a packet of less than 128 bytes.
fn read_packet(stream: &mut TcpStream) -> Outcome<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; head[1].into()];
    stream.read_exact(&mut body)?;
    Ok(body)
}
