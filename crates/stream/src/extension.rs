//! What a program brings along beside its plan. Which program it is is not known here.

use crate::error::ExtensionError;
use crate::intake::Intake;
use crate::labels::Labels;
use crate::metrics::Metrics;
use crate::outlet::Outlet;
use crate::partitions::Partitions;
use crate::report::Reports;
use crate::sink::{Sink, SinkError};
use async_trait::async_trait;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_engine::Engine;
use twinge_registry::{Directory, Store, StoreError};
use twinge_runner::Runner;

/// What a program brings along beside its plan. One may go around another: what it does not say
/// itself, the inner one says.
#[async_trait]
pub trait Extension: Send + Sync + Debug {
    /// What this one goes around.
    fn inner(&self) -> Option<&dyn Extension> {
        None
    }

    /// The engine that runs the modules; where it says nothing, the program makes one.
    fn engine(&self) -> Option<Engine> {
        self.inner().and_then(Extension::engine)
    }

    /// The store at a location: a folder of the state, or a registry. Where it says nothing, that is
    /// a directory, or the container at an address.
    fn store(&self, location: &str) -> Option<Arc<dyn Store>> {
        self.inner().and_then(|inner| inner.store(location))
    }

    /// The state directory is this program's alone: what lies in it may be opened.
    fn prepare(&self) -> Result<(), ExtensionError> {
        self.inner().map_or(Ok(()), Extension::prepare)
    }

    /// The partitions behind [`Input::Hub`](crate::plan::Input::Hub).
    async fn partitions(&self, reports: &Reports) -> Result<Box<dyn Partitions>, ExtensionError> {
        match self.inner() {
            Some(inner) => inner.partitions(reports).await,
            None => Err("this program has no Event Hubs: use the cloud host".into()),
        }
    }

    /// The sink behind an output called `hub:NAME`.
    fn open(&self, hub: &str) -> Result<Box<dyn Sink>, SinkError> {
        if let Some(inner) = self.inner() {
            return inner.open(hub);
        }
        let (place, source) = (format!("hub `{hub}`"), "this program has no Event Hubs".into());
        Err(SinkError { place, source })
    }

    /// Shows a runner that begins at `offset` without memory what came before, where it is kept, and
    /// answers with the number of events.
    async fn warm(&self, runner: &mut Runner, offset: u64) -> Result<u64, ExtensionError> {
        match self.inner() {
            Some(inner) => inner.warm(runner, offset).await,
            None => Ok(0),
        }
    }

    /// Where findings of a detector go beside its outputs; asked for each partition.
    fn outlets(&self, detector: &str) -> Result<Vec<Box<dyn Outlet>>, SinkError> {
        self.inner().map_or_else(|| Ok(Vec::new()), |inner| inner.outlets(detector))
    }

    /// Everything is ready to run: sources that push may begin, and whatever else lives beside the
    /// pumps.
    fn start(&self, surroundings: Surroundings) {
        if let Some(inner) = self.inner() {
            inner.start(surroundings);
        }
    }
}

/// What runs around an extension.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The way in for events that are pushed; nothing where events come from a file or a hub.
    pub intake: Option<Intake>,
    /// The way in for labels, where the program listens.
    pub labels: Option<Labels>,
    /// What the pumps are doing.
    pub reports: Reports,
    /// What is counted.
    pub metrics: Metrics,
    /// For tasks that are waited for at the end.
    pub tracker: TaskTracker,
    /// Cancelled when the pumps have ended.
    pub stop: CancellationToken,
}

/// The store in a folder of the state: a directory, if the program does not bring along another.
pub(crate) fn store(
    extension: Option<&dyn Extension>,
    folder: &Path,
) -> Result<Arc<dyn Store>, StoreError> {
    let brought = extension.and_then(|extension| extension.store(&folder.to_string_lossy()));
    match brought {
        Some(store) => Ok(store),
        None => Ok(Arc::new(Directory::open(folder)?)),
    }
}
