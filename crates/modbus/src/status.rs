//! What others may know of a device, and when its troubles are told.

use serde::Serialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

const TELL_EVERY: Duration = Duration::from_mins(1);

/// What has happened on a device since its poller began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Rounds of requests.
    pub polls: u64,
    /// Rounds that gave a row.
    pub readings: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Requests that got no answer in time.
    pub timeouts: u64,
    /// Requests that were answered with an exception.
    pub exceptions: u64,
    /// Connections that were refused or broke, and answers that were none.
    pub faults: u64,
    /// Ticks passed over because a round took too long or the device is left alone for a while.
    pub ticks_skipped: u64,
    /// Ticks passed over because nobody took the rows of before.
    pub ticks_without_room: u64,
}

/// A device at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Host, port and unit.
    pub device: String,
    /// Whose values these are.
    pub entity: String,
    /// Whether there is a connection.
    pub connected: bool,
    /// The latest trouble, also when it is over.
    pub last_error: Option<String>,
    /// When that was, in milliseconds since 1970.
    pub last_error_ms: Option<i64>,
    /// Time of the latest row, in milliseconds since 1970.
    pub last_reading_ms: Option<i64>,
    /// What is counted.
    pub figures: Figures,
}

/// A view of a device that outlives its poller; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<Status>>);

impl Watch {
    pub(crate) fn new(status: Status) -> Self {
        Self(Arc::new(Mutex::new(status)))
    }

    /// The device now.
    pub fn status(&self) -> Status {
        self.lock().clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        // Figures are set one by one; a thread that died left none of them half set.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells troubles of a device at most once a minute.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    told: Option<Instant>,
    untold: u64,
    in_trouble: bool,
}

impl Teller {
    /// Something went wrong. Answers with how often it did since it was told, if it is time to.
    pub(crate) fn trouble(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < TELL_EVERY) {
            return None;
        }
        (self.told, self.in_trouble) = (Some(now), true);
        Some(std::mem::take(&mut self.untold))
    }

    /// Nothing went wrong. Whether that is news.
    pub(crate) fn is_over(&mut self) -> bool {
        std::mem::take(&mut self.in_trouble)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_told_once_a_minute_with_their_number() {
        let (mut teller, start) = (Teller::default(), Instant::now());
        assert!(!teller.is_over(), "there was none");
        assert_eq!(teller.trouble(start), Some(1));
        assert_eq!(teller.trouble(start + Duration::from_secs(1)), None);
        assert!(teller.is_over());
        assert!(!teller.is_over(), "told already");
        assert_eq!(teller.trouble(start + Duration::from_secs(59)), None);
        assert!(!teller.is_over(), "its return was not told either");
        assert_eq!(teller.trouble(start + TELL_EVERY), Some(3));
    }
}
