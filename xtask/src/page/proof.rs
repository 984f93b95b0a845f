//! What the page compares its own scores with: those of the host and of the edge agent.

use super::bin;
use super::build::{clear, generate};
use super::detectors::{Events, Shipped};
use crate::run::{output, root};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A verdict's word and the bits of its score, as a module answers them.
type Scores = Vec<(u64, u32)>;

/// Makes a proof for each module in `folder`, and the list of them: events, module, and what host and
/// agent both said.
pub(super) fn make(folder: &Path, modules: &[Shipped], events: u32) -> Result<()> {
    clear(folder)?;
    let mut list = Vec::new();
    for module in modules {
        list.push(prove(folder, module, events)?);
    }
    fs::write(folder.join("index.json"), serde_json::to_string_pretty(&list)?)?;
    Ok(())
}

fn prove(folder: &Path, module: &Shipped, count: u32) -> Result<Value> {
    let name = module.name;
    let events = folder.join(format!("{name}.ndjson"));
    match &module.events {
        Events::Generated(world, flags) => {
            let flags = [flags, &["--no-labels", "--missing", "0.02"][..]].concat();
            generate(world, count, "7", &flags, &events)?;
        }
        Events::File(path) => {
            fs::copy(path, &events).with_context(|| format!("cannot copy {}", path.display()))?;
        }
    }
    let host = score("host", &module.module, &events)?;
    let agent = score("edge-agent", &module.module, &events)?;
    ensure!(host == agent, "{name}: host and edge agent differ");
    let lines = fs::read_to_string(&events)?.lines().count();
    ensure!(host.len() == lines, "{name}: {lines} events got {} verdicts", host.len());
    let (wasm, scores) = (format!("{name}.wasm"), format!("{name}.scores"));
    fs::copy(&module.module, folder.join(&wasm))?;
    fs::write(folder.join(&scores), encode(&host))?;
    Ok(json!({
        "name": name,
        "kind": module.manifest.detector.kind,
        "digest": module.digest,
        "module": wasm,
        "events": format!("{name}.ndjson"),
        "scores": scores,
        "count": lines,
    }))
}

/// All scores as little-endian `f64`, then all words as little-endian `u32`.
fn encode(scores: &Scores) -> Vec<u8> {
    let bits = scores.iter().flat_map(|(score, _)| score.to_le_bytes());
    let words = scores.iter().flat_map(|(_, word)| word.to_le_bytes());
    bits.chain(words).collect()
}

/// Has a program score a file, in a directory of its own.
fn score(program: &str, module: &Path, events: &Path) -> Result<Scores> {
    let state = root().join(format!("target/page/{program}-state"));
    clear(&state)?;
    let verdicts = state.join("verdicts.ndjson");
    let mut command = Command::new(bin().join(program));
    if program == "edge-agent" {
        command.arg("run");
    }
    command.arg("--module").arg(module).arg("--allow-unsigned").arg("--replay").arg(events);
    command.arg("--verdicts").arg(&verdicts).arg("--state").arg(&state);
    command.arg("--dead-letters").arg(state.join("dead-letters.ndjson"));
    output(command.env("RUST_LOG", "warn"))?;
    read(&verdicts)
}

fn read(verdicts: &PathBuf) -> Result<Scores> {
    use std::io::{BufRead, BufReader};
    let mut scores = Vec::new();
    for line in BufReader::new(File::open(verdicts)?).lines() {
        let verdict: Value = serde_json::from_str(&line?)?;
        let data = &verdict["data"];
        ensure!(
            data["origin"]["offset"] == scores.len(),
            "verdicts are not in the order of events"
        );
        let score = data["score"].as_f64().context("a verdict has a score")?;
        scores.push((score.to_bits(), word(data)?));
    }
    Ok(scores)
}

fn word(data: &Value) -> Result<u32> {
    let outcome = match data["verdict"].as_str() {
        Some("normal") => 0,
        Some("anomalous") => 1,
        Some("warming-up") => 2,
        Some("invalid") => 3,
        other => bail!("{other:?} is no outcome"),
    };
    let flag = |key: &str, bit: u32| if data[key] == true { bit } else { 0 };
    Ok(outcome | flag("late", 1 << 8) | flag("continues", 1 << 9))
}
