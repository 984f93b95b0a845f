//! The share of events that become dead letters, detector by detector, over the last minutes.

use crate::finding::Fact;
use std::collections::{BTreeMap, VecDeque};
use twinge_contract::alert::AlertKind;
use twinge_contract::verdict::Severity;

/// Parts of a window: what is older than the window goes a part at a time.
const PARTS: i64 = 10;

/// When a share of dead letters is too large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QualityRules {
    /// Time looked back, ms.
    pub window_ms: i64,
    /// Share of the events that may be dead letters, 0 to 1.
    pub share_max: f64,
    /// Dead letters below which nothing is said: one of three events is a large share.
    pub letters_min: u64,
}

impl Default for QualityRules {
    fn default() -> Self {
        Self { window_ms: 300_000, share_max: 0.05, letters_min: 10 }
    }
}

/// Counts events and dead letters of each detector.
#[derive(Clone, Debug)]
pub struct DeadLetterShares {
    rules: QualityRules,
    detectors: BTreeMap<String, VecDeque<Part>>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    number: i64,
    events: u64,
    letters: u64,
}

impl DeadLetterShares {
    /// Counts nothing yet.
    pub fn new(rules: QualityRules) -> Self {
        Self { rules, detectors: BTreeMap::new() }
    }

    /// Counts `events` of a detector at `now_ms`, of which `letters` became dead letters.
    pub fn note(&mut self, detector: &str, events: u64, letters: u64, now_ms: i64) {
        let number = self.number(now_ms);
        if !self.detectors.contains_key(detector) {
            self.detectors.insert(detector.to_owned(), VecDeque::new());
        }
        let Some(parts) = self.detectors.get_mut(detector) else { return };
        match parts.back_mut() {
            // A clock that was set back does not open parts out of order.
            Some(last) if last.number >= number => {
                last.events += events;
                last.letters += letters;
            }
            _ => parts.push_back(Part { number, events, letters }),
        }
        while parts.len() > PARTS as usize + 1 {
            parts.pop_front();
        }
    }

    /// How it stands with each detector at `now_ms`.
    pub fn facts(&self, now_ms: i64) -> Vec<Fact> {
        let oldest = self.number(now_ms) - PARTS;
        let facts = self.detectors.iter().map(|(detector, parts)| {
            let parts = parts.iter().filter(|part| part.number > oldest);
            let (events, letters) =
                parts.fold((0, 0), |sum, part| (sum.0 + part.events, sum.1 + part.letters));
            let share = if events == 0 { 0.0 } else { letters as f64 / events as f64 };
            Fact {
                kind: AlertKind::DataQuality,
                detector: detector.clone(),
                entity: "dead-letters".into(),
                severity: if share >= 0.5 { Severity::High } else { Severity::Medium },
                message: format!(
                    "{letters} of {events} events in the last {} s could not be scored: read the dead letters for the reasons",
                    self.rules.window_ms / 1000
                ),
                value: Some(share),
                is_on: letters >= self.rules.letters_min && share > self.rules.share_max,
            }
        });
        facts.collect()
    }

    fn number(&self, now_ms: i64) -> i64 {
        now_ms.div_euclid((self.rules.window_ms / PARTS).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_on(shares: &DeadLetterShares, now_ms: i64) -> bool {
        shares.facts(now_ms).iter().any(|fact| fact.is_on)
    }

    #[test]
    fn a_share_counts_once_there_is_enough_of_it_and_goes_with_time() {
        let mut shares = DeadLetterShares::new(QualityRules::default());
        shares.note("pumps", 3, 3, 0);
        assert!(!is_on(&shares, 0), "three letters are too few to say anything");
        shares.note("pumps", 97, 7, 10_000);
        assert!(is_on(&shares, 10_000));
        assert!(is_on(&shares, 200_000));
        assert!(!is_on(&shares, 400_000), "what is older than the window is forgotten");
        shares.note("pumps", 100_000, 20, 410_000);
        assert!(!is_on(&shares, 410_000), "20 of 100,000 are few");
    }

    #[test]
    fn detectors_are_counted_apart_and_memory_is_bounded() {
        let mut shares = DeadLetterShares::new(QualityRules::default());
        for now in 0..1000 {
            shares.note("bad", 10, 10, now * 10_000);
            shares.note("good", 10, 0, now * 10_000);
        }
        let facts = shares.facts(9_990_000);
        let on: Vec<_> = facts.iter().map(|fact| (fact.detector.as_str(), fact.is_on)).collect();
        assert_eq!(on, [("bad", true), ("good", false)]);
        assert_eq!(facts[0].severity, Severity::High);
        assert!(shares.detectors.values().all(|parts| parts.len() <= PARTS as usize + 1));
    }
}
