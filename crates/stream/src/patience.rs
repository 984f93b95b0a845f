//! How long something that fails is tried again, and how often that is told.

use std::time::Duration;
use tokio::time::Instant;

/// A trouble that stays is told again after so long.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// How long something that fails is tried again.
#[derive(Debug)]
pub(crate) struct Patience {
    began: Instant,
    limit: Duration,
    pause: Duration,
    told: Option<Instant>,
    has_tried_last: bool,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        let pause = Duration::from_millis(50);
        Self { began: Instant::now(), limit, pause, told: None, has_tried_last: false }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.began.elapsed() >= self.limit
    }

    /// At once, and then once in a while.
    pub(crate) fn is_to_be_told(&mut self) -> bool {
        let is_due = self.told.is_none_or(|told| told.elapsed() >= TOLD_AGAIN);
        if is_due {
            self.told = Some(Instant::now());
        }
        is_due
    }

    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(Duration::from_secs(2));
        pause
    }

    /// Whether there is one more try for a program that stops; there is one.
    pub(crate) fn last_try(&mut self) -> bool {
        !std::mem::replace(&mut self.has_tried_last, true)
    }
}
