//! What a watch knows of the windows before, which outlives a restart. How it decides is not known
//! here.

use crate::measure::Measure;
use crate::sketch::Sketch;
use crate::told::Mark;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What counts of a window when the next one has passed; against an anchor, whose business is slow,
/// the eighth root of it.
pub(crate) const KEPT: f64 = 0.5;
pub(crate) const KEPT_OF_ANCHOR: f64 = 0.917_004_043_204_671_2;

/// What a watch knows; it outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DriftState {
    pub(crate) sketches: Vec<Sketch>,
    /// Events of the running window, and the first of them.
    pub(crate) events: u32,
    pub(crate) began: Mark,
    pub(crate) next_offset: u64,
    pub(crate) windows: u64,
    pub(crate) verdicts: Share,
    pub(crate) late: Share,
    #[serde(with = "pairs")]
    pub(crate) episodes: BTreeMap<Key, Episode>,
}

/// A map as pairs: not every format has keys that are no texts.
mod pairs {
    use super::{BTreeMap, Episode, Key};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        episodes: &BTreeMap<Key, Episode>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        episodes.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<Key, Episode>, D::Error> {
        Ok(Vec::<(Key, Episode)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// How many of how many, the older the less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) part: f64,
    pub(crate) whole: f64,
    pub(crate) whole_squares: f64,
}

/// One cause is one episode, whatever measures show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) baseline: usize,
    pub(crate) field: usize,
    pub(crate) aspect: Aspect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Aspect {
    Values,
    Missing,
    Latency,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Episode {
    /// Windows in a row that crossed, or, once it is told, that did not.
    pub(crate) streak: u32,
    pub(crate) since: Mark,
    pub(crate) told: Option<Told>,
}

/// What was told when a drift began.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) measure: Measure,
    pub(crate) value: f64,
    pub(crate) expected: f64,
}

impl Share {
    pub(crate) fn note(&mut self, counts: bool) {
        self.part += f64::from(u8::from(counts));
        self.whole += 1.0;
        self.whole_squares += 1.0;
    }

    pub(crate) fn forget(&mut self) {
        self.part *= KEPT;
        self.whole *= KEPT;
        self.whole_squares *= KEPT * KEPT;
    }

    pub(crate) fn share(&self) -> Option<f64> {
        (self.whole > 0.0).then(|| self.part / self.whole)
    }
}

impl Aspect {
    /// That of the episode which a measure is about.
    pub(crate) fn of(measure: Measure) -> Self {
        match measure {
            Measure::Missing => Self::Missing,
            Measure::Latency => Self::Latency,
            Measure::Ks | Measure::Psi | Measure::Unseen | Measure::VerdictRate => Self::Values,
        }
    }
}
