//! Partitions come and go, and each that is here has a pump.

use crate::assembly::{AssemblyError, Extension};
use crate::detectors::Detectors;
use crate::metrics::Metrics;
use crate::pump::{Pump, PumpError, Report, Reports, Settings};
use crate::sightings::Sightings;
use crate::sink::Files;
use crate::source::{Source, SourceError};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use twinge_platform::Clock;
use twinge_registry::Store;
use twinge_runner::{Checkpoints, Layout};

/// The partitions that a program owns at a time.
#[async_trait]
pub trait Partitions: Send + Debug {
    /// The next change, waited for; may be dropped while it waits. `None` when there will be none.
    async fn next(&mut self) -> Result<Option<Change>, SourceError>;

    /// A partition's pump has ended, by an error or because it was told to. Answers with an error
    /// that the program cannot go on after.
    async fn ended(
        &mut self,
        partition: &str,
        result: Result<(), AssemblyError>,
    ) -> Result<(), AssemblyError>;

    /// All pumps have ended, and the program is about to: others may take over.
    async fn close(&mut self);
}

/// What happened to a partition.
#[derive(Debug)]
pub enum Change {
    /// It is here.
    Gained(Gained),
    /// Somebody else has it.
    Lost(String),
}

/// A partition to work on.
pub struct Gained {
    /// Its name.
    pub partition: String,
    /// Its events.
    pub source: Box<dyn Source>,
    /// Where its checkpoints are.
    pub store: Arc<dyn Store>,
    /// How they lie there.
    pub layout: Layout,
}

/// What all pumps of a program share.
#[derive(Debug)]
pub struct Works {
    /// The detectors.
    pub detectors: Detectors,
    /// Where records go.
    pub outputs: Files,
    /// Bounds of each pump.
    pub settings: Settings,
    /// What is counted.
    pub metrics: Metrics,
    /// What the pumps are doing.
    pub reports: Reports,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Which partition each entity was seen in.
    pub sightings: Sightings,
    /// What the program adds.
    pub extension: Option<Arc<dyn Extension>>,
}

impl Works {
    /// A pump for a partition, from its latest checkpoint.
    async fn pump(&self, gained: Gained) -> Result<Pump, AssemblyError> {
        let checkpoints = Checkpoints::open(gained.store, gained.layout).await?;
        let source = gained.source;
        let extension = self.extension.as_deref();
        let lanes =
            self.detectors.lanes(source.as_ref(), &checkpoints, &self.outputs, extension).await?;
        Ok(Pump::new(source, lanes, checkpoints, self))
    }

    async fn run(
        self: Arc<Self>,
        gained: Gained,
        stop: CancellationToken,
    ) -> (String, Result<Report, AssemblyError>) {
        let partition = gained.partition.clone();
        let result = match self.pump(gained).await {
            Ok(pump) => pump.run(stop).await.map_err(AssemblyError::from),
            Err(error) => Err(error),
        };
        (partition, result)
    }
}

/// Pumps at work, by partition.
#[derive(Debug, Default)]
struct Pumps {
    running: JoinSet<(String, Result<Report, AssemblyError>)>,
    stops: BTreeMap<String, CancellationToken>,
    report: Report,
}

/// Works on partitions until there will be none or `stop` is cancelled.
pub(crate) async fn run(
    mut partitions: Box<dyn Partitions>,
    works: Arc<Works>,
    stop: CancellationToken,
) -> Result<Report, AssemblyError> {
    let mut pumps = Pumps::default();
    let mut result = pumps.run(partitions.as_mut(), &works, &stop).await;
    for stop in pumps.stops.values() {
        stop.cancel();
    }
    while let Some(ended) = pumps.running.join_next().await {
        let rest = pumps.end(partitions.as_mut(), ended).await;
        result = result.and(rest);
    }
    partitions.close().await;
    result.map(|()| pumps.report)
}

impl Pumps {
    async fn run(
        &mut self,
        partitions: &mut dyn Partitions,
        works: &Arc<Works>,
        stop: &CancellationToken,
    ) -> Result<(), AssemblyError> {
        let mut more_to_come = true;
        while more_to_come || !self.running.is_empty() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = self.running.join_next() => self.end(partitions, ended).await?,
                change = partitions.next(), if more_to_come => match change.map_err(PumpError::from)? {
                    Some(Change::Gained(gained)) => self.start(gained, works),
                    Some(Change::Lost(partition)) => {
                        if let Some(stop) = self.stops.get(&partition) {
                            stop.cancel();
                        }
                    }
                    None => more_to_come = false,
                },
            }
        }
        Ok(())
    }

    fn start(&mut self, gained: Gained, works: &Arc<Works>) {
        let stop = CancellationToken::new();
        self.stops.insert(gained.partition.clone(), stop.clone());
        self.running.spawn(Arc::clone(works).run(gained, stop));
    }

    async fn end(
        &mut self,
        partitions: &mut dyn Partitions,
        ended: Result<(String, Result<Report, AssemblyError>), JoinError>,
    ) -> Result<(), AssemblyError> {
        let (partition, result) = match ended {
            Ok(ended) => ended,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.stops.remove(&partition);
        let result = result.map(|report| self.report.runners.extend(report.runners));
        partitions.ended(&partition, result).await
    }
}

/// A source that is one partition, from the start to its end.
#[derive(Debug)]
pub struct OnePartition(Option<Gained>);

impl OnePartition {
    /// The only partition.
    pub fn new(only: Gained) -> Self {
        Self(Some(only))
    }
}

#[async_trait]
impl Partitions for OnePartition {
    async fn next(&mut self) -> Result<Option<Change>, SourceError> {
        Ok(self.0.take().map(Change::Gained))
    }

    async fn ended(
        &mut self,
        _partition: &str,
        result: Result<(), AssemblyError>,
    ) -> Result<(), AssemblyError> {
        result
    }

    async fn close(&mut self) {}
}

impl Debug for Gained {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gained").field("partition", &self.partition).finish_non_exhaustive()
    }
}
