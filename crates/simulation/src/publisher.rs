//! Whoever publishes modules and sends them round: one step at a time, through a link that loses
//! requests and answers, and dying now and then in between.

use crate::cloud::Cloud;
use crate::link::LinkStore;
use crate::machine::Machine;
use crate::random::Random;
use crate::world::{BEGINS_MS, name};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use twinge_platform::Clock;
use twinge_registry::{Author, Channel, KnownSerial, Registry, RegistryError, Store, StorePath};
use twinge_testkit::{Keys, Kind, MadeModule, statement};
use twinge_trust::{Digest, Envelope, Keyring, SigningKey};

/// How long a document is believed, milliseconds.
const LIFETIME_MS: i64 = 30 * 86_400_000;
/// Good modules there are.
const MODULES: usize = 5;

/// Modules and the keys to sign them with; they are the same in every world.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) keys: Keys,
    pub(crate) keyring: Keyring,
    modules: Vec<Release>,
    /// A module that nobody signed whom anybody trusts.
    evil: Release,
}

#[derive(Debug)]
struct Release {
    bytes: Vec<u8>,
    envelope: Envelope,
    digest: Digest,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let keys = Keys::default();
        let release = |version: &str, key: &SigningKey| {
            let made = MadeModule::new(Kind::Good, version).counting();
            let (bytes, manifest) = (made.bytes(), made.manifest());
            let envelope = statement(&bytes, &manifest).sign(key);
            Release { digest: Digest::of(&bytes), bytes, envelope }
        };
        let modules =
            (1..=MODULES).map(|version| release(&version.to_string(), &keys.retrainer)).collect();
        let evil = release("evil", &thief());
        Self { keyring: keys.keyring(), modules, evil, keys }
    }

    /// The modules that may run.
    pub(crate) fn signed(&self) -> BTreeSet<String> {
        self.modules.iter().map(|module| module.digest.to_string()).collect()
    }

    /// A registry with a first champion, and with a module in it that must never run.
    pub(crate) async fn begin(&self, cloud: &Cloud) -> Result<(), RegistryError> {
        let store = Arc::clone(&cloud.registry);
        let registry = Registry::new(Arc::clone(&store) as Arc<dyn Store>);
        self.publish(&registry, 0, BEGINS_MS).await?;
        let (author, first) = (self.author(BEGINS_MS), &self.modules[0].digest);
        registry.promote(&name("test"), &name("stable"), first, &author).await?;
        let digest = self.evil.digest;
        let objects = [("wasm", self.evil.bytes.clone()), ("json", self.evil.envelope.to_json())];
        for (extension, bytes) in objects {
            store
                .create(&StorePath::new(&format!("modules/{digest}.{extension}"))?, &bytes)
                .await?;
        }
        Ok(())
    }

    /// A later document that makes the module act which nobody signed.
    pub(crate) fn forge(&self, channel: &Channel) -> Vec<u8> {
        let mut forged = channel.clone();
        forged.serial += 1_000;
        if let Some(champion) = &mut forged.champion {
            champion.digest = self.evil.digest;
        }
        forged.sign(&thief()).to_json()
    }

    async fn publish(
        &self,
        registry: &Registry,
        number: usize,
        now_ms: i64,
    ) -> Result<Channel, RegistryError> {
        let Release { bytes, envelope, .. } = &self.modules[number];
        registry.publish(bytes, envelope, &name("stable"), &self.author(now_ms)).await
    }

    fn author(&self, now_ms: i64) -> Author<'_> {
        Author {
            key: &self.keys.promoter,
            keyring: &self.keyring,
            now_ms,
            lifetime_ms: LIFETIME_MS,
            known: KnownSerial::Nothing,
            promoted: None,
        }
    }

    /// One step of a life between publishing and going back, as chance has it.
    async fn act(
        &self,
        registry: &Registry,
        channel: &Channel,
        now_ms: i64,
        random: &mut Random,
    ) -> Result<Option<Channel>, RegistryError> {
        let (detector, on, author) = (&name("test"), &name("stable"), &self.author(now_ms));
        let choice = random.within(0..12);
        let written = match (&channel.challenger, &channel.champion) {
            (None, _) if choice < 5 => {
                let number = random.within(0..MODULES as u64) as usize;
                if is(channel.champion.as_ref(), self.modules[number].digest) {
                    return Ok(None);
                }
                self.publish(registry, number, now_ms).await?
            }
            (Some(challenger), _) if choice < 5 => {
                registry.promote(detector, on, &challenger.digest, author).await?
            }
            (Some(challenger), _) if choice < 7 => {
                registry.withdraw(detector, on, &challenger.digest, author).await?
            }
            (Some(challenger), _) if choice < 10 => {
                let stage = channel.rollout.as_ref().map_or(1, |rollout| rollout.stage + 1);
                registry.advance(detector, on, &challenger.digest, stage, author).await?
            }
            (None, Some(champion)) if choice < 7 && !channel.history.is_empty() => {
                registry.rollback(detector, on, &champion.digest, None, author).await?
            }
            _ if choice < 11 => {
                let sensitivity = Some(0.75).filter(|_| channel.sensitivity.is_none());
                registry.set_sensitivity(detector, on, sensitivity, author).await?
            }
            _ => registry.renew(detector, on, author).await?,
        };
        Ok(Some(written))
    }
}

fn is(target: Option<&twinge_registry::Target>, digest: Digest) -> bool {
    target.is_some_and(|target| target.digest == digest)
}

fn thief() -> SigningKey {
    SigningKey::from_seed([0xee; 32])
}

#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) machine: Machine,
    desk: Arc<Desk>,
    cloud: Arc<Cloud>,
    written: Arc<AtomicU64>,
    random: Random,
    /// A module takes over after hundreds of events: in a hurry, few ever do.
    pause_ms_max: u64,
    start_at: u64,
}

impl Publisher {
    pub(crate) fn new(desk: Arc<Desk>, cloud: Arc<Cloud>, random: &mut Random) -> Self {
        let mut random = random.fork();
        let machine = Machine::new("publisher".to_owned(), &mut random);
        let pause_ms_max = [2_000, 6_000, 14_000][random.within(0..3) as usize];
        Self { machine, desk, cloud, written: Arc::default(), random, pause_ms_max, start_at: 0 }
    }

    /// Documents that it wrote and heard of.
    pub(crate) fn documents(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn step(&mut self, ms: u64, now: u64) {
        if !self.machine.is_on() && self.start_at <= now {
            self.start(now);
        }
        self.machine.step(ms);
    }

    /// It dies, in the middle of whatever it does.
    pub(crate) fn kill(&mut self, again: u64) {
        self.machine.kill();
        self.start_at = again;
    }

    fn start(&mut self, now: u64) {
        self.machine.boot(BEGINS_MS + now.cast_signed());
        let store =
            LinkStore::new(Arc::clone(&self.cloud.registry) as _, self.machine.link.clone());
        let registry = Registry::new(Arc::new(store));
        let (desk, clock) = (Arc::clone(&self.desk), self.machine.clock.clone());
        let (mut random, written) = (self.random.fork(), Arc::clone(&self.written));
        let pause_ms_max = self.pause_ms_max;
        let runtime = self.machine.runtime().expect("it was booted just now");
        runtime.spawn(async move {
            loop {
                let pause = random.within(300..pause_ms_max);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let found = registry.channel(&name("test"), &name("stable")).await;
                let Ok(Some((_, channel))) = found else { continue };
                // What fails is tried again, or something else is done.
                let acted = desk.act(&registry, &channel, clock.now_ms(), &mut random).await;
                match acted {
                    Ok(document) => {
                        written.fetch_add(u64::from(document.is_some()), Ordering::Relaxed);
                    }
                    Err(error) => tracing::info!(%error, "the publisher did not get through"),
                }
            }
        });
    }
}
