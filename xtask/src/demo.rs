//! `cargo xtask demo`: the whole path on real input.
//!
//! A detector is trained on the beginning of a real series, published to a registry, and run on the
//! rest by the cloud host, through Event Hubs' SDK and a broker of its own, and by an edge agent. The
//! same module then scores the same events in a plain JavaScript engine and, as native code, one by
//! one; every score must have the same bits. So it must on generated card payments of ten thousand
//! entities with categories, missing values and eviction.

mod fleet;
mod story;
mod turn;
mod world;

pub(crate) use turn::on_services;

use crate::hubs::{Process, Verdicts, wait_for};
use crate::native::{self, Short};
use crate::run::{build_programs, has, output, print, root, succeed, tell};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use twinge_contract::drift::DRIFT_TYPE;
use twinge_contract::manifest::Manifest;
use twinge_contract::time::TimeFormat;

/// Rows of the series that the detector is trained on: about the first five months.
const TRAINING_ROWS: usize = 3000;

/// The generated stream: events, entities, and entities remembered, so that many are evicted.
const GENERATED: (u32, u32, u32) = (60_000, 10_000, 4000);

/// Train, publish and run a detector on a real series, and compare every score.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// End after the report instead of leaving a host running.
    #[arg(long)]
    once: bool,
    /// Print one JSON object instead of words; goes with --once.
    #[arg(long)]
    json: bool,
    /// Show the loop instead: the world drifts, a challenger is trained, rolled out and promoted.
    #[arg(long = "loop", conflicts_with_all = ["once", "json"])]
    turn: bool,
}

/// `cargo xtask demo`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.turn {
        return turn::run();
    }
    let demo = Demo::prepare()?;
    let quiet = arguments.json;
    let say = |line: &str| if quiet { tell(line) } else { print(line) };
    say("Training on the first five months of a real temperature series, and publishing ...");
    let series = demo.series()?;
    say("Scoring the rest with the cloud host, an edge agent, JavaScript and native code ...");
    let scored = demo.compare(&series, None)?;
    say("The same on 10,000 generated cards with categories, missing values and eviction ...");
    let cards = demo.cards()?;
    let cards_scored = demo.compare(&cards, Some(GENERATED.2))?;
    let report = Report::new(&series, &scored, &cards_scored)?;
    if quiet {
        print(&report.json.to_string());
    } else {
        print(&report.words);
    }
    ensure!(
        scored.difference.is_none() && cards_scored.difference.is_none(),
        "scores differ: {:?} {:?}",
        scored.difference,
        cards_scored.difference
    );
    if arguments.once || arguments.json { Ok(()) } else { demo.leave_running(&series) }
}

/// A workshop for one demo.
struct Demo {
    directory: PathBuf,
    bin: PathBuf,
}

/// A published detector and events for it.
struct Case {
    name: String,
    module: PathBuf,
    manifest: Manifest,
    digest: String,
    events: PathBuf,
}

/// What the four ways of scoring said.
struct Scored {
    verdicts: BTreeMap<u64, Short>,
    times: BTreeMap<u64, i64>,
    evicted: u64,
    has_node: bool,
    /// The first line on which two ways differ.
    difference: Option<String>,
}

impl Demo {
    fn prepare() -> Result<Self> {
        tell("Building the programs ...");
        build_programs("dev")?;
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root().join("target"), PathBuf::from);
        let directory = target.join("demo");
        if directory.exists() {
            fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot clear {}", directory.display()))?;
        }
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        let demo = Self { directory, bin: target.join("debug") };
        let keys = demo.path("keys");
        output(demo.trainer("keygen").args(["--name", "demo"]).arg("--out").arg(keys))?;
        Ok(demo)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn trainer(&self, verb: &str) -> Command {
        let mut command = Command::new(self.bin.join("trainer"));
        command.arg(verb).env("TWINGE_HOME", self.path("home"));
        command
    }

    /// The real series: trained on its beginning, the rest as events.
    fn series(&self) -> Result<Case> {
        let csv =
            fs::read_to_string(root().join("fixtures/nab/ambient_temperature_system_failure.csv"))
                .context("cannot read the series in fixtures/nab")?;
        let (header, rows) = csv.split_once('\n').context("the series is empty")?;
        let (mut beginning, mut rest) = (format!("{header}\n"), String::new());
        for (number, row) in rows.lines().enumerate() {
            if number < TRAINING_ROWS {
                writeln!(beginning, "{row}")?;
            } else {
                let (time, value) =
                    row.split_once(',').context("a row of the series has no comma")?;
                writeln!(rest, "{{\"timestamp\":\"{time}\",\"value\":{value}}}")?;
            }
        }
        let (data, events) = (self.path("beginning.csv"), self.path("rest.ndjson"));
        fs::write(&data, beginning)?;
        fs::write(&events, rest)?;
        self.train_and_publish(&data, "ambient-temperature", events)
    }

    /// A generated stream: trained on one seed, run on another.
    fn cards(&self) -> Result<Case> {
        let (data, events) = (self.path("cards.csv"), self.path("cards.ndjson"));
        let (count, entities, _) = GENERATED;
        for (seed, out, labels) in [("1", &data, true), ("2", &events, false)] {
            let mut generate = self.trainer("generate");
            generate.args(["--world", "cards", "--missing", "0.03", "--seed", seed]);
            generate.args(["--events", &count.to_string(), "--entities", &entities.to_string()]);
            if !labels {
                generate.arg("--no-labels");
            }
            output(generate.arg("--out").arg(out))?;
        }
        self.train_and_publish(&data, "card-payments", events)
    }

    fn train_and_publish(&self, data: &Path, name: &str, events: PathBuf) -> Result<Case> {
        let module = self.path(&format!("{name}.wasm"));
        let config = root().join(format!("fixtures/demo/{name}.toml"));
        let (key, trust) = (self.path("keys/demo.key"), self.path("keys/trust.json"));
        output(
            self.trainer("train")
                .arg("--data")
                .arg(data)
                .arg("--config")
                .arg(config)
                .arg("--out")
                .arg(&module)
                .arg("--key")
                .arg(&key),
        )?;
        let mut publish = self.trainer("publish");
        publish.arg("--registry").arg(self.path("registry")).arg("--module").arg(&module);
        output(publish.arg("--key").arg(&key).arg("--trust").arg(&trust).arg("--promote"))?;
        let manifest = output(self.trainer("inspect").arg("--json").arg("--module").arg(&module))?;
        let status = output(
            self.trainer("status").arg("--json").arg("--registry").arg(self.path("registry")),
        )?;
        let status: Value = serde_json::from_str(&status)?;
        let channels = status["channels"].as_array().context("status has channels")?;
        let channel = channels
            .iter()
            .find(|channel| channel["detector"] == name)
            .context("the channel was published")?;
        Ok(Case {
            name: name.to_owned(),
            manifest: Manifest::parse(manifest.as_bytes())?,
            digest: channel["champion"]["digest"]
                .as_str()
                .context("the channel has a champion")?
                .to_owned(),
            module,
            events,
        })
    }

    /// Scores a case's events in four ways.
    fn compare(&self, case: &Case, entities_max: Option<u32>) -> Result<Scored> {
        let most = entities_max.unwrap_or(case.manifest.stream.entities_max);
        let (host, times) = self.host(case, most)?;
        let edge = self.edge(case, most)?;
        let native = native::score(&case.module, &case.manifest, &case.events, most as usize)?;
        let has_node = has("node");
        let mut difference = first_difference("host", &host, "edge agent", &edge);
        difference = difference.or_else(|| first_difference("host", &host, "native code", &native));
        if has_node {
            difference =
                difference.or(first_difference("host", &host, "node", &Self::node(case, most)?));
        } else {
            tell(
                "node is not installed, so JavaScript's scores are NOT compared: install node 20 or later",
            );
        }
        Ok(Scored {
            evicted: evictions_at_least(case, most)?,
            verdicts: host,
            times,
            has_node,
            difference,
        })
    }

    fn program(&self, name: &str, case: &Case, most: u32, suffix: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        if name == "edge-agent" {
            command.arg("run");
        }
        command.arg("--registry").arg(self.path("registry")).args(["--detector", &case.name]);
        command
            .arg("--trust")
            .arg(self.path("keys/trust.json"))
            .args(["--entities-max", &most.to_string()]);
        command.arg("--state").arg(self.path(&format!("{}-{suffix}", case.name)));
        command
            .arg("--dead-letters")
            .arg(self.path(&format!("{}-{suffix}.dead-letters.ndjson", case.name)));
        command.env("RUST_LOG", "warn").stdin(Stdio::null());
        command
    }

    /// The cloud host reads a hub, through the SDK and a broker of its own, into which the trainer
    /// sends the events. The hub has one partition, so an event's offset is its line.
    fn host(&self, case: &Case, most: u32) -> Result<(BTreeMap<u64, Short>, BTreeMap<u64, i64>)> {
        let path = self.path(&format!("{}-host.verdicts.ndjson", case.name));
        let mut command = self.program("host", case, most, "host");
        command.args(["--hub", &case.name, "--broker-partitions", "1"]);
        command.args(["--listen", "127.0.0.1:0"]).arg("--verdicts").arg(&path);
        let log = self.path(&format!("{}-host.log", case.name));
        let mut host = Process::start(&mut command, log)?;
        let way_in = self.path(&format!("{}-host/broker/connection-string", case.name));
        wait_for("the host's broker", || {
            host.check()?;
            Ok(fs::read_to_string(&way_in).is_ok_and(|text| text.ends_with('\n')))
        })?;
        let mut send = self.trainer("send");
        send.args(["--hub", &case.name, "--connection-string-file"]).arg(way_in);
        if let Some(entity) = &case.manifest.schema.entity {
            send.args(["--key", entity]);
        }
        output(send.arg("--data").arg(&case.events))?;
        let count = fs::read_to_string(&case.events)?.lines().count();
        let mut verdicts = Verdicts::of(path.clone());
        wait_for("the host's verdicts", || {
            host.check()?;
            Ok(verdicts.update()? >= count)
        })?;
        ensure!(host.stop()? == Some(0), "the host failed:\n{}", host.log_text());
        let mut times = BTreeMap::new();
        let mut shorts = BTreeMap::new();
        for line in fs::read_to_string(&path)?.lines().filter(|line| !line.contains(DRIFT_TYPE)) {
            let verdict: Value = serde_json::from_str(line)?;
            let offset =
                verdict["data"]["origin"]["offset"].as_u64().context("a verdict has an offset")?;
            let time =
                verdict["time"].as_str().and_then(|time| TimeFormat::Rfc3339.read_text(time));
            times.insert(offset, time.context("a verdict has a time")?);
            shorts.insert(offset, short(&verdict)?);
        }
        Ok((shorts, times))
    }

    /// The edge agent reads standard input, through its journal; verdicts come in order.
    fn edge(&self, case: &Case, most: u32) -> Result<BTreeMap<u64, Short>> {
        let mut edge = self.program("edge-agent", case, most, "edge");
        edge.stdin(fs::File::open(&case.events)?).stderr(Stdio::inherit());
        let done = edge.output().context("cannot start the edge agent")?;
        ensure!(done.status.success(), "the edge agent ended with {}", done.status);
        let mut shorts = BTreeMap::new();
        let text = String::from_utf8(done.stdout)?;
        for line in text.lines().filter(|line| !line.contains(DRIFT_TYPE)) {
            let verdict: Value = serde_json::from_str(line)?;
            let offset =
                verdict["data"]["origin"]["offset"].as_u64().context("a verdict has an offset")?;
            shorts.insert(offset, short(&verdict)?);
        }
        Ok(shorts)
    }

    /// A plain JavaScript engine, with a reader and an entity table of its own.
    fn node(case: &Case, most: u32) -> Result<BTreeMap<u64, Short>> {
        let mut node = Command::new("node");
        node.arg(root().join("www/runtime/score.mjs")).arg("--module").arg(&case.module);
        node.arg("--events").arg(&case.events).args([
            "--entities-max",
            &most.to_string(),
            "--batch",
            "97",
        ]);
        let mut shorts = BTreeMap::new();
        for line in output(&mut node)?.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [number, outcome, _late, bits] = words[..] else { bail!("node printed `{line}`") };
            let score =
                u64::from_str_radix(bits, 16).with_context(|| format!("node printed `{line}`"))?;
            shorts.insert(number.parse()?, Short { outcome: outcome.to_owned(), score });
        }
        Ok(shorts)
    }

    /// Leaves a host running that takes events over HTTP.
    fn leave_running(&self, case: &Case) -> Result<()> {
        let mut host = self.program("host", case, case.manifest.stream.entities_max, "live");
        host.args(["--listen", "127.0.0.1:8080", "--verdicts", "-"]).env("RUST_LOG", "info");
        print(
            "\nA host is running with this detector; its verdicts appear below. Ctrl-C stops it. Try:",
        );
        print(
            "  curl -s http://127.0.0.1:8080/v1/events -d '{\"timestamp\":\"2014-05-29T00:00:00Z\",\"value\":71.3}'",
        );
        print("  curl -s http://127.0.0.1:8080/v1/status");
        succeed(&mut host)
    }
}

/// Entities beyond those remembered: each had to make room for another at least once.
fn evictions_at_least(case: &Case, most: u32) -> Result<u64> {
    let Some(entity) = &case.manifest.schema.entity else { return Ok(0) };
    let mut seen = BTreeSet::new();
    for line in fs::read_to_string(&case.events)?.lines() {
        let event: Value = serde_json::from_str(line)?;
        seen.insert(event[entity].as_str().unwrap_or_default().to_owned());
    }
    Ok((seen.len() as u64).saturating_sub(u64::from(most)))
}

fn short(verdict: &Value) -> Result<Short> {
    let outcome = verdict["data"]["verdict"].as_str().context("a verdict has its word")?.to_owned();
    let score = verdict["data"]["score"].as_f64().context("a verdict has a score")?.to_bits();
    Ok(Short { outcome, score })
}

fn first_difference(
    a_name: &str,
    a: &BTreeMap<u64, Short>,
    b_name: &str,
    b: &BTreeMap<u64, Short>,
) -> Option<String> {
    let line = a.keys().chain(b.keys()).filter(|line| a.get(line) != b.get(line)).min()?;
    Some(format!("event {line}: {a_name} says {:?}, {b_name} says {:?}", a.get(line), b.get(line)))
}

/// What was found, in words and as JSON.
struct Report {
    words: String,
    json: Value,
}

impl Report {
    fn new(series: &Case, scored: &Scored, cards: &Scored) -> Result<Self> {
        let windows = windows()?;
        let anomalous: Vec<(i64, u64)> = scored
            .verdicts
            .iter()
            .filter(|(_, verdict)| verdict.outcome == "anomalous")
            .filter_map(|(offset, _)| Some((*scored.times.get(offset)?, *offset)))
            .collect();
        let within = |time: i64, window: &(i64, i64)| time >= window.0 && time <= window.1;
        let hits: Vec<usize> = windows
            .iter()
            .map(|window| anomalous.iter().filter(|(time, _)| within(*time, window)).count())
            .collect();
        let windows_hit = hits.iter().filter(|hits| **hits > 0).count();
        let false_alarms = anomalous
            .iter()
            .filter(|(time, _)| !windows.iter().any(|window| within(*time, window)))
            .count();
        let module_bytes = fs::metadata(&series.module)?.len();
        let identical = scored.difference.is_none() && cards.difference.is_none();
        let compared = scored.verdicts.len() + cards.verdicts.len();
        let ways = if scored.has_node {
            "cloud host, edge agent, node and native code"
        } else {
            "cloud host, edge agent and native code (node is missing)"
        };
        let mut words = String::new();
        writeln!(words, "\nWhat was found")?;
        writeln!(
            words,
            "  events        {} hours of office temperature after the {TRAINING_ROWS} it was trained on",
            scored.verdicts.len()
        )?;
        writeln!(
            words,
            "  verdicts      {}, of which {} anomalous",
            scored.verdicts.len(),
            anomalous.len()
        )?;
        writeln!(
            words,
            "  windows       {windows_hit} of {} labelled failures found, with {} verdicts inside",
            windows.len(),
            hits.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
        )?;
        writeln!(words, "  false alarms  {false_alarms} outside of them")?;
        writeln!(words, "  module        {} KiB, {}", module_bytes / 1024, series.digest)?;
        let agreement = if identical { "agree bit for bit" } else { "DIFFER" };
        write!(
            words,
            "  scores        {ways} {agreement} on {compared} events,\n                {} of them of {} cards with categories, missing values and {} evictions at least",
            cards.verdicts.len(),
            GENERATED.1,
            cards.evicted
        )?;
        let json = json!({
            "events": scored.verdicts.len(),
            "verdicts": scored.verdicts.len(),
            "anomalies": anomalous.len(),
            "windows": windows.len(),
            "windows_hit": windows_hit,
            "false_alarms": false_alarms,
            "identical_scores": identical,
            "compared_scores": compared,
            "compared_with_node": scored.has_node,
            "generated_events": cards.verdicts.len(),
            "module_digest": series.digest,
            "module_bytes": module_bytes,
        });
        Ok(Self { words, json })
    }
}

/// The labelled windows of the series, in milliseconds.
fn windows() -> Result<Vec<(i64, i64)>> {
    let text = fs::read_to_string(root().join("fixtures/nab/windows.json"))?;
    let all: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(&text)?;
    let windows =
        all.get("ambient_temperature_system_failure").context("the windows of the series")?;
    let time = |text: &str| {
        TimeFormat::Rfc3339.read_text(text).with_context(|| format!("`{text}` is no time"))
    };
    windows.iter().map(|(from, to)| Ok((time(from)?, time(to)?))).collect()
}
