//! What must hold of the page, and its scores for every kind of detector.

use super::build::{clear, generate, npx, train};
use super::detectors::{self, Events};
use super::{bin, build, proof, tools};
use crate::run::{build_programs, root, succeed, tell};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use twinge_fit::config::DetectorKind;

/// Rows that each kind is trained on.
const TRAINING_EVENTS: u32 = 4000;

/// Rows that each kind scores in the test command; `cargo xtask page kinds` takes all.
const FEW_EVENTS: u32 = 1000;

/// Compare scores of every kind of detector in Chromium and Firefox with those of host and agent.
#[derive(Debug, clap::Args)]
pub(crate) struct Kinds {
    /// Rows that each kind scores.
    #[arg(long, default_value_t = 100_000)]
    events: u32,
}

/// The world that a kind is for; a kind without one fails here to compile.
fn world(kind: DetectorKind) -> &'static str {
    match kind {
        DetectorKind::Series | DetectorKind::Wander | DetectorKind::Components => "sensors",
        DetectorKind::IsolationForest
        | DetectorKind::ExtendedForest
        | DetectorKind::Neighbours
        | DetectorKind::TrustedNeighbours
        | DetectorKind::Mixture
        | DetectorKind::Mahalanobis
        | DetectorKind::Histogram
        | DetectorKind::Tails
        | DetectorKind::Ratio => "cards",
    }
}

/// The part of the test command; a sentence when something is missing.
pub(crate) fn test() -> Result<Option<String>> {
    if let Some(missing) = tools::node()? {
        return Ok(Some(missing));
    }
    let browsers = match tools::browsers()? {
        Ok(browsers) => browsers,
        Err(missing) => return Ok(Some(missing)),
    };
    build::build()?;
    succeed(npx("tsc").arg("--noEmit"))?;
    succeed(npx("vitest").args(["run", "--reporter", "dot"]))?;
    let kinds = make_kinds(FEW_EVENTS)?;
    succeed(browse(&browsers, "tests").env("TWINGE_KINDS", kinds))?;
    Ok(None)
}

/// `cargo xtask page kinds`.
pub(super) fn kinds(arguments: &Kinds) -> Result<()> {
    let browsers = tools::browsers()?.map_err(anyhow::Error::msg)?;
    build::build()?;
    let kinds = make_kinds(arguments.events)?;
    let mut browse = browse(&browsers, "tests");
    succeed(
        browse
            .args(["--grep", "kinds:"])
            .env("TWINGE_KINDS", kinds)
            .env("TWINGE_PATIENCE_S", "1800"),
    )
}

/// Playwright on a project of its configuration.
pub(super) fn browse(browsers: &tools::Browsers, project: &str) -> Command {
    let mut command = npx("playwright");
    command.arg("test").arg(format!("--project={project}"));
    command.env("TWINGE_CHROMIUM", &browsers.chromium).env("TWINGE_FIREFOX", &browsers.firefox);
    command.env("TWINGE_BIN", bin());
    command
}

/// A module and a proof for each kind; the folder of proofs.
fn make_kinds(events: u32) -> Result<PathBuf> {
    tell(&format!(
        "{events} rows for each of {} kinds, scored by host and agent",
        DetectorKind::ALL.len()
    ));
    build_programs("dev")?;
    let folder = root().join("target/page-kinds");
    clear(&folder)?;
    let mut modules = Vec::new();
    for world in ["cards", "sensors"] {
        let flags = ["--entities", "40", "--rate", "0.05", "--missing", "0.02"];
        generate(world, TRAINING_EVENTS, "3", &flags, &folder.join(format!("{world}.csv")))?;
    }
    for kind in DetectorKind::ALL {
        modules.push(make_kind(&folder, kind)?);
    }
    let proofs = folder.join("proofs");
    proof::make(&proofs, &modules, events)?;
    Ok(proofs)
}

fn make_kind(folder: &Path, kind: DetectorKind) -> Result<detectors::Shipped> {
    let (name, world) = (kind.as_str(), world(kind));
    let config = folder.join(format!("{name}.toml"));
    let schema = match world {
        "cards" => {
            "entity = \"card\"\nnumeric = [\"amount\", \"distance_km\", \"merchant_risk\"]\ncategorical = [\"category\", \"country\", \"channel\"]"
        }
        "sensors" => {
            "entity = \"sensor\"\nnumeric = [\"temperature_c\", \"vibration_mm_s\", \"pressure_kpa\", \"current_a\"]"
        }
        other => bail!("{other} is no world"),
    };
    let text = format!(
        "name = \"{name}\"\n[schema]\ntime = \"time\"\nlabel = \"label\"\n{schema}\n[detector]\nkind = \"{name}\"\n[threshold]\nfalse_alarm_rate = 0.01\n"
    );
    fs::write(&config, text)?;
    let module = folder.join(format!("{name}.wasm"));
    train(&folder.join(format!("{world}.csv")), &config, &module)
        .with_context(|| format!("training {name}"))?;
    let flags: &[&str] = &["--entities", "40", "--rate", "0.05", "--anomalies", "0.02"];
    detectors::read(name, module, Events::Generated(world, flags))
}
