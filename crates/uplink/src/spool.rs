//! The spool on disk as a backlog.

use std::sync::{Mutex, PoisonError};

use twinge_spool::{Importance, Queued, Spool};

use crate::backlog::{Backlog, BacklogError, Waiting};

impl Backlog for Mutex<Spool> {
    fn peek(&self, entries_max: usize, bytes_max: usize) -> Result<Vec<Waiting>, BacklogError> {
        // A spool is whole between calls, whatever happened to the thread that held it.
        let mut spool = self.lock().unwrap_or_else(PoisonError::into_inner);
        let found = spool.peek(entries_max, bytes_max)?;
        drop(spool);
        Ok(found.into_iter().map(Waiting::from).collect())
    }

    fn release(&self, through: u64) -> Result<(), BacklogError> {
        self.lock().unwrap_or_else(PoisonError::into_inner).release(through);
        Ok(())
    }

    fn may_wait(&self) -> bool {
        self.lock().unwrap_or_else(PoisonError::into_inner).may_wait()
    }
}

impl From<Queued> for Waiting {
    fn from(Queued { sequence, entry, .. }: Queued) -> Self {
        let is_urgent = entry.importance == Importance::Anomalous;
        Self { sequence, is_urgent, key: entry.key, bytes: entry.bytes }
    }
}
