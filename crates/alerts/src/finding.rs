//! What is found: findings, which happened once, and facts, which are so or are not.
//!
//! Nothing here knows of episodes, or of when somebody is told.

use crate::EVERYTHING;
use twinge_contract::alert::AlertKind;
use twinge_contract::silence::Silence;
use twinge_contract::verdict::{Contribution, Origin, Severity, Verdict};

/// A finding: something that happened once.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: AlertKind,
    /// Who found it.
    pub detector: String,
    /// What it is about.
    pub entity: String,
    /// Equal for all deliveries of it.
    pub id: String,
    /// When the event behind it came in, milliseconds since 1970.
    pub at_ms: i64,
    /// How bad.
    pub severity: Severity,
    /// The score, where it has one.
    pub score: Option<f64>,
    /// What made the score, largest first.
    pub attribution: Vec<Contribution>,
    /// What happened, in a sentence.
    pub message: String,
    /// Where in its stream it was found, if findings come in that order.
    pub place: Option<Place>,
}

/// A place in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Source and partition.
    pub stream: String,
    /// The offset.
    pub offset: u64,
}

impl Finding {
    /// The finding of an anomalous verdict on an event that came in at `at_ms`.
    pub fn anomaly(detector: &str, verdict: &Verdict, at_ms: i64) -> Self {
        let data = &verdict.data;
        let fields: Vec<_> =
            data.attribution.iter().take(3).map(|part| part.field.as_str()).collect();
        let because = if fields.is_empty() {
            String::new()
        } else {
            format!(", mostly by {}", fields.join(", "))
        };
        Self {
            kind: AlertKind::Anomaly,
            detector: detector.to_owned(),
            entity: verdict.subject.clone(),
            id: verdict.id.clone(),
            at_ms,
            severity: data.severity,
            score: Some(data.score),
            attribution: data.attribution.clone(),
            message: format!("{} has a score of {:.2}{because}", verdict.subject, data.score),
            place: Some(place(&data.origin)),
        }
    }

    /// The finding that an entity stopped sending, made at `at_ms`.
    pub fn silence(detector: &str, silence: &Silence, at_ms: i64) -> Self {
        let who = if silence.subject == EVERYTHING { "everything" } else { &silence.subject };
        Self {
            kind: AlertKind::Silence,
            detector: detector.to_owned(),
            entity: silence.subject.clone(),
            id: silence.id.clone(),
            at_ms,
            severity: silence.data.severity,
            score: None,
            attribution: Vec::new(),
            message: format!(
                "no event of {who} since {}; there is usually one every {:.0} s",
                silence.time, silence.data.usual_gap_s
            ),
            // Its origin is the last event, which lies behind what came since.
            place: None,
        }
    }
}

fn place(origin: &Origin) -> Place {
    let stream = format!("{}\n{}", origin.source, origin.partition);
    Place { stream, offset: origin.offset }
}

/// A condition: something that is so, or is not, whenever one looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// What it is.
    pub kind: AlertKind,
    /// The detector that it is about; [`EVERYTHING`] for the whole program.
    pub detector: String,
    /// What of it: a field, a partition, a word such as `dead-letters`.
    pub entity: String,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, in a sentence.
    pub message: String,
    /// How much, where it is a figure.
    pub value: Option<f64>,
    /// Whether it is so.
    pub is_on: bool,
}
