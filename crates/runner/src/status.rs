//! A runner's state in figures. How it comes about is not known here.

use crate::place::Place;
use serde::Serialize;
use twinge_rollout::{Comparison, Condemned, Part};
use twinge_trust::Digest;

/// What a runner has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Arrivals taken.
    pub events: u64,
    /// Verdicts given.
    pub verdicts: u64,
    /// Verdicts `anomalous` among them.
    pub anomalies: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Events that had been delivered before.
    pub duplicates: u64,
    /// Times that another module began to act.
    pub swaps: u64,
    /// Those among them by which the runner helped itself, away from a bad module.
    pub returns: u64,
    /// Calls in which a module missed its deadline for good.
    pub missed_deadlines: u64,
}

/// A runner's state in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Where it works.
    pub place: Place,
    /// The serial of the channel document that it follows, if it does.
    pub serial: Option<u64>,
    /// Digest of the acting module.
    pub champion: Digest,
    /// Version of the acting module in its maker's words.
    pub version: String,
    /// The module beside it.
    pub candidate: Option<Digest>,
    /// Its version.
    pub candidate_version: Option<String>,
    /// What that runs as.
    pub part: Option<Part>,
    /// Whether it could take over at once.
    pub is_warm: bool,
    /// How the two compare.
    pub comparison: Option<Comparison>,
    /// Modules that were left, and why.
    pub condemned: Vec<Condemned>,
    /// The next offset.
    pub offset: u64,
    /// Entities remembered.
    pub entities: usize,
    /// Entities evicted so far.
    pub evicted: u64,
    /// What it has done.
    pub counts: Counts,
}
