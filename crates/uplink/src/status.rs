//! What a drain tells of itself. Does not know who asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

/// The figures of a drain at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    /// Records that the cloud took and that were released.
    pub sent: u64,
    /// Bytes of those records.
    pub sent_bytes: u64,
    /// Batches that the cloud took.
    pub batches: u64,
    /// Tries that failed because nothing could be sent.
    pub failures: u64,
    /// Records that the cloud will never take.
    pub refused: u64,
    /// For how long nothing could be sent, in seconds; `None` while the cloud is there.
    pub away_seconds: Option<f64>,
    /// Why the last try failed.
    pub last_error: Option<String>,
    /// Records that may go in a second.
    pub entries_per_second: f64,
    /// New records that come in, in a second.
    pub incoming_per_second: f64,
}

/// Where the figures of a running drain are read; clones read the same.
#[derive(Debug, Clone, Default)]
pub struct Figures(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    status: Status,
    away_since: Option<Instant>,
}

impl Figures {
    /// The figures now.
    pub fn status(&self) -> Status {
        let kept = self.kept();
        let away = kept.away_since.map(|since| since.elapsed().as_secs_f64());
        Status { away_seconds: away, ..kept.status.clone() }
    }

    /// A batch arrived; returns for how long the cloud was away before.
    pub(crate) fn sent(&self, records: usize, bytes: usize) -> Option<Duration> {
        let mut kept = self.kept();
        kept.status.batches += 1;
        kept.status.sent += records as u64;
        kept.status.sent_bytes += bytes as u64;
        kept.away_since.take().map(|since| since.elapsed())
    }

    /// A try failed.
    pub(crate) fn failed(&self, reason: &str) {
        let mut kept = self.kept();
        kept.status.failures += 1;
        kept.status.last_error = Some(reason.to_owned());
        kept.away_since.get_or_insert_with(Instant::now);
    }

    /// A record was refused; the cloud is there.
    pub(crate) fn refused(&self, reason: &str) {
        let mut kept = self.kept();
        kept.status.refused += 1;
        kept.status.last_error = Some(reason.to_owned());
        kept.away_since = None;
    }

    pub(crate) fn pace(&self, entries_per_second: f64, incoming_per_second: f64) {
        let mut kept = self.kept();
        kept.status.entries_per_second = entries_per_second;
        kept.status.incoming_per_second = incoming_per_second;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Counters are whole between calls, whatever happened to the thread that held them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
