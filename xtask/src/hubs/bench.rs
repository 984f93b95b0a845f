//! `cargo xtask bench eventhubs`: how fast events go from a hub through a detector to a hub, and where
//! the time goes.
//!
//! Runs of one host over the same events: from a file, for comparison; from a hub to a file; and from a
//! hub to a hub. The processor time of each thread and of the broker is read from the system, so the
//! shares hold whatever else the machine does.

use super::Workshop;
use super::programs::{Broker, Process, wait_for};
use crate::run::{output, print, tell};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};
use twinge_contract::event::EventReader;
use twinge_contract::manifest::Manifest;
use twinge_contract::verdict::Verdict;

/// Ticks of processor time a second, as Linux has told user programs since ever.
const TICKS_A_SECOND: f64 = 100.0;

/// Where the time of an event goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Events.
    #[arg(long, default_value_t = 400_000)]
    events: u64,
    /// Kind of detector; `auto` takes what the data asks for.
    #[arg(long, default_value = "isolation-forest")]
    detector: String,
}

/// Processor time of one run, in microseconds for each event.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    /// Wall-clock time of the whole.
    wall: f64,
    /// Threads that drive the SDK.
    sdk: f64,
    /// All other threads of the host: reading JSON, scoring, writing JSON.
    scoring: f64,
    broker: f64,
}

/// `cargo xtask bench eventhubs`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bench = Bench::prepare(arguments.events, &arguments.detector)?;
    tell("Scoring from a file, from a hub to a file, and from a hub to a hub ...");
    let (json, verdict) = bench.json()?;
    let file = bench.replay_file()?;
    let received = bench.read_hub("receive", false)?;
    let whole = bench.read_hub("whole", true)?;
    let sending = (whole.sdk - received.sdk).max(0.0);
    let rows = [
        ("broker, delivering", received.broker),
        ("SDK, receiving", received.sdk),
        ("reading JSON", json),
        ("scoring, states, checkpoints", (received.scoring - json - verdict).max(0.0)),
        ("writing verdicts as JSON", verdict),
        ("handing them to the SDK", (whole.scoring - received.scoring).max(0.0)),
        ("SDK, sending", sending),
        ("broker, taking verdicts", (whole.broker - received.broker).max(0.0)),
    ];
    let total: f64 = rows.iter().map(|(_, cost)| cost).sum();
    print(&format!(
        "{} events of {} bytes, detector {}",
        bench.events, bench.event_bytes, arguments.detector
    ));
    print(&format!("  wall clock, hub to hub   {:>9.0} events/s", 1e6 / whole.wall));
    print(&format!("  wall clock, hub to file  {:>9.0} events/s", 1e6 / received.wall));
    print(&format!("  wall clock, file to file {:>9.0} events/s", 1e6 / file.wall));
    print(&format!("  each core, all included  {:>9.0} events/s", 1e6 / total));
    print(&format!("{:<32}{:>10}{:>8}", "stage", "µs/event", "share"));
    for (name, cost) in rows {
        print(&format!("{name:<32}{cost:>10.2}{:>7.0}%", 100.0 * cost / total));
    }
    Ok(())
}

struct Bench {
    workshop: Workshop,
    broker: Broker,
    events: u64,
    event_bytes: usize,
}

impl Bench {
    fn prepare(events: u64, detector: &str) -> Result<Self> {
        tell("Building the programs with optimisation ...");
        let workshop = Workshop::prepare("bench", "release")?;
        workshop.train(Some(detector))?;
        let broker = workshop.broker("broker", &["events=8", "verdicts=8", "dead-letters=1"])?;
        let mut generate = workshop.trainer();
        generate.args(["generate", "--world", "sensors", "--entities", "200", "--seed", "2"]);
        generate.args(["--no-labels", "--events", &events.to_string(), "--out"]);
        output(generate.arg(workshop.path("events.ndjson")))?;
        tell("Sending the events ...");
        let mut send = workshop.trainer();
        send.args(["send", "--key", "sensor", "--hub", "events", "--connection-string-file"]);
        send.arg(&broker.connection_string).arg("--data").arg(workshop.path("events.ndjson"));
        let told = send.output().context("cannot start the trainer")?;
        ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        tell(String::from_utf8_lossy(&told.stderr).trim());
        let length = fs::metadata(workshop.path("events.ndjson"))?.len();
        Ok(Self { workshop, broker, events, event_bytes: (length / events.max(1)) as usize })
    }

    /// Reading and writing JSON alone, in this process.
    fn json(&self) -> Result<(f64, f64)> {
        let mut inspect = self.workshop.trainer();
        inspect.args(["inspect", "--json", "--module"]).arg(&self.workshop.module);
        let manifest = Manifest::parse(output(&mut inspect)?.as_bytes())?;
        let reader = EventReader::new(&manifest.schema);
        let text = fs::read(self.workshop.path("events.ndjson"))?;
        let began = Instant::now();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            black_box(reader.read(line).is_ok());
        }
        let json = self.each(began.elapsed());

        let verdicts = self.workshop.path("sample.ndjson");
        let mut host = self.replay();
        output(host.arg("--verdicts").arg(&verdicts))?;
        let text = fs::read_to_string(&verdicts)?;
        let sample: Vec<Verdict> =
            text.lines().take(100_000).map(serde_json::from_str).collect::<Result<_, _>>()?;
        let began = Instant::now();
        for verdict in &sample {
            black_box(serde_json::to_vec(verdict)?);
        }
        fs::remove_file(verdicts)?;
        Ok((json, began.elapsed().as_secs_f64() * 1e6 / sample.len() as f64))
    }

    fn each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.events as f64
    }

    fn replay(&self) -> Command {
        let mut host = Command::new(self.workshop.bin.join("host"));
        host.arg("--allow-unsigned").arg("--module").arg(&self.workshop.module);
        host.arg("--replay").arg(self.workshop.path("events.ndjson"));
        let state = self.workshop.path("replay.state");
        // What was done before must be done again.
        drop(fs::remove_dir_all(&state));
        host.arg("--state").arg(state);
        host.arg("--dead-letters").arg(self.workshop.path("replay.dead-letters"));
        host.env("RUST_LOG", "warn");
        host
    }

    fn replay_file(&self) -> Result<Cost> {
        let mut command = self.replay();
        let began = Instant::now();
        let mut host = self.workshop.start(command.args(["--verdicts", "/dev/null"]), "replay")?;
        let mut cost = Cost::default();
        wait_for("the file to end", || {
            // Threads that are gone are not counted any more, so the largest sum is the last whole one.
            if let Ok((_, scoring)) = threads(host.id()) {
                cost.scoring = cost.scoring.max(scoring);
            }
            host.has_ended()
        })?;
        cost.wall = self.each(began.elapsed());
        Ok(Cost { scoring: self.micros(cost.scoring), ..cost })
    }

    fn read_hub(&self, group: &str, to_hub: bool) -> Result<Cost> {
        let mut command = self.workshop.reader(&self.broker, "events", group, group);
        let (verdicts, dead_letters) =
            if to_hub { ("hub:verdicts", "hub:dead-letters") } else { ("/dev/null", "-") };
        command.args(["--verdicts", verdicts, "--dead-letters", dead_letters]);
        command.args(["--listen", "127.0.0.1:0"]);
        let broker_before = process(self.broker.id())?;
        let mut host = self.workshop.start(&mut command, group)?;
        let address = address(&mut host)?;
        let began = Instant::now();
        wait_for("all events", || {
            host.check()?;
            Ok(scored(&address)? >= self.events)
        })?;
        // Scored is not sent: a stop ends with a checkpoint, which waits for that.
        let (sdk, scoring) = threads(host.id())?;
        let wall = self.each(began.elapsed());
        let broker = process(self.broker.id())? - broker_before;
        ensure!(host.stop()? == Some(0), "the host failed:\n{}", host.log_text());
        Ok(Cost {
            wall,
            sdk: self.micros(sdk),
            scoring: self.micros(scoring),
            broker: self.micros(broker),
        })
    }

    fn micros(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.events as f64
    }
}

/// Where a host serves HTTP, by its log.
pub(crate) fn address(host: &mut Process) -> Result<String> {
    let mut address = None;
    wait_for("the host to listen", || {
        host.check()?;
        address = host.log_text().lines().find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            let message = entry["fields"]["message"].as_str()?;
            let is_http = message.starts_with("serving HTTP");
            is_http.then(|| entry["fields"]["address"].as_str().map(str::to_owned))?
        });
        Ok(address.is_some())
    })?;
    address.context("it listens somewhere")
}

/// Events that a host has scored, by its metrics.
pub(crate) fn scored(address: &str) -> Result<u64> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let counts = text.lines().filter(|line| line.starts_with("twinge_events_total{"));
    let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
    Ok(counts.filter_map(count).sum::<f64>() as u64)
}

/// Seconds of processor time of a process.
pub(crate) fn process(id: u32) -> Result<f64> {
    ticks(&fs::read_to_string(format!("/proc/{id}/stat"))?).context("/proc tells no times")
}

/// Seconds of processor time of the threads of a host that drive the SDK, and of all others.
fn threads(id: u32) -> Result<(f64, f64)> {
    let (mut sdk, mut others) = (0.0, 0.0);
    for entry in fs::read_dir(format!("/proc/{id}/task"))? {
        let text = fs::read_to_string(entry?.path().join("stat"))?;
        let seconds = ticks(&text).context("/proc tells no times")?;
        let side = if text.contains("(twinge-amqp-") { &mut sdk } else { &mut others };
        *side += seconds;
    }
    Ok((sdk, others))
}

/// User and system time in a line of /proc: fields 14 and 15, counted behind the name.
fn ticks(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_A_SECOND)
}
