//! How many events make a batch: those that have arrived, but no more than are scored within a bound,
//! so that a slow detector does not let the first verdict of a batch wait for the last.
//!
//! Nothing waits for a batch to fill, so a quiet stream answers at once. What a batch has never
//! changes a verdict.

use std::time::Duration;

/// Events of the first batch, when nothing is known.
const ROWS_AT_FIRST: usize = 64;

/// Weight of the latest batch in what an event is taken to cost.
const GAIN: f64 = 0.25;

/// Learns what an event costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pacer {
    rows_max: usize,
    bound: Duration,
    /// Seconds an event, once known.
    cost: Option<f64>,
}

impl Pacer {
    pub(crate) fn new(rows_max: usize, bound: Duration) -> Self {
        Self { rows_max, bound, cost: None }
    }

    /// Events that the next batch may have.
    pub(crate) fn rows(&self) -> usize {
        let rows = match self.cost {
            None => ROWS_AT_FIRST,
            // Of no cost at all a float says infinity, which is the largest number of rows.
            Some(cost) => (self.bound.as_secs_f64() / cost) as usize,
        };
        rows.clamp(1, self.rows_max)
    }

    /// Takes note of a batch and how long it was scored.
    pub(crate) fn note(&mut self, rows: usize, time: Duration) {
        if rows == 0 {
            return;
        }
        let latest = time.as_secs_f64() / rows as f64;
        self.cost = Some(self.cost.map_or(latest, |cost| cost + GAIN * (latest - cost)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(5);

    #[test]
    fn batches_are_as_large_as_the_bound_allows() {
        let mut pacer = Pacer::new(1024, BOUND);
        assert_eq!(pacer.rows(), 64);
        for _ in 0..20 {
            let rows = pacer.rows();
            pacer.note(rows, Duration::from_micros(50) * rows as u32);
        }
        assert_eq!(pacer.rows(), 100);
    }

    #[test]
    fn a_fast_detector_fills_them_and_the_slowest_gets_one() {
        let mut pacer = Pacer::new(1024, BOUND);
        pacer.note(64, Duration::ZERO);
        assert_eq!(pacer.rows(), 1024);
        pacer.note(0, Duration::from_secs(9));
        assert_eq!(pacer.rows(), 1024, "a batch of nothing tells nothing");
        for _ in 0..40 {
            pacer.note(1, Duration::from_secs(1));
        }
        assert_eq!(pacer.rows(), 1);
        assert_eq!(Pacer::new(8, BOUND).rows(), 8);
    }
}
