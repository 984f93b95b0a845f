//! Attacks on the way of a module, by the names of The Update Framework
//! (<https://theupdateframework.github.io/specification/>, section 1.5): each is refused and told,
//! what runs goes on, and its unattacked twin is accepted. On a directory, and on Azurite where
//! `TWINGE_TEST_AZURITE` holds its connection string.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::Mutex;
use twinge_engine::{Engine, Limits};
use twinge_platform::{Disk, RealDisk};
use twinge_registry::{
    Author, Channel, Directory, KnownSerial, Name, Registry, Store, StorePath, Target, open_store,
};
use twinge_rollout::{Device, Rollout};
use twinge_stream::follower::Follower;
use twinge_stream::modules::ModuleCache;
use twinge_stream::trust::Trust;
use twinge_testkit::{Keys, Kind, MadeModule, statement};
use twinge_trust::{Anchor, Digest, Envelope, Role, Root, SigningKey, TrustedKey};

const NOW_MS: i64 = 1_000_000;
const LIFETIME_MS: i64 = 500_000;

/// A registry with a champion, and a device that follows it.
struct World {
    keys: Keys,
    store: Arc<dyn Store>,
    registry: Registry,
    state: TempDir,
    now_ms: i64,
    fields: Option<Vec<String>>,
    device: Option<(Trust, Follower, Mutex<ModuleCache>)>,
}

impl World {
    async fn new(store: Arc<dyn Store>) -> Self {
        let mut this = Self {
            keys: Keys::default(),
            registry: Registry::new(Arc::clone(&store)),
            store,
            state: tempfile::tempdir().unwrap(),
            now_ms: NOW_MS,
            fields: None,
            device: None,
        };
        this.publish(&MadeModule::new(Kind::Good, "1")).await;
        this.promote(&MadeModule::new(Kind::Good, "1")).await;
        this.start();
        assert_eq!(this.look().await, Ok("1".to_owned()));
        this
    }

    /// Starts the device, again or for the first time, from what it has on disk.
    fn start(&mut self) {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let state = self.state.path();
        let anchor = Anchor::Root(Box::new(self.keys.root()));
        let trust = Trust::open(anchor, state, Arc::clone(&disk)).unwrap();
        let engine = Engine::new(Limits::default()).unwrap();
        let cache =
            ModuleCache::open(engine, &state.join("modules"), trust.clone(), false).unwrap();
        let fields = self.fields.clone().map(|fields| fields.into_iter().collect::<BTreeSet<_>>());
        let store = Arc::clone(&self.store);
        let follower = Follower::open(store, name("test"), name("stable"), disk, state, fields);
        self.device = Some((trust, follower.unwrap(), Mutex::new(cache)));
    }

    /// The version that the device is told to act on, or why it believes nothing new. Whatever
    /// happens, it has something to run.
    async fn look(&mut self) -> Result<String, String> {
        let (trust, follower, cache) = self.device.as_mut().unwrap();
        let polled = follower.poll(trust, self.now_ms).await;
        let device = Device { name: "device-1".into(), ring: None };
        let told = follower.told(&device, trust.version(), cache).await;
        polled.map_err(|error| chain(&error))?;
        let told = told.map_err(|error| chain(&error))?;
        if let Some(trouble) = told.trouble {
            return Err(chain(&trouble));
        }
        Ok(told.directive.act.module.manifest().version.clone())
    }

    fn author<'a>(&self, key: &'a SigningKey, keyring: &'a twinge_trust::Keyring) -> Author<'a> {
        Author {
            key,
            keyring,
            now_ms: self.now_ms,
            lifetime_ms: LIFETIME_MS,
            known: KnownSerial::Nothing,
            promoted: None,
        }
    }

    async fn publish(&self, module: &MadeModule) -> Channel {
        let (bytes, keyring) = (module.bytes(), self.keys.keyring());
        let envelope = statement(&bytes, &module.manifest()).sign(&self.keys.retrainer);
        let author = self.author(&self.keys.retrainer, &keyring);
        self.registry.publish(&bytes, &envelope, &name("stable"), &author).await.unwrap()
    }

    async fn promote(&self, module: &MadeModule) {
        let keyring = self.keys.keyring();
        let author = self.author(&self.keys.promoter, &keyring);
        let digest = Digest::of(&module.bytes());
        self.registry.promote(&name("test"), &name("stable"), &digest, &author).await.unwrap();
    }

    /// Publishes version 2 and promotes it, as its owner would.
    async fn update(&self) {
        self.publish(&MadeModule::new(Kind::Good, "2")).await;
        self.promote(&MadeModule::new(Kind::Good, "2")).await;
    }

    async fn document(&self) -> (Envelope, Channel) {
        self.registry.channel(&name("test"), &name("stable")).await.unwrap().unwrap()
    }

    /// The next document as an update would make it, for somebody else to sign.
    async fn next(&self, version: &str) -> Channel {
        let (_, channel) = self.document().await;
        let module = MadeModule::new(Kind::Good, version);
        let serial = channel.serial + 1;
        let digest = Digest::of(&module.bytes());
        let champion = Target { digest, version: version.to_owned(), since: serial };
        Channel { serial, champion: Some(champion), challenger: None, rollout: None, ..channel }
    }

    /// Writes an object with the storage key alone.
    async fn overwrite(&self, path: &str, bytes: &[u8]) {
        let path = StorePath::new(path).unwrap();
        match self.store.get(&path).await.unwrap() {
            Some(there) => drop(self.store.replace(&path, bytes, &there.etag).await.unwrap()),
            None => drop(self.store.create(&path, bytes).await.unwrap()),
        }
    }

    async fn serve(&self, envelope: &Envelope) {
        self.overwrite("channels/test/stable.json", &envelope.to_json()).await;
    }

    async fn refused(&mut self, attack: &str, expected: &str) {
        let refused = self.look().await;
        let told = refused.as_ref().err().cloned().unwrap_or_default();
        assert!(told.contains(expected), "{attack}: {refused:?} does not tell {expected:?}");
        assert_eq!(self.running().await, "1", "{attack}: what runs goes on");
    }

    /// What the device acts on, whatever it was told of late.
    async fn running(&self) -> String {
        let (trust, follower, cache) = self.device.as_ref().unwrap();
        let device = Device::default();
        let told = follower.told(&device, trust.version(), cache).await.unwrap();
        told.directive.act.module.manifest().version.clone()
    }

    async fn accepted(&mut self, attack: &str, version: &str) {
        assert_eq!(self.look().await, Ok(version.to_owned()), "{attack}: the unattacked twin");
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn chain(error: &dyn std::error::Error) -> String {
    twinge_stream::assembly::chain(error)
}

async fn unknown_key(world: &mut World) {
    world.publish(&MadeModule::new(Kind::Good, "2")).await;
    let next = world.next("2").await;
    world.serve(&next.sign(&SigningKey::from_seed([0xee; 32]))).await;
    world.refused("unknown key", "is not trusted here").await;
    world.serve(&next.sign(&world.keys.promoter)).await;
    world.accepted("unknown key", "2").await;
}

async fn revoked_key(world: &mut World) {
    let keys = world.keys.clone();
    let first = keys.root();
    let other = SigningKey::from_seed([0xa9; 32]);
    let entry = TrustedKey::new(other.public(), &[Role::Promoter], "the second promoter");
    let second = first.root().with_key(entry, i64::MAX).unwrap();
    let second = first.accept(&second.sign(&[&keys.root])).unwrap();
    let third = second.root().revoking(&keys.promoter.key_id(), i64::MAX).unwrap();
    let third = second.accept(&third.sign(&[&keys.root])).unwrap();
    world.registry.put_root(&second).await.unwrap();
    world.accepted("revoked key, before", "1").await;
    world.registry.put_root(&third).await.unwrap();
    world.publish(&MadeModule::new(Kind::Good, "2")).await;
    let next = world.next("2").await;
    world.serve(&next.sign(&keys.promoter)).await;
    world.refused("revoked key", "is revoked").await;
    world.start();
    world.refused("revoked key, after a restart", "is revoked").await;
    world.serve(&next.sign(&other)).await;
    world.accepted("revoked key", "2").await;
}

async fn changed_bytes(world: &mut World) {
    world.update().await;
    let module = Digest::of(&MadeModule::new(Kind::Good, "2").bytes());
    let paths = [
        "channels/test/stable.json".to_owned(),
        format!("modules/{module}.wasm"),
        format!("modules/{module}.json"),
    ];
    for path in paths {
        let whole = world.store.get(&StorePath::new(&path).unwrap()).await.unwrap().unwrap().bytes;
        // Some places of each; all places of an envelope are tried where envelopes are.
        for place in (0..whole.len()).step_by(whole.len() / 7 + 1).chain([whole.len() - 1]) {
            let mut altered = whole.clone();
            altered[place] ^= 1;
            world.overwrite(&path, &altered).await;
            let refused = world.look().await;
            assert!(refused.is_err(), "{path}, byte {place}: {refused:?}");
        }
        world.overwrite(&path, &whole[..whole.len() / 2]).await;
        assert!(world.look().await.is_err(), "{path}, half of it");
        world.overwrite(&path, &whole).await;
    }
    world.accepted("changed bytes", "2").await;
}

async fn rollback(world: &mut World) {
    let (old, _) = world.document().await;
    world.update().await;
    world.accepted("rollback, before", "2").await;
    let (newest, _) = world.document().await;
    world.serve(&old).await;
    let refused = world.look().await.unwrap_err();
    assert!(refused.contains("somebody serves an old document"), "{refused}");
    world.start();
    let refused = world.look().await.unwrap_err();
    assert!(refused.contains("somebody serves an old document"), "after a restart: {refused}");
    assert_eq!(world.running().await, "2");
    world.serve(&newest).await;
    world.accepted("rollback", "2").await;

    // The promoter's own way back is a new serial.
    let (keyring, digest) =
        (world.keys.keyring(), Digest::of(&MadeModule::new(Kind::Good, "2").bytes()));
    let author = world.author(&world.keys.promoter, &keyring);
    let (detector, stable) = (name("test"), name("stable"));
    world.registry.rollback(&detector, &stable, &digest, None, &author).await.unwrap();
    world.accepted("authorised rollback", "1").await;
}

async fn freeze(world: &mut World) {
    world.now_ms += LIFETIME_MS;
    world.refused("freeze", "expired").await;
    // Also if there is nothing at all to be had.
    let (envelope, _) = world.document().await;
    world.store.delete(&StorePath::new("channels/test/stable.json").unwrap()).await.unwrap();
    world.refused("freeze by silence", "expired").await;
    world.serve(&envelope).await;
    let keyring = world.keys.keyring();
    let author = world.author(&world.keys.promoter, &keyring);
    world.registry.renew(&name("test"), &name("stable"), &author).await.unwrap();
    world.accepted("freeze", "1").await;
}

async fn mix_and_match(world: &mut World) {
    let other = MadeModule { detector: "other".to_owned(), ..MadeModule::new(Kind::Good, "2") };
    world.publish(&other).await;
    let next = world.next("2").await;
    let digest = Digest::of(&other.bytes());
    let champion = Target { digest, ..next.champion.clone().unwrap() };
    let mixed = Channel { champion: Some(champion), ..next.clone() };
    world.serve(&mixed.sign(&world.keys.promoter)).await;
    let refused = world.look().await.unwrap_err();
    assert!(refused.contains("points at a module of `other`"), "{refused}");
    // A whole document of another channel.
    let foreign = Channel { detector: name("other"), serial: 9, ..next.clone() };
    world.serve(&foreign.sign(&world.keys.promoter)).await;
    let refused = world.look().await.unwrap_err();
    assert!(refused.contains("found a document of other/stable"), "{refused}");
    world.publish_beside(&MadeModule::new(Kind::Good, "2")).await;
    let right = Channel { serial: 9, ..next };
    world.serve(&right.sign(&world.keys.promoter)).await;
    world.accepted("mix and match", "2").await;
}

impl World {
    /// Puts a module without touching the channel, which may be a forged one.
    async fn publish_beside(&self, module: &MadeModule) {
        let bytes = module.bytes();
        let envelope = statement(&bytes, &module.manifest()).sign(&self.keys.retrainer);
        let digest = Digest::of(&bytes);
        self.overwrite(&format!("modules/{digest}.wasm"), &bytes).await;
        self.overwrite(&format!("modules/{digest}.json"), &envelope.to_json()).await;
    }
}

async fn beyond_its_role(world: &mut World) {
    world.publish(&MadeModule::new(Kind::Good, "2")).await;
    let promoted = world.next("2").await;
    let (_, current) = world.document().await;
    let advanced = Channel {
        serial: current.serial + 1,
        rollout: Some(Rollout { stage: 3, ..current.rollout.clone().unwrap() }),
        ..current.clone()
    };
    let keener = Channel { serial: current.serial + 1, sensitivity: Some(9.0), ..current.clone() };
    let keys = world.keys.clone();
    for document in [&promoted, &advanced, &keener] {
        world.serve(&document.sign(&keys.retrainer)).await;
        world.refused("a retrainer promotes", "signs for shadow only").await;
        for key in [&keys.native, &keys.enroller, &keys.root] {
            world.serve(&document.sign(key)).await;
            world.refused("another role signs", "does not hold the role").await;
        }
    }
    world.serve(&promoted.sign(&keys.promoter)).await;
    world.accepted("beyond its role", "2").await;
}

async fn clock_set_back(world: &mut World) {
    world.now_ms += 120_000;
    world.accepted("clock, before", "1").await;
    world.update().await;
    world.now_ms -= 120_000;
    world.refused("clock set back", "set the clock").await;
    world.start();
    world.refused("clock set back, after a restart", "set the clock").await;
    world.now_ms += 120_000;
    world.accepted("clock set back", "2").await;
}

/// A clock that was ahead for a while, as a false time server makes it, keeps nothing newer out; and
/// whoever turns a clock back cannot use that to stop the device where it is.
async fn clock_ahead_and_back(world: &mut World) {
    const AHEAD_MS: i64 = 20 * 3_600_000;
    let keyring = world.keys.keyring();
    let key = world.keys.promoter.clone();
    let (detector, stable) = (name("test"), name("stable"));
    let lasting =
        |world: &World| Author { lifetime_ms: AHEAD_MS * 2, ..world.author(&key, &keyring) };
    world.registry.renew(&detector, &stable, &lasting(world)).await.unwrap();
    world.now_ms += AHEAD_MS;
    world.accepted("clock ahead", "1").await;
    world.now_ms -= AHEAD_MS - 1000;
    world.refused("clock back again, nothing new", "set the clock").await;
    world.start();
    world.refused("clock back again, after a restart", "set the clock").await;
    // Newer than what it has, and expired at the time that it has seen.
    world.update().await;
    world.refused("a newer document that may have expired", "expired").await;
    world.registry.renew(&detector, &stable, &lasting(world)).await.unwrap();
    world.accepted("clock ahead and back", "2").await;
    let frozen = world.look().await.unwrap_err();
    assert!(frozen.contains("set the clock"), "the same again is told: {frozen}");
    assert_eq!(world.running().await, "2");
}

async fn other_schema(world: &mut World) {
    world.fields = Some(vec!["entity".into(), "x".into()]);
    world.start();
    world.accepted("schema, before", "1").await;
    let wider = MadeModule { field: "pressure".to_owned(), ..MadeModule::new(Kind::Good, "2") };
    let published = world.publish(&wider).await;
    world.refused("a schema that is not filled, in shadow", "`pressure`").await;
    let keyring = world.keys.keyring();
    let author = world.author(&world.keys.promoter, &keyring);
    let digest = published.challenger.unwrap().digest;
    let (detector, stable) = (name("test"), name("stable"));
    world.registry.withdraw(&detector, &stable, &digest, &author).await.unwrap();
    world.update().await;
    world.accepted("schema", "2").await;
}

async fn forged_root(world: &mut World) {
    let keys = world.keys.clone();
    let thief = SigningKey::from_seed([0xef; 32]);
    let first = keys.root();
    let entry = TrustedKey::new(thief.public(), &[Role::Promoter], "thief");
    let forged = first.root().with_key(entry, i64::MAX).unwrap();
    world.overwrite("trust/2.root.json", &forged.sign(&[&thief]).to_json()).await;
    world.publish(&MadeModule::new(Kind::Good, "2")).await;
    let next = world.next("2").await;
    world.serve(&next.sign(&thief)).await;
    world.refused("forged root", "root.json").await;
    // A promoter is no root either.
    world.overwrite("trust/2.root.json", &forged.sign(&[&keys.promoter]).to_json()).await;
    world.refused("a promoter's root", "does not hold the role root").await;
    // Nor does an old root come back under a new number.
    world.overwrite("trust/2.root.json", &first.envelope().to_json()).await;
    world.refused("an old root", "does not follow").await;
    let second = first.root().next(i64::MAX).unwrap();
    world.overwrite("trust/2.root.json", &second.sign(&[&keys.root]).to_json()).await;
    world.serve(&next.sign(&keys.promoter)).await;
    world.accepted("forged root", "2").await;
}

async fn expired_root(world: &mut World) {
    let keys = world.keys.clone();
    let first = keys.root();
    let second = first.root().next(NOW_MS + 10).unwrap();
    let second = first.accept(&second.sign(&[&keys.root])).unwrap();
    world.registry.put_root(&second).await.unwrap();
    world.accepted("expired root, before", "1").await;
    world.update().await;
    world.now_ms += 10;
    world.refused("expired root", "root of trust 2 expired").await;
    let third = Root { expires_ms: i64::MAX, ..second.root().next(0).unwrap() };
    let third = second.accept(&third.sign(&[&keys.root])).unwrap();
    world.registry.put_root(&third).await.unwrap();
    world.accepted("expired root", "2").await;
}

/// Runs every attack, each in a registry of its own that `store` opens.
async fn all(store: impl AsyncFn(&str) -> Arc<dyn Store>) {
    macro_rules! attacks {
        ($($attack:ident),*) => {$(
            let mut world = World::new(store(&stringify!($attack).replace('_', "-")).await).await;
            $attack(&mut world).await;
        )*};
    }
    attacks!(
        unknown_key,
        revoked_key,
        changed_bytes,
        rollback,
        freeze,
        mix_and_match,
        beyond_its_role,
        clock_set_back,
        clock_ahead_and_back,
        other_schema,
        forged_root,
        expired_root
    );
}

#[tokio::test]
async fn attacks_fail_and_their_twins_are_accepted_on_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |attack: &str| {
        let store = Directory::open(Path::new(folder.path()).join(attack)).unwrap();
        Arc::new(store) as Arc<dyn Store>
    };
    Box::pin(all(open)).await;
}

#[tokio::test]
async fn attacks_fail_and_their_twins_are_accepted_on_azurite() {
    let text = std::env::var("TWINGE_TEST_AZURITE").unwrap_or_default();
    if text.is_empty() || !cfg!(feature = "adls") {
        let line = "skipped: TWINGE_TEST_AZURITE holds no connection string of an Azurite\n";
        drop(std::io::stderr().write_all(line.as_bytes()));
        return;
    }
    let part = |name: &str| {
        let parts = text.split(';').filter_map(|part| part.split_once('='));
        parts.into_iter().find(|(found, _)| *found == name).unwrap().1.to_owned()
    };
    let run = std::process::id();
    let open = async |attack: &str| {
        let location = format!("{}/attacks-{run}/{attack}", part("BlobEndpoint"));
        let variable =
            |name: &str| (name == "AZURE_STORAGE_CONNECTION_STRING").then(|| text.clone());
        open_store(&location, &variable).await.unwrap()
    };
    Box::pin(all(open)).await;
}
