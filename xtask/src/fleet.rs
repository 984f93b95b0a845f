//! A fleet on one machine: agents that follow a channel in Azurite, and how long a module takes from
//! `trainer publish` to being scored in shadow on each of them.

use crate::hubs::peers::Azurite;
use crate::hubs::{Process, http_address, wait_for};
use crate::run::{build_programs, output, root, tell};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The container that is the registry.
const CONTAINER: &str = "fleet";

/// Agents with a trainer and a registry.
struct Fleet<'a> {
    bin: PathBuf,
    directory: PathBuf,
    azurite: &'a Azurite,
    events: Vec<String>,
    /// Whether artefacts are published too.
    native: bool,
}

/// One agent in a process of its own.
struct Agent {
    process: Process,
    address: String,
}

/// Measures how long modules take to a fleet.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Agents, which look at their channel every second.
    #[arg(long, default_value_t = 50)]
    agents: usize,
    /// Modules that are published, one after the other.
    #[arg(long, default_value_t = 10)]
    modules: u32,
    /// Publish a precompiled artefact with each, so that the agents need not compile: on one
    /// machine they all do at the same moment, on as many devices they do not.
    #[arg(long)]
    native: bool,
}

/// `cargo xtask bench fleet`.
pub(crate) fn bench(arguments: &Arguments) -> Result<()> {
    match run(arguments.agents, arguments.modules, "release", arguments.native)? {
        Ok(()) => Ok(()),
        Err(missing) => bail!(missing),
    }
}

/// Publishes `rounds` modules, one after the other, to `agents` agents that look every second.
fn latency(
    azurite: &Azurite,
    agents: usize,
    rounds: u32,
    profile: &str,
    native: bool,
) -> Result<()> {
    let mut fleet = Fleet::prepare(azurite, profile)?;
    fleet.native = native;
    fleet.publish(1, true)?;
    let agents: Vec<Agent> =
        (0..agents).map(|number| fleet.agent(number)).collect::<Result<_>>()?;
    let stop = AtomicBool::new(false);
    let mut latencies = Vec::new();
    std::thread::scope(|scope| {
        let feeder = scope.spawn(|| fleet.feed(&agents, &stop));
        let measured = (0..rounds).try_for_each(|round| {
            let digest = fleet.train(round + 2)?;
            if fleet.native {
                fleet.precompile(round + 2)?;
            }
            latencies.extend(fleet.measure(&agents, round + 2, &digest)?);
            anyhow::Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        feeder.join().expect("the feeder does not panic")?;
        measured
    })?;
    fleet.check_reports(agents.len())?;
    latencies.sort_unstable();
    let at = |share: usize| latencies[(latencies.len() * share).div_ceil(100).max(1) - 1];
    tell(&format!(
        "from `trainer publish` to scoring in shadow on {} agents that look every second, {rounds} modules: half in {:.2} s, 95 % in {:.2} s, all in {:.2} s",
        agents.len(),
        at(50).as_secs_f64(),
        at(95).as_secs_f64(),
        at(100).as_secs_f64()
    ));
    Ok(())
}

impl<'a> Fleet<'a> {
    fn prepare(azurite: &'a Azurite, profile: &str) -> Result<Self> {
        build_programs(profile)?;
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root().join("target"), PathBuf::from);
        let directory = std::env::temp_dir().join(format!("twinge fleet {}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let bin = target.join(if profile == "dev" { "debug" } else { profile });
        let mut this = Self { bin, directory, azurite, events: Vec::new(), native: false };
        output(this.trainer().args(["keygen", "--out"]).arg(this.path("keys")))?;
        let native = ["keygen", "--name", "native", "--role", "native", "--out"];
        output(this.trainer().args(native).arg(this.path("keys")))?;
        for (name, labels) in [("train.csv", None), ("live.ndjson", Some("--no-labels"))] {
            let mut generate = this.trainer();
            generate.args([
                "generate",
                "--world",
                "sensors",
                "--events",
                "6000",
                "--entities",
                "20",
            ]);
            output(generate.args(labels).arg("--out").arg(this.path(name)))?;
        }
        let text = fs::read_to_string(this.path("live.ndjson"))?;
        this.events = text.lines().map(str::to_owned).collect();
        this.train(1)?;
        Ok(this)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn trainer(&self) -> Command {
        let mut trainer = Command::new(self.bin.join("trainer"));
        trainer.env("AZURE_STORAGE_CONNECTION_STRING", &self.azurite.connection_string);
        trainer
    }

    fn registry(&self) -> String {
        format!("{}/{CONTAINER}", self.azurite.endpoint)
    }

    fn module(&self, version: u32) -> PathBuf {
        self.path(&format!("sensors-{version}.wasm"))
    }

    /// Trains a version, and answers with its digest.
    fn train(&self, version: u32) -> Result<String> {
        let config = self.path(&format!("detector-{version}.toml"));
        fs::write(&config, format!("version = \"{version}\"\n{DETECTOR}"))?;
        let mut train = self.trainer();
        train.args(["train", "--seed", &version.to_string()]);
        train.arg("--data").arg(self.path("train.csv")).arg("--config").arg(config);
        train.arg("--key").arg(self.path("keys/promoter.key"));
        let told = output(train.arg("--out").arg(self.module(version)))?;
        let digest = told.lines().find_map(|line| line.strip_prefix("digest "));
        Ok(digest.context("training tells no digest")?.trim().to_owned())
    }

    /// Puts machine code for this machine into the registry.
    fn precompile(&self, version: u32) -> Result<()> {
        let mut precompile = self.trainer();
        precompile.arg("precompile").arg("--module").arg(self.module(version));
        precompile.args(["--registry", &self.registry()]);
        precompile.arg("--key").arg(self.path("keys/native.key"));
        output(precompile.arg("--trust").arg(self.path("keys/trust.json"))).map(drop)
    }

    fn publish(&self, version: u32, promote: bool) -> Result<()> {
        let mut publish = self.trainer();
        publish.arg("publish").arg("--module").arg(self.module(version));
        publish.args(["--registry", &self.registry()]).args(promote.then_some("--promote"));
        publish.arg("--key").arg(self.path("keys/promoter.key"));
        output(publish.arg("--trust").arg(self.path("keys/trust.json"))).map(drop)
    }

    fn agent(&self, number: usize) -> Result<Agent> {
        let path = |name: &str| self.path(&format!("agent-{number}.{name}"));
        let mut agent = Command::new(self.bin.join("edge-agent"));
        agent.args(["run", "--detector", "sensors", "--poll-seconds", "1"]);
        agent.args(["--registry", &self.registry(), "--device", &format!("agent-{number}")]);
        agent.arg("--trust").arg(self.path("keys/trust.json"));
        agent.args(self.native.then_some("--allow-native"));
        agent.args(["--listen", "127.0.0.1:0", "--report-seconds", "10"]);
        agent.arg("--state").arg(path("state")).arg("--verdicts").arg(path("verdicts.ndjson"));
        agent.arg("--dead-letters").arg(path("dead-letters.ndjson"));
        agent.env("AZURE_STORAGE_CONNECTION_STRING", &self.azurite.connection_string);
        let mut process =
            Process::start(agent.env("RUST_LOG", "info").stdout(Stdio::null()), path("log"))?;
        let mut address = None;
        wait_for("an agent to listen", || {
            process.check()?;
            address = http_address(&process.log_text());
            Ok(address.is_some())
        })?;
        Ok(Agent { process, address: address.unwrap_or_default() })
    }

    /// Sends a few events to every agent, again and again.
    fn feed(&self, agents: &[Agent], stop: &AtomicBool) -> Result<()> {
        const EVENTS: usize = 8;
        for batch in self.events.chunks(EVENTS).cycle() {
            for agent in agents {
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                let url = format!("http://{}/v1/events", agent.address);
                let post = ureq::post(url).content_type("application/x-ndjson");
                post.send(batch.join("\n")).context("an agent takes no events")?;
            }
        }
        Ok(())
    }

    /// How long each agent took from the start of `trainer publish` to having scored events with
    /// the module in shadow.
    fn measure(&self, agents: &[Agent], version: u32, digest: &str) -> Result<Vec<Duration>> {
        let mut took = vec![None; agents.len()];
        let began = Instant::now();
        self.publish(version, false)?;
        wait_for("all agents to score in shadow", || {
            for (agent, took) in agents.iter().zip(&mut took) {
                if took.is_none() && agent.shadows(digest)? {
                    *took = Some(began.elapsed());
                }
            }
            Ok(took.iter().all(Option::is_some))
        })?;
        Ok(took.into_iter().flatten().collect())
    }

    /// Every agent is in the registry's table.
    fn check_reports(&self, agents: usize) -> Result<()> {
        let mut status = self.trainer();
        status.args(["status", "--json", "--registry", &self.registry()]);
        status.arg("--trust").arg(self.path("keys/trust.json"));
        let told: Value = serde_json::from_str(&output(&mut status)?)?;
        let text = told.to_string();
        let missing = (0..agents).find(|number| !text.contains(&format!("\"agent-{number}\"")));
        ensure!(missing.is_none(), "agent {missing:?} has not reported: {text}");
        Ok(())
    }
}

impl Drop for Fleet<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tell(&format!("{} was not removed: {error}", self.directory.display()));
        }
    }
}

impl Agent {
    fn shadows(&self, digest: &str) -> Result<bool> {
        let url = format!("http://{}/v1/status", self.address);
        let body = ureq::get(url).call()?.body_mut().read_to_string()?;
        let status: Value = serde_json::from_str(&body)?;
        let runner = &status["runners"][0];
        ensure!(runner.is_object(), "an agent has no runner:\n{}", self.process.log_text());
        let scored = runner["comparison"]["other"]["events"].as_u64().unwrap_or_default();
        Ok(runner["candidate"] == digest && scored > 0)
    }
}

/// A detector for generated sensors, without its version.
const DETECTOR: &str = r#"name = "sensors"
[schema]
entity = "sensor"
time = "time"
numeric = ["temperature_c", "vibration_mm_s", "pressure_kpa", "current_a"]
categorical = ["mode"]
label = "label"
[detector]
kind = "isolation-forest"
"#;

/// Runs with an Azurite of its own; a sentence when there is none.
pub(crate) fn run(
    agents: usize,
    rounds: u32,
    profile: &str,
    native: bool,
) -> Result<std::result::Result<(), String>> {
    let directory = std::env::temp_dir().join(format!("twinge azurite {}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let done = match Azurite::start(Path::new(&directory))? {
        Ok(azurite) => Ok(latency(&azurite, agents, rounds, profile, native)?),
        Err(missing) => Err(missing),
    };
    fs::remove_dir_all(&directory)?;
    Ok(done)
}
