//! How long messages wait for company before one sync of the journal serves them all.
//!
//! A sync costs the processor as much as dozens of events. So after one, messages gather for a
//! while before the next; the first after a pause waits for nobody. A broker that sends no more
//! than so many ahead of their acknowledgement would stand still in the meantime: that is seen, and
//! so many are then taken as soon as they are there.

use std::time::Duration;

/// From one sync to the next, while messages trickle in.
const PERIOD: Duration = Duration::from_millis(50);

/// Between two looks that tell whether more comes.
const LOOK: Duration = Duration::from_millis(5);

/// A broker that waits for acknowledgements sends at least this fast once it has them: 5,000
/// messages a second.
const EAGER: Duration = Duration::from_micros(200);

/// When to take messages that wait. Times are since any fixed moment.
#[derive(Debug)]
pub(crate) struct Linger {
    /// When messages were last acknowledged.
    acknowledged: Duration,
    /// How many they were, if no more came while these waited.
    stalled_at: Option<usize>,
    /// How many the broker seems to send ahead.
    window: Option<usize>,
    /// How many waited at the last look, and whether that was as many as at the one before.
    seen: usize,
    is_quiet: bool,
}

impl Linger {
    pub(crate) fn new() -> Self {
        Self {
            acknowledged: Duration::ZERO,
            stalled_at: None,
            window: None,
            seen: 0,
            is_quiet: false,
        }
    }

    /// How long until it is asked again; none when the `waiting` messages are to be taken now.
    pub(crate) fn wait(&mut self, waiting: usize, now: Duration) -> Option<Duration> {
        self.is_quiet = waiting == self.seen;
        self.seen = waiting;
        let since = now.saturating_sub(self.acknowledged);
        let left = PERIOD.checked_sub(since).filter(|left| !left.is_zero());
        if let Some(limit) = self.window.or(self.stalled_at) {
            let is_eager = since <= LOOK + EAGER * u32::try_from(limit).unwrap_or(u32::MAX);
            if is_eager && waiting >= limit {
                self.window = Some(limit);
                return None;
            }
            if is_eager {
                return left.map(|left| left.min(LOOK));
            }
            self.window = None;
        }
        // Once more shortly before the end, to see whether the broker has stopped sending.
        left.map(|left| if left > LOOK { left.saturating_sub(LOOK) } else { left })
    }

    /// Messages were acknowledged, and the broker may send again.
    pub(crate) fn acknowledged(&mut self, count: usize, now: Duration) {
        self.stalled_at = self.is_quiet.then_some(count);
        self.acknowledged = now;
        self.seen = 0;
        self.is_quiet = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a sync takes.
    const SYNC: Duration = Duration::from_millis(1);

    /// Ten seconds of a broker with messages `apart` that sends `window` ahead: messages taken, syncs,
    /// and the longest that one waited to be taken.
    fn ten_seconds(apart: Duration, window: usize) -> (usize, usize, Duration) {
        let mut linger = Linger::new();
        let (mut taken, mut syncs, mut longest) = (0, 0, Duration::ZERO);
        let mut now = Duration::from_secs(1);
        let end = now + Duration::from_secs(10);
        let born = |number: usize| Duration::from_secs(1) + apart * number as u32;
        while now < end {
            let due = (0..window).take_while(|ahead| born(taken + ahead) <= now).count();
            if due == 0 {
                now = born(taken);
                continue;
            }
            if let Some(pause) = linger.wait(due, now) {
                now += pause;
                continue;
            }
            longest = longest.max(now.saturating_sub(born(taken)));
            (taken, syncs, now) = (taken + due, syncs + 1, now + SYNC);
            linger.acknowledged(due, now);
        }
        (taken, syncs, longest)
    }

    #[test]
    fn a_steady_stream_shares_syncs_and_none_waits_longer_than_the_period() {
        for (apart_us, window) in [(1000, 5000), (3300, 5000), (450, 5000), (1000, 60)] {
            let (taken, syncs, longest) = ten_seconds(Duration::from_micros(apart_us), window);
            let expected = 10_000_000 / apart_us as usize;
            assert!(taken + 60 * 1000 / 450 >= expected, "{apart_us}: {taken} of {expected}");
            assert!(syncs <= 220, "{apart_us}: {syncs} syncs");
            assert!(longest <= PERIOD + SYNC, "{apart_us}: {longest:?}");
        }
    }

    #[test]
    fn a_lone_message_waits_for_nobody() {
        let (taken, syncs, longest) = ten_seconds(Duration::from_millis(200), 20);
        assert_eq!((taken, syncs, longest), (50, 50, Duration::ZERO));
    }

    /// Mosquitto sends 20 ahead, others 10: with a backlog they are never let stand for long.
    #[test]
    fn a_broker_that_waits_for_acknowledgements_is_not_kept_waiting() {
        for window in [10, 20, 100] {
            let (taken, ..) = ten_seconds(Duration::from_micros(10), window);
            let without_pauses = window * 10_000;
            assert!(taken * 10 >= without_pauses * 9, "window {window}: {taken}");
        }
    }

    #[test]
    fn a_stream_that_calms_down_shares_syncs_again() {
        let mut linger = Linger::new();
        let mut now = Duration::from_secs(1);
        // A backlog of a broker that sends 20 ahead.
        let mut pauses = Vec::new();
        for _ in 0..5 {
            let mut pause = Duration::ZERO;
            while let Some(more) = linger.wait(20, now) {
                (now, pause) = (now + more, pause + more);
            }
            pauses.push(pause);
            now += SYNC;
            linger.acknowledged(20, now);
        }
        assert!(pauses[1] >= LOOK && pauses[2..].iter().all(Duration::is_zero), "{pauses:?}");
        // Then one each millisecond.
        let begun = now;
        let mut waiting = 0;
        while waiting < 40 {
            now += SYNC;
            waiting += 1;
            if linger.wait(waiting, now).is_none() {
                break;
            }
        }
        let after = now.saturating_sub(begun);
        assert!(after >= PERIOD / 2, "taken after {after:?}");
    }
}
