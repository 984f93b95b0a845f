//! `cargo xtask demo --loop`: one turn of the loop, with nobody's hand in it.
//!
//! Card payments are watched by a host and an agent. Prices rise for good: false alarms rise with
//! them, and drift is told. An analyst looks at some alarms and labels them. A challenger is trained
//! from the lake, judged, runs in shadow, acts on the canary, becomes champion, and the false alarms
//! are as few as they were. Everything is done by the programs themselves; this feeds events, plays
//! the analyst, and keeps the book.

use super::fleet::{DETECTOR, Device, Services, Site, clear, device_of};
use super::story::{Chapter, Story};
use super::world::{Tally, World};
use crate::hubs::peers::{Azurite, Mlflow};
use crate::hubs::wait_for;
use crate::run::{build_programs, output, print, root};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Events that the first champion learns from.
const HISTORY: usize = 40_000;
/// Events before the world changes, while everything is as it was.
const BEFORE: usize = 20_000;
/// Events of the changed world that a challenger is trained and judged on.
const CHANGED: usize = 40_000;
/// Events after the challenger has become champion.
const AFTER: usize = 20_000;
/// Events that a rollout may take, and those between two looks at it.
const ROLLOUT: (usize, usize) = (60_000, 600);
/// Between two looks at a rollout.
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);
/// Factor by which prices rise.
const SHIFT: &str = "1.7";
/// Alarms that the analyst looks at.
const LABELS: usize = 300;

/// Stages as in a real rollout, each for a few seconds in place of an hour.
const POLICY: &str = r#"
[[stages]]
name = "shadow"
shadow = 100.0
soak_seconds = 3
[[stages]]
name = "canary"
shadow = 100.0
act = 1.0
rings = ["canary"]
soak_seconds = 3
[gate]
events_min = 1000
"#;

/// A turn of the loop in progress.
struct Turn {
    site: Site,
    devices: [Device; 2],
    world: World,
    /// Events that were sent.
    sent: usize,
    began: Instant,
    story: Story,
}

/// `cargo xtask demo --loop`.
pub(super) fn run() -> Result<()> {
    build_programs("dev")?;
    let directory = target().join("demo-loop");
    clear(&directory)?;
    turn(Site::new(target().join("debug"), directory, None))
}

/// The same against Azurite, a broker and MLflow; a sentence when one of them is not to be had.
pub(crate) fn on_services() -> Result<std::result::Result<(), String>> {
    build_programs("dev")?;
    let directory = target().join("demo-loop-services");
    clear(&directory)?;
    let azurite = match Azurite::start(&directory)? {
        Ok(azurite) => azurite,
        Err(missing) => return Ok(Err(missing)),
    };
    let mlflow = match Mlflow::start(&directory)? {
        Ok(mlflow) => mlflow,
        Err(missing) => return Ok(Err(missing)),
    };
    let services = Services { azurite, mlflow };
    turn(Site::new(target().join("debug"), directory, Some(services)))?;
    Ok(Ok(()))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn turn(site: Site) -> Result<()> {
    let mut turn = Turn::begin(site)?;
    turn.watch_the_usual()?;
    turn.see_drift()?;
    turn.label()?;
    let challenger = turn.retrain()?;
    turn.roll_out(&challenger)?;
    turn.watch_the_new(&challenger)?;
    turn.end()
}

impl Turn {
    /// Trains and publishes the first champion, and starts the fleet.
    fn begin(site: Site) -> Result<Self> {
        let began = Instant::now();
        let mut story = Story::default();
        let (registry, keys) = (["trust", "init", "--out"], site.path("keys"));
        output(site.trainer(registry, "root").arg(keys))?;
        let events = site.path("events.ndjson");
        let (most, change) = (HISTORY + BEFORE + CHANGED + ROLLOUT.0 + AFTER, HISTORY + BEFORE);
        let mut generate = site
            .trainer(["generate", "--world", "cards", "--entities", "300", "--seed", "5"], "root");
        generate.args(["--rate", "20", "--shift", SHIFT, "--shift-after", &change.to_string()]);
        output(generate.args(["--events", &most.to_string(), "--out"]).arg(&events))?;
        let text = fs::read_to_string(&events)?;
        let end = text.lines().take(HISTORY).map(|line| line.len() + 1).sum();
        let history = site.path("history.ndjson");
        fs::write(&history, &text[..end])?;
        let module = site.path("champion.wasm");
        let mut train = site.trainer(["train", "--track", "--data"], "promoter");
        train.arg(&history).arg("--config").arg(config()).arg("--out").arg(&module);
        output(&mut train)?;
        let mut publish = site.trainer(["publish", "--promote", "--module"], "promoter");
        output(publish.arg(&module))?;
        fs::write(site.path("policy.toml"), POLICY)?;
        let mut policy = site.trainer(["policy", "--detector", DETECTOR, "--file"], "promoter");
        output(policy.arg(site.path("policy.toml")))?;
        story.tell(Chapter {
            seconds: began.elapsed().as_secs_f64(),
            event: 0,
            name: "champion",
            words: format!("a detector is trained on {HISTORY} payments, and is champion"),
        });
        let devices = [site.host()?, site.agent()?];
        let world = World::read(&text[end..], "card")?;
        Ok(Self { site, devices, world, sent: 0, began, story })
    }

    fn tell(&mut self, name: &'static str, words: String) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.story.tell(Chapter { seconds, event: self.sent, name, words });
    }

    fn feed(&mut self, count: usize) -> Result<()> {
        let part = self.sent..(self.sent + count).min(self.world.events.len());
        ensure!(part.len() == count, "the world has no more events");
        self.sent = part.end;
        self.site.feed(&mut self.world, part, &mut self.devices)
    }

    fn watch_the_usual(&mut self) -> Result<()> {
        self.feed(BEFORE)?;
        let drifts: usize = self.devices.iter().map(|device| device.drifts.len()).sum();
        ensure!(drifts == 0, "drift is told before the world changes");
        let usual = self.world.tally(0..BEFORE);
        self.tell(
            "usual",
            format!("a host and an agent watch {BEFORE} payments: {}", words_of(usual)),
        );
        Ok(())
    }

    /// Prices rise until somebody tells of it.
    fn see_drift(&mut self) -> Result<()> {
        self.tell("change", format!("prices are {SHIFT} times what they were, and nobody is told"));
        while self.devices.iter().all(|device| device.drifts.is_empty()) {
            ensure!(self.sent < BEFORE + CHANGED, "nobody tells of drift");
            self.feed(500)?;
        }
        let device = self.devices.iter().find(|device| !device.drifts.is_empty());
        let device = device.context("somebody told of drift")?;
        let fields: Vec<&str> =
            device.drifts.iter().filter_map(|drift| drift["subject"].as_str()).collect();
        let (name, after) = (device.name, self.sent - BEFORE);
        let words = format!("{name} tells of drift in {} within {after} events", fields.join(", "));
        self.tell("drift", words);
        self.feed(BEFORE + CHANGED - self.sent)?;
        let changed = self.world.tally(BEFORE..BEFORE + CHANGED);
        self.tell("harm", format!("false alarms since prices rose: {}", words_of(changed)));
        Ok(())
    }

    /// The analyst looks at some of the host's alarms since drift began, early and late.
    fn label(&mut self) -> Result<()> {
        let alarms: Vec<usize> = (BEFORE..self.sent)
            .filter(|event| device_of(&self.world.events[*event].entity) == 0)
            .filter(|event| self.world.judged[*event].as_ref().is_some_and(|said| said.is_alarm))
            .collect();
        let every = alarms.len().div_ceil(LABELS).max(1);
        let looked_at: Vec<usize> = alarms.iter().copied().step_by(every).collect();
        let label = |event: &usize| {
            let id = self.world.judged[*event].as_ref().map(|judged| &judged.id);
            let word = if self.world.events[*event].is_anomaly { "anomaly" } else { "false-alarm" };
            json!({ "verdict_id": id, "label": word, "by": "analyst" }).to_string() + "\n"
        };
        let body: String = looked_at.iter().map(label).collect();
        self.devices[0].post("/v1/labels", body)?;
        let false_ones =
            looked_at.iter().filter(|event| !self.world.events[**event].is_anomaly).count();
        wait_for("labels in the lake", || {
            Ok(self.site.of_lake("labels")?.lines().count() >= looked_at.len())
        })?;
        let (some, all) = (looked_at.len(), alarms.len());
        let words = format!(
            "an analyst looks at {some} of {all} alarms, and calls {false_ones} of them false"
        );
        self.tell("labels", words);
        Ok(())
    }

    /// From the lake, since drift began.
    fn retrain(&mut self) -> Result<String> {
        let cloud = self.world.events[..self.sent].iter();
        let rows = cloud.filter(|event| device_of(&event.entity) == 0).count() as u64;
        wait_for("all events in the lake", || {
            let files = self.site.of_lake("list")?;
            let listed = files.lines().map(|line| {
                let file: Value = serde_json::from_str(line)?;
                anyhow::Ok(file["rows"].as_u64().unwrap_or_default())
            });
            Ok(listed.sum::<Result<u64>>()? >= rows)
        })?;
        let since = self.world.events[BEFORE].time.clone();
        let mut retrain =
            self.site.trainer(["retrain", "--reason", "drift", "--json"], "retrainer");
        retrain.args(["--lake", &self.site.lake(), "--from", &since, "--config"]).arg(config());
        retrain.arg("--report").arg(self.site.path("retraining"));
        let told: Value = serde_json::from_str(&output(&mut retrain)?)?;
        ensure!(told["outcome"] == "published", "the challenger is not published: {told}");
        let digest = told["digest"].as_str().context("a challenger has a digest")?.to_owned();
        let gates = told["gates"].as_array().map_or(0, Vec::len);
        let words = format!(
            "a challenger is trained from the lake, passes {gates} gates and runs in shadow: {}",
            &digest[..8]
        );
        self.tell("challenger", words);
        Ok(digest)
    }

    /// The rollout looks, decides and acts, while payments go on.
    fn roll_out(&mut self, challenger: &str) -> Result<()> {
        let began = self.sent;
        loop {
            self.feed(ROLLOUT.1)?;
            let mut look =
                self.site.trainer(["rollout", "--detector", DETECTOR, "--json"], "promoter");
            let look: Value = serde_json::from_str(&output(&mut look)?)?;
            let sentence = look["sentence"].as_str().unwrap_or_default().to_owned();
            match look["done"].as_str() {
                Some("advanced") => self.tell("canary", sentence),
                Some("promoted") => {
                    self.tell("promoted", sentence);
                    break;
                }
                Some("withdrawn") => anyhow::bail!("the rollout went back: {look:#}"),
                _ => ensure!(self.sent - began < ROLLOUT.0, "the rollout does not end: {look:#}"),
            }
            // A stage lasts for some seconds, whatever the machine.
            std::thread::sleep(BETWEEN_LOOKS);
        }
        ensure!(self.acts(1, challenger), "the canary did not act with the challenger");
        Ok(())
    }

    /// Whether a device's latest verdict is of this module.
    fn acts(&self, device: usize, digest: &str) -> bool {
        let judged = self.world.events[..self.sent].iter().zip(&self.world.judged).rev();
        let mut own = judged.filter(|(event, _)| device_of(&event.entity) == device);
        own.next()
            .and_then(|(_, said)| said.as_ref())
            .is_some_and(|said| said.module.ends_with(digest))
    }

    fn watch_the_new(&mut self, champion: &str) -> Result<()> {
        while !(self.acts(0, champion) && self.acts(1, champion)) {
            self.feed(500)?;
        }
        let began = self.sent;
        self.feed(AFTER)?;
        let (usual, after) = (self.world.tally(0..BEFORE), self.world.tally(began..self.sent));
        let changed = self.world.tally(BEFORE..BEFORE + CHANGED);
        self.tell("after", format!("{AFTER} payments later: {}", words_of(after)));
        self.story.phases = vec![
            ("before prices rose", usual),
            ("after, with the old champion", changed),
            ("after, with the new champion", after),
        ];
        ensure!(
            after.rate() < changed.rate() / 2.0 && after.recall() >= changed.recall() - 0.05,
            "the new champion is not better: {}, and before it {}",
            words_of(after),
            words_of(changed)
        );
        Ok(())
    }

    fn end(self) -> Result<()> {
        let Self { site, devices, world, sent, mut story, .. } = self;
        for device in devices {
            device.stop()?;
        }
        let list = ["experiments", "list", "--detector", DETECTOR];
        let runs = output(&mut site.trainer(list, "root"))?;
        print(&format!("\n{}", runs.trim_end()));
        let report = story.write(&site.directory, &world, sent)?;
        print(&format!("\nreport  {}", report.display()));
        print(&format!("        {}", site.path("retraining/report.html").display()));
        Ok(())
    }
}

fn config() -> PathBuf {
    root().join("fixtures/demo/card-payments.toml")
}

/// What came of some events, in words.
fn words_of(tally: Tally) -> String {
    format!(
        "{:.2} % false alarms, {} of {} anomalies found",
        100.0 * tally.rate(),
        tally.found,
        tally.anomalies
    )
}
