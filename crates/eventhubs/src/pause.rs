//! Pauses before another try: growing, bounded, and different for each of many that failed together.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses without an end.
#[derive(Debug)]
pub(crate) struct Pauses(ExponentialBackoff);

impl Default for Pauses {
    fn default() -> Self {
        let builder = ExponentialBuilder::default().with_min_delay(FIRST).with_max_delay(LONGEST);
        Self(builder.with_jitter().without_max_times().build())
    }
}

impl Pauses {
    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        // Jitter adds up to the pause itself.
        self.0.next().unwrap_or(LONGEST).min(LONGEST)
    }
}
