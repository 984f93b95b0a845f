//! The detectors of a program: their modules, the channels they follow, and a lane for each on every
//! partition.

use crate::chain::chain;
use crate::device::DeviceIdentity;
use crate::drift::LaneDrift;
use crate::error::AssemblyError;
use crate::extension::{self, Extension};
use crate::follower::{Follower, Told};
use crate::lane::{Lane, LaneOutputs, LaneSilence};
use crate::module_error::ModuleError;
use crate::modules::ModuleCache;
#[cfg(feature = "compiler")]
use crate::own_code::OwnCode;
use crate::plan::{DetectorPlan, Origin, Plan};
use crate::report::{Reports, Wanted};
use crate::reporter::{Heard, Reporter};
use crate::rights::{self, Asking};
use crate::silence::SilenceSettings;
use crate::sink::Outputs;
use crate::source::Source;
use crate::trust::Trust;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_drift::DriftSettings;
use twinge_engine::{Engine, Limits};
use twinge_platform::{Clock, Disk};
use twinge_registry::{Registry, Store, open_store};
use twinge_runner::{Checkpoints, Directive, Runner};

/// The detectors of a program.
#[derive(Debug)]
pub struct Detectors {
    all: Vec<Detector>,
    cache: Arc<Mutex<ModuleCache>>,
    entities_max: Option<u32>,
    wanted: Arc<watch::Sender<Wanted>>,
    followers: Vec<Following>,
    trust: Trust,
    /// The registry that rights were asked for, once it is open: they are for one.
    by_rights: Option<Arc<dyn Store>>,
    watching: Watching,
}

/// What it takes to watch for silence and drift.
#[derive(Debug)]
struct Watching {
    silence: SilenceSettings,
    drift: DriftSettings,
    state: PathBuf,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Detector {
    name: String,
    registry: Option<(Registry, Arc<dyn Store>)>,
    plan: DetectorPlan,
}

#[derive(Debug)]
struct Following {
    follower: Follower,
    name: String,
    cache: Arc<Mutex<ModuleCache>>,
    trust: Trust,
    identity: DeviceIdentity,
    wanted: Arc<watch::Sender<Wanted>>,
    heard: Heard,
    clock: Arc<dyn Clock>,
    poll: Duration,
    report: Duration,
}

impl Detectors {
    /// Loads the modules that a plan asks for.
    pub async fn open(
        plan: &Plan,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
        extension: Option<&dyn Extension>,
    ) -> Result<Self, AssemblyError> {
        let engine = match extension.and_then(Extension::engine) {
            Some(engine) => engine,
            None => Engine::new(Limits { deadline: plan.deadline, ..Limits::default() })?,
        };
        let modules = extension::store(extension, &plan.state.join("modules"))?;
        let trust = Trust::open(plan.anchor.clone(), &plan.state, Arc::clone(disk))?;
        let cache = ModuleCache::in_store(engine, modules, trust.clone(), plan.allow_unsigned)
            .allowing_native(plan.allow_native);
        #[cfg(feature = "compiler")]
        let cache = cache.keeping_code(OwnCode::of(plan, disk.as_ref())?);
        let mut this = Self {
            all: Vec::new(),
            cache: Arc::new(Mutex::new(cache)),
            entities_max: plan.entities_max,
            wanted: Arc::new(watch::Sender::new(Wanted::new())),
            followers: Vec::new(),
            trust: trust.clone(),
            by_rights: None,
            watching: Watching {
                silence: plan.silence,
                drift: plan.drift,
                state: plan.state.clone(),
                disk: Arc::clone(disk),
                clock: Arc::clone(clock),
            },
        };
        for detector in &plan.detectors {
            this.add(plan, detector, (disk, clock), &trust, extension).await?;
        }
        Ok(this)
    }

    async fn add(
        &mut self,
        plan: &Plan,
        detector: &DetectorPlan,
        machine: (&Arc<dyn Disk>, &Arc<dyn Clock>),
        trust: &Trust,
        extension: Option<&dyn Extension>,
    ) -> Result<(), AssemblyError> {
        let (directive, following) = match &detector.origin {
            Origin::File(path) => {
                (Directive::only(&self.cache.lock().await.load_file(path).await?), None)
            }
            Origin::Channel { .. } => {
                let mut following =
                    self.following(plan, detector, machine, trust, extension).await?;
                (following.begin().await?, Some(following))
            }
        };
        let name = directive.act.module.manifest().name.clone();
        if self.all.iter().any(|detector| detector.name == name) {
            return Err(AssemblyError::SameName(name));
        }
        let registry = following.as_ref().map(|following| following.follower.registry());
        self.all.push(Detector { name: name.clone(), registry, plan: detector.clone() });
        self.followers.extend(following);
        self.wanted.send_modify(|wanted| drop(wanted.insert(name, directive)));
        Ok(())
    }

    async fn following(
        &mut self,
        plan: &Plan,
        detector: &DetectorPlan,
        (disk, clock): (&Arc<dyn Disk>, &Arc<dyn Clock>),
        trust: &Trust,
        extension: Option<&dyn Extension>,
    ) -> Result<Following, AssemblyError> {
        let Origin::Channel { registry, detector: name, channel } = &detector.origin else {
            unreachable!("only channels are followed");
        };
        let identity = DeviceIdentity::open(&plan.device, &plan.state, disk)?;
        let brought = extension.and_then(|extension| extension.store(registry));
        let store = match brought {
            Some(store) => store,
            None => self.store(plan, registry, &identity, disk, clock).await?,
        };
        let (disk_of, fields) = (Arc::clone(disk), plan.fields.clone());
        let follower =
            Follower::open(store, name.clone(), channel.clone(), disk_of, &plan.state, fields)?;
        tracing::info!(
            device = identity.device().name,
            enrolled = identity.is_enrolled(),
            public_key = %identity.public_key(),
            "following channel {channel} of detector {name}"
        );
        Ok(Following {
            follower,
            name: name.to_string(),
            cache: Arc::clone(&self.cache),
            trust: trust.clone(),
            identity,
            wanted: Arc::clone(&self.wanted),
            heard: Heard::default(),
            clock: Arc::clone(clock),
            poll: plan.poll,
            report: plan.report,
        })
    }

    /// The registry, by the rights that a host gives where the plan names one, else by those of the
    /// environment.
    async fn store(
        &mut self,
        plan: &Plan,
        registry: &str,
        identity: &DeviceIdentity,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<dyn Store>, AssemblyError> {
        let Some(rights) = plan.rights.as_ref().filter(|_| registry.contains("://")) else {
            return Ok(open_store(registry, &|name| std::env::var(name).ok()).await?);
        };
        if let Some(store) = &self.by_rights {
            return Ok(Arc::clone(store));
        }
        let asking = Asking {
            plan: rights,
            identity: identity.clone(),
            detectors: plan.followed(registry),
            file: plan.state.join("rights.json"),
            disk: Arc::clone(disk),
            clock: Arc::clone(clock),
        };
        let store = rights::open_store(registry, asking)?;
        Ok(Arc::clone(self.by_rights.insert(store)))
    }

    /// Whom the program trusts.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The modules that should run, as channels tell of them.
    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// A lane for each detector on the partition of `source`, from its latest checkpoint or from
    /// where the partition stands.
    pub async fn lanes(
        &self,
        source: &dyn Source,
        checkpoints: &Checkpoints,
        outputs: &dyn Outputs,
        extension: Option<&dyn Extension>,
    ) -> Result<Vec<Lane>, AssemblyError> {
        let mut lanes = Vec::with_capacity(self.all.len());
        for detector in &self.all {
            let mut runner = self.runner(detector, source, checkpoints).await?;
            let audits = match &detector.plan.audits {
                Some(output) => {
                    runner.keep_audits();
                    Some(outputs.open(output)?)
                }
                None => None,
            };
            let outlets = extension.map(|extension| extension.outlets(&detector.name));
            let outputs = LaneOutputs {
                verdicts: outputs.open(&detector.plan.verdicts)?,
                dead_letters: outputs.open(&detector.plan.dead_letters)?,
                audits,
                outlets: outlets.transpose()?.unwrap_or_default(),
            };
            let silence = self.watching.silence(&detector.name, source);
            let drift = self.watching.drift(&detector.name, source);
            lanes.push(Lane::new(runner, outputs, silence, drift));
        }
        Ok(lanes)
    }

    async fn runner(
        &self,
        detector: &Detector,
        source: &dyn Source,
        checkpoints: &Checkpoints,
    ) -> Result<Runner, AssemblyError> {
        let place = source.place(&detector.name);
        let latest = checkpoints.latest();
        let known = latest
            .and_then(|pointer| pointer.detectors.iter().find(|known| known.name == detector.name));
        if let (Some(known), Some(pointer)) = (known, latest) {
            let mut cache = self.cache.lock().await;
            let registry = detector.registry.as_ref();
            let acting = cache.get(&known.acting, registry).await?;
            let beside = match &known.beside {
                Some(digest) => match cache.get(digest, registry).await {
                    Ok(module) => Some(module),
                    // It may have acted on events after the checkpoint, which must not get other
                    // verdicts now.
                    Err(error) if error.may_pass() => return Err(error.into()),
                    Err(error) => {
                        tracing::warn!(module = %digest, error = chain(&error), "the module beside the acting one cannot be had, and goes");
                        None
                    }
                },
                None => None,
            };
            drop(cache);
            let restored =
                checkpoints.restore(&place, &acting, beside.as_ref(), self.entities_max).await?;
            if let Some(runner) = restored {
                tracing::info!(
                    detector = detector.name,
                    partition = %place.partition,
                    offset = pointer.next_offset,
                    "going on from a checkpoint"
                );
                return Ok(runner);
            }
        }
        let directive = self.wanted.borrow().get(&detector.name).cloned();
        let directive = directive.expect("every detector was given a module when it was added");
        let offset = latest.map_or(0, |pointer| pointer.next_offset);
        if latest.is_some() {
            tracing::info!(
                detector = detector.name,
                partition = %place.partition,
                offset,
                "a detector joins those that run already, and begins here"
            );
        }
        // It is told where to go on once what came before has been shown to it.
        Ok(Runner::begin_at(place, &directive, self.entities_max, 0))
    }

    /// Follows the channels and reports on them until `stop` is cancelled.
    pub fn follow(&mut self, tracker: &TaskTracker, stop: &CancellationToken, reports: &Reports) {
        for following in self.followers.drain(..) {
            tracker.spawn(following.reporter(reports).run(stop.clone()));
            tracker.spawn(following.run(stop.clone()));
        }
    }
}

impl Watching {
    /// A watch for silence on a partition, where there is to be one.
    fn silence(&self, detector: &str, source: &dyn Source) -> Option<LaneSilence> {
        if !self.silence.enabled {
            return None;
        }
        let file = self.file("silence", detector, source);
        let now = self.clock.monotonic_ms();
        Some(LaneSilence::open(self.silence, Arc::clone(&self.disk), file, now))
    }

    /// A watch for drift on a partition, where there is to be one.
    fn drift(&self, detector: &str, source: &dyn Source) -> Option<LaneDrift> {
        if !self.drift.enabled {
            return None;
        }
        let file = self.file("drift", detector, source);
        let now = self.clock.monotonic_ms();
        Some(LaneDrift::open(self.drift, Arc::clone(&self.disk), file, now))
    }

    fn file(&self, what: &str, detector: &str, source: &dyn Source) -> PathBuf {
        let partition = source.place(detector).partition;
        self.state.join(format!("{what}-{detector}={partition}.bin"))
    }
}

impl Following {
    /// What to run at the start. A registry that is away does not keep a program from starting that
    /// has been there before.
    async fn begin(&mut self) -> Result<Directive, AssemblyError> {
        let polled = self.follower.poll(&self.trust, self.clock.now_ms()).await;
        if let Err(error) = &polled {
            if self.follower.current().is_none() {
                return Err(polled.expect_err("it is one").into());
            }
            tracing::warn!(error = %chain(error), "channel cannot be followed; going on with what is known of it");
        }
        let told = self.told().await?;
        self.note(&told, polled.as_ref().err());
        Ok(told.directive)
    }

    /// Looks at the channel now and then, and passes on what it says.
    async fn run(mut self, stop: CancellationToken) {
        let mut last_trouble = String::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.poll) => {}
            }
            let trouble = tokio::select! {
                () = stop.cancelled() => return,
                trouble = self.look() => trouble,
            };
            // Told once, not with every look, for as long as it stays the same.
            if let Some(trouble) = trouble.as_ref().filter(|trouble| **trouble != last_trouble) {
                tracing::warn!(
                    detector = self.name,
                    error = trouble,
                    "channel cannot be followed; what runs goes on"
                );
            }
            last_trouble = trouble.unwrap_or_default();
        }
    }

    /// Answers with why the channel, or a part of it, is not followed.
    async fn look(&mut self) -> Option<String> {
        let polled = self.follower.poll(&self.trust, self.clock.now_ms()).await;
        // Modules that could not be fetched the last time are tried again, new document or not.
        match self.told().await {
            Ok(told) => {
                let trouble = self.note(&told, polled.as_ref().err());
                self.wanted.send_if_modified(|wanted| {
                    let before = wanted.get(&self.name);
                    let is_new = before.is_none_or(|before| !before.is_same(&told.directive));
                    if is_new {
                        wanted.insert(self.name.clone(), told.directive);
                    }
                    is_new
                });
                trouble
            }
            Err(error) => {
                let trouble = chain(&polled.err().unwrap_or(error));
                self.heard.note(None, Some(trouble.clone()));
                Some(trouble)
            }
        }
    }

    async fn told(&self) -> Result<Told, ModuleError> {
        let device = self.identity.device();
        self.follower.told(device, self.trust.version(), &self.cache).await
    }

    fn note(&self, told: &Told, refused: Option<&ModuleError>) -> Option<String> {
        let trouble = refused.or(told.trouble.as_ref()).map(|error| chain(error));
        self.heard.note(Some(told.desired.clone()), trouble.clone());
        trouble
    }

    fn reporter(&self, reports: &Reports) -> Reporter {
        let (detector, channel) = self.follower.names();
        Reporter {
            registry: self.follower.registry().0,
            detector: detector.clone(),
            channel: channel.clone(),
            identity: self.identity.clone(),
            heard: self.heard.clone(),
            reports: reports.clone(),
            clock: Arc::clone(&self.clock),
            poll: self.poll,
            every: self.report,
        }
    }
}
