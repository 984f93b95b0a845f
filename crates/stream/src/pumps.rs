//! A pump for each partition that is here, from when it comes until it goes.

use crate::error::{AssemblyError, PumpError};
use crate::partitions::{Change, Gained, Partitions};
use crate::pump::Pump;
use crate::report::Report;
use crate::works::Works;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use twinge_runner::Checkpoints;

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
