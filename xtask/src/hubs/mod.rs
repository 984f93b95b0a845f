//! Scenarios of Event Hubs with whole programs: many event processors, brokers that are killed, hosts
//! that take over from each other.

pub(crate) mod bench;
pub(crate) mod checkpoint;
pub(crate) mod peers;
pub(crate) mod programs;

use crate::run::{build_programs, output, root, tell};
use anyhow::{Context, Result, ensure};
use peers::Azurite;
use programs::{Broker, BusyLoops};
pub(crate) use programs::{Process, Verdicts, http_address, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Seconds after which a silent host has lost its partitions, in scenarios.
const OWNERSHIP_SECONDS: u64 = 4;

/// Configuration of a detector for generated sensors.
const SENSORS: &str = r#"
name = "sensors"
[schema]
entity = "sensor"
time = "time"
numeric = ["temperature_c", "vibration_mm_s", "pressure_kpa", "current_a"]
categorical = ["mode"]
label = "label"
[detector]
kind = "KIND"
"#;

/// How much of each scenario is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Runs of an event processor, one after the other.
    pub(crate) runs: usize,
    /// Runs in which the broker is killed.
    pub(crate) kills: usize,
    /// Events that two hosts share.
    pub(crate) shared: u64,
}

/// Programs, a detector and a place for a scenario.
#[derive(Debug)]
pub(crate) struct Workshop {
    pub(crate) bin: PathBuf,
    directory: PathBuf,
    pub(crate) module: PathBuf,
}

impl Workshop {
    /// Builds the programs and trains a detector for generated sensors.
    pub(crate) fn prepare(name: &str, profile: &str) -> Result<Self> {
        build_programs(profile)?;
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root().join("target"), PathBuf::from);
        let folder = if profile == "dev" { "debug" } else { profile };
        let directory = std::env::temp_dir().join(format!("twinge {name} {}", std::process::id()));
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        let module = directory.join("sensors.wasm");
        let this = Self { bin: target.join(folder), directory, module };
        let generate = ["generate", "--world", "sensors", "--events", "6000", "--seed", "1"];
        output(this.trainer().args(generate).arg("--out").arg(this.path("sensors.csv")))?;
        this.train(None)?;
        Ok(this)
    }

    /// Trains a detector of a kind, or of the kind that the data asks for.
    pub(crate) fn train(&self, kind: Option<&str>) -> Result<()> {
        let mut train = self.trainer();
        train.args(["train", "--unsigned", "--data"]).arg(self.path("sensors.csv"));
        if let Some(kind) = kind {
            let config = self.path("detector.toml");
            fs::write(&config, SENSORS.replace("KIND", kind))?;
            train.arg("--config").arg(config);
        }
        output(train.arg("--out").arg(&self.module)).map(drop)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn trainer(&self) -> Command {
        Command::new(self.bin.join("trainer"))
    }

    fn broker(&self, name: &str, hubs: &[&str]) -> Result<Broker> {
        Broker::start(&self.bin, self.path(name), hubs)
    }

    /// The trainer, sending generated events to a hub.
    fn generator(&self, broker: &Broker, hub: &str, events: u64) -> Command {
        let mut generate = self.trainer();
        generate.args(["generate", "--world", "sensors", "--entities", "200", "--seed", "2"]);
        generate.args(["--no-labels", "--events", &events.to_string()]);
        generate.args(["--to", "eventhubs", "--hub", hub, "--connection-string-file"]);
        generate.arg(&broker.connection_string);
        generate
    }

    fn generate(&self, broker: &Broker, hub: &str, events: u64) -> Result<()> {
        output(&mut self.generator(broker, hub, events)).map(drop)
    }

    /// A host that reads `hub` and writes its verdicts to a file.
    fn host(&self, broker: &Broker, hub: &str, group: &str, name: &str) -> Command {
        let mut host = self.reader(broker, hub, group, name);
        host.arg("--verdicts").arg(self.verdicts(name));
        host.arg("--dead-letters").arg(self.path(&format!("{name}.dead-letters.ndjson")));
        host
    }

    /// A host that reads `hub`.
    fn reader(&self, broker: &Broker, hub: &str, group: &str, name: &str) -> Command {
        let mut host = Command::new(self.bin.join("host"));
        host.arg("--allow-unsigned").arg("--module").arg(&self.module);
        host.args(["--hub", hub, "--consumer-group", group, "--connection-string-file"]);
        host.arg(&broker.connection_string);
        host.arg("--state").arg(self.path(&format!("{name}.state")));
        host.args(["--ownership-seconds", &OWNERSHIP_SECONDS.to_string()]);
        host.env("RUST_LOG", "info").stdout(Stdio::null());
        host
    }

    fn verdicts(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.verdicts.ndjson"))
    }

    pub(crate) fn start(&self, command: &mut Command, name: &str) -> Result<Process> {
        Process::start(command, self.path(&format!("{name}.log")))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tell(&format!("{} was not removed: {error}", self.directory.display()));
        }
    }
}

/// All scenarios.
pub(crate) fn run(amount: Amount) -> Result<()> {
    let workshop = Workshop::prepare("hubs", "dev")?;
    processors(&workshop, amount.runs)?;
    killed_brokers(&workshop, amount.kills)?;
    takeover(&workshop, amount.shared)
}

/// Event processors one after the other beside two busy loops, each reading the whole hub.
fn processors(workshop: &Workshop, runs: usize) -> Result<()> {
    const EVENTS: u64 = 2000;
    let broker = workshop.broker("calm broker", &["events=4"])?;
    workshop.generate(&broker, "events", EVENTS)?;
    let _busy = BusyLoops::start(2);
    let began = Instant::now();
    for run in 1..=runs {
        let name = format!("run-{run}");
        let mut host =
            workshop.start(&mut workshop.host(&broker, "events", &name, &name), &name)?;
        let mut verdicts = Verdicts::of(workshop.verdicts(&name));
        wait_for(&format!("all verdicts of run {run}"), || {
            host.check()?;
            Ok(verdicts.update()? as u64 == EVENTS)
        })?;
        finish(&mut host)?;
        ensure!(verdicts.repeated == 0, "run {run}: {} verdicts came twice", verdicts.repeated);
        clear(workshop, &name)?;
    }
    let seconds = began.elapsed().as_secs_f64() / runs.max(1) as f64;
    tell(&format!(
        "{runs} event processors beside two busy loops: every event counted, {seconds:.1} s each"
    ));
    Ok(())
}

/// The broker is killed while a processor is at work, and comes back with everything.
fn killed_brokers(workshop: &Workshop, kills: usize) -> Result<()> {
    const EVENTS: u64 = 30_000;
    let mut broker = workshop.broker("killed broker", &["events=4"])?;
    workshop.generate(&broker, "events", EVENTS)?;
    let _busy = BusyLoops::start(2);
    for kill in 1..=kills {
        let name = format!("kill-{kill}");
        let mut host =
            workshop.start(&mut workshop.host(&broker, "events", &name, &name), &name)?;
        let mut verdicts = Verdicts::of(workshop.verdicts(&name));
        wait_for("the first verdicts", || {
            host.check()?;
            Ok(verdicts.update()? > 0)
        })?;
        let before = verdicts.records.len() as u64;
        broker.kill_and_restart()?;
        ensure!(before < EVENTS, "kill {kill} came too late: all events were scored");
        wait_for(&format!("all verdicts after kill {kill}"), || {
            host.check()?;
            Ok(verdicts.update()? as u64 == EVENTS)
        })?;
        finish(&mut host)?;
        clear(workshop, &name)?;
    }
    tell(&format!("{kills} event processors whose broker was killed: every event counted"));
    Ok(())
}

/// A host whose checkpoints and ownerships lie in an emulator of Azure storage: Azure's own checkpoint
/// store, of another language, reads them.
pub(crate) fn layout(python: &Path, azurite: &Azurite) -> Result<()> {
    const EVENTS: u64 = 2000;
    let workshop = Workshop::prepare("layout", "dev")?;
    let broker = workshop.broker("broker", &["Events=4"])?;
    workshop.generate(&broker, "Events", EVENTS)?;
    let address = format!("{}/checkpoints", azurite.endpoint);
    let mut command = workshop.host(&broker, "Events", "$Default", "host");
    command.args(["--checkpoints", &address]);
    command.env("AZURE_STORAGE_CONNECTION_STRING", &azurite.connection_string);
    let mut host = workshop.start(&mut command, "host")?;
    let mut verdicts = Verdicts::of(workshop.verdicts("host"));
    wait_for("all verdicts", || {
        host.check()?;
        Ok(verdicts.update()? as u64 == EVENTS)
    })?;
    finish(&mut host)?;
    let mut read = Command::new(python);
    read.arg(root().join("host/tests/python/checkpoints.py"));
    read.args(["checkpoints", "127.0.0.1", "Events", "$Default", &EVENTS.to_string()]);
    let told = output(read.env("AZURE_STORAGE_CONNECTION_STRING", &azurite.connection_string))?;
    tell(told.trim());
    Ok(())
}

/// Two hosts share a hub while events come in, one is killed, and the other takes over.
fn takeover(workshop: &Workshop, events: u64) -> Result<()> {
    const PARTITIONS: usize = 8;
    let broker = workshop.broker("shared broker", &["events=8"])?;
    let start = |name: &str| {
        let mut host = workshop.host(&broker, "events", "shared", name);
        host.arg("--checkpoints").arg(workshop.path("checkpoints"));
        host.args(["--checkpoint-events", "2000", "--batch-rows-max", "128"]);
        workshop.start(&mut host, name)
    };
    let (mut first, mut second) = (start("first")?, start("second")?);
    wait_for("both hosts to have their share", || {
        first.check()?;
        second.check()?;
        Ok([&first, &second].map(owned) == [PARTITIONS / 2; 2])
    })?;
    let rate = (events / 8).min(30_000);
    let mut generate = workshop.generator(&broker, "events", events);
    generate.args(["--send-rate", &rate.to_string()]);
    let mut generator = workshop.start(&mut generate, "generator")?;

    let (mut ones, mut others) =
        (Verdicts::of(workshop.verdicts("first")), Verdicts::of(workshop.verdicts("second")));
    wait_for("a third of the verdicts", || {
        first.check()?;
        second.check()?;
        Ok((ones.update()? + others.update()?) as u64 >= events / 3)
    })?;
    first.kill()?;
    let took = wait_for("the other host to have all partitions", || {
        second.check()?;
        Ok(owned(&second) == PARTITIONS)
    })?;
    wait_for("all verdicts", || {
        second.check()?;
        ones.update()?;
        others.update()?;
        let alone = ones.records.keys().filter(|id| !others.records.contains_key(*id)).count();
        Ok((alone + others.records.len()) as u64 >= events)
    })?;
    finish(&mut second)?;
    ensure!(generator.wait()? == Some(0), "events could not be sent:\n{}", generator.log_text());
    others.update()?;
    let by_first = ones.records.len();
    ones.merge(others)?;
    let undisturbed = undisturbed(workshop, &broker, events)?;
    ensure!(ones.records.len() as u64 == events, "{} distinct verdicts", ones.records.len());
    ensure!(ones.records == undisturbed.records, "verdicts differ from the undisturbed run's");
    let bound = Duration::from_secs(OWNERSHIP_SECONDS);
    ensure!(took <= bound, "the takeover took {took:?}, more than {bound:?}");
    tell(&format!(
        "two hosts on {PARTITIONS} partitions, one killed after its {by_first} of {events} verdicts: taken over in {:.1} s with an expiry of {OWNERSHIP_SECONDS} s; {events} distinct verdicts, equal to an undisturbed run's, {} of them twice",
        took.as_secs_f64(),
        ones.repeated
    ));
    Ok(())
}

fn undisturbed(workshop: &Workshop, broker: &Broker, events: u64) -> Result<Verdicts> {
    let mut host = workshop.host(broker, "events", "undisturbed", "undisturbed");
    let mut host = workshop.start(&mut host, "undisturbed")?;
    let mut verdicts = Verdicts::of(workshop.verdicts("undisturbed"));
    wait_for("the undisturbed run", || {
        host.check()?;
        Ok(verdicts.update()? as u64 == events)
    })?;
    finish(&mut host)?;
    Ok(verdicts)
}

/// Partitions that a host has, by its log.
fn owned(host: &Process) -> usize {
    let mut owned = std::collections::BTreeSet::new();
    for line in host.log_text().lines() {
        let Ok(entry) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let Some(partition) = entry["fields"]["partition"].as_str() else { continue };
        match entry["fields"]["message"].as_str() {
            Some("a partition was claimed") => drop(owned.insert(partition.to_owned())),
            Some("a partition went to another host" | "another host works on a partition now") => {
                owned.remove(partition);
            }
            _ => {}
        }
    }
    owned.len()
}

/// Stops a host; its log must know nothing of sessions that were lost.
fn finish(host: &mut Process) -> Result<()> {
    let code = host.stop()?;
    ensure!(code == Some(0), "a host ended with {code:?}");
    let log = host.log_text();
    for word in ["Session is not found", "panicked"] {
        ensure!(!log.contains(word), "`{word}` in {}:\n{log}", host.log.display());
    }
    Ok(())
}

fn clear(workshop: &Workshop, name: &str) -> Result<()> {
    fs::remove_dir_all(workshop.path(&format!("{name}.state")))?;
    let dead_letters = workshop.path(&format!("{name}.dead-letters.ndjson"));
    for path in [workshop.verdicts(name), dead_letters, workshop.path(&format!("{name}.log"))] {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
