//! What a log's callers and its writer share: what waits to be written, and the newest events.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use twinge_journal::Journal;

use super::stored::Summary;
use crate::record::{Batch, Event};

/// How many bytes of the newest events are kept in memory, for receivers that keep up.
const RECENT_BYTES: usize = 4 << 20;

/// Why events were not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the partition has too much to write: try again later")]
    Busy,
    #[error("the disk failed or is full: see the broker's log")]
    Failed,
}

pub(super) type Done = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

pub(super) struct Shared {
    pub(super) name: String,
    pub(super) journal: Mutex<Journal>,
    pub(super) intake: Mutex<Intake>,
    pub(super) ready: Condvar,
    pub(super) tail: Mutex<Tail>,
    pub(super) listeners: Mutex<Vec<Arc<Notify>>>,
}

#[derive(Default)]
pub(super) struct Intake {
    pub(super) waiting: Vec<Request>,
    pub(super) bytes: usize,
    pub(super) closed: bool,
}

pub(super) struct Request {
    pub(super) batch: Batch,
    pub(super) done: Done,
}

/// The newest events, and the state they are part of.
pub(super) struct Tail {
    pub(super) batches: VecDeque<Arc<Batch>>,
    pub(super) bytes: usize,
    pub(super) summary: Summary,
}

impl Tail {
    pub(super) fn push(&mut self, batch: Batch) {
        let last = batch.end().checked_sub(1).and_then(|last| batch.record(last));
        if let Some(event) = last.and_then(Event::parse) {
            self.summary.last_offset = Some(event.offset);
            self.summary.last_enqueued_ms = Some(event.enqueued_ms);
        }
        self.summary.end = batch.end();
        self.bytes += batch.bytes.len();
        self.batches.push_back(Arc::new(batch));
        while self.bytes > RECENT_BYTES
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.bytes.len();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is consistent between calls, whatever happened to a thread.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
