//! Pauses before another try: growing, bounded, and different on each of many devices that lost the
//! same cloud at the same moment. Pure but for its first seed.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);
/// The longest that a cloud may ask for; one that asks for a week is asked again earlier.
const ASKED_MAX: Duration = Duration::from_hours(1);

/// Exponential pauses with jitter, from half a pause to a whole one.
#[derive(Debug)]
pub(crate) struct Pauses {
    next: Duration,
    random: u64,
}

impl Pauses {
    /// Pauses that differ from those of every other process.
    pub(crate) fn new() -> Self {
        Self::seeded(RandomState::new().hash_one("pauses"))
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        Self { next: FIRST, random: seed }
    }

    /// The next pause; no shorter than what the cloud asked for, and jittered beyond it, too.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.next.mul_f64(0.5 + self.random() / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        match asked {
            None => pause,
            Some(asked) => asked.min(ASKED_MAX) + pause.min(FIRST),
        }
    }

    /// Something arrived.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// From 0 to 1: `SplitMix64` (<https://prng.di.unimi.it/splitmix64.c>).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_start_over() {
        let mut pauses = Pauses::seeded(1);
        for bound in [1, 2, 4, 8, 16, 32, 60, 60] {
            let (pause, bound) = (pauses.next(None), Duration::from_secs(bound));
            assert!(pause >= bound / 2 && pause <= bound, "{pause:?} of {bound:?}");
        }
        pauses.reset();
        assert!(pauses.next(None) <= FIRST);
    }

    #[test]
    fn what_the_cloud_asks_for_is_the_least() {
        let mut pauses = Pauses::seeded(2);
        let asked = Duration::from_secs(7);
        let pause = pauses.next(Some(asked));
        assert!(pause >= asked && pause <= asked + FIRST, "{pause:?}");
        assert!(pauses.next(Some(Duration::from_hours(100))) <= ASKED_MAX + FIRST);
    }

    #[test]
    fn devices_do_not_come_back_at_the_same_moment() {
        let pauses: Vec<_> = (0..100).map(|seed| Pauses::seeded(seed).next(None)).collect();
        let early = pauses.iter().filter(|pause| **pause < Duration::from_millis(750)).count();
        assert!((30..=70).contains(&early), "{early} of 100 in the first half");
    }
}
