//! Above a rate, every second, fourth, eighth and so on event is enough.

use serde::{Deserialize, Serialize};

/// A rate is taken over so many ms at least.
const RATE_OVER_MS: i64 = 1000;

/// Events of which one is taken at most.
const STRIDE_MAX: u64 = 1 << 16;

/// Which events are taken, by their offsets and the times they came in: the same events, read again,
/// give the same choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stride {
    rate_max: u64,
    every: u64,
    began: Option<(u64, i64)>,
}

impl Stride {
    /// Takes all up to `rate_max` events a second, and about as many of more.
    pub fn new(rate_max: u32) -> Self {
        Self { rate_max: u64::from(rate_max.max(1)), every: 1, began: None }
    }

    /// Whether the event at `offset` that came in at `ingested_ms` (since 1970) is taken.
    pub fn takes(&mut self, offset: u64, ingested_ms: i64) -> bool {
        let (first, began_ms) = *self.began.get_or_insert((offset, ingested_ms));
        let passed_ms = ingested_ms.saturating_sub(began_ms);
        if passed_ms < 0 {
            self.began = Some((offset, ingested_ms));
        } else if passed_ms >= RATE_OVER_MS {
            let events = offset.saturating_sub(first);
            let allowed = self.rate_max.saturating_mul(passed_ms.unsigned_abs()) / 1000;
            self.every = events.div_ceil(allowed.max(1)).next_power_of_two().min(STRIDE_MAX);
            self.began = Some((offset, ingested_ms));
        }
        offset.is_multiple_of(self.every)
    }

    /// One in how many events is taken now.
    pub fn every(&self) -> u64 {
        self.every
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_stream_is_thinned_and_a_slow_one_is_not() {
        for (rate, every) in [(100, 1), (2000, 1), (2500, 2), (250_000, 128)] {
            let mut stride = Stride::new(2000);
            let taken =
                (0..rate * 10).filter(|o| stride.takes(*o, (o * 1000 / rate).cast_signed()));
            let taken = taken.count() as u64;
            assert_eq!(stride.every(), every);
            // All of the first second, and one in so many of the nine after it.
            assert!(taken.abs_diff(rate + 9 * rate / every) < 20, "{rate}: {taken}");
        }
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_changes_nothing() {
        let mut stride = Stride::new(2000);
        assert!((0..100_000).all(|offset| stride.takes(offset, 7)));
        assert!((0..100).all(|offset| stride.takes(offset, -5000)));
    }
}
