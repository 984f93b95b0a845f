//! How fast a backlog is sent. Pure: is told the time and knows no clock.
//!
//! After weeks offline a backlog is large and the link is small. A token bucket lets through
//! `entries_per_second`, so that the rest of the link stays free for others. But a limit below the
//! rate at which new records come in would never catch up; so the limit rises by itself to twice
//! the measured rate of new ones, and a backlog always shrinks at least as fast as it grows.

use std::time::Duration;

/// Over how long the rate of new records is averaged. Short, so that a limit that is too low is
/// soon lifted.
const AVERAGED: Duration = Duration::from_secs(5);
/// How much of what comes in the limit lets out.
const CATCHING_UP: f64 = 2.0;
/// The bucket holds what may be sent in this long: a burst after a lull goes at once.
const BURST: Duration = Duration::from_secs(1);

/// A token bucket with a limit that follows what comes in. Times are since any fixed moment.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    floor: f64,
    incoming: f64,
    tokens: f64,
    seen: u64,
    now: Duration,
}

impl Pace {
    /// A full bucket. `seen` is how many records came in so far.
    pub(crate) fn new(entries_per_second: f64, seen: u64, now: Duration) -> Self {
        let mut pace = Self { floor: entries_per_second, incoming: 0.0, tokens: 0.0, seen, now };
        pace.tokens = pace.capacity();
        pace
    }

    /// Lets time pass; `seen` is how many records came in until now.
    pub(crate) fn advance(&mut self, now: Duration, seen: u64) {
        let elapsed = now.saturating_sub(self.now).as_secs_f64();
        if elapsed <= 0.0 {
            return;
        }
        let arrived = seen.saturating_sub(self.seen) as f64;
        // An exponential average that does not depend on how often it is asked.
        let weight = 1.0 - (-elapsed / AVERAGED.as_secs_f64()).exp();
        self.incoming += (arrived / elapsed - self.incoming) * weight;
        (self.now, self.seen) = (now, seen);
        let rate = self.rate();
        self.tokens = (self.tokens + rate * elapsed).min(self.capacity());
    }

    /// How many records may go in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.floor.max(self.incoming * CATCHING_UP)
    }

    /// How many new records come in, in a second.
    pub(crate) fn incoming(&self) -> f64 {
        self.incoming
    }

    /// How many may go now.
    pub(crate) fn available(&self) -> usize {
        self.tokens.max(0.0) as usize
    }

    /// How long until so many may go. What the bucket cannot hold goes when it is full.
    pub(crate) fn wait_for(&self, entries: usize) -> Duration {
        let rate = self.rate();
        let wanted = (entries as f64).min(self.capacity());
        Duration::from_secs_f64(((wanted - self.tokens) / rate).clamp(0.0, 3_600.0))
    }

    /// What the bucket holds; never less than a record, or none would ever go.
    fn capacity(&self) -> f64 {
        (self.rate() * BURST.as_secs_f64()).max(1.0)
    }

    /// So many go. The bucket may be overdrawn by those that go as one.
    pub(crate) fn take(&mut self, entries: usize) {
        self.tokens -= entries as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    /// Sends whatever the pace allows and returns how much is left of a backlog after `seconds`.
    fn drained(floor: f64, incoming_per_tick: u64, mut backlog: u64, seconds: u32) -> u64 {
        let mut now = Duration::ZERO;
        let mut pace = Pace::new(floor, 0, now);
        let mut seen = 0;
        for _ in 0..seconds * 100 {
            now += TICK;
            seen += incoming_per_tick;
            backlog += incoming_per_tick;
            pace.advance(now, seen);
            let sent = backlog.min(pace.available() as u64);
            pace.take(sent as usize);
            backlog -= sent;
        }
        backlog
    }

    #[test]
    fn a_backlog_goes_at_the_limit() {
        let left = drained(500.0, 0, 100_000, 60);
        let sent = 100_000 - left;
        // A full bucket more than sixty seconds' worth.
        assert!((30_000..=30_510).contains(&sent), "{sent}");
    }

    #[test]
    fn it_catches_up_with_more_than_the_limit() {
        // 2,000 a second come in, four times the limit.
        assert!(drained(500.0, 20, 0, 60) < 4_000);
        let left = drained(500.0, 20, 50_000, 60);
        assert!(left < 100, "after a minute at twice the rate nothing is left: {left}");
    }

    #[test]
    fn waits_end_when_there_is_enough() {
        let mut pace = Pace::new(100.0, 0, Duration::ZERO);
        assert_eq!((pace.available(), pace.wait_for(100)), (100, Duration::ZERO));
        pace.take(100);
        assert_eq!((pace.available(), pace.wait_for(50)), (0, Duration::from_millis(500)));
        // More than the bucket holds is not waited for: it would never be there.
        assert_eq!(pace.wait_for(10_000), Duration::from_secs(1));
        pace.advance(Duration::from_millis(500), 0);
        assert_eq!((pace.available(), pace.wait_for(50)), (50, Duration::ZERO));
    }

    #[test]
    fn a_slow_limit_still_lets_single_records_through() {
        let mut pace = Pace::new(0.5, 0, Duration::ZERO);
        assert_eq!(pace.wait_for(1), Duration::ZERO);
        pace.take(1);
        assert_eq!(pace.wait_for(1), Duration::from_secs(2));
        let left = drained(0.5, 0, 100, 60);
        assert!((69..=70).contains(&left), "one at once, then one every two seconds: {left}");
    }

    #[test]
    fn the_rate_of_new_records_is_the_same_however_often_it_is_asked() {
        for step in [1_u64, 10, 100] {
            let mut pace = Pace::new(1.0, 0, Duration::ZERO);
            for tick in 1..=3_000 / step {
                pace.advance(TICK * u32::try_from(tick * step).unwrap(), tick * step * 3);
            }
            assert!((pace.incoming() - 300.0).abs() < 3.0, "{}", pace.incoming());
        }
    }
}
