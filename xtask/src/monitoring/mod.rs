//! The rules and the dashboard for Prometheus and Grafana: promtool tests the rules, and every metric
//! that they name must be one that a host tells.

mod otlp;

use crate::run::{output, root, succeed};
use anyhow::{Context, Result, ensure};
use otlp::Collector;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(1);

/// promtool's word on the rules.
pub(crate) fn rules() -> Result<()> {
    let folder = root().join("infra/monitoring");
    succeed(Command::new("promtool").current_dir(&folder).args(["check", "rules", "rules.yml"]))?;
    let mut test = Command::new("promtool");
    succeed(test.current_dir(&folder).args(["test", "rules", "rules.test.yml"]))?;
    let rules = fs::read_to_string(folder.join("rules.yml"))?;
    let tests = fs::read_to_string(folder.join("rules.test.yml"))?;
    let pages = fs::read_to_string(root().join("docs/operations.md"))?;
    for rule in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let page = format!("docs/operations.md#{}", rule.to_lowercase());
        ensure!(rules.contains(&page), "rule {rule} does not name {page} as its runbook");
        ensure!(pages.contains(&format!("\n### {rule}\n")), "docs/operations.md has no {rule}");
        for case in ["fires", "stays quiet"] {
            ensure!(
                tests.contains(&format!("- name: {rule} {case}\n")),
                "rule {rule} has no case in which it {case}: add one to rules.test.yml"
            );
        }
    }
    Ok(())
}

/// Compares the metrics that rules and dashboard name with those that a host tells, and those with what it
/// exports; a sentence when a tool is missing. `trainer` and `host` are programs, `directory` an empty
/// folder.
pub(crate) fn metrics(bin: &Path, directory: &Path) -> Result<std::result::Result<(), String>> {
    let collector = match Collector::start(directory)? {
        Ok(collector) => collector,
        Err(missing) => return Ok(Err(missing)),
    };
    let told = told(bin, directory, &collector)?;
    let folder = root().join("infra/monitoring");
    let dashboard = fs::read_to_string(folder.join("grafana.json"))?;
    let dashboard: Value = serde_json::from_str(&dashboard).context("grafana.json is no JSON")?;
    let panels = dashboard["panels"].as_array().context("grafana.json has no panels")?;
    ensure!(!panels.is_empty(), "grafana.json has no panels");
    let mut texts = vec![fs::read_to_string(folder.join("rules.yml"))?];
    for target in panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten() {
        texts.push(target["expr"].as_str().context("a target has no expression")?.to_owned());
    }
    let named: BTreeSet<String> = texts.iter().flat_map(|text| names(text)).collect();
    ensure!(named.len() > 10, "only {} metrics are named: they were not found", named.len());
    for name in &named {
        ensure!(told.contains(name), "rules or dashboard name {name}, which no host tells");
    }
    Ok(Ok(()))
}

/// The metrics that a text names.
fn names(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("twinge_")).map(str::to_owned)
}

/// A program, stopped when it is dropped.
pub(crate) struct Child(pub(crate) std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to stop.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The names of all metrics that a host tells after a few events, one of them unreadable.
fn told(bin: &Path, directory: &Path, collector: &Collector) -> Result<BTreeSet<String>> {
    let (data, module) = (directory.join("sensors.csv"), directory.join("sensors.wasm"));
    let events = directory.join("events.ndjson");
    let trainer = || Command::new(bin.join("trainer"));
    let world = ["generate", "--world", "sensors", "--events", "3000", "--entities", "20"];
    output(trainer().args(world).arg("--out").arg(&data))?;
    output(trainer().args(["train", "--unsigned", "--data"]).arg(&data).arg("--out").arg(&module))?;
    output(trainer().args(world).arg("--out").arg(&events))?;
    let lines = fs::read_to_string(&events)?;
    let some: Vec<&str> = lines.lines().take(200).chain(["{ this is no event"]).collect();
    let config = directory.join("host.toml");
    fs::write(&config, "[alerts]\n[silence]\nenabled = true\n")?;
    let mut host = Command::new(bin.join("host"));
    host.args(["--allow-unsigned", "--listen", "127.0.0.1:0", "--module"]).arg(&module);
    host.arg("--config").arg(&config).arg("--state").arg(directory.join("state"));
    host.arg("--verdicts").arg(directory.join("verdicts.ndjson"));
    host.arg("--dead-letters").arg(directory.join("dead-letters.ndjson"));
    host.env("RUST_LOG", "info").stdin(Stdio::null()).stderr(Stdio::piped());
    collector.tell(&mut host);
    let mut host = Child(host.spawn().context("the host does not start")?);
    let address = address(&mut host.0)?;
    ureq::post(format!("http://{address}/v1/events")).send(some.join("\n"))?;
    let began = Instant::now();
    loop {
        let text =
            ureq::get(format!("http://{address}/metrics")).call()?.into_body().read_to_string()?;
        let told: BTreeSet<String> =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(names_at_start).collect();
        // Silence is looked for once a second.
        if told.contains("twinge_dead_letters_total") && told.contains("twinge_silent_entities") {
            collector.wait_for(&told)?;
            return Ok(told);
        }
        ensure!(began.elapsed() < PATIENCE, "the host did not score its events: it tells {told:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn names_at_start(line: &str) -> Option<String> {
    names(line.split(['{', ' ']).next()?).next()
}

pub(crate) fn address(host: &mut std::process::Child) -> Result<String> {
    let mut log = BufReader::new(host.stderr.take().context("the host has no log")?);
    let mut line = String::new();
    loop {
        line.clear();
        ensure!(log.read_line(&mut line)? > 0, "the host ended before it listened");
        let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
        let fields = &entry["fields"];
        if fields["message"].as_str().is_some_and(|message| message.starts_with("serving HTTP")) {
            // The rest is read so that the host never waits for a full pipe.
            std::thread::spawn(move || log.lines().for_each(drop));
            return Ok(fields["address"].as_str().context("no address")?.to_owned());
        }
    }
}
