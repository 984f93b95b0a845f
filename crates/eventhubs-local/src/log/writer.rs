//! The thread that appends what waits, syncs it, and removes what is too old. Who waits for an answer
//! is not known here.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use twinge_journal::Journal;
use twinge_platform::Clock;

use super::shared::{AppendError, Intake, Request, Shared, lock};
use super::stored::{Next, Retention, is_next_older, recover};

/// How often old events are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

/// Appends and syncs until the log is dropped.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) retention: Retention,
    pub(super) next: Next,
    pub(super) expired_ms: u64,
}

impl Writer {
    pub(super) fn run(&mut self) {
        while let Some(group) = self.wait() {
            if !group.is_empty() {
                self.write(group);
            }
            self.expire();
        }
    }

    /// Everything that waits; empty when it is only time to look for old events.
    fn wait(&self) -> Option<Vec<Request>> {
        let intake = lock(&self.shared.intake);
        let idle = |intake: &mut Intake| intake.waiting.is_empty() && !intake.closed;
        let mut intake = if self.retention.age.is_some() {
            let waited = self.shared.ready.wait_timeout_while(intake, EXPIRY_INTERVAL, idle);
            waited.unwrap_or_else(PoisonError::into_inner).0
        } else {
            let waited = self.shared.ready.wait_while(intake, idle);
            waited.unwrap_or_else(PoisonError::into_inner)
        };
        if intake.closed && intake.waiting.is_empty() {
            return None;
        }
        intake.bytes = 0;
        Some(std::mem::take(&mut intake.waiting))
    }

    fn write(&mut self, mut group: Vec<Request>) {
        let shared = Arc::clone(&self.shared);
        let mut journal = lock(&shared.journal);
        let now_ms = self.clock.now_ms();
        let appended: Vec<_> =
            group.iter_mut().map(|request| self.append(&mut journal, request, now_ms)).collect();
        let synced = journal.sync();
        if let Err(error) = &synced {
            tracing::error!(partition = shared.name, %error, "events could not be kept");
            self.recover(&mut journal);
        }
        let start = journal.start();
        drop(journal);
        let mut answers = Vec::with_capacity(group.len());
        let mut tail = lock(&shared.tail);
        tail.summary.start = start;
        for (Request { batch, done }, appended) in group.into_iter().zip(appended) {
            let is_kept = synced.is_ok() && appended;
            if is_kept {
                tail.push(batch);
            }
            answers.push((done, if is_kept { Ok(()) } else { Err(AppendError::Failed) }));
        }
        drop(tail);
        for listener in lock(&shared.listeners).iter() {
            listener.notify_one();
        }
        for (done, answer) in answers {
            done(answer);
        }
    }

    fn append(&mut self, journal: &mut Journal, request: &mut Request, now_ms: i64) -> bool {
        let batch = &mut request.batch;
        let enqueued_ms = self.next.enqueued_ms_min.max(now_ms);
        let offset = batch.stamp(enqueued_ms, self.next.offset);
        let needed_bytes = batch.bytes.len() + 16 * batch.ends.len();
        self.make_room(journal, needed_bytes as u64);
        match journal.append(batch.records()) {
            Ok(sequences) => {
                batch.first = sequences.start;
                self.next = Next { offset, enqueued_ms_min: enqueued_ms };
                true
            }
            Err(error) => {
                tracing::error!(partition = self.shared.name, %error, "events could not be written");
                false
            }
        }
    }

    /// Releases the oldest segments, so that the log never refuses an event for its size.
    fn make_room(&self, journal: &mut Journal, needed_bytes: u64) {
        while journal.bytes() + needed_bytes > self.retention.bytes && self.release_first(journal) {
        }
    }

    /// Releases the oldest segment unless the last event is in it: that one remembers the offset.
    fn release_first(&self, journal: &mut Journal) -> bool {
        let start = journal.start();
        let Some(next) = journal.next_segment(start).filter(|next| *next < journal.durable_end())
        else {
            return false;
        };
        if let Err(error) = journal.release(next) {
            tracing::warn!(partition = self.shared.name, %error, "old events stay");
        }
        journal.start() > start
    }

    fn expire(&mut self) {
        let now_ms = self.clock.monotonic_ms();
        let Some(age) = self.retention.age else { return };
        if now_ms.saturating_sub(self.expired_ms) < EXPIRY_INTERVAL.as_millis() as u64 {
            return;
        }
        self.expired_ms = now_ms;
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = self.clock.now_ms().saturating_sub(age_ms);
        let mut journal = lock(&self.shared.journal);
        while is_next_older(&mut journal, oldest_ms) && self.release_first(&mut journal) {}
        let start = journal.start();
        drop(journal);
        lock(&self.shared.tail).summary.start = start;
    }

    /// After a failed sync only the journal knows which events it has.
    fn recover(&mut self, journal: &mut Journal) {
        let mut tail = lock(&self.shared.tail);
        tail.batches.clear();
        tail.bytes = 0;
        match recover(journal) {
            // Offsets may skip, but must not be given twice.
            Ok((summary, next)) => {
                tail.summary = summary;
                self.next.offset = self.next.offset.max(next.offset);
            }
            Err(error) => {
                tail.summary.end = journal.durable_end();
                tracing::error!(partition = self.shared.name, %error, "the log cannot be read");
            }
        }
    }
}
