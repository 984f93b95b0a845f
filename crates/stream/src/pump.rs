//! The pump: arrivals from a source through one or more runners to sinks, with checkpoints.
//!
//! Records are handed over before the checkpoint that covers them, so a crash repeats records and
//! loses none; what is repeated has the same id. One task owns everything here, in order; nothing
//! is shared but figures.

pub use crate::bounds::Settings;
use crate::chain::chain;
pub use crate::error::PumpError;
use crate::extension::Extension;
use crate::lane::Lane;
use crate::metrics::Metrics;
use crate::pacer::Pacer;
use crate::patience::Patience;
pub use crate::report::{Report, Reports, Wanted};
use crate::sightings::Sightings;
use crate::sink::SinkError;
use crate::source::{Delivery, Source, Start};
use crate::works::Works;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use twinge_platform::Clock;
use twinge_runner::{CheckpointError, Checkpoints, Place, Progress, Runner};

/// Events on their way.
pub struct Pump {
    source: Box<dyn Source>,
    lanes: Vec<Lane>,
    checkpoints: Checkpoints,
    settings: Settings,
    pacer: Pacer,
    metrics: Metrics,
    wanted: watch::Receiver<Wanted>,
    reports: Reports,
    sightings: Sightings,
    extension: Option<Arc<dyn Extension>>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    /// The offset and position that the source goes on from; when its reading began for the first
    /// time.
    offset: u64,
    position: u64,
    started_ms: i64,
    since_checkpoint: u64,
    /// Events came since the last tick.
    has_delivered: bool,
    checkpointed: Instant,
    /// Until events come that no run before has seen, nothing new is begun.
    catching_up: Option<CatchingUp>,
}

/// A run before this one may have handed over records up to an unknown offset. What it was told is
/// known from the checkpoint; whatever is new must not begin before that offset, or an event gets
/// two different verdicts. No clock tells which events that run has seen: one that was set back would
/// take them for new.
#[derive(Clone, Copy, Debug)]
struct CatchingUp {
    /// No run goes further than this without a checkpoint.
    until_offset: u64,
    /// If nothing comes until then, everything that was there has come, where the source does not
    /// know that better.
    silent: Instant,
}

/// How long a source may take to deliver the first event, and then the next.
const FIRST_EVENT: Duration = Duration::from_secs(30);
const NEXT_EVENT: Duration = Duration::from_secs(5);

impl std::fmt::Debug for Pump {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pump").field("lanes", &self.lanes).finish_non_exhaustive()
    }
}

enum Step {
    Delivery(Option<Delivery>),
    Direct,
    Tick,
    Checkpoint,
    Stop,
}

/// Shows a runner without memory what came before its beginning, where somebody keeps that.
async fn warm(
    extension: Option<&dyn Extension>,
    runner: &mut Runner,
    offset: u64,
) -> Result<(), PumpError> {
    let Some(extension) = extension else { return Ok(()) };
    let events = extension.warm(runner, offset).await.map_err(PumpError::Warm)?;
    let Place { detector, partition, .. } = runner.place();
    if events > 0 {
        tracing::info!(detector, %partition, events, offset, "warmed up by events from before");
    }
    Ok(())
}

/// How often a pump shows that it lives, and looks for silence.
const TICK: Duration = Duration::from_secs(1);

impl Pump {
    /// A pump from `source` through `lanes`, whose runners were restored from `checkpoints` or
    /// begin where those stand.
    pub fn new(
        source: Box<dyn Source>,
        lanes: Vec<Lane>,
        checkpoints: Checkpoints,
        works: &Works,
    ) -> Self {
        Self {
            source,
            lanes,
            checkpoints,
            settings: works.settings,
            pacer: Pacer::new(works.settings.batch_rows_max, works.settings.batch_time),
            metrics: works.metrics.clone(),
            wanted: works.detectors.wanted(),
            reports: works.reports.clone(),
            sightings: works.sightings.clone(),
            extension: works.extension.clone(),
            clock: Arc::clone(&works.clock),
            stop: CancellationToken::new(),
            offset: 0,
            position: 0,
            started_ms: works.clock.now_ms(),
            since_checkpoint: 0,
            has_delivered: false,
            checkpointed: Instant::now(),
            catching_up: None,
        }
    }

    /// Runs until the source ends or `stop` is cancelled; the last thing it does is a checkpoint.
    pub async fn run(mut self, stop: CancellationToken) -> Result<Report, PumpError> {
        self.stop = stop;
        let result = self.run_to_the_end().await;
        let report = self.report(None);
        self.reports.remove(&self.name());
        result.map(|()| report)
    }

    async fn run_to_the_end(&mut self) -> Result<(), PumpError> {
        self.begin().await?;
        self.direct().await?;
        let mut wanted_open = true;
        let stop = self.stop.clone();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let timer = sleep(
                self.settings.checkpoint_interval.saturating_sub(self.checkpointed.elapsed()),
            );
            let silent = self.catching_up.map_or(self.checkpointed, |state| state.silent);
            let silence = sleep_until(silent);
            let is_told_by_silence = self.catching_up.is_some() && self.source.end().is_none();
            let step = tokio::select! {
                biased;
                () = stop.cancelled() => Step::Stop,
                changed = self.wanted.changed(), if wanted_open => {
                    wanted_open = changed.is_ok();
                    Step::Direct
                }
                () = silence, if is_told_by_silence => {
                    self.catching_up = None;
                    Step::Direct
                }
                () = timer, if self.since_checkpoint > 0 => Step::Checkpoint,
                _ = ticks.tick() => Step::Tick,
                delivery = self.source.next(self.pacer.rows()) => Step::Delivery(delivery?),
            };
            match step {
                Step::Direct => self.direct().await?,
                Step::Tick => self.tick().await?,
                Step::Checkpoint => self.checkpoint().await?,
                Step::Delivery(Some(delivery)) => self.deliver(delivery).await?,
                Step::Delivery(None) | Step::Stop => break,
            }
            // Also where no event comes for long: what runs may have changed, and trouble be over.
            self.tell(None);
        }
        self.checkpoint().await?;
        for lane in &mut self.lanes {
            lane.save_silence(self.clock.monotonic_ms());
            lane.close().await;
            lane.save_drift(self.clock.monotonic_ms());
        }
        Ok(())
    }

    /// Shows that this pump lives, and looks for entities that have become silent.
    async fn tick(&mut self) -> Result<(), PumpError> {
        self.reports.beat(&self.name());
        // A source that gives nothing for a whole tick has nothing that waits.
        if !std::mem::take(&mut self.has_delivered) {
            self.tell_lag(0);
        }
        // What comes from a run before says nothing about the time between events.
        if self.catching_up.is_some() {
            return Ok(());
        }
        let now = self.clock.monotonic_ms();
        let mut has_found = false;
        for lane in &mut self.lanes {
            has_found |= lane.look_for_silence(now, &self.metrics);
        }
        if has_found {
            self.commit().await?;
        }
        // No event may come for long: this is all that will be held of it.
        if has_found || self.lanes.iter().any(Lane::is_due) {
            self.checkpoint().await?;
        }
        Ok(())
    }

    /// Goes to where the checkpoint stands, or writes a first one, so that the time at which reading
    /// began outlives a crash.
    async fn begin(&mut self) -> Result<(), PumpError> {
        let (latest, began) = (self.checkpoints.latest(), Instant::now());
        let mut start = Start { epoch: self.checkpoints.epoch(), ..Start::default() };
        if let Some(pointer) = latest {
            (start.offset, start.position) = (Some(pointer.next_offset), pointer.source_position);
            self.started_ms = pointer.started_ms;
            let further = self.settings.checkpoint_events + self.settings.batch_rows_max as u64;
            self.catching_up = Some(CatchingUp {
                until_offset: pointer.next_offset.saturating_add(further),
                silent: began + FIRST_EVENT,
            });
        }
        let known: Vec<String> = latest
            .iter()
            .flat_map(|pointer| pointer.detectors.iter().map(|detector| detector.name.clone()))
            .collect();
        let is_new = |lane: &Lane| !known.contains(&lane.runner.place().detector);
        let is_known = known.len() == self.lanes.len() && !self.lanes.iter().any(is_new);
        (self.offset, self.position) = (self.source.seek(start).await?, start.position);
        self.note_progress(self.offset);
        if let Some(wanted) = start.offset
            && self.offset > wanted
        {
            tracing::error!(
                from = wanted,
                to = self.offset,
                source = self.name(),
                "events were removed at the source before they were scored: keep them longer there, or run more hosts"
            );
        }
        for lane in &mut self.lanes {
            if is_new(lane) && self.offset > 0 {
                warm(self.extension.as_deref(), &mut lane.runner, self.offset).await?;
            }
            lane.runner.skip_to(self.offset);
        }
        self.source.set_started(self.started_ms);
        for lane in &self.lanes {
            self.metrics.begin(&lane.told);
        }
        self.tell_lag(0);
        if !is_known {
            self.checkpoint().await?;
        }
        self.tell(None);
        Ok(())
    }

    /// Passes on to each detector what it should run. The place of that in the stream is
    /// checkpointed before anything follows from it.
    async fn direct(&mut self) -> Result<(), PumpError> {
        if self.catching_up.is_some() {
            return Ok(());
        }
        // Asked with every delivery, and hardly ever is there anything to do.
        let wanted = {
            let wanted = self.wanted.borrow_and_update();
            let follows = |lane: &Lane| {
                let directive = wanted.get(&lane.runner.place().detector);
                directive.is_none_or(|directive| lane.runner.follows(directive))
            };
            if self.lanes.iter().all(follows) {
                return Ok(());
            }
            wanted.clone()
        };
        let mut is_new = false;
        for lane in &mut self.lanes {
            let detector = &lane.runner.place().detector;
            let Some(directive) = wanted.get(detector) else { continue };
            if lane.runner.follows(directive) {
                continue;
            }
            let before = lane.runner.digests();
            lane.runner.direct(directive);
            is_new = true;
            let (acting, beside) = lane.runner.digests();
            if (acting, beside) != before {
                let offset = lane.runner.next_offset();
                tracing::info!(detector = lane.told.place.detector, acting = %acting.short(), beside = beside.map(|digest| digest.short()), offset, "modules as the channel says");
            }
        }
        if is_new { self.checkpoint().await } else { Ok(()) }
    }

    /// Whether everything from `offset` on is beyond all that a run before may have handed over.
    fn note_progress(&mut self, offset: u64) {
        let Some(state) = &self.catching_up else { return };
        if offset >= state.until_offset || self.source.end().is_some_and(|end| offset >= end) {
            self.catching_up = None;
        }
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<(), PumpError> {
        if let Some(first) = delivery.arrivals.first()
            && let Some(state) = &mut self.catching_up
        {
            state.silent = Instant::now() + NEXT_EVENT;
            self.note_progress(first.offset);
            self.direct().await?;
        }
        let missed = self.missed_deadlines();
        let now = self.clock.monotonic_ms();
        // Verdicts on what came in while this program was away are late, and nobody is surprised.
        let now_ms = self.catching_up.is_none().then(|| self.clock.now_ms());
        let began = Instant::now();
        for lane in &mut self.lanes {
            lane.process(&delivery.arrivals, (now, now_ms), &self.sightings, &self.metrics);
        }
        self.pacer.note(delivery.arrivals.len(), began.elapsed());
        self.commit().await?;
        if let Some(last) = delivery.arrivals.last() {
            (self.offset, self.position) = (last.offset + 1, delivery.position);
            self.has_delivered = true;
            self.note_progress(self.offset);
            self.tell_lag(self.clock.now_ms().saturating_sub(last.ingested_ms));
        }
        self.since_checkpoint += delivery.arrivals.len() as u64;
        // Whether a deadline was missed is not found out again after a crash.
        let has_missed = self.missed_deadlines() != missed;
        if self.since_checkpoint >= self.settings.checkpoint_events || has_missed {
            self.checkpoint().await?;
        }
        // Where a module has just taken over, the next may be put beside it.
        self.direct().await
    }

    /// How long the last event waited, where the source knows when it came.
    fn tell_lag(&self, lag_ms: i64) {
        if self.source.keeps_times() {
            for lane in &self.lanes {
                self.metrics.lag(&lane.told, lag_ms);
            }
        }
    }

    fn missed_deadlines(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.runner.missed_deadlines()).sum()
    }

    /// Hands records over, trying again while a sink fails.
    async fn commit(&mut self) -> Result<(), PumpError> {
        let mut patience = Patience::new(self.settings.sink_retry);
        while let Err((detector, source)) = self.try_commit().await {
            self.metrics.sink_failure(&detector);
            let trouble = chain(&source);
            let tried = self.settings.sink_retry;
            self.wait(&mut patience, trouble, || PumpError::Sink { detector, tried, source })
                .await?;
        }
        Ok(())
    }

    async fn try_commit(&mut self) -> Result<(), (String, SinkError)> {
        for lane in &mut self.lanes {
            lane.commit().await?;
        }
        Ok(())
    }

    /// Takes a checkpoint, trying again while a disk or a store fails.
    async fn checkpoint(&mut self) -> Result<(), PumpError> {
        let mut patience = Patience::new(self.settings.sink_retry);
        loop {
            match self.try_checkpoint().await {
                Ok(()) => break,
                Err(
                    error @ (PumpError::Sink { .. }
                    | PumpError::Checkpoint(CheckpointError::Store(..))),
                ) => {
                    let trouble = chain(&error);
                    self.wait(&mut patience, trouble, || error).await?;
                }
                Err(error) => return Err(error),
            }
        }
        for lane in &self.lanes {
            let place = lane.runner.place();
            self.metrics.checkpoint(&place.detector, &place.partition);
        }
        self.source.release(self.offset);
        (self.since_checkpoint, self.checkpointed) = (0, Instant::now());
        Ok(())
    }

    /// Waits until every sink holds what it was given, and writes the checkpoint that covers it.
    async fn try_checkpoint(&mut self) -> Result<(), PumpError> {
        for lane in &mut self.lanes {
            let synced = lane.sync().await;
            synced.map_err(|(detector, source)| PumpError::Sink {
                detector,
                tried: self.settings.sink_retry,
                source,
            })?;
        }
        let now = self.clock.monotonic_ms();
        for lane in &mut self.lanes {
            lane.save_drift_if_due(now);
        }
        let progress = Progress {
            position: self.position,
            started_ms: self.started_ms,
            metadata: self.source.metadata(),
        };
        let mut runners: Vec<&mut Runner> =
            self.lanes.iter_mut().map(|lane| &mut lane.runner).collect();
        self.checkpoints.save(&mut runners, &progress).await?;
        Ok(())
    }

    /// A pause after something could not be written; ends in an error once it was tried for too
    /// long, or where the program is told to stop.
    async fn wait(
        &mut self,
        patience: &mut Patience,
        trouble: String,
        error: impl FnOnce() -> PumpError,
    ) -> Result<(), PumpError> {
        if patience.is_over() {
            return Err(error());
        }
        if patience.is_to_be_told() {
            tracing::warn!(
                error = trouble,
                source = self.name(),
                "something cannot be written; it is tried again"
            );
        }
        self.tell(Some(trouble.clone()));
        self.reports.beat(&self.name());
        tokio::select! {
            () = self.stop.cancelled() => {
                if patience.last_try() { Ok(()) } else { Err(PumpError::Stopped(trouble)) }
            }
            () = sleep(patience.pause()) => Ok(()),
        }
    }

    fn tell(&mut self, trouble: Option<String>) {
        for lane in &mut self.lanes {
            let now = lane.runner.status();
            if now.champion != lane.told.champion {
                tracing::info!(detector = now.place.detector, module = %now.champion, offset = now.offset, "a module took over");
            }
            for left in now.condemned.iter().filter(|left| !lane.told.condemned.contains(left)) {
                tracing::error!(detector = now.place.detector, module = %left.digest, offset = now.offset, reason = left.reason, "a module was left for the other one, and is not taken again before it is published anew");
            }
            self.metrics.runner(&lane.told, &now);
            lane.told = now;
        }
        self.reports.set(&self.name(), self.report(trouble));
    }

    fn report(&self, trouble: Option<String>) -> Report {
        let drifts = self.lanes.iter().flat_map(|lane| {
            let detector = &lane.told.place.detector;
            lane.drifts().into_iter().map(move |drift| (detector.clone(), drift))
        });
        let runners = self.lanes.iter().map(|lane| lane.told.clone()).collect();
        Report { runners, trouble, drifts: drifts.collect() }
    }

    /// Source and partition.
    fn name(&self) -> String {
        let place = self.source.place("");
        format!("{} {}", place.source, place.partition)
    }
}
