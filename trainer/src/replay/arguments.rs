//! What `trainer replay` is asked for.

use crate::data::Trust;
use clap::Args;
use std::path::PathBuf;

/// Reach the verdicts of audit records again, and tell how they came about.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// File of audit records, one a line; - is standard input.
    #[arg(long, required_unless_present = "lake", conflicts_with = "lake")]
    pub(super) audit: Option<PathBuf>,
    /// A lake instead: a directory, or the address of a container. Takes any verdict.
    #[arg(long, requires = "detector", requires = "id")]
    pub(super) lake: Option<String>,
    /// The detector whose verdict is meant.
    #[arg(long, requires = "lake")]
    pub(super) detector: Option<String>,
    /// The source of the events may deliver them again under other offsets, as Event Hubs do.
    #[arg(long, requires = "lake")]
    pub(super) redelivers: bool,
    /// Only the verdict with this id.
    #[arg(long)]
    pub(super) id: Option<String>,
    /// Registry to fetch the modules from: a directory or an address.
    #[arg(long, env = "TWINGE_REGISTRY", required_unless_present = "module")]
    pub(super) registry: Option<String>,
    /// A module's file instead; records of other modules are left out.
    #[arg(long)]
    pub(super) module: Option<PathBuf>,
    /// Tell every record in full, not only the first 20.
    #[arg(long)]
    pub(super) all: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) trust: Trust,
}

impl Arguments {
    pub(super) fn audit_name(&self) -> String {
        self.audit.as_ref().map_or_else(|| "-".into(), |path| path.display().to_string())
    }
}
