//! `examples/spark` against the programs, with Spark in local mode.

use crate::hubs::peers;
use crate::run::{build_programs, has, root, succeed};
use anyhow::{Context, Result};
use std::fs;
use std::process::Command;

/// Runs the example's own test; a sentence when a tool is missing.
pub(crate) fn spark() -> Result<Option<String>> {
    let example = root().join("examples/spark");
    let wanted = fs::read_to_string(example.join("requirements.txt"))
        .context("examples/spark has no requirements.txt")?;
    let python = match peers::python_with("spark", &wanted.lines().collect::<Vec<_>>())? {
        Ok(python) => python,
        Err(missing) => return Ok(Some(missing)),
    };
    if !has("java") && !peers::install(&["default-jre-headless"])? {
        return Ok(Some("java is missing: install default-jre-headless".into()));
    }
    build_programs("dev")?;
    let programs = root().join("target/debug");
    succeed(Command::new(&python).arg(example.join("test.py")).arg(programs))?;
    Ok(None)
}
