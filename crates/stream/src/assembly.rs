//! Puts a program together from a plan: modules, source, sinks, HTTP.

pub use crate::chain::chain;
use crate::detectors::Detectors;
use crate::device::{DeviceError, DevicePlan};
use crate::door::{self, Limits};
#[cfg(feature = "adls")]
use crate::http::probes;
use crate::http::{Inferences, Service, router};
use crate::inference::Models;
use crate::intake::{self, Incoming, Intake};
use crate::labels::{Labels, LabelsError};
use crate::lines::{Lines, LinesError};
use crate::metrics::Metrics;
use crate::modules::ModuleError;
use crate::outlet::Outlet;
use crate::partitions::{self, Gained, OnePartition, Partitions, Works};
use crate::pump::{PumpError, Report, Reports, Settings};
#[cfg(feature = "adls")]
use crate::rights::{Desk, DeskError, DeskPlan};
use crate::rights::{RightsError, RightsPlan};
use crate::sightings::Sightings;
use crate::silence::SilenceSettings;
use crate::sink::{Files, HUB_PREFIX, NOWHERE, Sink, SinkError};
use crate::source::Source;
use async_trait::async_trait;
use axum::Router;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_drift::DriftSettings;
use twinge_engine::{Engine, LoadError};
use twinge_journal::JournalError;
use twinge_platform::{Clock, Disk, DiskLock};
use twinge_registry::{Directory, LocationError, Name, Store, StoreError};
use twinge_runner::{CheckpointError, Layout, Runner};
use twinge_trust::Anchor;

/// What a program is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Directory of checkpoints, journal and module cache; one program at a time.
    pub state: PathBuf,
    /// Detectors that run side by side on the same events.
    pub detectors: Vec<DetectorPlan>,
    /// Whom to trust.
    pub anchor: Anchor,
    /// Whether a module file without signature may run.
    pub allow_unsigned: bool,
    /// Whether signed machine code may run in place of what it was compiled from.
    pub allow_native: bool,
    /// The argument by which this program compiles a module apart from what it does, where it keeps
    /// what is compiled.
    pub compile_verb: Option<&'static str>,
    /// Where events come from.
    pub input: Input,
    /// Where HTTP is served.
    pub listen: Option<SocketAddr>,
    /// Bounds of the pump.
    pub settings: Settings,
    /// Entities remembered by each detector, in place of the manifest's.
    pub entities_max: Option<u32>,
    /// Time a call of a module may take.
    pub deadline: Duration,
    /// How often a channel is looked at.
    pub poll: Duration,
    /// How often is reported on what runs, if nothing changes.
    pub report: Duration,
    /// Who this device is to its registries.
    pub device: DevicePlan,
    /// The fields that events here have; without it, any schema is taken.
    pub fields: Option<BTreeSet<String>>,
    /// Where rights on the registry are asked for, if not in the environment.
    pub rights: Option<RightsPlan>,
    /// The rights that this program gives to devices, over HTTP.
    #[cfg(feature = "adls")]
    pub desk: Option<DeskPlan>,
    /// Bytes that events may take in the journal before they are scored.
    pub journal_bytes_max: u64,
    /// When an entity that stops sending is told.
    pub silence: SilenceSettings,
    /// When something is told that no longer looks as it did in training.
    pub drift: DriftSettings,
    /// File of labels, if not in the state.
    pub labels: Option<PathBuf>,
}

/// A detector and where its records go.
#[derive(Clone, Debug)]
pub struct DetectorPlan {
    /// Where its module comes from.
    pub origin: Origin,
    /// File of verdicts; `-` is standard output, `hub:NAME` a hub.
    pub verdicts: String,
    /// File of dead letters; `-` is standard output, `hub:NAME` a hub.
    pub dead_letters: String,
    /// Where anomalies go with all that it takes to replay them.
    pub audits: Option<String>,
}

impl DetectorPlan {
    fn outputs(&self) -> impl Iterator<Item = &String> {
        [&self.verdicts, &self.dead_letters].into_iter().chain(&self.audits)
    }
}

/// Where a module comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file with its signature beside it.
    File(PathBuf),
    /// A channel of a registry.
    Channel {
        /// The registry: a directory, or the address of a container.
        registry: String,
        /// The detector.
        detector: Name,
        /// The channel.
        channel: Name,
    },
}

/// Where events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file, once; the program ends with it.
    Replay(PathBuf),
    /// A file that grows.
    Follow(PathBuf),
    /// Standard input; the program ends with it.
    Stdin,
    /// What is pushed: HTTP, and whatever a program feeds.
    Pushed,
    /// Partitions of a hub, which the program brings along.
    Hub,
}

/// Why a program cannot start or had to stop.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is said by its message")]
pub enum AssemblyError {
    #[error("state directory {path} cannot be used")]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "state directory {0} is in use by another process: give each program a directory of its own"
    )]
    InUse(PathBuf),
    #[error("WebAssembly engine cannot start")]
    Engine(#[from] LoadError),
    #[error("module cannot be used")]
    Module(#[from] ModuleError),
    #[error("registry cannot be used")]
    Registry(#[from] LocationError),
    #[error("rights on the registry cannot be asked for")]
    Rights(#[from] RightsError),
    #[cfg(feature = "adls")]
    #[error("devices cannot be given rights")]
    Desk(#[from] DeskError),
    #[error("device cannot say who it is")]
    Device(#[from] DeviceError),
    #[error("state cannot be stored")]
    Store(#[from] StoreError),
    #[error("checkpoint cannot be used")]
    Checkpoint(#[from] CheckpointError),
    #[error("journal cannot be used")]
    Journal(#[from] JournalError),
    #[error("input cannot be read")]
    Lines(#[from] LinesError),
    #[error("output cannot be written")]
    Sink(#[from] SinkError),
    #[error("cannot listen on {address}: choose a free port with {flag}")]
    Listen {
        address: SocketAddr,
        flag: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("labels cannot be kept")]
    Labels(#[from] LabelsError),
    #[error("HTTP service failed")]
    Http(#[source] io::Error),
    #[error("two detectors are called `{0}`: give each a name of its own")]
    SameName(String),
    #[error("two outputs go to {0}: give each detector files of its own")]
    SameOutput(String),
    #[error("events stopped")]
    Pump(#[from] PumpError),
    #[error("what the program brings along cannot be used")]
    Extension(#[source] ExtensionError),
    #[error("this program has no Event Hubs: use the cloud host")]
    NoHub,
    #[error("Event Hubs cannot be used")]
    Hub(#[source] ExtensionError),
}

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

    /// The partitions behind [`Input::Hub`].
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

/// Why a program's extension does not work; its message says what to do.
pub type ExtensionError = Box<dyn std::error::Error + Send + Sync>;

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
    /// Events that are pushed, and no detector yet: what else is not said has the usual bounds.
    pub fn new(state: PathBuf) -> Self {
        Self {
            state,
            detectors: Vec::new(),
            anchor: Anchor::default(),
            allow_unsigned: false,
            allow_native: false,
            compile_verb: None,
            input: Input::Pushed,
            listen: None,
            settings: Settings::default(),
            entities_max: None,
            deadline: Duration::from_secs(1),
            poll: Duration::from_secs(10),
            report: Duration::from_mins(1),
            device: DevicePlan::default(),
            fields: None,
            rights: None,
            #[cfg(feature = "adls")]
            desk: None,
            journal_bytes_max: 1 << 30,
            silence: SilenceSettings::default(),
            drift: DriftSettings::default(),
            labels: None,
        }
    }

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
        let labels = self.labels.clone().unwrap_or_else(|| self.state.join("labels.ndjson"));
        let labels = match self.listen {
            Some(_) => Some(Labels::open(disk.as_ref(), Arc::clone(&clock), &labels)?),
            None => None,
        };
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
                let routes = router(Service {
                    intake: intake.clone(),
                    metrics,
                    reports,
                    labels,
                    models,
                    inferences: Inferences::default(),
                });
                let routes = door::refuse_other_names(routes, address);
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

    /// The detectors whose channels are followed in a registry.
    pub(crate) fn followed(&self, registry: &str) -> Vec<Name> {
        let names = self.detectors.iter().filter_map(|plan| match &plan.origin {
            Origin::Channel { registry: own, detector, .. } if own == registry => {
                Some(detector.clone())
            }
            _ => None,
        });
        names.collect()
    }

    fn check_outputs(&self) -> Result<(), AssemblyError> {
        let mut seen = BTreeSet::new();
        for output in self.detectors.iter().flat_map(DetectorPlan::outputs) {
            let is_file = output != "-" && output != NOWHERE && !output.starts_with(HUB_PREFIX);
            if is_file && !seen.insert(output) {
                return Err(AssemblyError::SameOutput(output.clone()));
            }
        }
        Ok(())
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

/// Least bytes of a journal: events of the largest size must fit.
pub const JOURNAL_BYTES_MIN: u64 = 64 << 20;

impl Plan {
    /// A journal within its bound.
    fn journal(&self) -> twinge_journal::Settings {
        let default = twinge_journal::Settings::default();
        let segment_bytes = default.segment_bytes.min(self.journal_bytes_max / 8);
        let record_bytes_max = u64::from(default.record_bytes_max).min(self.journal_bytes_max / 4);
        let record_bytes_max = record_bytes_max as u32;
        let total_bytes_max = self.journal_bytes_max;
        twinge_journal::Settings { segment_bytes, record_bytes_max, total_bytes_max }
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
            tracker.spawn(read_stdin(intake, children.clone()));
        }
        let report = partitions::run(partitions, Arc::new(works), stop).await;
        children.cancel();
        for door in doors {
            door.await.map_err(|error| AssemblyError::Http(io::Error::other(error)))?;
        }
        report
    }
}

/// Lines of standard input into the journal, as many at once as have come.
async fn read_stdin(intake: Intake, stop: CancellationToken) {
    let mut lines = BufReader::with_capacity(1 << 20, tokio::io::stdin()).split(b'\n');
    let (lines_in, mut lines_out) = mpsc::channel::<Vec<u8>>(4096);
    let read = async {
        while let Ok(Some(line)) = lines.next_segment().await {
            if lines_in.send(line).await.is_err() {
                break;
            }
        }
        drop(lines_in);
    };
    let write = async {
        let mut group = Vec::new();
        while lines_out.recv_many(&mut group, 1024).await > 0 {
            let events: Vec<Incoming> = group
                .drain(..)
                .filter(|line| !line.trim_ascii().is_empty())
                .map(|bytes| Incoming { attributes: None, bytes })
                .collect();
            if intake.accept_patiently(events, "standard input").await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ((), ()) = async { tokio::join!(read, write) } => {}
    }
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

/// Takes a state directory for this process alone, for as long as what it answers with lives.
pub fn lock(disk: &dyn Disk, state: &Path) -> Result<Box<dyn DiskLock>, AssemblyError> {
    disk.lock(&state.join("lock")).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => AssemblyError::InUse(state.to_owned()),
        _ => AssemblyError::State { path: state.to_owned(), source },
    })
}
