//! What README and docs show is true: commands are run, flags exist, configurations and JSON are read.
//!
//! The shell blocks of a document are one script in an empty folder. A block that cannot be run here
//! says what it needs in its info string (`sh needs=azure`); its flags are looked up all the same. A
//! block that follows "Save this as `NAME`:", or begins with a comment that is a name, is that file.
//! What a reader has and a test has not stands in a comment: `<!-- before: ... -->`.

mod block;
mod flags;
mod script;

use crate::run::{output, root, tell};
use anyhow::{Context, Result, ensure};
use block::{Block, Kind, blocks};
use flags::Flags;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What a block may need that is not here.
const NEEDS: [&str; 9] = [
    "azure",
    "broker",
    "browser",
    "build",
    "containers",
    "device",
    "nightly",
    "repository",
    "root",
];

/// Runs and checks all documents; an error names each that is wrong.
pub(crate) fn run(bin: &Path, workshop: &Path) -> Result<()> {
    let (mut wrong, mut ran) = (Vec::new(), 0);
    let mut flags = Flags::new(bin);
    for (number, document) in documents()?.iter().enumerate() {
        let text = fs::read_to_string(root().join(document))?;
        let blocks = blocks(&text);
        for block in &blocks {
            if let Err(error) = check(block, &mut flags) {
                wrong.push(format!("{document}:{}: {error:#}", block.line));
            }
        }
        let folder = workshop.join(number.to_string());
        match script::run(document, &blocks, bin, &folder) {
            Ok(count) => ran += count,
            Err(error) => wrong.push(format!("{error:#}")),
        }
    }
    ensure!(wrong.is_empty(), "documents are wrong:\n{}", wrong.join("\n"));
    tell(&format!("{ran} blocks of commands were run"));
    Ok(())
}

/// All, or those whose path begins with what this variable says.
const ONLY: &str = "TWINGE_DOCUMENTS";

fn documents() -> Result<Vec<String>> {
    let only = std::env::var(ONLY).unwrap_or_default();
    let mut list = Command::new("git");
    list.current_dir(root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.md",
    ]);
    let names = output(&mut list)?;
    Ok(names.lines().filter(|name| name.starts_with(&only)).map(str::to_owned).collect())
}

/// What can be said of a block without running it.
fn check(block: &Block, flags: &mut Flags) -> Result<()> {
    if let Some(needs) = &block.needs {
        ensure!(NEEDS.contains(&needs.as_str()), "needs={needs} is none of {}", NEEDS.join(", "));
    }
    match block.kind {
        Kind::Shell => flags.check(&block.text),
        Kind::Toml => block.text.parse::<toml::Table>().map(drop).context("it is no TOML"),
        Kind::Json => {
            let values = serde_json::Deserializer::from_str(&block.text);
            let values = values.into_iter::<serde_json::Value>().collect::<Result<Vec<_>, _>>();
            values.map(drop).context("it is no JSON")
        }
        Kind::Before | Kind::Other => Ok(()),
    }
}
