//! The page: its modules and proofs made, its files built, served, tested and measured.
//!
//! What can be built is built: the modules that the page ships are trained by `trainer`, and the
//! scores that it compares its own with come from `host` and `edge-agent`.

pub(crate) mod bench;
mod build;
mod detectors;
mod proof;
mod tests;
mod tools;

use tests::Kinds;
pub(crate) use tests::test;

use crate::run::{print, root, succeed};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// The page's verbs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// Build the page into www/dist.
    Build,
    /// Build the page and serve it on this machine.
    Serve {
        /// Port on 127.0.0.1.
        #[arg(long, default_value_t = 4173)]
        port: u16,
    },
    /// The page's scores in Chromium and Firefox against the host's, for every kind of detector.
    Kinds(Kinds),
}

/// `cargo xtask page`.
pub(crate) fn run(verb: &Verb) -> Result<()> {
    match verb {
        Verb::Build => build::build(),
        Verb::Serve { port } => {
            build::build()?;
            print(&format!("The page is at http://127.0.0.1:{port}/ until Ctrl-C."));
            let mut serve = Command::new("node");
            succeed(serve.arg(www().join("tools/serve.mjs")).args(["--port", &port.to_string()]))
        }
        Verb::Kinds(kinds) => tests::kinds(kinds),
    }
}

/// The page's folder.
fn www() -> PathBuf {
    root().join("www")
}

/// The folder of the programs.
fn bin() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("debug")
}
