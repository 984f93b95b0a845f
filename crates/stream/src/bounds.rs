//! Bounds of a pump.

use std::time::Duration;

/// Bounds of a pump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Events of a batch at most.
    pub batch_rows_max: usize,
    /// How long scoring a batch may take.
    pub batch_time: Duration,
    /// Events after which a checkpoint is taken.
    pub checkpoint_events: u64,
    /// Time after which a checkpoint is taken if there were events.
    pub checkpoint_interval: Duration,
    /// How long a sink or a store of checkpoints that fails is tried again before the program stops.
    pub sink_retry: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_rows_max: 1024,
            batch_time: Duration::from_millis(5),
            checkpoint_events: 50_000,
            checkpoint_interval: Duration::from_secs(5),
            sink_retry: Duration::from_secs(30),
        }
    }
}
