//! The pump: arrivals from a source through one or more runners to sinks, with checkpoints.
//!
//! Records are handed over before the checkpoint that covers them, so a crash repeats records and
//! loses none; what is repeated has the same id. One task owns everything here, in order; nothing
//! is shared but figures.

use crate::metrics::Metrics;
use crate::sink::{Sink, SinkError};
use crate::source::{Source, SourceError};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use twinge_engine::Module;
use twinge_platform::Clock;
use twinge_runner::{CheckpointError, Checkpoints, Record, Runner, Status};

/// Bounds of a pump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Events of a batch at most.
    pub batch_rows_max: usize,
    /// Events after which a checkpoint is taken.
    pub checkpoint_events: u64,
    /// Time after which a checkpoint is taken if there were events.
    pub checkpoint_interval: Duration,
    /// How long a sink that fails is tried again before the program stops.
    pub sink_retry: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_rows_max: 1024,
            checkpoint_events: 50_000,
            checkpoint_interval: Duration::from_secs(5),
            sink_retry: Duration::from_secs(30),
        }
    }
}

/// A runner with its checkpoints and sinks.
#[derive(Debug)]
pub struct Lane {
    runner: Runner,
    checkpoints: Option<Checkpoints>,
    verdicts: Box<dyn Sink>,
    dead_letters: Box<dyn Sink>,
    told: Status,
    is_fresh: bool,
}

/// A module that a detector may go over to.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The detector.
    pub detector: String,
    /// The module.
    pub module: Module,
}

/// Why a pump stopped before its source ended.
#[derive(Debug, Error)]
pub enum PumpError {
    /// The source failed.
    #[error("source failed")]
    Source(#[from] SourceError),
    /// A sink failed for too long. Nothing is lost: what was not written is scored again.
    #[error(
        "records of detector `{detector}` could not be written for {tried:?}; events after the last checkpoint are scored again at the next start"
    )]
    Sink {
        /// The detector.
        detector: String,
        /// How long it was tried.
        tried: Duration,
        /// Why.
        #[source]
        source: SinkError,
    },
    /// A checkpoint could not be taken.
    #[error("checkpoint could not be taken")]
    Checkpoint(#[from] CheckpointError),
}

/// What others may know of a pump.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// One for each runner.
    pub runners: Vec<Status>,
    /// Why it is not ready, or nothing.
    pub trouble: Option<String>,
}

/// Events on their way.
pub struct Pump {
    source: Box<dyn Source>,
    lanes: Vec<Lane>,
    settings: Settings,
    metrics: Metrics,
    offers: mpsc::Receiver<Offer>,
    report: watch::Sender<Report>,
    /// The offset and position that the source goes on from.
    offset: u64,
    position: u64,
    started_ms: i64,
    since_checkpoint: u64,
    checkpointed: Instant,
}

impl std::fmt::Debug for Pump {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pump").field("lanes", &self.lanes).finish_non_exhaustive()
    }
}

enum Step {
    Delivery(Option<crate::source::Delivery>),
    Offer(Offer),
    Checkpoint,
    Stop,
}

impl Lane {
    /// A lane; `checkpoints` are those the runner was restored from, if it was.
    pub fn new(
        runner: Runner,
        checkpoints: Option<Checkpoints>,
        verdicts: Box<dyn Sink>,
        dead_letters: Box<dyn Sink>,
    ) -> Self {
        let is_fresh =
            checkpoints.as_ref().is_none_or(|checkpoints| checkpoints.latest().is_none());
        Self { told: runner.status(), runner, checkpoints, verdicts, dead_letters, is_fresh }
    }
}

impl Pump {
    /// A pump from `source` through `lanes`.
    pub fn new(
        source: Box<dyn Source>,
        lanes: Vec<Lane>,
        settings: Settings,
        metrics: Metrics,
        offers: mpsc::Receiver<Offer>,
        clock: &Arc<dyn Clock>,
    ) -> (Self, watch::Receiver<Report>) {
        let (report, reports) = watch::channel(Report::default());
        let started_ms = clock.now_ms();
        let pump = Self {
            source,
            lanes,
            settings,
            metrics,
            offers,
            report,
            offset: 0,
            position: 0,
            started_ms,
            since_checkpoint: 0,
            checkpointed: Instant::now(),
        };
        (pump, reports)
    }

    /// Runs until the source ends or `stop` is cancelled; the last thing it does is a checkpoint.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Report, PumpError> {
        self.begin().await?;
        let mut offers_open = true;
        loop {
            let timer = sleep(
                self.settings.checkpoint_interval.saturating_sub(self.checkpointed.elapsed()),
            );
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => Step::Stop,
                offer = self.offers.recv(), if offers_open => {
                    let Some(offer) = offer else {
                        offers_open = false;
                        continue;
                    };
                    Step::Offer(offer)
                }
                () = timer, if self.since_checkpoint > 0 => Step::Checkpoint,
                delivery = self.source.next(self.settings.batch_rows_max) => Step::Delivery(delivery?),
            };
            match step {
                Step::Offer(offer) => self.offer(&offer).await?,
                Step::Checkpoint => self.checkpoint().await?,
                Step::Delivery(Some(delivery)) => self.deliver(delivery).await?,
                Step::Delivery(None) | Step::Stop => break,
            }
        }
        self.checkpoint().await?;
        Ok(self.report.borrow().clone())
    }

    /// Goes to where the hindmost runner stands, and writes a first checkpoint where there is none,
    /// so that the time at which reading began outlives a crash.
    async fn begin(&mut self) -> Result<(), PumpError> {
        let latest = |lane: &Lane| lane.checkpoints.as_ref().and_then(Checkpoints::latest).cloned();
        let hindmost = self
            .lanes
            .iter()
            .map(latest)
            .min_by_key(|pointer| pointer.as_ref().map(|p| p.next_offset));
        if let Some(Some(pointer)) = &hindmost {
            (self.offset, self.position, self.started_ms) =
                (pointer.next_offset, pointer.source_position, pointer.started_ms);
        }
        self.source.seek(self.offset, self.position).await?;
        self.source.set_started(self.started_ms);
        if self.lanes.iter().any(|lane| lane.is_fresh) {
            self.checkpoint().await?;
        }
        self.tell(None);
        Ok(())
    }

    /// The place of an offer in the stream is checkpointed before anything follows from it.
    async fn offer(&mut self, offer: &Offer) -> Result<(), PumpError> {
        for lane in
            self.lanes.iter_mut().filter(|lane| lane.runner.place().detector == offer.detector)
        {
            tracing::info!(detector = offer.detector, module = %offer.module.digest(), offset = lane.runner.next_offset(), "a module was offered and warms up in shadow");
            lane.runner.offer(&offer.module);
        }
        self.checkpoint().await
    }

    async fn deliver(&mut self, delivery: crate::source::Delivery) -> Result<(), PumpError> {
        for lane in &mut self.lanes {
            let records = lane.runner.process(&delivery.arrivals);
            lane.write(&records, &self.metrics);
        }
        self.commit().await?;
        if let Some(last) = delivery.arrivals.last() {
            (self.offset, self.position) = (last.offset + 1, delivery.position);
        }
        self.since_checkpoint += delivery.arrivals.len() as u64;
        self.tell(None);
        if self.since_checkpoint >= self.settings.checkpoint_events {
            self.checkpoint().await?;
        }
        Ok(())
    }

    /// Hands records over, trying again while a sink fails.
    async fn commit(&mut self) -> Result<(), PumpError> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        while let Err((detector, source)) = self.try_commit() {
            self.metrics.sink_failure(&detector);
            if began.elapsed() >= self.settings.sink_retry {
                return Err(PumpError::Sink { detector, tried: self.settings.sink_retry, source });
            }
            let reason =
                std::error::Error::source(&source).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(error = %source, reason, detector, "records cannot be written; trying again");
            self.tell(Some(source.to_string()));
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
        Ok(())
    }

    fn try_commit(&mut self) -> Result<(), (String, SinkError)> {
        for lane in &mut self.lanes {
            let result = lane.verdicts.commit().and_then(|()| lane.dead_letters.commit());
            result.map_err(|error| (lane.runner.place().detector.clone(), error))?;
        }
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<(), PumpError> {
        let mut lowest = u64::MAX;
        for lane in &mut self.lanes {
            lowest = lowest.min(lane.runner.next_offset());
            let Some(checkpoints) = &mut lane.checkpoints else { continue };
            // A lane that is ahead of the source has nothing new, and the source's position is not
            // its own.
            if lane.runner.next_offset() > self.offset {
                continue;
            }
            let place = lane.runner.place().clone();
            let synced = lane.verdicts.sync().and_then(|()| lane.dead_letters.sync());
            synced.map_err(|source| PumpError::Sink {
                detector: place.detector.clone(),
                tried: Duration::ZERO,
                source,
            })?;
            checkpoints.save(&mut lane.runner, self.position, self.started_ms).await?;
            self.metrics.checkpoint(&place.detector, &place.partition);
        }
        self.source.release(lowest);
        (self.since_checkpoint, self.checkpointed) = (0, Instant::now());
        Ok(())
    }

    fn tell(&mut self, trouble: Option<String>) {
        let mut runners = Vec::with_capacity(self.lanes.len());
        for lane in &mut self.lanes {
            let now = lane.runner.status();
            if now.champion != lane.told.champion {
                tracing::info!(detector = now.place.detector, module = %now.champion, offset = now.offset, "a module took over as champion");
            }
            self.metrics.runner(&lane.told, &now);
            lane.told = now.clone();
            runners.push(now);
        }
        self.report.send_replace(Report { runners, trouble });
    }
}

impl Lane {
    fn write(&mut self, records: &[Record], metrics: &Metrics) {
        for record in records {
            match record {
                Record::Verdict(verdict) => {
                    metrics.verdict(&self.told, verdict.data.verdict.as_str());
                    self.verdicts.write(&json(verdict));
                }
                Record::DeadLetter(letter) => {
                    metrics.dead_letter(&self.told, &letter.data.reason);
                    self.dead_letters.write(&json(letter));
                }
                Record::Duplicate => {}
            }
        }
    }
}

fn json<T: serde::Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records hold finite numbers and texts only")
}
