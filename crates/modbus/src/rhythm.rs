//! When to poll next. Knows only the time that it is told.

use std::time::Duration;
use tokio::time::Instant;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Ticks at a fixed distance from each other: one that comes late does not move those after it.
#[derive(Debug)]
pub(crate) struct Rhythm {
    next: Instant,
    every: Duration,
}

/// How long a device that does not answer is left alone: twice as long after each round.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    pause: Duration,
}

impl Rhythm {
    /// The first tick is `now`. `every` is not zero.
    pub(crate) fn new(now: Instant, every: Duration) -> Self {
        Self { next: now, every }
    }

    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// The tick was worked on, and there should be none before `ready`. Answers with how many ticks
    /// are passed over for that.
    pub(crate) fn advance(&mut self, ready: Instant) -> u64 {
        let late = ready.saturating_duration_since(self.next + self.every);
        let skipped = u64::try_from(late.as_nanos().div_ceil(self.every.as_nanos()))
            .expect("a device is polled for less than centuries");
        self.next += self.every;
        self.next += Duration::from_nanos_u128(self.every.as_nanos() * u128::from(skipped));
        skipped
    }
}

impl Backoff {
    /// The device answered.
    pub(crate) fn reset(&mut self) {
        self.pause = Duration::ZERO;
    }

    /// It did not: so long it should be left alone.
    pub(crate) fn grow(&mut self) -> Duration {
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_rounds_skip_ticks_and_move_none() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rhythm = Rhythm::new(start, Duration::from_millis(100));
        assert_eq!((rhythm.advance(at(30)), rhythm.next()), (0, at(100)));
        assert_eq!((rhythm.advance(at(200)), rhythm.next()), (0, at(200)), "just in time");
        assert_eq!((rhythm.advance(at(301)), rhythm.next()), (1, at(400)));
        assert_eq!((rhythm.advance(at(950)), rhythm.next()), (5, at(1000)));
        assert_eq!((rhythm.advance(at(0)), rhythm.next()), (0, at(1100)), "never back");
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.grow(), PAUSE_MIN);
        assert_eq!(backoff.grow(), PAUSE_MIN * 2);
        for _ in 0..40 {
            backoff.grow();
        }
        assert_eq!(backoff.grow(), PAUSE_MAX);
        backoff.reset();
        assert_eq!(backoff.grow(), PAUSE_MIN);
    }
}
