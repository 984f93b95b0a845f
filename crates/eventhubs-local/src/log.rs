//! A partition: a log of events on a journal, written by a thread of its own in groups, with its
//! newest events in memory. Does not know who sends and who receives.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;
use twinge_journal::{Journal, JournalError};
use twinge_platform::{Clock, Disk};

use crate::record::{Batch, Event};
use crate::selector::Start;

/// How many bytes of the newest events are kept in memory, for receivers that keep up.
const RECENT_BYTES: usize = 4 << 20;
/// How many bytes may wait to be written before senders are told to come back later.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// How many bytes and records are read from the journal at once.
const READ_BYTES: usize = 1 << 20;
const READ_RECORDS: usize = 16_384;
/// A search walks one segment, so segments are kept smaller than the journal's default.
const SEGMENT_BYTES_MAX: u64 = 8 << 20;
const SEGMENTS_MIN: u64 = 8;
/// A message of 1 MiB and what a record adds.
const RECORD_BYTES_MAX: u32 = 2 << 20;
/// What one append may take beyond the retention: a batch of very small events grows most.
const JOURNAL_SLACK_BYTES: u64 = 64 << 20;
/// How often old events are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

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

/// Why events were not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AppendError {
    #[error("the partition has too much to write: try again later")]
    Busy,
    #[error("the disk failed or is full: see the broker's log")]
    Failed,
}

/// Why a receiver cannot start where it wants to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    #[error("the supplied {what} {value} is invalid: the last in the partition is {last}")]
    Beyond { what: &'static str, value: i64, last: i64 },
    #[error("the log cannot be read")]
    Journal(#[from] JournalError),
}

type Done = Box<dyn FnOnce(Result<(), AppendError>) + Send>;

/// A partition's log. Dropping it writes what waits and ends the thread.
pub(crate) struct Log {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

struct Shared {
    name: String,
    journal: Mutex<Journal>,
    intake: Mutex<Intake>,
    ready: Condvar,
    tail: Mutex<Tail>,
    listeners: Mutex<Vec<Arc<Notify>>>,
}

#[derive(Default)]
struct Intake {
    waiting: Vec<Request>,
    bytes: usize,
    closed: bool,
}

struct Request {
    batch: Batch,
    done: Done,
}

/// The newest events, and the state they are part of.
struct Tail {
    batches: VecDeque<Arc<Batch>>,
    bytes: usize,
    summary: Summary,
}

impl Log {
    pub(crate) fn open(
        name: &str,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        directory: &Path,
        retention: Retention,
    ) -> Result<Self, OpenError> {
        let mut journal = Journal::open(disk, directory, journal_settings(retention))?;
        let (summary, next) = recover(&mut journal)?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            journal: Mutex::new(journal),
            intake: Mutex::default(),
            ready: Condvar::new(),
            tail: Mutex::new(Tail { batches: VecDeque::new(), bytes: 0, summary }),
            listeners: Mutex::default(),
        });
        let mut writer =
            Writer { shared: Arc::clone(&shared), clock, retention, next, expired_ms: 0 };
        let thread = std::thread::Builder::new().name(format!("log {name}"));
        let writer = thread.spawn(move || writer.run()).map_err(OpenError::Thread)?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Appends all the events or none; `done` is called once they survive a power cut.
    pub(crate) fn append(
        &self,
        batch: Batch,
        done: impl FnOnce(Result<(), AppendError>) + Send + 'static,
    ) {
        let mut intake = lock(&self.shared.intake);
        if intake.bytes >= WAITING_BYTES_MAX {
            drop(intake);
            return done(Err(AppendError::Busy));
        }
        intake.bytes += batch.bytes.len();
        intake.waiting.push(Request { batch, done: Box::new(done) });
        drop(intake);
        self.shared.ready.notify_one();
    }

    pub(crate) fn summary(&self) -> Summary {
        lock(&self.shared.tail).summary
    }

    /// Rings this bell whenever there are new events.
    pub(crate) fn listen(&self, bell: &Arc<Notify>) {
        lock(&self.shared.listeners).push(Arc::clone(bell));
    }

    /// Takes one [`listen`](Self::listen) back.
    pub(crate) fn unlisten(&self, bell: &Arc<Notify>) {
        let mut listeners = lock(&self.shared.listeners);
        if let Some(index) = listeners.iter().position(|listener| Arc::ptr_eq(listener, bell)) {
            listeners.swap_remove(index);
        }
    }

    /// Events from this sequence number on if they are in memory. Never waits for the disk.
    pub(crate) fn recent(&self, from: u64) -> Option<Arc<Batch>> {
        let tail = lock(&self.shared.tail);
        let index = tail.batches.partition_point(|batch| batch.end() <= from);
        tail.batches.get(index).filter(|batch| batch.first <= from).map(Arc::clone)
    }

    /// Reads events from this sequence number on, or from the first that is kept. Blocks.
    pub(crate) fn read(&self, from: u64) -> Result<Batch, JournalError> {
        let mut journal = lock(&self.shared.journal);
        let from = from.max(journal.start());
        if from >= journal.durable_end() {
            return Ok(Batch { first: from, ..Batch::default() });
        }
        match journal.read(from, READ_RECORDS, READ_BYTES) {
            Err(error @ JournalError::Corrupt { .. }) => {
                // A receiver that could not go past it would stand still for ever.
                let next = journal.next_segment(from).ok_or(error)?;
                tracing::error!(partition = self.shared.name, from, next, "skip damaged events");
                batch_of(&mut journal, next)
            }
            Err(error) => Err(error),
            Ok(records) => Ok(into_batch(from, &records)),
        }
    }

    /// The sequence number of the first event that a receiver wants. Blocks.
    pub(crate) fn find(&self, start: Start) -> Result<u64, FindError> {
        let summary = self.summary();
        let last = |number: Option<u64>| number.map_or(-1, u64::cast_signed);
        match start {
            Start::Latest => Ok(summary.end),
            Start::Sequence(least) => {
                let last = summary.end.cast_signed() - 1;
                check_range("sequence number", least, last, last)?;
                Ok(least.max(0).cast_unsigned().max(summary.start))
            }
            Start::Offset(least) => {
                let last = last(summary.last_offset);
                // The next event's offset lies somewhere behind the last one's.
                let bound = last.saturating_add(RECORD_BYTES_MAX.into());
                check_range("offset", least, last, if last < 0 { -1 } else { bound })?;
                self.search(|event| event.offset.cast_signed() >= least)
            }
            Start::EnqueuedMs(least) => self.search(|event| event.enqueued_ms >= least),
        }
    }

    /// The first event for which `wanted` holds, as it does for all after it; or the end.
    fn search(&self, wanted: impl Fn(&Event<'_>) -> bool) -> Result<u64, FindError> {
        let mut journal = lock(&self.shared.journal);
        let end = journal.durable_end();
        let mut firsts = vec![journal.start()];
        while let Some(next) = firsts.last().and_then(|first| journal.next_segment(*first)) {
            firsts.push(next);
        }
        // The event is in the last segment that does not begin with a wanted event.
        let (mut low, mut high) = (0, firsts.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let batch = match firsts[middle] {
                first if first < end => first_of(&mut journal, first)?,
                first => Batch { first, ..Batch::default() },
            };
            let is_wanted = match batch.records().next() {
                Some(record) => Event::parse(record).is_some_and(|event| wanted(&event)),
                None => true,
            };
            if is_wanted { high = middle } else { low = middle + 1 }
        }
        let mut from = firsts[low.saturating_sub(1)];
        while from < end {
            let batch = batch_of(&mut journal, from)?;
            let found = batch
                .records()
                .zip(from..)
                .find(|(record, _)| Event::parse(record).is_some_and(|event| wanted(&event)));
            match found {
                Some((_, sequence)) => return Ok(sequence),
                None => from = batch.end(),
            }
        }
        Ok(end)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        lock(&self.shared.intake).closed = true;
        self.shared.ready.notify_one();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(partition = self.shared.name, "the log's thread had panicked");
        }
    }
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

/// Appends and syncs until the log is dropped.
struct Writer {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    retention: Retention,
    next: Next,
    expired_ms: u64,
}

/// What the next event gets.
#[derive(Debug, Clone, Copy)]
struct Next {
    offset: u64,
    /// No event is enqueued before the one ahead of it, whatever the clock does.
    enqueued_ms_min: i64,
}

impl Writer {
    fn run(&mut self) {
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

impl Tail {
    fn push(&mut self, batch: Batch) {
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

fn journal_settings(retention: Retention) -> twinge_journal::Settings {
    twinge_journal::Settings {
        segment_bytes: (retention.bytes / SEGMENTS_MIN).min(SEGMENT_BYTES_MAX),
        record_bytes_max: RECORD_BYTES_MAX,
        total_bytes_max: retention.bytes.saturating_add(JOURNAL_SLACK_BYTES),
    }
}

fn recover(journal: &mut Journal) -> Result<(Summary, Next), OpenError> {
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
fn is_next_older(journal: &mut Journal, oldest_ms: i64) -> bool {
    let end = journal.durable_end();
    let next = journal.next_segment(journal.start()).filter(|next| *next < end);
    let batch = next.and_then(|next| first_of(journal, next).ok());
    let event = batch.as_ref().and_then(|batch| Event::parse(batch.records().next()?));
    event.is_some_and(|event| event.enqueued_ms < oldest_ms)
}

fn first_of(journal: &mut Journal, from: u64) -> Result<Batch, JournalError> {
    Ok(into_batch(from, &journal.read(from, 1, 0)?))
}

fn batch_of(journal: &mut Journal, from: u64) -> Result<Batch, JournalError> {
    Ok(into_batch(from, &journal.read(from, READ_RECORDS, READ_BYTES)?))
}

fn into_batch(first: u64, records: &[twinge_journal::Record]) -> Batch {
    let mut batch = Batch { first, ..Batch::default() };
    for record in records {
        batch.push_record(&record.bytes);
    }
    batch
}

/// One behind the last is where a receiver waits; further on belongs to another log.
fn check_range(what: &'static str, least: i64, last: i64, bound: i64) -> Result<(), FindError> {
    if least > bound.saturating_add(1) {
        return Err(FindError::Beyond { what, value: least, last });
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is consistent between calls, whatever happened to a thread.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use proptest::prelude::*;
    use twinge_platform::{ManualClock, SimulatedDisk};

    use super::*;

    const DIRECTORY: &str = "/hub/0";
    const SMALL: Retention = Retention { bytes: 64 << 10, age: None };

    fn open(disk: &SimulatedDisk, clock: &ManualClock, retention: Retention) -> Log {
        let (disk, clock) = (Arc::new(disk.clone()), Arc::new(clock.clone()));
        Log::open("hub/0", disk, clock, Path::new(DIRECTORY), retention).unwrap()
    }

    /// A message whose body is this number.
    fn batch(numbers: impl IntoIterator<Item = u64>, padding: usize) -> Batch {
        let mut batch = Batch::default();
        for number in numbers {
            let mut message = vec![0x00, 0x53, 0x75, 0xb0];
            message.extend((8 + padding as u32).to_be_bytes());
            message.extend(number.to_be_bytes());
            message.resize(message.len() + padding, 0);
            let event = Batch::of_message(&message, false).unwrap();
            batch.push_record(&event.bytes);
        }
        batch
    }

    fn append(log: &Log, batch: Batch) -> Result<(), AppendError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        log.append(batch, move |result| sender.send(result).unwrap());
        receiver.recv().unwrap()
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Seen {
        sequence: u64,
        offset: i64,
        enqueued_ms: i64,
        number: u64,
    }

    /// All events, from the disk.
    fn seen(log: &Log) -> Vec<Seen> {
        let mut all = Vec::new();
        let mut from = 0;
        loop {
            let batch = log.read(from).unwrap();
            if batch.ends.is_empty() {
                return all;
            }
            for (record, sequence) in batch.records().zip(batch.first..) {
                let event = Event::parse(record).unwrap();
                let mut message = Vec::new();
                event.encode(sequence, &mut message);
                let body = record.windows(4).position(|bytes| bytes == [0x00, 0x53, 0x75, 0xb0]);
                let number = &record[body.unwrap() + 8..];
                all.push(Seen {
                    sequence,
                    offset: event.offset.cast_signed(),
                    enqueued_ms: event.enqueued_ms,
                    number: u64::from_be_bytes(*number.first_chunk().unwrap()),
                });
            }
            from = batch.end();
        }
    }

    /// The obvious search.
    fn first(all: &[Seen], end: u64, wanted: impl Fn(&Seen) -> bool) -> u64 {
        all.iter().find(|seen| wanted(seen)).map_or(end, |seen| seen.sequence)
    }

    #[test]
    fn events_are_found_as_by_the_obvious_search() {
        let (disk, clock) = (SimulatedDisk::new(3), ManualClock::new(1_000_000));
        let log = open(&disk, &clock, SMALL);
        for round in 0..400 {
            // The clock also goes back: the events' times must not.
            clock.set(1_000_000 + (round % 7) * 50 + round * 10);
            append(&log, batch((0..=round as u64 % 5).map(|n| n + 1_000 * round as u64), 40))
                .unwrap();
        }
        let (all, end) = (seen(&log), log.summary().end);
        assert!(all[0].sequence > 0, "the retention removed some");
        assert!(all.windows(2).all(|pair| pair[0].sequence + 1 == pair[1].sequence
            && pair[0].offset < pair[1].offset
            && pair[0].enqueued_ms <= pair[1].enqueued_ms));
        for at in (0..all.len()).step_by(7).chain([0, all.len() - 1]) {
            for step in [-1, 0, 1] {
                let (offset, time) = (all[at].offset + step, all[at].enqueued_ms + step);
                let found = log.find(Start::Offset(offset)).unwrap();
                assert_eq!(found, first(&all, end, |seen| seen.offset >= offset), "{offset}");
                let found = log.find(Start::EnqueuedMs(time)).unwrap();
                assert_eq!(found, first(&all, end, |seen| seen.enqueued_ms >= time), "{time}");
                let sequence = all[at].sequence.cast_signed() + step;
                let expected = sequence.max(all[0].sequence.cast_signed()).cast_unsigned();
                assert_eq!(log.find(Start::Sequence(sequence)).unwrap(), expected);
            }
        }
        assert_eq!(log.find(Start::Latest).unwrap(), end);
        assert_eq!(log.find(Start::Offset(0)).unwrap(), all[0].sequence, "the earliest");
        assert_eq!(log.find(Start::EnqueuedMs(i64::MAX)).unwrap(), end);
        let far = log.find(Start::Sequence(end.cast_signed() + 1)).unwrap_err().to_string();
        assert!(far.contains(&format!("the last in the partition is {}", end - 1)), "{far}");
        assert!(log.find(Start::Offset(1 << 40)).is_err());
    }

    #[test]
    fn an_empty_log_has_a_start() {
        let log = open(&SimulatedDisk::new(0), &ManualClock::new(0), SMALL);
        for start in [Start::Offset(0), Start::Sequence(0), Start::EnqueuedMs(0), Start::Latest] {
            assert_eq!(log.find(start).unwrap(), 0, "{start:?}");
        }
        assert!(log.recent(0).is_none());
        assert_eq!(log.read(0).unwrap().ends.len(), 0);
        assert_eq!(log.summary().last_offset, None);
    }

    #[test]
    fn the_oldest_events_make_room() {
        let (disk, clock) = (SimulatedDisk::new(5), ManualClock::new(0));
        let log = open(&disk, &clock, SMALL);
        for number in 0..500 {
            append(&log, batch([number], 1_000)).unwrap();
            assert!(disk.used_bytes() <= SMALL.bytes + 1_100, "after event {number}");
        }
        let all = seen(&log);
        assert!(all.len() > 40, "whole segments, not everything: {}", all.len());
        assert_eq!(all.last().unwrap().number, 499);
        assert_eq!(log.summary().start, all[0].sequence);
        // One batch that is larger than all that is kept is taken all the same.
        append(&log, batch(500..600, 1_000)).unwrap();
        assert_eq!(seen(&log).last().unwrap().number, 599);
    }

    #[test]
    fn old_events_are_removed_by_segments() {
        let clock = ManualClock::new(0);
        let retention = Retention { bytes: 64 << 10, age: Some(Duration::from_mins(1)) };
        let log = open(&SimulatedDisk::new(5), &clock, retention);
        append(&log, batch(0..30, 1_000)).unwrap();
        append(&log, batch(30..40, 1_000)).unwrap();
        clock.advance(100_000);
        append(&log, batch(40..50, 1_000)).unwrap();
        append(&log, batch(50..60, 1_000)).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while log.summary().start != 30 && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(log.summary().start, 30, "what one segment holds goes together");
        assert_eq!(seen(&log).len(), 30);
    }

    #[test]
    fn a_full_disk_refuses_and_the_log_goes_on() {
        let (disk, clock) = (SimulatedDisk::new(5), ManualClock::new(0));
        let log = open(&disk, &clock, SMALL);
        append(&log, batch(0..5, 100)).unwrap();
        disk.set_capacity(disk.used_bytes() + 50);
        assert_eq!(append(&log, batch(5..9, 100)), Err(AppendError::Failed));
        disk.set_capacity(u64::MAX);
        append(&log, batch(9..12, 100)).unwrap();
        let numbers: Vec<_> = seen(&log).iter().map(|seen| seen.number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 9, 10, 11]);
    }

    #[test]
    fn memory_and_disk_hold_the_same_events() {
        let log = open(&SimulatedDisk::new(5), &ManualClock::new(7), SMALL);
        for number in 0..20 {
            append(&log, batch([2 * number, 2 * number + 1], 3)).unwrap();
        }
        for sequence in 0..40 {
            let recent = log.recent(sequence).unwrap();
            assert_eq!(recent.record(sequence), log.read(sequence).unwrap().record(sequence));
        }
        assert!(log.recent(40).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

        /// Power cuts at any time: what was acknowledged is there once and in order, and offsets
        /// go on where they were.
        #[test]
        fn acknowledged_events_survive_power_cuts(
            seed in any::<u64>(),
            rounds in prop::collection::vec((1..30_u64, 1..6_u64, 0..200_usize), 1..8),
        ) {
            let (disk, clock) = (SimulatedDisk::new(seed), ManualClock::new(0));
            let mut kept: Vec<u64> = Vec::new();
            let mut number = 0;
            for (appends, events, padding) in rounds {
                let log = open(&disk, &clock, Retention { bytes: 1 << 20, age: None });
                let found: Vec<_> = seen(&log).iter().map(|seen| seen.number).collect();
                // An event that was not acknowledged may be there, behind those that were.
                prop_assert!(found.starts_with(&kept), "{found:?} {kept:?}");
                kept = found;
                let (sender, receiver) = mpsc::sync_channel(64);
                for _ in 0..appends {
                    let sender = sender.clone();
                    let numbers = number..number + events;
                    number = numbers.end;
                    let acknowledged = numbers.clone();
                    log.append(batch(numbers, padding), move |result| {
                        if result.is_ok() {
                            sender.send(acknowledged).unwrap();
                        }
                    });
                }
                drop(sender);
                // The cut comes while the thread writes, or after.
                if seed % 3 > 0 {
                    kept.extend(receiver.recv().into_iter().flatten());
                }
                disk.crash();
                drop(log);
                kept.extend(receiver.into_iter().flatten());
            }
            let log = open(&disk, &clock, SMALL);
            let all = seen(&log);
            prop_assert!(all.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        }
    }
}
