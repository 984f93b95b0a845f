//! When to ping the broker and when to hold it for dead. Knows no clock and no socket.

use std::time::{Duration, Instant};

/// What a look at the pulse finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// There was traffic both ways, or an answer may still come.
    Quiet,
    /// It is time to ask whether the broker lives.
    Ping,
    /// The last ping had no answer for a whole keep-alive interval.
    Dead,
}

/// The traffic on one connection, as far as keeping it alive goes.
#[derive(Debug)]
pub(crate) struct Pulse {
    keep_alive: Duration,
    sent: Instant,
    received: Instant,
    /// Since when an answer to a ping is awaited.
    asked: Option<Instant>,
}

impl Pulse {
    pub(crate) fn new(keep_alive: Duration, now: Instant) -> Self {
        Self { keep_alive, sent: now, received: now, asked: None }
    }

    /// How often [`Self::look`] wants to be called.
    pub(crate) fn interval(&self) -> Duration {
        (self.keep_alive / 4).max(Duration::from_millis(50))
    }

    pub(crate) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Anything that comes in shows that the broker lives.
    pub(crate) fn received(&mut self, now: Instant) {
        self.received = now;
        self.asked = None;
    }

    /// Looks at the pulse. While reading is paused no answer can be seen, so none is missed;
    /// pings go on, for the broker counts them.
    pub(crate) fn look(&mut self, now: Instant, reading_paused: bool) -> Beat {
        if reading_paused {
            self.asked = None;
        }
        if let Some(asked) = self.asked
            && now.duration_since(asked) >= self.keep_alive
        {
            return Beat::Dead;
        }
        let half = self.keep_alive / 2;
        let idle_out = now.duration_since(self.sent) >= half;
        let idle_in = now.duration_since(self.received) >= half;
        if idle_out || (idle_in && self.asked.is_none()) {
            self.asked = self.asked.or(Some(now));
            return Beat::Ping;
        }
        Beat::Quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(10);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_silent_line_is_pinged_and_a_silent_broker_is_dead() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEP_ALIVE, start);
        assert_eq!(pulse.look(at(start, 4), false), Beat::Quiet);
        assert_eq!(pulse.look(at(start, 5), false), Beat::Ping);
        pulse.sent(at(start, 5));
        assert_eq!(pulse.look(at(start, 9), false), Beat::Quiet);
        assert_eq!(pulse.look(at(start, 15), false), Beat::Dead);
    }

    #[test]
    fn an_answer_settles_the_ping() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEP_ALIVE, start);
        assert_eq!(pulse.look(at(start, 5), false), Beat::Ping);
        pulse.sent(at(start, 5));
        pulse.received(at(start, 6));
        assert_eq!(pulse.look(at(start, 9), false), Beat::Quiet);
        assert_eq!(pulse.look(at(start, 11), false), Beat::Ping);
    }

    #[test]
    fn sending_alone_proves_nothing_and_receiving_alone_keeps_nothing_alive() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEP_ALIVE, start);
        pulse.sent(at(start, 5));
        assert_eq!(pulse.look(at(start, 5), false), Beat::Ping);
        let mut pulse = Pulse::new(KEEP_ALIVE, start);
        pulse.received(at(start, 5));
        assert_eq!(pulse.look(at(start, 5), false), Beat::Ping);
    }

    #[test]
    fn while_reading_is_paused_pings_go_out_and_no_answer_is_missed() {
        let start = Instant::now();
        let mut pulse = Pulse::new(KEEP_ALIVE, start);
        for seconds in (5..100).step_by(5) {
            assert_eq!(pulse.look(at(start, seconds), true), Beat::Ping);
            pulse.sent(at(start, seconds));
        }
    }
}
