//! What a watch is shown of events, and what it tells. How it decides is not known here.

use crate::measure::{FieldMeasures, Measure};
use serde::{Deserialize, Serialize};

/// What is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// What the acting module was trained on, or found on rows held back.
    Training,
    /// What the first module of its line was trained on.
    Anchor,
}

impl Against {
    /// The word for it in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Anchor => "anchor",
        }
    }
}

/// What a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// An input of the module.
    Input,
    /// Its score.
    Score,
    /// Its verdicts.
    Verdicts,
    /// The time that verdicts take.
    Latency,
}

impl Subject {
    /// The word for it in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Score => "score",
            Self::Verdicts => "verdicts",
            Self::Latency => "latency",
        }
    }
}

/// An event's place in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its offset.
    pub offset: u64,
    /// When it came in, ms since 1970.
    pub ingested_ms: i64,
}

/// An event and what was said of it.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Its place.
    pub mark: Mark,
    /// Its own time, ms since 1970.
    pub time_ms: Option<i64>,
    /// The entity that it belongs to.
    pub entity: &'a str,
    /// Inputs in the order of the module's schema; NaN is missing.
    pub inputs: &'a [f64],
    /// Its score, and whether that was called anomalous; nothing where it got no such verdict.
    pub verdict: Option<(f64, bool)>,
    /// Whether the verdict came later than it may; nothing where that cannot be told.
    pub is_late: Option<bool>,
}

/// A drift that is told and has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Drifting {
    /// What is compared with.
    pub against: Against,
    /// What the field is.
    pub subject: Subject,
    /// The field.
    pub field: String,
    /// The most telling measure when it began.
    pub measure: Measure,
    /// What it was.
    pub value: f64,
    /// What was expected.
    pub expected: f64,
    /// The first event of the window in which it showed.
    pub since: Mark,
}

/// A drift that begins or ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Whether it begins.
    pub begins: bool,
    /// What is compared with.
    pub against: Against,
    /// What the field is.
    pub subject: Subject,
    /// The field.
    pub field: String,
    /// The most telling measure.
    pub measure: Measure,
    /// What it is.
    pub value: f64,
    /// What was expected.
    pub expected: f64,
    /// The least difference that is told.
    pub least: f64,
    /// Its probability by chance, corrected for the number of tests.
    pub probability: f64,
    /// Events that the window weighs.
    pub window_events: f64,
    /// Independent events that tell as much.
    pub effective_events: f64,
    /// The first event of the window in which it showed.
    pub since: Mark,
    /// The event at which it is told.
    pub at: Mark,
}

/// What a window shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Fields and what they are compared with.
    pub measures: Vec<(Against, Subject, FieldMeasures)>,
    /// Share of verdicts that are anomalous, where there are any.
    pub verdict_rate: Option<f64>,
    /// Share of verdicts that are late, where that can be told.
    pub late_share: Option<f64>,
    /// What begins and ends.
    pub changes: Vec<Change>,
    /// Drifts that are told and have not ended.
    pub active: usize,
}
