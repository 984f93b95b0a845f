//! A partition: a log of events on a journal, written by a thread of its own in groups, with its
//! newest events in memory. Does not know who sends and who receives.

mod search;
mod shared;
mod stored;
mod writer;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use tokio::sync::Notify;
use twinge_journal::{Journal, JournalError};
use twinge_platform::{Clock, Disk};

use self::search::{check_range, search};
use self::shared::{Request, Shared, Tail, lock};
use self::stored::{
    READ_BYTES, READ_RECORDS, RECORD_BYTES_MAX, batch_of, into_batch, journal_settings, recover,
};
use self::writer::Writer;
use crate::record::Batch;
use crate::selector::Start;

pub(crate) use self::search::FindError;
pub(crate) use self::shared::AppendError;
pub(crate) use self::stored::{OpenError, Retention, Summary};

/// How many bytes may wait to be written before senders are told to come back later.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A partition's log. Dropping it writes what waits and ends the thread.
pub(crate) struct Log {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
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
                search(&mut lock(&self.shared.journal), |event| event.offset.cast_signed() >= least)
            }
            Start::EnqueuedMs(least) => {
                search(&mut lock(&self.shared.journal), |event| event.enqueued_ms >= least)
            }
        }
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use proptest::prelude::*;
    use twinge_platform::{ManualClock, SimulatedDisk};

    use super::*;
    use crate::record::Event;

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
