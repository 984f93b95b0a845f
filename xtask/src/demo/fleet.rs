//! The programs of the loop: a host in the cloud, with a lake, and an agent at the edge.

use super::world::{Judged, World};
use crate::hubs::peers::{Azurite, Mlflow};
use crate::hubs::{Process, http_address, wait_for};
use crate::run::output;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use twinge_contract::drift::DRIFT_TYPE;

/// The detector, which is also the hub's name.
pub(super) const DETECTOR: &str = "card-payments";
/// Events that are under way at most.
const BATCH: usize = 1000;

/// What stands in for Azure: Azurite for storage, MLflow for Azure ML. The broker is the host's own.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) azurite: Azurite,
    pub(super) mlflow: Mlflow,
}

/// Programs, keys, and where everything lies.
#[derive(Debug)]
pub(super) struct Site {
    bin: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) services: Option<Services>,
}

/// A program that scores, and what it was sent.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) name: &'static str,
    process: Process,
    address: String,
    verdicts: PathBuf,
    position: u64,
    rest: Vec<u8>,
    /// The event at each offset.
    sent: Vec<usize>,
    heard: usize,
    /// What it told of drift.
    pub(super) drifts: Vec<Value>,
}

impl Site {
    pub(super) fn new(bin: PathBuf, directory: PathBuf, services: Option<Services>) -> Self {
        Self { bin, directory, services }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A directory, or a container of Azurite.
    fn place(&self, name: &str) -> String {
        match &self.services {
            Some(services) => format!("{}/{name}", services.azurite.endpoint),
            None => self.path(name).display().to_string(),
        }
    }

    pub(super) fn lake(&self) -> String {
        self.place("lake")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.env("TWINGE_HOME", self.path("home"));
        command.env("TWINGE_REGISTRY", self.place("registry"));
        command.env("TWINGE_TRUST", self.path("keys/root.json"));
        if let Some(services) = &self.services {
            command
                .env("AZURE_STORAGE_CONNECTION_STRING", &services.azurite.connection_string)
                .env("MLFLOW_TRACKING_URI", &services.mlflow.address);
        }
        command
    }

    /// A verb of the trainer, signing with the key of a role.
    pub(super) fn trainer<const N: usize>(&self, words: [&str; N], role: &str) -> Command {
        let mut command = self.program("trainer");
        command.args(words).env("TWINGE_SIGNING_KEY", self.path(&format!("keys/{role}.key")));
        command
    }

    /// What the lake is asked.
    pub(super) fn of_lake(&self, verb: &str) -> Result<String> {
        output(self.program("host").args(["lake", verb, "--lake", &self.lake()]))
    }

    /// The host in the cloud: events from a hub where there are services, else over HTTP.
    pub(super) fn host(&self) -> Result<Device> {
        let mut host = self.program("host");
        host.args(["--lake", &self.lake(), "--lake-seconds", "1"]);
        if self.services.is_some() {
            host.args(["--hub", DETECTOR, "--broker-partitions", "1"]);
        }
        self.device("cloud", host)
    }

    /// The agent beside some of the shops.
    pub(super) fn agent(&self) -> Result<Device> {
        let mut agent = self.program("edge-agent");
        agent.args(["run", "--ring", "canary"]);
        self.device("gateway", agent)
    }

    /// Starts a program twice: its key, made at the first start, is enrolled before the second.
    fn device(&self, name: &'static str, mut command: Command) -> Result<Device> {
        let state = self.path(name);
        let verdicts = self.path(&format!("{name}.verdicts.ndjson"));
        command.args(["--detector", DETECTOR, "--device", name, "--listen", "127.0.0.1:0"]);
        command.args(["--poll-seconds", "1", "--report-seconds", "1", "--checkpoint-seconds", "1"]);
        command.arg("--state").arg(&state).arg("--verdicts").arg(&verdicts);
        command.arg("--dead-letters").arg(self.path(&format!("{name}.dead-letters.ndjson")));
        command.env("RUST_LOG", "info").stdout(Stdio::null());
        let log = self.path(&format!("{name}.log"));
        let mut process = Process::start(&mut command, log.clone())?;
        wait_for("a device's first report", || {
            process.check()?;
            let mut enrol = self.trainer(["enrol", "--report"], "device");
            enrol.args(["--device", name, "--detector", DETECTOR]);
            enrol.arg("--key").arg(self.path("keys/device.key"));
            enrol.arg("--out").arg(state.join("enrolment.json"));
            Ok(output(&mut enrol).is_ok())
        })?;
        ensure!(process.stop()? == Some(0), "{name} failed:\n{}", process.log_text());
        let mut process = Process::start(&mut command, log)?;
        let mut address = None;
        wait_for("a device to listen", || {
            process.check()?;
            address = http_address(&process.log_text());
            Ok(address.is_some())
        })?;
        Ok(Device {
            name,
            process,
            address: address.unwrap_or_default(),
            verdicts,
            position: 0,
            rest: Vec::new(),
            sent: Vec::new(),
            heard: 0,
            drifts: Vec::new(),
        })
    }

    /// Sends events, each to the device that its entity belongs to, and waits for their verdicts.
    pub(super) fn feed(
        &self,
        world: &mut World,
        part: std::ops::Range<usize>,
        devices: &mut [Device; 2],
    ) -> Result<()> {
        let part: Vec<usize> = part.collect();
        for batch in part.chunks(BATCH) {
            for (number, device) in devices.iter_mut().enumerate() {
                let own: Vec<usize> = batch
                    .iter()
                    .copied()
                    .filter(|event| device_of(&world.events[*event].entity) == number)
                    .collect();
                let lines: String =
                    own.iter().map(|event| world.events[*event].line.clone() + "\n").collect();
                let is_by_hub = device.name == "cloud" && self.services.is_some();
                if is_by_hub {
                    self.send(&lines)?;
                } else {
                    device.post("/v1/events", lines)?;
                }
                device.sent.extend(own);
            }
            for device in devices.iter_mut() {
                wait_for("verdicts", || {
                    device.process.check()?;
                    device.hear(world)?;
                    Ok(device.heard == device.sent.len())
                })?;
            }
        }
        Ok(())
    }

    /// Through Event Hubs' SDK.
    fn send(&self, lines: &str) -> Result<()> {
        let batch = self.path("batch.ndjson");
        std::fs::write(&batch, lines)?;
        let mut send = self.trainer(["send", "--hub", DETECTOR, "--key", "card"], "device");
        send.arg("--connection-string-file").arg(self.path("cloud/broker/connection-string"));
        output(send.arg("--data").arg(batch)).map(drop)
    }
}

/// The number of the device that sees an entity's events, among the host and the agent.
pub(super) fn device_of(entity: &str) -> usize {
    usize::from(is_at_the_edge(entity))
}

/// A quarter of the cards are used in shops behind the gateway.
fn is_at_the_edge(card: &str) -> bool {
    card.bytes().fold(0_u32, |sum, byte| sum + u32::from(byte)) % 4 == 0
}

impl Device {
    /// Posts a body; what is not accepted is an error.
    pub(super) fn post(&self, route: &str, body: String) -> Result<()> {
        if body.is_empty() {
            return Ok(());
        }
        let url = format!("http://{}{route}", self.address);
        let post = ureq::post(url).content_type("application/x-ndjson").send(body);
        post.map(drop).with_context(|| format!("{} takes nothing at {route}", self.name))
    }

    /// Reads the verdicts that were added.
    fn hear(&mut self, world: &mut World) -> Result<()> {
        let mut file = File::open(&self.verdicts)?;
        file.seek(SeekFrom::Start(self.position))?;
        self.position += file.read_to_end(&mut self.rest)? as u64;
        let end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let later = self.rest.split_off(end);
        let lines = std::mem::replace(&mut self.rest, later);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let told: Value = serde_json::from_slice(line)?;
            if told["type"] == DRIFT_TYPE {
                self.drifts.push(told);
            } else {
                self.take(world, &told)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, world: &mut World, told: &Value) -> Result<()> {
        let data = &told["data"];
        let offset = data["origin"]["offset"].as_u64().context("a verdict has an offset")?;
        let event = *self.sent.get(offset as usize).context("a verdict of no event")?;
        let verdict = data["verdict"].as_str().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let judged = Judged {
            id: text(&told["id"]),
            is_alarm: verdict == "anomalous",
            counts: matches!(verdict, "normal" | "anomalous"),
            module: text(&data["module"]),
        };
        self.heard += usize::from(world.judged[event].replace(judged).is_none());
        Ok(())
    }

    /// SIGTERM, and it must end well.
    pub(super) fn stop(mut self) -> Result<()> {
        let code = self.process.stop()?;
        ensure!(code == Some(0), "{} failed:\n{}", self.name, self.process.log_text());
        Ok(())
    }
}

/// Clears a folder and makes it.
pub(super) fn clear(directory: &Path) -> Result<()> {
    if directory.exists() {
        std::fs::remove_dir_all(directory)
            .with_context(|| format!("cannot clear {}", directory.display()))?;
    }
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))
}
