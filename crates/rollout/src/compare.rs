//! Two modules on the same events, in figures.

use serde::{Deserialize, Serialize};
use twinge_trust::Digest;

/// Bins of a [`Sketch`].
pub const SKETCH_BINS: usize = 32;

/// What two modules said of the same events, since both judge them on this device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Events that both judged, neither of them warming up.
    pub compared: u64,
    /// The module whose verdicts count.
    pub acting: Side,
    /// The one beside it.
    pub other: Side,
}

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The module.
    pub digest: Digest,
    /// Compared events that it called anomalous.
    pub anomalies: u64,
    /// Those among them that the other did not.
    pub alone: u64,
    /// Events that it failed on, by a trap or a missed deadline, and the other did not.
    pub failures: u64,
    /// Events that it took, compared or not.
    pub events: u64,
    /// Time spent in it, microseconds.
    pub busy_us: u64,
    /// Its scores of compared events.
    pub scores: Sketch,
}

/// A distribution of scores that can be added up over a fleet: counts in steps of an eighth, the
/// last for all above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sketch(Vec<u64>);

/// No count is believed beyond this: nobody comes half as far by counting.
const COUNT_MAX: u64 = 1 << 62;

impl Side {
    fn is_plausible(&self) -> bool {
        let counts = [self.anomalies, self.alone, self.failures, self.events, self.busy_us];
        self.scores.0.len() <= SKETCH_BINS
            && counts.iter().chain(&self.scores.0).all(|count| *count <= COUNT_MAX)
    }

    /// Nothing seen yet.
    pub fn new(digest: Digest) -> Self {
        Self {
            digest,
            anomalies: 0,
            alone: 0,
            failures: 0,
            events: 0,
            busy_us: 0,
            scores: Sketch::default(),
        }
    }

    /// Adds what another device saw of the same module.
    pub fn add(&mut self, more: &Self) {
        self.anomalies = self.anomalies.saturating_add(more.anomalies);
        self.alone = self.alone.saturating_add(more.alone);
        self.failures = self.failures.saturating_add(more.failures);
        self.events = self.events.saturating_add(more.events);
        self.busy_us = self.busy_us.saturating_add(more.busy_us);
        self.scores.add(&more.scores);
    }
}

impl Comparison {
    /// Nothing compared yet.
    pub fn new(acting: Digest, other: Digest) -> Self {
        Self { compared: 0, acting: Side::new(acting), other: Side::new(other) }
    }

    /// Whether it can have come from comparing: one that was read from a file may hold anything.
    pub fn is_plausible(&self) -> bool {
        self.compared <= COUNT_MAX && self.acting.is_plausible() && self.other.is_plausible()
    }

    /// The side of a module and the one against it.
    pub fn sides(&self, digest: &Digest) -> Option<(&Side, &Side)> {
        if self.acting.digest == *digest {
            Some((&self.acting, &self.other))
        } else if self.other.digest == *digest {
            Some((&self.other, &self.acting))
        } else {
            None
        }
    }
}

impl Sketch {
    /// Counts a score.
    pub fn note(&mut self, score: f64) {
        // A cast of a float saturates, and makes zero of what is no number.
        let bin = ((score * 8.0) as usize).min(SKETCH_BINS - 1);
        if self.0.len() <= bin {
            self.0.resize(bin + 1, 0);
        }
        self.0[bin] += 1;
    }

    /// Adds another distribution; bins beyond the last are not believed.
    pub fn add(&mut self, more: &Self) {
        let length = more.0.len().min(SKETCH_BINS);
        if self.0.len() < length {
            self.0.resize(length, 0);
        }
        for (bin, count) in self.0.iter_mut().zip(&more.0) {
            *bin = bin.saturating_add(*count);
        }
    }

    /// The counts, without empty bins at the end.
    pub fn bins(&self) -> &[u64] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_nobody_comes_to_are_not_plausible() {
        let digest = Digest::of(b"module");
        let comparison = Comparison::new(digest, digest);
        assert!(comparison.is_plausible());
        let set: [fn(&mut Comparison); 4] = [
            |comparison| comparison.compared = COUNT_MAX + 1,
            |comparison| comparison.acting.busy_us = u64::MAX,
            |comparison| comparison.other.scores = Sketch(vec![u64::MAX]),
            |comparison| comparison.other.scores = Sketch(vec![0; SKETCH_BINS + 1]),
        ];
        for set in set {
            let mut changed = comparison.clone();
            set(&mut changed);
            assert!(!changed.is_plausible(), "{changed:?}");
        }
    }

    #[test]
    fn scores_fall_into_eighths() {
        let mut sketch = Sketch::default();
        for score in [0.0, 0.124, 0.125, 1.0, 99.0, f64::NAN, -1.0] {
            sketch.note(score);
        }
        assert_eq!((sketch.bins()[0], sketch.bins()[1], sketch.bins()[8]), (4, 1, 1));
        assert_eq!((sketch.bins().len(), sketch.bins()[31]), (SKETCH_BINS, 1));
        let mut sum = Sketch::default();
        sum.add(&sketch);
        sum.add(&sketch);
        assert_eq!(sum.bins()[0], 8);
    }
}
