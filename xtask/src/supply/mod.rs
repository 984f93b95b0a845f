//! What others wrote: that it may be here, why it is, and what a program is made of.

mod memory;
mod reproducible;

pub(crate) use memory::miri;
pub(crate) use reproducible::{copy_sources, in_two_folders};

use crate::hubs::peers::tools;
use crate::run::{cargo, output, root, succeed, tell};
use crate::workspace::packages;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Checks licences, sources and bans by deny.toml; pinned, since its settings change with it.
const DENY: &str = "cargo-deny@0.20.2";

/// Where each direct dependency has its reason.
const REASONS: &str = "docs/decisions/0012-dependencies.md";

/// Licences, sources and bans, and a reason for each direct dependency; a sentence when something is
/// missing for it.
pub(crate) fn check() -> Result<Option<String>> {
    let unreasoned = without_reason(&root())?;
    ensure!(unreasoned.is_empty(), "no reason in {REASONS}: {}", unreasoned.join(", "));
    let deny = match installed(DENY) {
        Ok(deny) => deny,
        Err(error) => return Ok(Some(format!("{DENY} cannot be installed: {error:#}"))),
    };
    // Advisories lie in a repository that is fetched; the workflow `advisories` looks there.
    let mut check = Command::new(deny);
    check.current_dir(root()).args(["--log-level", "error", "check", "--hide-inclusion-graph"]);
    succeed(check.args(["licenses", "bans", "sources"]))?;
    Ok(None)
}

/// A program of crates.io, built in a folder under target/ and kept there.
fn installed(package: &str) -> Result<PathBuf> {
    let (name, _) = package.split_once('@').context("a pinned package")?;
    let folder = tools(package);
    let program = folder.join("bin").join(name);
    if !program.is_file() {
        tell(&format!("installing {package}"));
        let mut install = cargo(["install", "--quiet", "--locked", "--debug", package, "--root"]);
        // Outside the workspace, whose settings are of no concern to it.
        output(install.arg(&folder).current_dir(std::env::temp_dir()))?;
    }
    Ok(program)
}

/// Direct dependencies without a word in the table.
fn without_reason(root: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(root.join(REASONS)).with_context(|| format!("no {REASONS}"))?;
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let named: BTreeSet<&str> = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let mut unreasoned = BTreeSet::new();
    for package in packages(root)? {
        let unnamed = package.others.iter().filter(|name| !named.contains(name.as_str()));
        unreasoned.extend(unnamed.map(|name| format!("{name} (of {})", package.folder)));
    }
    Ok(unreasoned.into_iter().collect())
}
