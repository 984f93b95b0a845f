//! From sources to `www/dist`.

use super::{bin, detectors, proof, tools, www};
use crate::run::{build_programs, cargo, output, succeed, tell};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Events of each proof that the page ships.
const PROOF_EVENTS: u32 = 10_000;

/// The halves of the bindings.
const HALVES: [&str; 2] = ["stream", "train"];

/// Builds the page with everything that it ships.
pub(super) fn build() -> Result<()> {
    tools::packages()?;
    bindings()?;
    build_programs("dev")?;
    tell("training the modules that the page ships, and scoring with host and agent");
    let public = www().join("public");
    let shipped = detectors::make(&public)?;
    proof::make(&public.join("prove"), &shipped, PROOF_EVENTS)?;
    let mut vite = npx("vite");
    succeed(vite.args(["build", "--logLevel", "warn"]))
}

/// A tool of the page's packages.
pub(super) fn npx(tool: &str) -> Command {
    let mut command = Command::new("node");
    let script = match tool {
        "vite" => "vite/bin/vite.js",
        "vitest" => "vitest/vitest.mjs",
        "tsc" => "typescript/bin/tsc",
        _ => "@playwright/test/cli.js",
    };
    command.current_dir(www()).arg(www().join("node_modules").join(script));
    command
}

/// The Rust side. The tool that makes bindings is a feature, so this is a run of xtask in itself.
fn bindings() -> Result<()> {
    for half in HALVES {
        let mut make = cargo(["run", "--quiet", "--package", "xtask", "--features", "web", "--"]);
        succeed(make.args(["bindings", "--half", half]))?;
    }
    Ok(())
}

/// The trainer, which needs no keys here.
pub(super) fn trainer() -> Command {
    Command::new(bin().join("trainer"))
}

/// Generated events of a world in a file; the name tells the format.
pub(super) fn generate(
    world: &str,
    events: u32,
    seed: &str,
    more: &[&str],
    out: &Path,
) -> Result<()> {
    let mut generate = trainer();
    generate.args(["generate", "--world", world, "--seed", seed]);
    generate.args(["--events", &events.to_string()]).args(more).arg("--out").arg(out);
    output(&mut generate).map(drop)
}

/// Trains an unsigned module.
pub(super) fn train(data: &Path, config: &Path, out: &Path) -> Result<()> {
    let mut train = trainer();
    train.args(["train", "--unsigned", "--seed", "1", "--data"]).arg(data);
    output(train.arg("--config").arg(config).arg("--out").arg(out)).map(drop)
}

/// An empty folder.
pub(super) fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))
}
