//! Puts a program together from a plan: modules, source, sinks, HTTP.

pub use crate::chain::chain;
use crate::detectors::Detectors;
use crate::door::{self, Limits};
pub use crate::error::{AssemblyError, ExtensionError};
use crate::extension::store;
pub use crate::extension::{Extension, Surroundings};
#[cfg(feature = "adls")]
use crate::http::probes;
use crate::http::{Inferences, Service, router};
use crate::inference::Models;
use crate::intake::{self, Intake};
use crate::labels::Labels;
use crate::lines::Lines;
use crate::metrics::Metrics;
use crate::outputs::Files;
use crate::partitions::{Gained, OnePartition, Partitions};
pub use crate::plan::{DetectorPlan, Input, JOURNAL_BYTES_MIN, Origin, Plan};
use crate::pumps;
use crate::report::{Report, Reports};
#[cfg(feature = "adls")]
use crate::rights::Desk;
use crate::sightings::Sightings;
use crate::source::Source;
use crate::stdin;
use crate::works::Works;
use axum::Router;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_platform::{Clock, Disk, DiskLock};
use twinge_runner::Layout;

/// A program put together and ready to run.
#[derive(Debug)]
pub struct Assembly {
    partitions: Box<dyn Partitions>,
    works: Works,
    /// What `--listen` opens.
    service: Option<Door>,
    /// What gives rights to devices.
    desk: Option<Door>,
    intake: Option<Intake>,
    labels: Option<Labels>,
    reads_stdin: bool,
    tracker: TaskTracker,
    _lock: Box<dyn DiskLock>,
}

/// An address, and what is served there.
#[derive(Debug)]
struct Door {
    listener: TcpListener,
    router: Router,
}

impl Door {
    /// `flag` is what an address that cannot be had is changed by.
    async fn open(
        address: SocketAddr,
        flag: &'static str,
        router: Router,
    ) -> Result<Self, AssemblyError> {
        let listener = TcpListener::bind(address).await;
        let listener =
            listener.map_err(|source| AssemblyError::Listen { address, flag, source })?;
        Ok(Self { listener, router })
    }

    fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }
}

impl Plan {
    /// Puts everything together; when this returns, whatever can be wrong with the plan was.
    pub async fn assemble(
        self,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        tracker: TaskTracker,
        extension: Option<Arc<dyn Extension>>,
    ) -> Result<Assembly, AssemblyError> {
        self.check_outputs()?;
        let lock = lock(disk.as_ref(), &self.state)?;
        if let Some(extension) = &extension {
            extension.prepare().map_err(AssemblyError::Extension)?;
        }
        let detectors = Detectors::open(&self, &disk, &clock, extension.as_deref()).await?;
        let (reports, metrics) = (Reports::default(), Metrics::default());
        let (partitions, intake) =
            self.partitions((&disk, &clock), extension.as_deref(), &reports, &tracker).await?;
        let labels = self.open_labels(disk.as_ref(), &clock)?;
        let models = Models::new(detectors.wanted(), reports.clone());
        #[cfg(feature = "adls")]
        let desk = self.open_desk(&detectors, &clock, &metrics, &reports).await?;
        #[cfg(not(feature = "adls"))]
        let desk = None;
        let works = Works {
            detectors,
            outputs: Files::new(disk, extension.clone()),
            extension,
            settings: self.settings,
            metrics: metrics.clone(),
            reports: reports.clone(),
            clock,
            sightings: Sightings::default(),
        };
        let service = match self.listen.zip(labels.clone()) {
            Some((address, labels)) => {
                let (intake, inferences) = (intake.clone(), Inferences::default());
                let served = Service { intake, metrics, reports, labels, models, inferences };
                let routes = door::refuse_other_names(router(served), address);
                Some(Door::open(address, "--listen", routes).await?)
            }
            None => None,
        };
        let reads_stdin = self.input == Input::Stdin;
        Ok(Assembly {
            partitions,
            works,
            service,
            desk,
            intake,
            labels,
            reads_stdin,
            tracker,
            _lock: lock,
        })
    }

    /// The file of labels, where the program listens for them.
    fn open_labels(
        &self,
        disk: &dyn Disk,
        clock: &Arc<dyn Clock>,
    ) -> Result<Option<Labels>, AssemblyError> {
        if self.listen.is_none() {
            return Ok(None);
        }
        let file = self.labels.clone().unwrap_or_else(|| self.state.join("labels.ndjson"));
        Ok(Some(Labels::open(disk, Arc::clone(clock), &file)?))
    }

    /// The desk of rights, at an address of its own: devices ask from anywhere, and nothing else of
    /// this program is for everybody.
    #[cfg(feature = "adls")]
    async fn open_desk(
        &self,
        detectors: &Detectors,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
        reports: &Reports,
    ) -> Result<Option<Door>, AssemblyError> {
        let Some(plan) = &self.desk else { return Ok(None) };
        let (trust, clock) = (detectors.trust().clone(), Arc::clone(clock));
        let desk = Desk::open(plan, trust, clock, metrics.clone())?;
        let registry = desk.address().to_owned();
        let routes = desk.router().merge(probes(reports.clone()));
        let door = Door::open(plan.listen, "--device-rights-listen", routes).await?;
        if let Some(address) = door.address() {
            tracing::info!(%address, registry, "serving rights for devices, /livez and /readyz");
        }
        Ok(Some(door))
    }

    async fn partitions(
        &self,
        (disk, clock): (&Arc<dyn Disk>, &Arc<dyn Clock>),
        extension: Option<&dyn Extension>,
        reports: &Reports,
        tracker: &TaskTracker,
    ) -> Result<(Box<dyn Partitions>, Option<Intake>), AssemblyError> {
        let (source, intake): (Box<dyn Source>, _) = match &self.input {
            Input::Replay(path) => (Box::new(Lines::replay(path, clock.now_ms())?), None),
            Input::Follow(path) => (Box::new(Lines::follow(path, &self.state, disk, clock)?), None),
            Input::Stdin | Input::Pushed => {
                let directory = self.state.join("journal");
                let (intake, source) =
                    intake::open(disk, clock, &directory, self.journal(), tracker)?;
                (Box::new(source), Some(intake))
            }
            Input::Hub => {
                let extension = extension.ok_or(AssemblyError::NoHub)?;
                let partitions = extension.partitions(reports).await;
                return Ok((partitions.map_err(AssemblyError::Hub)?, None));
            }
        };
        let store = store(extension, &self.state)?;
        let place = source.place("");
        let layout = Layout::of(&place.source, &place.partition);
        let only = Gained { partition: place.partition.to_string(), source, store, layout };
        Ok((Box::new(OnePartition::new(only)), intake))
    }
}

impl Assembly {
    /// The address that HTTP is served at.
    pub fn address(&self) -> Option<SocketAddr> {
        self.service.as_ref().and_then(Door::address)
    }

    /// Runs until the input ends or `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) -> Result<Report, AssemblyError> {
        let Self {
            partitions,
            mut works,
            service,
            desk,
            intake,
            labels,
            reads_stdin,
            tracker,
            _lock,
        } = self;
        let children = stop.child_token();
        let serve = |Door { listener, router }| {
            tracker.spawn(door::serve(listener, router, Limits::default(), children.clone()))
        };
        let doors: Vec<_> = [service, desk].into_iter().flatten().map(serve).collect();
        works.detectors.follow(&tracker, &children, &works.reports);
        if let Some(extension) = &works.extension {
            extension.start(Surroundings {
                intake: intake.clone(),
                labels,
                reports: works.reports.clone(),
                metrics: works.metrics.clone(),
                tracker: tracker.clone(),
                stop: children.clone(),
            });
        }
        // The source ends with the last way in.
        if let Some(intake) = intake
            && reads_stdin
        {
            tracker.spawn(stdin::read(intake, children.clone()));
        }
        let report = pumps::run(partitions, Arc::new(works), stop).await;
        children.cancel();
        for door in doors {
            door.await.map_err(|error| AssemblyError::Http(io::Error::other(error)))?;
        }
        report
    }
}

/// Takes a state directory for this process alone, for as long as what it answers with lives.
pub fn lock(disk: &dyn Disk, state: &Path) -> Result<Box<dyn DiskLock>, AssemblyError> {
    disk.lock(&state.join("lock")).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => AssemblyError::InUse(state.to_owned()),
        _ => AssemblyError::State { path: state.to_owned(), source },
    })
}
