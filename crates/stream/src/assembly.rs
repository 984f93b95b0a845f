//! Puts a program together from a plan: modules, source, runners, sinks, HTTP, and the task that
//! follows a channel.

use crate::http::{Service, router, serve};
use crate::intake::{self, Incoming, Intake};
use crate::lines::{Lines, LinesError};
use crate::metrics::Metrics;
use crate::modules::{Follower, ModuleCache, ModuleError};
use crate::pump::{Lane, Offer, Pump, PumpError, Report, Settings};
use crate::sink::{self, SinkError};
use crate::source::Source;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_engine::{Engine, Limits, LoadError, Module};
use twinge_journal::JournalError;
use twinge_platform::{Clock, Disk};
use twinge_registry::{Directory, Name, Store, StoreError};
use twinge_runner::{CheckpointError, Checkpoints, Runner};
use twinge_trust::{Digest, Keyring};

/// What a program is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Directory of checkpoints, journal and module cache; one program at a time.
    pub state: PathBuf,
    /// Detectors that run side by side on the same events.
    pub detectors: Vec<DetectorPlan>,
    /// Keys that are trusted.
    pub keyring: Keyring,
    /// Whether a module file without signature may run.
    pub allow_unsigned: bool,
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
}

/// A detector and where its records go.
#[derive(Clone, Debug)]
pub struct DetectorPlan {
    /// Where its module comes from.
    pub origin: Origin,
    /// File of verdicts; `-` is standard output.
    pub verdicts: String,
    /// File of dead letters; `-` is standard output.
    pub dead_letters: String,
}

/// Where a module comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file with its signature beside it.
    File(PathBuf),
    /// A channel of a registry.
    Channel {
        /// Directory of the registry.
        registry: PathBuf,
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
    /// HTTP.
    Http,
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
    Registry(#[from] StoreError),
    #[error("checkpoint cannot be used")]
    Checkpoint(#[from] CheckpointError),
    #[error("journal cannot be used")]
    Journal(#[from] JournalError),
    #[error("input cannot be read")]
    Lines(#[from] LinesError),
    #[error("output cannot be written")]
    Sink(#[from] SinkError),
    #[error("cannot listen on {address}: choose a free port with --listen")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("HTTP service failed")]
    Http(#[source] io::Error),
    #[error("two detectors are called `{0}`: give each a name of its own")]
    SameName(String),
    #[error("two outputs go to {0}: give each detector files of its own")]
    SameOutput(String),
    #[error("events stopped")]
    Pump(#[from] PumpError),
}

/// A program put together and ready to run.
#[derive(Debug)]
pub struct Assembly {
    pump: Pump,
    service: Option<(TcpListener, Service)>,
    followers: Vec<Following>,
    stdin: Option<Intake>,
    tracker: TaskTracker,
    _lock: File,
}

#[derive(Debug)]
struct Following {
    follower: Follower,
    name: String,
    cache: Arc<Mutex<ModuleCache>>,
    keyring: Keyring,
    offers: mpsc::Sender<Offer>,
    clock: Arc<dyn Clock>,
    poll: Duration,
    /// The module offered last.
    offered: Digest,
}

impl Plan {
    /// Puts everything together; when this returns, whatever can be wrong with the plan was.
    pub async fn assemble(
        self,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        tracker: TaskTracker,
    ) -> Result<Assembly, AssemblyError> {
        self.check_outputs()?;
        let lock = lock(&self.state)?;
        let engine = Engine::new(Limits { deadline: self.deadline, ..Limits::default() })?;
        let cache = ModuleCache::open(
            engine,
            &self.state.join("modules"),
            self.keyring.clone(),
            self.allow_unsigned,
        )?;
        let cache = Arc::new(Mutex::new(cache));
        let (offers, offered) = mpsc::channel(self.detectors.len() + 16);
        let metrics = Metrics::default();
        let (source, intake) = self.source(&disk, &clock)?;
        let store: Arc<dyn Store> = Arc::new(Directory::open(&self.state)?);
        let mut lanes = Vec::new();
        let mut followers = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for detector in &self.detectors {
            let (module, follower) = self.module(detector, &cache, &disk, &clock).await?;
            let name = module.manifest().name.clone();
            if names.contains(&name) {
                return Err(AssemblyError::SameName(name));
            }
            let (runner, checkpoints) = self
                .runner(&name, &module, source.as_ref(), &store, &cache, follower.as_ref())
                .await?;
            let (champion, candidate) = runner.digests();
            // The checkpoint may be of a time when the channel said otherwise.
            let wanted = module.digest();
            if candidate.unwrap_or(champion) != wanted {
                let offer = Offer { detector: name.clone(), module };
                offers.try_send(offer).expect("there is room for an offer to each detector");
            }
            let verdicts = sink::open(disk.as_ref(), &detector.verdicts)?;
            lanes.push(Lane::new(
                runner,
                Some(checkpoints),
                verdicts,
                sink::open(disk.as_ref(), &detector.dead_letters)?,
            ));
            followers.extend(follower.map(|follower| Following {
                follower,
                name: name.clone(),
                cache: Arc::clone(&cache),
                keyring: self.keyring.clone(),
                offers: offers.clone(),
                clock: Arc::clone(&clock),
                poll: self.poll,
                offered: wanted,
            }));
            names.push(name);
        }
        let (pump, report) =
            Pump::new(source, lanes, self.settings, metrics.clone(), offered, &clock);
        let stdin = if self.input == Input::Stdin { intake.clone() } else { None };
        let service = match self.listen {
            Some(address) => {
                let listener = TcpListener::bind(address).await;
                let listener =
                    listener.map_err(|source| AssemblyError::Listen { address, source })?;
                Some((listener, Service { intake, metrics, reports: vec![report] }))
            }
            None => None,
        };
        Ok(Assembly { pump, service, followers, stdin, tracker, _lock: lock })
    }

    fn check_outputs(&self) -> Result<(), AssemblyError> {
        let mut seen = std::collections::BTreeSet::new();
        for output in
            self.detectors.iter().flat_map(|detector| [&detector.verdicts, &detector.dead_letters])
        {
            if output != "-" && !seen.insert(output) {
                return Err(AssemblyError::SameOutput(output.clone()));
            }
        }
        Ok(())
    }

    fn source(
        &self,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Box<dyn Source>, Option<Intake>), AssemblyError> {
        Ok(match &self.input {
            Input::Replay(path) => (Box::new(Lines::replay(path, clock.now_ms())?), None),
            Input::Follow(path) => (Box::new(Lines::follow(path, clock)?), None),
            Input::Stdin | Input::Http => {
                let directory = self.state.join("journal");
                let (intake, source) =
                    intake::open(disk, clock, &directory, twinge_journal::Settings::default())?;
                (Box::new(source), Some(intake))
            }
        })
    }

    /// The module that should run, and whoever follows its channel.
    async fn module(
        &self,
        detector: &DetectorPlan,
        cache: &Mutex<ModuleCache>,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Module, Option<Follower>), AssemblyError> {
        let (registry, name, channel) = match &detector.origin {
            Origin::File(path) => return Ok((cache.lock().await.load_file(path).await?, None)),
            Origin::Channel { registry, detector, channel } => (registry, detector, channel),
        };
        let store: Arc<dyn Store> = Arc::new(Directory::open(registry)?);
        let mut follower =
            Follower::open(store, name.clone(), channel.clone(), Arc::clone(disk), &self.state)?;
        // A registry that is away does not keep a program from starting that has been there before.
        if let Err(error) = follower.poll(&self.keyring, clock.now_ms()).await {
            if follower.champion().is_err() {
                return Err(error.into());
            }
            tracing::warn!(error = %chain(&error), "channel cannot be followed; going on with what is known of it");
        }
        let digest = follower.champion()?;
        let module = cache.lock().await.get(&digest, Some(&follower.registry())).await?;
        follower.check(&module)?;
        Ok((module, Some(follower)))
    }

    /// A runner from the latest checkpoint, or one that begins.
    async fn runner(
        &self,
        name: &str,
        module: &Module,
        source: &dyn Source,
        store: &Arc<dyn Store>,
        cache: &Mutex<ModuleCache>,
        follower: Option<&Follower>,
    ) -> Result<(Runner, Checkpoints), AssemblyError> {
        let place = source.place(name);
        let checkpoints = Checkpoints::open(Arc::clone(store), &place).await?;
        let Some(latest) = checkpoints.latest() else {
            return Ok((Runner::new(place, module, self.entities_max), checkpoints));
        };
        let registry = follower.map(Follower::registry);
        let mut cache = cache.lock().await;
        let champion = cache.get(&latest.champion, registry.as_ref()).await?;
        let candidate = match &latest.candidate {
            Some(digest) => Some(cache.get(digest, registry.as_ref()).await?),
            None => None,
        };
        let offset = latest.next_offset;
        let runner = checkpoints.restore(&champion, candidate.as_ref(), self.entities_max).await?;
        tracing::info!(detector = name, offset, "going on from a checkpoint");
        let runner = runner.unwrap_or_else(|| Runner::new(place, module, self.entities_max));
        Ok((runner, checkpoints))
    }
}

impl Assembly {
    /// The address that HTTP is served at.
    pub fn address(&self) -> Option<SocketAddr> {
        self.service.as_ref().and_then(|(listener, _)| listener.local_addr().ok())
    }

    /// Runs until the input ends or `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) -> Result<Report, AssemblyError> {
        let Self { pump, service, followers, stdin, tracker, _lock } = self;
        let children = stop.child_token();
        let mut http = None;
        if let Some((listener, service)) = service {
            let child = children.clone();
            http = Some(tracker.spawn(serve(listener, router(service), child)));
        }
        for following in followers {
            tracker.spawn(follow(following, children.clone()));
        }
        if let Some(intake) = stdin {
            tracker.spawn(read_stdin(intake, children.clone()));
        }
        let report = pump.run(stop).await;
        children.cancel();
        if let Some(http) = http {
            http.await
                .map_err(|error| AssemblyError::Http(io::Error::other(error)))?
                .map_err(AssemblyError::Http)?;
        }
        Ok(report?)
    }
}

/// Looks at a channel now and then, and offers its champion when it is another one.
async fn follow(mut following: Following, stop: CancellationToken) {
    let mut last_trouble = String::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(following.poll) => {}
        }
        match following.look().await {
            Ok(()) => last_trouble.clear(),
            Err(error) => {
                let trouble = chain(&error);
                // Told once, not with every look, for as long as it stays the same.
                if trouble != last_trouble {
                    tracing::warn!(
                        detector = following.name,
                        error = trouble,
                        "channel cannot be followed; what runs goes on"
                    );
                }
                last_trouble = trouble;
            }
        }
    }
}

impl Following {
    async fn look(&mut self) -> Result<(), ModuleError> {
        let polled = self.follower.poll(&self.keyring, self.clock.now_ms()).await;
        let digest = self.follower.champion()?;
        // A module that could not be fetched the last time is tried again, new document or not.
        if digest != self.offered {
            self.offer(&digest).await?;
        }
        polled.map(drop)
    }

    async fn offer(&mut self, digest: &Digest) -> Result<(), ModuleError> {
        let module = self.cache.lock().await.get(digest, Some(&self.follower.registry())).await?;
        self.follower.check(&module)?;
        self.offered = *digest;
        if self.offers.send(Offer { detector: self.name.clone(), module }).await.is_err() {
            tracing::debug!("the pump has stopped; a new module waits for the next start");
        }
        Ok(())
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
            if !accept(&intake, events).await {
                break;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        ((), ()) = async { tokio::join!(read, write) } => {}
    }
}

/// Standard input waits while the journal has no room: nobody can be told to come back.
async fn accept(intake: &Intake, events: Vec<Incoming>) -> bool {
    let mut pause = Duration::from_millis(10);
    loop {
        match intake.accept(events.clone()).await {
            Ok(_) => return true,
            Err(intake::IntakeError::Stopping) => return false,
            Err(error @ intake::IntakeError::TooLarge(_)) if events.len() == 1 => {
                tracing::error!(%error, "a line of standard input was passed over");
                return true;
            }
            Err(intake::IntakeError::TooLarge(_)) => {
                // One of them is; the others are taken one by one.
                for event in events {
                    if !Box::pin(accept(intake, vec![event])).await {
                        return false;
                    }
                }
                return true;
            }
            Err(error) => tracing::warn!(%error, "standard input waits"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

fn lock(state: &Path) -> Result<File, AssemblyError> {
    let error = |source| AssemblyError::State { path: state.to_owned(), source };
    std::fs::create_dir_all(state).map_err(error)?;
    let file = File::create(state.join("lock")).map_err(error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(AssemblyError::InUse(state.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(error(source)),
    }
}

/// An error with everything behind it, for a log line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
