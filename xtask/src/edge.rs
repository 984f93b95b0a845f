//! `cargo xtask bench edge`: what the agent takes on a device: time to the first verdict, memory and
//! processor time at a steady rate, and how fast a broker's messages become verdicts on one core.
//!
//! Broker and sender have the first core and the agent the second, so that neither takes from the
//! other. The module is a real one, trained here.

use crate::hubs::Workshop;
use crate::hubs::bench::{address, process, scored};
use crate::hubs::programs::{Process, wait_for};
use crate::run::{output, print, tell};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_mqtt::testing::Mosquitto;
use twinge_mqtt::{Options, Outgoing, Publisher, Settings};

/// What the agent takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The agent to measure, such as the small build [default: the release build].
    #[arg(long)]
    agent: Option<PathBuf>,
    /// Seconds at a steady rate.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Events a second of the steady rate.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Entities.
    #[arg(long, default_value_t = 1000)]
    entities: usize,
    /// Messages that wait at the broker for the fastest run.
    #[arg(long, default_value_t = 300_000)]
    messages: usize,
    /// Kind of detector; `auto` takes what the data asks for.
    #[arg(long, default_value = "isolation-forest")]
    detector: String,
    /// Profile of the programs that are built.
    #[arg(long, default_value = "release")]
    profile: String,
}

/// The core that the agent has for itself.
const AGENT_CORE: &str = "1";
const OTHERS_CORE: &str = "0";

struct Bench<'a> {
    arguments: &'a Arguments,
    workshop: Workshop,
    agent: PathBuf,
    events: Vec<String>,
}

/// `cargo xtask bench edge`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bench = Bench::prepare(arguments)?;
    bench.cold_start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(bench.steady())?;
    runtime.block_on(bench.fastest())
}

impl<'a> Bench<'a> {
    fn prepare(arguments: &'a Arguments) -> Result<Self> {
        let workshop = Workshop::prepare("edge", &arguments.profile)?;
        if arguments.detector != "auto" {
            workshop.train(Some(&arguments.detector))?;
        }
        let agent = arguments.agent.clone().unwrap_or_else(|| workshop.bin.join("edge-agent"));
        let file = workshop.path("events.ndjson");
        let mut generate = workshop.trainer();
        generate.args(["generate", "--world", "sensors", "--seed", "2", "--no-labels"]);
        generate.args(["--entities", &arguments.entities.to_string(), "--events", "100000"]);
        output(generate.arg("--out").arg(&file))?;
        let events: Vec<String> = fs::read_to_string(&file)?.lines().map(str::to_owned).collect();
        pin(std::process::id(), OTHERS_CORE)?;
        let module = fs::metadata(&workshop.module)?.len();
        print(&format!(
            "agent {} of {:.2} MB, module of {} KiB, events of {} bytes, detector {}",
            agent.display(),
            fs::metadata(&agent)?.len() as f64 / 1e6,
            module >> 10,
            events.iter().map(String::len).sum::<usize>() / events.len(),
            arguments.detector
        ));
        Ok(Self { arguments, workshop, agent, events })
    }

    /// From the start of the process to the first verdict on its standard output.
    fn cold_start(&self) -> Result<()> {
        for (what, runs, keeps) in
            [("cold start, new device", 5, false), ("cold start, known module", 10, true)]
        {
            let state = self.workshop.path(if keeps { "known.state" } else { "new.state" });
            let mut times = Vec::new();
            for run in 0..=runs {
                if !keeps {
                    drop(fs::remove_dir_all(&state));
                }
                let time = self.first_verdict(&state, run)?;
                // The first brings the file into the system's cache.
                if run > 0 {
                    times.push(time);
                }
            }
            times.sort();
            let ms = |time: Duration| time.as_secs_f64() * 1000.0;
            print(&format!(
                "{what:<28}{:>8.1} ms median, {:.1} to {:.1}",
                ms(times[times.len() / 2]),
                ms(times[0]),
                ms(times[times.len() - 1])
            ));
        }
        Ok(())
    }

    /// Each run has an event of its own: one that came before has its verdict.
    fn first_verdict(&self, state: &Path, run: usize) -> Result<Duration> {
        let mut command = Command::new(&self.agent);
        command.args(["run", "--allow-unsigned", "--module"]).arg(&self.workshop.module);
        command.arg("--state").arg(state).env("RUST_LOG", "error");
        command.arg("--dead-letters").arg(self.workshop.path("dead.ndjson"));
        let began = Instant::now();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("a pipe was asked for")?;
        writeln!(stdin, "{}", self.events[run])?;
        // The agent ends with its input, so that nothing here waits for a verdict that never comes.
        drop(stdin);
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe was asked for")?)
            .read_line(&mut line)?;
        let time = began.elapsed();
        ensure!(line.contains("io.twinge.verdict"), "no verdict came: {line}");
        child.wait()?;
        Ok(time)
    }

    fn broker(&self, name: &str) -> Result<Mosquitto> {
        let directory = self.workshop.path(name);
        fs::create_dir_all(&directory)?;
        Mosquitto::start(&directory, "").context("mosquitto is not installed")
    }

    /// The agent on a core of its own, with a broker as source.
    fn start(&self, broker: &Mosquitto, name: &str, more: &str) -> Result<Process> {
        let config = self.workshop.path(&format!("{name}.toml"));
        let text = format!(
            "state = \"{}\"\nallow_unsigned = true\nlisten = \"127.0.0.1:0\"\ndevice = \"bench\"\n{more}\
             dead_letters = \"{}\"\n[[detector]]\nmodule = \"{}\"\n[mqtt]\nbroker = \"{}\"\nclient_id = \"agent\"\n\
             [[mqtt.topic]]\npattern = \"in/{{entity}}\"\n",
            self.workshop.path(&format!("{name}.state")).display(),
            self.workshop.path("dead.ndjson").display(),
            self.workshop.module.display(),
            broker.url()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("taskset");
        command.args(["-c", AGENT_CORE]).arg(&self.agent).arg("run").arg("--config").arg(config);
        self.workshop.start(command.env("RUST_LOG", "info"), name)
    }

    fn message(&self, number: usize) -> Outgoing {
        let entity = number % self.arguments.entities;
        let payload = self.events[number % self.events.len()].clone();
        Outgoing {
            topic: format!("in/e{entity}"),
            payload: payload.into(),
            options: Options::default(),
        }
    }

    /// Memory and processor time at a steady rate.
    async fn steady(&self) -> Result<()> {
        let broker = self.broker("steady broker")?;
        let mut agent = self.start(&broker, "steady", "verdicts = \"/dev/null\"\n")?;
        let address = address(&mut agent)?;
        let (publisher, stop) = client(&broker)?;
        let chunk = (self.arguments.rate / 50).max(1) as usize;
        let mut ticks =
            interval(Duration::from_secs_f64(chunk as f64 / self.arguments.rate as f64));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let warm = Instant::now() + Duration::from_secs(5);
        let end = warm + Duration::from_secs(self.arguments.seconds);
        let (mut sent, mut from) = (0, None);
        let sending = TaskTracker::new();
        let mut series = Vec::new();
        let mut next_look = warm;
        while Instant::now() < end {
            ticks.tick().await;
            let messages: Vec<_> = (sent..sent + chunk).map(|one| self.message(one)).collect();
            sent += chunk;
            // Not waited for: a broker keeps its small answers back for up to 40 ms.
            let publisher = publisher.clone();
            sending.spawn(async move { publisher.publish_many(messages).await });
            let now = Instant::now();
            if now >= next_look {
                from.get_or_insert((process(agent.id())?, scored(&address)?, now));
                series.push(resident(agent.id())?);
                next_look = now + Duration::from_secs((self.arguments.seconds / 10).max(1));
            }
        }
        sending.close();
        sending.wait().await;
        let (cpu, events, began) = from.context("the run is longer than its warm-up")?;
        let seconds = began.elapsed().as_secs_f64();
        let cpu = process(agent.id())? - cpu;
        let events = scored(&address)? - events;
        let (resident, private) = (resident(agent.id())?, private(agent.id())?);
        print(&format!(
            "{:<28}{:>8.0} events/s, {} entities",
            "steady",
            events as f64 / seconds,
            self.arguments.entities
        ));
        print(&format!("{:<28}{:>8.1} % of a core", "  processor", 100.0 * cpu / seconds));
        print(&format!("{:<28}{resident:>8.1} MB resident, {private:.1} private", "  memory"));
        let series: Vec<String> = series.iter().map(|mb| format!("{mb:.1}")).collect();
        print(&format!("{:<28}{} MB", "  memory over time", series.join(" ")));
        stop.cancel();
        agent.kill()
    }

    /// As fast as it goes: everything waits at the broker when the agent comes.
    async fn fastest(&self) -> Result<()> {
        let broker = self.broker("fast broker")?;
        // It subscribes, and goes; what is published then is kept for it.
        let mut agent = self.start(&broker, "fast", "verdicts = \"/dev/null\"\n")?;
        let first = address(&mut agent)?;
        wait_for("the subscription", || Ok(broker.log().contains("agent")))?;
        let (publisher, stop) = client(&broker)?;
        publisher.publish_many([self.message(0)]).await.pop().context("one was sent")??;
        wait_for("the first verdict", || Ok(scored(&first)? > 0))?;
        agent.stop()?;
        tell("Filling the broker ...");
        for start in (0..self.arguments.messages).step_by(10_000) {
            let messages: Vec<_> = (start..start + 10_000).map(|one| self.message(one)).collect();
            for answer in publisher.publish_many(messages).await {
                answer?;
            }
        }
        let began = Instant::now();
        let mut agent = self.start(&broker, "fast", "verdicts = \"/dev/null\"\n")?;
        let address = address(&mut agent)?;
        let mut times = None;
        // From a tenth to the end: without start and compilation.
        let wanted = self.arguments.messages as u64;
        while scored(&address)? < wanted {
            ensure!(began.elapsed() < Duration::from_mins(5), "{}", agent.log_text());
            let done = scored(&address)?;
            if times.is_none() && done > wanted / 10 {
                times = Some((done, Instant::now(), process(agent.id())?));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (from, since, cpu) = times.context("it was too fast to be seen")?;
        let (seconds, events) = (since.elapsed().as_secs_f64(), (wanted - from) as f64);
        let cpu = process(agent.id())? - cpu;
        print(&format!(
            "{:<28}{:>8.0} events/s, MQTT in to verdict out, on one core",
            "fastest",
            events / seconds
        ));
        print(&format!(
            "{:<28}{:>8.0} events for each second of its processor time",
            "  by processor time",
            events / cpu
        ));
        print(&format!("{:<28}{:>8.1} MB resident", "  memory", resident(agent.id())?));
        stop.cancel();
        agent.kill()
    }
}

fn client(broker: &Mosquitto) -> Result<(Publisher, CancellationToken)> {
    let settings = Settings { in_flight_max: 5000, ..Settings::new(broker.url(), "bench") };
    let (publisher, _messages, driver) = twinge_mqtt::connect(&settings, Vec::new())?;
    let stop = CancellationToken::new();
    TaskTracker::new().spawn(driver.run(stop.clone()));
    Ok((publisher, stop))
}

/// Ties a process, and what it starts, to a core.
fn pin(id: u32, core: &str) -> Result<()> {
    output(Command::new("taskset").args(["-a", "-p", "-c", core, &id.to_string()])).map(drop)
}

/// Resident memory in MB.
fn resident(id: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    sum(&status, "VmRSS:")
}

/// Memory that no other process shares, in MB.
fn private(id: u32) -> Result<f64> {
    sum(&fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?, "Private_")
}

fn sum(text: &str, name: &str) -> Result<f64> {
    let lines = text.lines().filter(|line| line.starts_with(name));
    let kilobytes = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    let kilobytes: f64 = kilobytes.sum();
    ensure!(kilobytes > 0.0, "/proc tells no {name}");
    Ok(kilobytes * 1024.0 / 1e6)
}
