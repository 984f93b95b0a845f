//! What of a partition lies in its journal, and how it is read from there. Who wants it is not known
//! here.

use std::io;
use std::time::Duration;

use twinge_journal::{Journal, JournalError};

use crate::record::{Batch, Event};

/// How many bytes and records are read from the journal at once.
pub(super) const READ_BYTES: usize = 1 << 20;
pub(super) const READ_RECORDS: usize = 16_384;
/// A search walks one segment, so segments are kept smaller than the journal's default.
pub(super) const SEGMENT_BYTES_MAX: u64 = 8 << 20;
pub(super) const SEGMENTS_MIN: u64 = 8;
/// A message of 1 MiB and what a record adds.
pub(super) const RECORD_BYTES_MAX: u32 = 2 << 20;
/// What one append may take beyond the retention: a batch of very small events grows most.
pub(super) const JOURNAL_SLACK_BYTES: u64 = 64 << 20;

/// How much a partition keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    pub(crate) bytes: u64,
    pub(crate) age: Option<Duration>,
}

/// The state of a partition, as its properties tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The first sequence number that can be read.
    pub(crate) start: u64,
    /// One more than the last sequence number.
    pub(crate) end: u64,
    pub(crate) last_offset: Option<u64>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) last_enqueued_ms: Option<i64>,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("start a thread for the log")]
    Thread(#[source] io::Error),
    #[error("read the last event of the log: another version of the broker wrote it")]
    Version,
}

/// What the next event gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub(super) offset: u64,
    /// No event is enqueued before the one ahead of it, whatever the clock does.
    pub(super) enqueued_ms_min: i64,
}

pub(super) fn journal_settings(retention: Retention) -> twinge_journal::Settings {
    twinge_journal::Settings {
        segment_bytes: (retention.bytes / SEGMENTS_MIN).min(SEGMENT_BYTES_MAX),
        record_bytes_max: RECORD_BYTES_MAX,
        total_bytes_max: retention.bytes.saturating_add(JOURNAL_SLACK_BYTES),
    }
}

pub(super) fn recover(journal: &mut Journal) -> Result<(Summary, Next), OpenError> {
    let (start, end) = (journal.start(), journal.durable_end());
    let mut summary = Summary { start, end, last_offset: None, last_enqueued_ms: None };
    if start == end {
        return Ok((summary, Next { offset: 0, enqueued_ms_min: i64::MIN }));
    }
    let records = journal.read(end - 1, 1, 0)?;
    let record = records.first().map(|record| record.bytes.as_slice()).unwrap_or_default();
    let event = Event::parse(record).ok_or(OpenError::Version)?;
    summary.last_offset = Some(event.offset);
    summary.last_enqueued_ms = Some(event.enqueued_ms);
    let offset = event.offset + record.len() as u64;
    Ok((summary, Next { offset, enqueued_ms_min: event.enqueued_ms }))
}

/// Whether every event of the first segment is older than this.
pub(super) fn is_next_older(journal: &mut Journal, oldest_ms: i64) -> bool {
    let end = journal.durable_end();
    let next = journal.next_segment(journal.start()).filter(|next| *next < end);
    let batch = next.and_then(|next| first_of(journal, next).ok());
    let event = batch.as_ref().and_then(|batch| Event::parse(batch.records().next()?));
    event.is_some_and(|event| event.enqueued_ms < oldest_ms)
}

pub(super) fn first_of(journal: &mut Journal, from: u64) -> Result<Batch, JournalError> {
    Ok(into_batch(from, &journal.read(from, 1, 0)?))
}

pub(super) fn batch_of(journal: &mut Journal, from: u64) -> Result<Batch, JournalError> {
    Ok(into_batch(from, &journal.read(from, READ_RECORDS, READ_BYTES)?))
}

pub(super) fn into_batch(first: u64, records: &[twinge_journal::Record]) -> Batch {
    let mut batch = Batch { first, ..Batch::default() };
    for record in records {
        batch.push_record(&record.bytes);
    }
    batch
}
