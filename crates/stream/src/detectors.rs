//! The detectors of a program: their modules, the channels they follow, and a lane for each on every
//! partition.

use crate::assembly::{AssemblyError, DetectorPlan, Origin, Plan, chain};
use crate::modules::{Follower, ModuleCache, ModuleError};
use crate::pump::{Lane, Wanted};
use crate::sink::Outputs;
use crate::source::Source;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_engine::{Engine, Limits, Module};
use twinge_platform::{Clock, Disk};
use twinge_registry::{Directory, Registry, Store};
use twinge_runner::{Checkpoints, Runner};
use twinge_trust::{Digest, Keyring};

/// The detectors of a program.
#[derive(Debug)]
pub struct Detectors {
    all: Vec<Detector>,
    cache: Arc<Mutex<ModuleCache>>,
    entities_max: Option<u32>,
    wanted: Arc<watch::Sender<Wanted>>,
    followers: Vec<Following>,
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
    keyring: Keyring,
    wanted: Arc<watch::Sender<Wanted>>,
    clock: Arc<dyn Clock>,
    poll: Duration,
    /// The module offered last.
    offered: Digest,
}

impl Detectors {
    /// Loads the modules that a plan asks for.
    pub async fn open(
        plan: &Plan,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, AssemblyError> {
        let engine = Engine::new(Limits { deadline: plan.deadline, ..Limits::default() })?;
        let modules = plan.state.join("modules");
        let cache = ModuleCache::open(engine, &modules, plan.keyring.clone(), plan.allow_unsigned)?;
        let mut this = Self {
            all: Vec::new(),
            cache: Arc::new(Mutex::new(cache)),
            entities_max: plan.entities_max,
            wanted: Arc::new(watch::Sender::new(Wanted::new())),
            followers: Vec::new(),
        };
        for detector in &plan.detectors {
            this.add(plan, detector, disk, clock).await?;
        }
        Ok(this)
    }

    async fn add(
        &mut self,
        plan: &Plan,
        detector: &DetectorPlan,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
    ) -> Result<(), AssemblyError> {
        let (module, follower) = self.module(plan, detector, disk, clock).await?;
        let name = module.manifest().name.clone();
        if self.all.iter().any(|detector| detector.name == name) {
            return Err(AssemblyError::SameName(name));
        }
        let registry = follower.as_ref().map(Follower::registry);
        self.all.push(Detector { name: name.clone(), registry, plan: detector.clone() });
        self.followers.extend(follower.map(|follower| Following {
            follower,
            name: name.clone(),
            cache: Arc::clone(&self.cache),
            keyring: plan.keyring.clone(),
            wanted: Arc::clone(&self.wanted),
            clock: Arc::clone(clock),
            poll: plan.poll,
            offered: module.digest(),
        }));
        self.wanted.send_modify(|wanted| drop(wanted.insert(name, module)));
        Ok(())
    }

    /// The module that should run, and whoever follows its channel.
    async fn module(
        &self,
        plan: &Plan,
        detector: &DetectorPlan,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Module, Option<Follower>), AssemblyError> {
        let (registry, name, channel) = match &detector.origin {
            Origin::File(path) => {
                return Ok((self.cache.lock().await.load_file(path).await?, None));
            }
            Origin::Channel { registry, detector, channel } => (registry, detector, channel),
        };
        let store: Arc<dyn Store> = Arc::new(Directory::open(registry)?);
        let mut follower =
            Follower::open(store, name.clone(), channel.clone(), Arc::clone(disk), &plan.state)?;
        // A registry that is away does not keep a program from starting that has been there before.
        if let Err(error) = follower.poll(&plan.keyring, clock.now_ms()).await {
            if follower.champion().is_err() {
                return Err(error.into());
            }
            tracing::warn!(error = %chain(&error), "channel cannot be followed; going on with what is known of it");
        }
        let digest = follower.champion()?;
        let module = self.cache.lock().await.get(&digest, Some(&follower.registry())).await?;
        follower.check(&module)?;
        Ok((module, Some(follower)))
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
    ) -> Result<Vec<Lane>, AssemblyError> {
        let mut lanes = Vec::with_capacity(self.all.len());
        for detector in &self.all {
            lanes.push(Lane::new(
                self.runner(detector, source, checkpoints).await?,
                outputs.open(&detector.plan.verdicts)?,
                outputs.open(&detector.plan.dead_letters)?,
            ));
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
            let champion = cache.get(&known.champion, registry).await?;
            let candidate = match &known.candidate {
                Some(digest) => Some(cache.get(digest, registry).await?),
                None => None,
            };
            drop(cache);
            let restored = checkpoints
                .restore(&place, &champion, candidate.as_ref(), self.entities_max)
                .await?;
            if let Some(runner) = restored {
                tracing::info!(
                    detector = detector.name,
                    partition = place.partition,
                    offset = pointer.next_offset,
                    "going on from a checkpoint"
                );
                return Ok(runner);
            }
        }
        let module = self.wanted.borrow().get(&detector.name).cloned();
        let module = module.expect("every detector was given a module when it was added");
        let offset = latest.map_or(0, |pointer| pointer.next_offset);
        if latest.is_some() {
            tracing::info!(
                detector = detector.name,
                partition = place.partition,
                offset,
                "a detector joins those that run already, and begins here without memory"
            );
        }
        Ok(Runner::begin_at(place, &module, self.entities_max, offset))
    }

    /// Follows the channels until `stop` is cancelled.
    pub fn follow(&mut self, tracker: &TaskTracker, stop: &CancellationToken) {
        for following in self.followers.drain(..) {
            tracker.spawn(follow(following, stop.clone()));
        }
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
        self.wanted.send_modify(|wanted| drop(wanted.insert(self.name.clone(), module)));
        Ok(())
    }
}
