//! The modules that the page ships: trained when it is built, so that they cannot grow stale.

use super::build::{clear, generate, train};
use super::www;
use crate::run::root;
use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use twinge_contract::manifest::Manifest;

/// Rows of the temperature series that its detector is trained on, as in the demo.
const SERIES_ROWS: usize = 3000;

/// A module, and where events for it come from.
#[derive(Debug)]
pub(super) struct Shipped {
    pub(super) name: &'static str,
    pub(super) module: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) digest: String,
    pub(super) events: Events,
}

/// Events for a module.
#[derive(Debug)]
pub(super) enum Events {
    /// A world of the generator, with the flags for it.
    Generated(&'static str, &'static [&'static str]),
    /// A file.
    File(PathBuf),
}

/// Flags of the streams: few entities, slow enough that a day's rhythm shows.
const MACHINES: &[&str] = &["--entities", "12", "--rate", "0.2"];
const CARDS: &[&str] = &["--entities", "60", "--rate", "0.02"];

/// Trains all of them into `public`, and writes the list that the page reads.
pub(super) fn make(public: &Path) -> Result<Vec<Shipped>> {
    let folder = public.join("detectors");
    clear(&folder)?;
    let workshop = root().join("target/page");
    clear(&workshop)?;
    let (machines, cards) = (workshop.join("machines.csv"), workshop.join("cards.csv"));
    generate("sensors", 20_000, "1", MACHINES, &machines)?;
    generate("cards", 30_000, "1", CARDS, &cards)?;
    let (beginning, sample) =
        (workshop.join("beginning.csv"), folder.join("office-temperature.ndjson"));
    series(&beginning, &sample)?;
    let own = |name: &str| www().join(format!("detectors/{name}.toml"));
    let office = root().join("fixtures/demo/ambient-temperature.toml");
    let about = [
        "20,000 readings of 12 generated machines",
        "30,000 generated payments of 60 cards",
        "3,000 hours of a real office, before its heating failed",
    ];
    let shipped = vec![
        ship(
            &folder,
            "machine-sensors",
            &machines,
            &own("machine-sensors"),
            Events::Generated("sensors", MACHINES),
        )?,
        ship(
            &folder,
            "card-payments",
            &cards,
            &own("card-payments"),
            Events::Generated("cards", CARDS),
        )?,
        ship(&folder, "ambient-temperature", &beginning, &office, Events::File(sample))?,
    ];
    let list: Vec<_> =
        shipped.iter().zip(about).map(|(module, about)| entry(module, about)).collect();
    fs::write(folder.join("index.json"), serde_json::to_string_pretty(&list)?)?;
    Ok(shipped)
}

fn ship(
    folder: &Path,
    name: &'static str,
    data: &Path,
    config: &Path,
    events: Events,
) -> Result<Shipped> {
    let module = folder.join(format!("{name}.wasm"));
    train(data, config, &module)?;
    read(name, module, events)
}

/// A trained module with what it says about itself.
pub(super) fn read(name: &'static str, module: PathBuf, events: Events) -> Result<Shipped> {
    let bytes = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    let manifest = twinge_engine::manifest(&bytes).context("the module just trained")?;
    let digest = hex::encode(Sha256::digest(&bytes));
    Ok(Shipped { name, module, manifest, digest, events })
}

fn entry(module: &Shipped, about: &str) -> serde_json::Value {
    let sample = match &module.events {
        Events::File(path) => path.file_name().map(|name| format!("detectors/{}", name.display())),
        Events::Generated(..) => None,
    };
    json!({
        "name": module.name,
        "about": about,
        "file": format!("detectors/{}.wasm", module.name),
        "digest": module.digest,
        "bytes": fs::metadata(&module.module).map_or(0, |file| file.len()),
        "kind": module.manifest.detector.kind,
        "sample": sample,
    })
}

/// The beginning of the temperature series as training data, the rest as events.
fn series(beginning: &Path, rest: &Path) -> Result<()> {
    let path = root().join("fixtures/nab/ambient_temperature_system_failure.csv");
    let csv = fs::read_to_string(path).context("cannot read the series in fixtures/nab")?;
    let (header, rows) = csv.split_once('\n').context("the series is empty")?;
    let (mut data, mut events) = (format!("{header}\n"), String::new());
    for (number, row) in rows.lines().enumerate() {
        if number < SERIES_ROWS {
            writeln!(data, "{row}")?;
        } else {
            let (time, value) = row.split_once(',').context("a row of the series has no comma")?;
            writeln!(events, "{{\"timestamp\":\"{time}\",\"value\":{value}}}")?;
        }
    }
    fs::write(beginning, data)?;
    fs::write(rest, events)?;
    Ok(())
}
