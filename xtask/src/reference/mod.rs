//! `cargo xtask reference`: pages that are made from the code, and whether they still agree with it.

mod cli;
mod configuration;
mod errors;
mod metrics;
mod schemas;
mod source;

use crate::run::{build_programs, print, root, tell};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;

/// What a page begins with, so that nobody mends it by hand.
const MADE: &str = "<!-- Made by `cargo xtask reference`. Change the code that it tells of. -->";

/// Pages made from the code.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing, and say which pages differ.
    #[arg(long)]
    check: bool,
    /// Only the pages whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

/// A page, and what makes it.
struct Page {
    name: &'static str,
    make: fn() -> Result<String>,
}

const PAGES: [Page; 5] = [
    Page { name: "cli.md", make: cli::page },
    Page { name: "configuration.md", make: configuration::page },
    Page { name: "metrics.md", make: metrics::page },
    Page { name: "schemas.md", make: schemas::page },
    Page { name: "errors.md", make: errors::page },
];

/// `cargo xtask reference`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    build_programs("dev")?;
    let mut differ = Vec::new();
    for page in &PAGES {
        if arguments.only.as_ref().is_some_and(|only| !page.name.contains(only.as_str())) {
            continue;
        }
        let path = folder().join(page.name);
        let made = (page.make)().with_context(|| format!("cannot make {}", path.display()))?;
        let made = format!("{MADE}\n\n{}\n", made.trim_end());
        if fs::read_to_string(&path).is_ok_and(|written| written == made) {
            continue;
        }
        if arguments.check {
            differ.push(page.name);
            continue;
        }
        fs::write(&path, made).with_context(|| format!("cannot write {}", path.display()))?;
        print(&format!("docs/reference/{} is written", page.name));
    }
    if !differ.is_empty() {
        bail!(
            "not as the code has it: docs/reference/{}; run `cargo xtask reference` and commit what it writes",
            differ.join(", docs/reference/")
        );
    }
    tell("docs/reference is as the code has it");
    Ok(())
}

/// The pages, as the test command has them compared.
pub(crate) fn check() -> Result<()> {
    run(&Arguments { check: true, only: None })
}

/// The folder of the pages.
fn folder() -> PathBuf {
    root().join("docs/reference")
}

/// A text as a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
