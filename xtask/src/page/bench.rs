//! What a person at the page waits for.

use super::{build, tests, tools};
use crate::run::succeed;
use anyhow::Result;

/// Training and scoring in Chromium, and how responsive the page stays.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Take the page as it was built last.
    #[arg(long)]
    built: bool,
}

/// `cargo xtask bench page`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let browsers = tools::browsers()?.map_err(anyhow::Error::msg)?;
    if !arguments.built {
        build::build()?;
    }
    succeed(&mut tests::browse(&browsers, "bench"))
}
