//! The intake: events pushed by others are journaled before they are acknowledged.
//!
//! Senders hand over events and wait; one writer appends what has gathered and syncs once for all of
//! them, on a thread of its own where the disk may take its time. The pump reads the journal behind
//! them.

use crate::source::{Delivery, Source, SourceError, Start};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use twinge_contract::event::Attributes;
use twinge_journal::{Journal, JournalError, Settings};
use twinge_platform::{Clock, Disk};
use twinge_runner::{Arrival, Place};

/// Requests that may wait for the journal.
const QUEUE: usize = 1024;

/// Requests that one sync serves at most.
const GROUP: usize = 512;

const READ_BYTES_MAX: usize = 8 << 20;

/// An event on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incoming {
    /// CloudEvents attributes that came beside the body.
    pub attributes: Option<Attributes>,
    /// The body.
    pub bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct JournalRecord {
    ingested_ms: i64,
    incoming: Incoming,
}

struct Request {
    records: Vec<Vec<u8>>,
    done: oneshot::Sender<Result<(), IntakeError>>,
}

/// Why events were not taken. None of the request was, so it can be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IntakeError {
    /// The journal is full or its disk is: later there may be room.
    #[error(
        "events are coming in faster than they are scored, or the disk is full: send them again later ({0})"
    )]
    Busy(String),
    /// An event that no journal takes.
    #[error("an event is too large: {0}")]
    TooLarge(String),
    /// The journal failed.
    #[error("events cannot be journaled: {0}")]
    Failed(String),
    /// The program is stopping.
    #[error("the program is stopping: send the events again when it is back")]
    Stopping,
}

/// The way into a journal; cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    queue: mpsc::Sender<Request>,
    clock: Arc<dyn Clock>,
}

/// The journal as a source.
#[derive(Debug)]
pub struct IntakeSource {
    name: String,
    journal: Arc<Mutex<Journal>>,
    durable: watch::Receiver<u64>,
    next: u64,
    /// Where the journal ended when it was opened, or a little later.
    end: Option<u64>,
}

/// Opens a journal in `directory`: the way in, and the source behind it. The source ends when the
/// last clone of the way in is dropped and everything has been read. `tracker` spawns the writer
/// where the disk is one that nobody waits for.
pub fn open(
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    directory: &Path,
    settings: Settings,
    tracker: &TaskTracker,
) -> Result<(Intake, IntakeSource), JournalError> {
    let name = name(disk.as_ref(), directory)?;
    let journal = Journal::open(Arc::clone(disk), directory, settings)?;
    let (durable, watch) = watch::channel(journal.durable_end());
    let journal = Arc::new(Mutex::new(journal));
    let (queue, requests) = mpsc::channel(QUEUE);
    let writer = Writer { journal: Arc::clone(&journal), requests, durable, told: None };
    if disk.may_wait() {
        std::thread::Builder::new()
            .name("twinge-journal".into())
            .spawn(move || writer.run_blocking())
            .expect("a thread can be started");
    } else {
        tracker.spawn(writer.run());
    }
    let intake = Intake { queue, clock: Arc::clone(clock) };
    Ok((intake, IntakeSource { name, journal, durable: watch, next: 0, end: None }))
}

/// A journal has a name of its own, so that offsets of one that was removed are never taken for
/// those of its successor.
fn name(disk: &dyn Disk, directory: &Path) -> Result<String, JournalError> {
    let path = directory.join("name");
    let error = |action, source| JournalError::Disk { action, path: path.clone(), source };
    match disk.read(&path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().to_owned()),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => {
            let mut random = [0; 8];
            getrandom::fill(&mut random)
                .map_err(|source| error("name", std::io::Error::other(source.to_string())))?;
            let name = format!("journal-{}", hex::encode(random));
            disk.create_new(&path, name.as_bytes()).map_err(|source| error("create", source))?;
            Ok(name)
        }
        Err(source) => Err(error("read", source)),
    }
}

impl Intake {
    /// Takes events in: they are on disk when this returns.
    pub async fn accept(&self, events: Vec<Incoming>) -> Result<usize, IntakeError> {
        let count = events.len();
        let ingested_ms = self.clock.now_ms();
        let record = |incoming| {
            postcard::to_allocvec(&JournalRecord { ingested_ms, incoming })
                .expect("an event holds nothing that postcard lacks")
        };
        let (done, answer) = oneshot::channel();
        let request = Request { records: events.into_iter().map(record).collect(), done };
        self.queue.send(request).await.map_err(|_closed| IntakeError::Stopping)?;
        answer.await.map_err(|_dropped| IntakeError::Stopping)??;
        Ok(count)
    }
}

impl Intake {
    /// Takes events in that nobody can be told to send again later: waits while there is no room.
    /// Answers with how many were taken; the others are larger than any journal takes, and `from`
    /// says in the log where they came from.
    pub async fn accept_patiently(
        &self,
        events: Vec<Incoming>,
        from: &str,
    ) -> Result<usize, IntakeError> {
        let mut pause = PAUSE_MIN;
        let mut told: Option<Instant> = None;
        loop {
            match self.accept(events.clone()).await {
                Ok(taken) => return Ok(taken),
                Err(IntakeError::Stopping) => return Err(IntakeError::Stopping),
                Err(error @ IntakeError::TooLarge(_)) if events.len() == 1 => {
                    tracing::error!(%error, from, "an event was passed over");
                    return Ok(0);
                }
                Err(IntakeError::TooLarge(_)) => {
                    // One of them is; the others are taken one by one.
                    let mut taken = 0;
                    for event in events {
                        taken += Box::pin(self.accept_patiently(vec![event], from)).await?;
                    }
                    return Ok(taken);
                }
                Err(error) if told.is_none_or(|told| told.elapsed() >= TOLD_AGAIN) => {
                    tracing::warn!(%error, from, "events wait for room");
                    told = Some(Instant::now());
                }
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Pauses between tries of somebody who waits.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// That somebody waits is told again after so long.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

/// Appends and syncs until the last way in is gone.
struct Writer {
    journal: Arc<Mutex<Journal>>,
    requests: mpsc::Receiver<Request>,
    durable: watch::Sender<u64>,
    told: Option<Instant>,
}

impl Writer {
    fn run_blocking(mut self) {
        while let Some(first) = self.requests.blocking_recv() {
            self.write(first);
        }
    }

    async fn run(mut self) {
        while let Some(first) = self.requests.recv().await {
            self.write(first);
        }
    }

    /// Appends a request and all that have gathered behind it, syncs, and answers.
    fn write(&mut self, first: Request) {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = self.requests.try_recv()
        {
            group.push(next);
        }
        let mut journal = lock(&self.journal);
        let appended: Vec<_> = group
            .iter()
            .map(|request| journal.append(request.records.iter().map(Vec::as_slice)).map(|_| ()))
            .collect();
        let synced = journal.sync();
        let end = journal.durable_end();
        drop(journal);
        // A receiver that is gone has stopped reading; the senders still get their answer.
        self.durable.send_replace(end);
        let failed = synced.as_ref().err().or(appended.iter().find_map(|one| one.as_ref().err()));
        if let Some(error) =
            failed.filter(|_| self.told.is_none_or(|told| told.elapsed() >= TOLD_AGAIN))
        {
            tracing::warn!(%error, "events are not journaled, and their senders are told so");
            self.told = Some(Instant::now());
        }
        for (request, appended) in group.into_iter().zip(appended) {
            let result = match (&synced, appended) {
                (Ok(()), Ok(())) => Ok(()),
                (Err(error), _) => Err(intake_error(error)),
                (_, Err(error)) => Err(intake_error(&error)),
            };
            if request.done.send(result).is_err() {
                tracing::debug!(
                    "a sender went away before its events were journaled; they are kept"
                );
            }
        }
    }
}

fn intake_error(error: &JournalError) -> IntakeError {
    if matches!(error, JournalError::RecordSize { .. } | JournalError::BatchSize { .. }) {
        return IntakeError::TooLarge(error.to_string());
    }
    if error.is_backpressure() {
        IntakeError::Busy(error.to_string())
    } else {
        IntakeError::Failed(error.to_string())
    }
}

fn lock(journal: &Mutex<Journal>) -> MutexGuard<'_, Journal> {
    // A journal is consistent between calls, whatever happened to the thread that held it.
    journal.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Source for IntakeSource {
    fn place(&self, detector: &str) -> Place {
        Place {
            detector: detector.to_owned(),
            source: self.name.as_str().into(),
            partition: "0".into(),
            redelivers: true,
        }
    }

    async fn seek(&mut self, start: Start) -> Result<u64, SourceError> {
        let journal = lock(&self.journal);
        self.next = start.offset.unwrap_or(0).max(journal.start());
        self.end = Some(journal.durable_end());
        Ok(self.next)
    }

    fn end(&self) -> Option<u64> {
        self.end
    }

    async fn next(&mut self, most: usize) -> Result<Option<Delivery>, SourceError> {
        loop {
            // Marked as seen before reading, so that what comes in between wakes the wait below.
            let end = *self.durable.borrow_and_update();
            if self.next < end {
                break;
            }
            if self.durable.changed().await.is_err() {
                return Ok(None);
            }
        }
        let records = lock(&self.journal).read(self.next, most, READ_BYTES_MAX)?;
        let mut arrivals = Vec::with_capacity(records.len());
        for record in records {
            let JournalRecord { ingested_ms, incoming } = postcard::from_bytes(&record.bytes)
                .map_err(|_unreadable| SourceError::Record(record.offset))?;
            self.next = record.offset + 1;
            arrivals.push(Arrival {
                offset: record.offset,
                ingested_ms,
                key: None,
                attributes: incoming.attributes,
                bytes: incoming.bytes,
            });
        }
        Ok(Some(Delivery { arrivals, position: self.next }))
    }

    fn release(&mut self, offset: u64) {
        if let Err(error) = lock(&self.journal).release(offset) {
            tracing::warn!(%error, "old segments of the journal could not be removed");
        }
    }

    fn set_started(&mut self, _started_ms: i64) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinge_platform::{ManualClock, SimulatedDisk};

    fn open(
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Intake, IntakeSource), JournalError> {
        super::open(disk, clock, Path::new("/j"), Settings::default(), &TaskTracker::new())
    }

    fn incoming(text: &str) -> Incoming {
        Incoming { attributes: None, bytes: text.as_bytes().to_vec() }
    }

    #[tokio::test]
    async fn what_was_accepted_is_delivered_also_after_a_crash() {
        let simulated = SimulatedDisk::new(1);
        let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1000));
        let (intake, source) = open(&disk, &clock).unwrap();
        let events: Vec<Incoming> = (0..10).map(|n| incoming(&n.to_string())).collect();
        assert_eq!(intake.accept(events).await, Ok(10));
        let name = source.place("d").source;
        drop((intake, source));
        simulated.crash();
        let (intake, mut source) = open(&disk, &clock).unwrap();
        assert_eq!(source.place("d").source, name);
        source.seek(Start { offset: Some(4), ..Start::default() }).await.unwrap();
        let delivery = source.next(100).await.unwrap().unwrap();
        assert_eq!(delivery.arrivals.len(), 6);
        assert_eq!((delivery.arrivals[0].offset, delivery.arrivals[0].ingested_ms), (4, 1000));
        drop(intake);
        assert_eq!(source.next(100).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_full_disk_refuses_and_later_accepts() {
        let simulated = SimulatedDisk::new(1);
        let disk: Arc<dyn Disk> = Arc::new(simulated.clone());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        let (intake, _source) = open(&disk, &clock).unwrap();
        simulated.set_capacity(simulated.used_bytes() + 100);
        let refused = intake.accept(vec![incoming(&"x".repeat(1000))]).await;
        assert!(matches!(refused, Err(IntakeError::Busy(_))), "{refused:?}");
        simulated.set_capacity(u64::MAX);
        assert_eq!(intake.accept(vec![incoming("y")]).await, Ok(1));
    }

    #[tokio::test]
    async fn what_came_in_after_the_start_is_told_by_its_offset_whatever_the_clock_shows() {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
        let manual = ManualClock::new(1_000_000);
        let clock: Arc<dyn Clock> = Arc::new(manual.clone());
        let (intake, source) = open(&disk, &clock).unwrap();
        let events = |count: usize| (0..count).map(|n| incoming(&n.to_string())).collect();
        assert_eq!(intake.accept(events(10)).await, Ok(10));
        assert_eq!(source.end(), None, "not before it was sought");
        drop((intake, source));
        tokio::task::yield_now().await;
        manual.set(5);
        let (intake, mut source) = open(&disk, &clock).unwrap();
        source.seek(Start { offset: Some(4), ..Start::default() }).await.unwrap();
        assert_eq!(intake.accept(events(3)).await, Ok(3));
        assert_eq!(source.end(), Some(10));
    }
}
