//! The event processor: looks at the ownerships now and then, claims what the plan says, renews what
//! this host has, and tells which partitions came and went.

use super::balance;
use super::ownership::{Found, Ownerships};
use super::source::{Beginning, HubSource};
use async_trait::async_trait;
use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use twinge_eventhubs::{Drivers, HubError, ReceiverSettings};
use twinge_platform::Clock;
use twinge_registry::{Store, StoreError};
use twinge_runner::CheckpointError;
use twinge_stream::SourceError;
use twinge_stream::assembly::{AssemblyError, chain};
use twinge_stream::partitions::{Change, Gained, Partitions};
use twinge_stream::pump::{PumpError, Report, Reports};

/// Name under which the processor reports.
const NAME: &str = "partitions";

/// The event processor of one host.
#[derive(Debug)]
pub(super) struct Processor {
    pub(super) drivers: Arc<Drivers>,
    /// Everything of a receiver but its partition and epoch.
    pub(super) receivers: ReceiverSettings,
    pub(super) created_ms: i64,
    pub(super) beginning: Beginning,
    pub(super) partitions: Vec<String>,
    pub(super) store: Arc<dyn Store>,
    pub(super) ownerships: Ownerships,
    /// Time between looks.
    pub(super) interval: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) reports: Reports,
    /// Partitions that have a pump, or will have in a moment.
    pub(super) running: BTreeSet<String>,
    pub(super) changes: VecDeque<Change>,
    pub(super) next_look: Instant,
    pub(super) turn: usize,
}

impl Processor {
    /// One look: plan, claim, renew, and note what changed.
    async fn look(&mut self) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let found = self.ownerships.look(&self.partitions, now_ms).await?;
        let me = self.ownerships.me().to_owned();
        self.turn = self.turn.wrapping_add(1);
        let claims = balance::claims(&found.seen, &me, self.turn);
        for seen in &found.seen {
            let is_mine = seen.owner.as_ref() == Some(&me);
            let wanted = is_mine || claims.contains(&seen.partition);
            let has = wanted && self.ownerships.claim(&found, &seen.partition, now_ms).await?;
            self.note(&seen.partition, has);
        }
        Ok(())
    }

    fn note(&mut self, partition: &str, has: bool) {
        let ran = self.running.contains(partition);
        if has && !ran {
            self.running.insert(partition.to_owned());
            self.changes.push_back(Change::Gained(self.gained(partition)));
            tracing::info!(partition, "a partition was claimed");
        }
        if ran && !has {
            self.changes.push_back(Change::Lost(partition.to_owned()));
            tracing::info!(partition, "a partition went to another host");
        }
    }

    fn gained(&self, partition: &str) -> Gained {
        let settings =
            ReceiverSettings { partition: partition.to_owned(), ..self.receivers.clone() };
        let drivers = Arc::clone(&self.drivers);
        Gained {
            partition: partition.to_owned(),
            source: Box::new(HubSource::new(drivers, settings, self.created_ms, self.beginning)),
            store: Arc::clone(&self.store),
            layout: self.ownerships.layout(partition),
        }
    }

    /// Three to five quarters of the interval. Hosts that were started together would otherwise look
    /// together for ever: each renews in the moment in which the other claims, and no claim succeeds.
    fn pause(&self) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self.ownerships.me(), self.turn).hash(&mut hasher);
        let spread = hasher.finish() as f64 / u64::MAX as f64;
        self.interval.mul_f64(0.75 + spread / 2.0)
    }

    fn tell(&self, trouble: Option<String>) {
        self.reports.set(NAME, Report { trouble, ..Report::default() });
    }

    async fn give_up(&self, partitions: &[String]) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        let found: Found = self.ownerships.look(partitions, now_ms).await?;
        let mine = Some(self.ownerships.me());
        for seen in found.seen.iter().filter(|seen| seen.owner.as_deref() == mine) {
            self.ownerships.give_up(&found, &seen.partition, now_ms).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Partitions for Processor {
    async fn next(&mut self) -> Result<Option<Change>, SourceError> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(Some(change));
            }
            sleep_until(self.next_look).await;
            self.next_look = Instant::now() + self.pause();
            match self.look().await {
                Ok(()) => self.tell(None),
                Err(error) => {
                    let trouble = chain(&error);
                    tracing::warn!(
                        error = trouble,
                        "ownerships cannot be read or renewed; what runs goes on until another host takes over"
                    );
                    self.tell(Some(trouble));
                }
            }
        }
    }

    async fn ended(
        &mut self,
        partition: &str,
        result: Result<(), AssemblyError>,
    ) -> Result<(), AssemblyError> {
        self.running.remove(partition);
        let Err(error) = result else { return Ok(()) };
        if is_displaced(&error) {
            tracing::info!(
                partition,
                reason = chain(&error),
                "another host works on a partition now"
            );
            return Ok(());
        }
        if !may_pass(&error) {
            return Err(error);
        }
        // The ownership is kept: the next look starts the partition again from its checkpoint.
        tracing::error!(
            partition,
            error = chain(&error),
            "a partition stopped and is started again from its checkpoint"
        );
        Ok(())
    }

    async fn close(&mut self) {
        self.reports.remove(NAME);
        let partitions = self.partitions.clone();
        if let Err(error) = self.give_up(&partitions).await {
            tracing::warn!(
                error = chain(&error),
                "partitions could not be given up; other hosts take over when the ownership expires"
            );
        }
    }
}

fn is_displaced(error: &AssemblyError) -> bool {
    match error {
        AssemblyError::Checkpoint(CheckpointError::Displaced(_))
        | AssemblyError::Pump(PumpError::Checkpoint(CheckpointError::Displaced(_))) => true,
        AssemblyError::Pump(PumpError::Source(SourceError::Other { source, .. })) => {
            matches!(source.downcast_ref(), Some(HubError::Displaced { .. }))
        }
        _ => false,
    }
}

/// Whether trouble may be over when it is tried again; a checkpoint that is damaged stays so.
fn may_pass(error: &AssemblyError) -> bool {
    if let AssemblyError::Module(error) = error {
        return error.may_pass();
    }
    matches!(
        error,
        AssemblyError::Checkpoint(CheckpointError::Store(..))
            | AssemblyError::Sink(_)
            | AssemblyError::Pump(
                PumpError::Source(_)
                    | PumpError::Sink { .. }
                    | PumpError::Checkpoint(CheckpointError::Store(..))
            )
    )
}
