//! Rights for devices, end to end on Azurite: a registry there, a host's desk over HTTP, and devices
//! that trade proof of their keys. `TWINGE_TEST_AZURITE` holds the connection string of an Azurite;
//! without it, nothing is tested here.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_drift::DriftSettings;
use twinge_platform::{Clock, Disk, ManualClock, RealDisk, SystemClock};
use twinge_registry::{
    Adls, AdlsCredential, AdlsSettings, Author, KnownSerial, Name, Registry, SasGrant, SasIssuer,
    Secret, Store, StoreError, StorePath,
};
use twinge_rollout::Report;
use twinge_stream::assembly::{DetectorPlan, Input, Origin, Plan};
use twinge_stream::device::{DeviceIdentity, DevicePlan};
use twinge_stream::door::{Limits, serve};
use twinge_stream::metrics::Metrics;
use twinge_stream::pump::Settings;
use twinge_stream::rights::{Asking, Desk, DeskPlan, Rights, RightsPlan, open_store};
use twinge_stream::silence::SilenceSettings;
use twinge_stream::trust::Trust;
use twinge_testkit::{Keys, Kind, MadeModule, statement};
use twinge_trust::{Anchor, DeviceEnvelope, Digest, Enrolment, RightsRequest, Standing};

const DEVICE: &str = "pump-7";
const WEEK_MS: i64 = 7 * 24 * 3_600_000;
const PATIENCE: Duration = Duration::from_mins(1);

/// A registry with a champion and a root, and a host that gives rights on it.
struct World {
    keys: Keys,
    registry: Registry,
    settings: AdlsSettings,
    /// The host's clock.
    clock: ManualClock,
    desk: Desk,
    metrics: Metrics,
    url: String,
    stop: CancellationToken,
    _state: TempDir,
}

/// A device's state, with its key and the word on it.
struct Device {
    state: TempDir,
    identity: DeviceIdentity,
}

impl World {
    async fn new() -> Option<Self> {
        let settings = settings()?;
        let store = Adls::open(&settings).unwrap();
        store.create_container().await.unwrap();
        let (keys, registry) = (Keys::default(), Registry::new(Arc::new(store)));
        registry.put_root(&keys.root()).await.unwrap();
        publish(&registry, &keys).await;
        let state = tempfile::tempdir().unwrap();
        let anchor = Anchor::Root(Box::new(keys.root()));
        let trust = Trust::open(anchor, state.path(), Arc::new(RealDisk)).unwrap();
        let plan = DeskPlan {
            settings: settings.clone(),
            hierarchical: false,
            lifetime: Duration::from_hours(24),
            listen: "127.0.0.1:0".parse().unwrap(),
        };
        let clock = ManualClock::new(SystemClock::new().now_ms());
        let metrics = Metrics::default();
        let desk = Desk::open(&plan, trust, Arc::new(clock.clone()), metrics.clone()).unwrap();
        let (url, stop) = host(&desk).await;
        Some(Self { keys, registry, settings, clock, desk, metrics, url, stop, _state: state })
    }

    fn device(&self, name: &str) -> Device {
        let state = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let plan = DevicePlan { name: Some(name.to_owned()), ..DevicePlan::default() };
        let key = DeviceIdentity::open(&plan, state.path(), &disk).unwrap().public_key();
        let enrolment = Enrolment { device: name.to_owned(), public_key: key };
        let enrolment = enrolment.sign(&self.keys.enroller).to_json();
        std::fs::write(state.path().join("enrolment.json"), enrolment).unwrap();
        let identity = DeviceIdentity::open(&plan, state.path(), &disk).unwrap();
        Device { state, identity }
    }

    /// The registry as a device opens it that asks at `url`.
    fn open(&self, device: &Device, url: &str, clock: &Arc<dyn Clock>) -> Arc<dyn Store> {
        let plan = RightsPlan { url: url.to_owned(), ca: None };
        let asking = Asking {
            plan: &plan,
            identity: device.identity.clone(),
            detectors: vec![name("test")],
            file: device.rights_file(),
            disk: Arc::new(RealDisk),
            clock: Arc::clone(clock),
        };
        open_store(&self.settings.address(), asking).unwrap()
    }

    /// What a device is given, with the signatures in the open.
    async fn trade(&self, device: &Device) -> Rights {
        let request = RightsRequest {
            device: device.identity.device().name.clone(),
            audience: self.desk.address().to_owned(),
            nonce: self.desk.challenge().unwrap().nonce,
            detectors: vec!["test".to_owned()],
            time_ms: 0,
        };
        let body = device.identity.sign(RightsRequest::PAYLOAD_TYPE, request.to_json());
        self.desk.trade(&body).await.unwrap()
    }

    fn by(&self, signature: &str) -> Adls {
        let credential = AdlsCredential::SharedAccessSignature(Secret::new(signature));
        Adls::open(&AdlsSettings::new(&self.settings.address(), credential).unwrap()).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Device {
    fn rights_file(&self) -> std::path::PathBuf {
        self.state.path().join("rights.json")
    }

    fn kept(&self) -> Option<Rights> {
        let bytes = std::fs::read(self.rights_file()).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }
}

/// A container that nobody has yet, if there is an Azurite.
fn settings() -> Option<AdlsSettings> {
    let text = std::env::var("TWINGE_TEST_AZURITE").unwrap_or_default();
    if text.is_empty() {
        let line = "skipped: TWINGE_TEST_AZURITE holds no connection string of an Azurite\n";
        drop(std::io::stderr().write_all(line.as_bytes()));
        return None;
    }
    let container = format!("rights-{:016x}", RandomState::new().hash_one(0));
    Some(AdlsSettings::from_connection_string(&text, &container).unwrap())
}

async fn host(desk: &Desk) -> (String, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    drop(TaskTracker::new().spawn(serve(
        listener,
        desk.clone().router(),
        Limits::default(),
        stop.clone(),
    )));
    (url, stop)
}

async fn publish(registry: &Registry, keys: &Keys) {
    let module = MadeModule::new(Kind::Good, "1");
    let (bytes, keyring) = (module.bytes(), keys.keyring());
    let author = |key| Author {
        key,
        keyring: &keyring,
        now_ms: SystemClock::new().now_ms(),
        lifetime_ms: WEEK_MS,
        known: KnownSerial::Nothing,
        promoted: None,
    };
    let envelope = statement(&bytes, &module.manifest()).sign(&keys.retrainer);
    let (stable, by) = (name("stable"), author(&keys.retrainer));
    registry.publish(&bytes, &envelope, &stable, &by).await.unwrap();
    let (digest, by) = (Digest::of(&bytes), author(&keys.promoter));
    registry.promote(&name("test"), &stable, &digest, &by).await.unwrap();
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn path(text: &str) -> StorePath {
    StorePath::new(text).unwrap()
}

fn chain(error: &dyn std::error::Error) -> String {
    twinge_stream::assembly::chain(error)
}

fn assert_forbidden<T: std::fmt::Debug>(what: &str, outcome: Result<T, StoreError>) {
    let error = outcome.expect_err(what);
    assert!(error.is_forbidden() && chain(&error).contains("403"), "{what}: {}", chain(&error));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_any_rights_follows_its_channel_and_reports() {
    let Some(world) = World::new().await else { return };
    let device = world.device(DEVICE);
    let plan = Plan {
        state: device.state.path().to_owned(),
        detectors: vec![DetectorPlan {
            origin: Origin::Channel {
                registry: world.settings.address(),
                detector: name("test"),
                channel: name("stable"),
            },
            verdicts: device.state.path().join("verdicts").display().to_string(),
            dead_letters: device.state.path().join("dead-letters").display().to_string(),
            audits: None,
        }],
        anchor: Anchor::Root(Box::new(world.keys.root())),
        allow_unsigned: false,
        allow_native: false,
        compile_verb: None,
        input: Input::Pushed,
        listen: Some("127.0.0.1:0".parse().unwrap()),
        settings: Settings::default(),
        entities_max: None,
        deadline: Duration::from_secs(10),
        poll: Duration::from_millis(50),
        report: Duration::from_secs(5),
        device: DevicePlan::default(),
        fields: None,
        journal_bytes_max: 64 << 20,
        labels: None,
        silence: SilenceSettings::default(),
        drift: DriftSettings::default(),
        rights: Some(RightsPlan { url: world.url.clone(), ca: None }),
        desk: None,
    };
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    let clock = Arc::new(SystemClock::new());
    let assembly = plan.assemble(Arc::new(RealDisk), clock, tracker.clone(), None);
    let assembly = Box::pin(assembly).await.unwrap();
    let run = tracker.spawn(Box::pin(assembly.run(stop.clone())));
    let until = Instant::now() + PATIENCE;
    let report = loop {
        if let Some(report) = world.registry.report(&name("test"), DEVICE).await.unwrap() {
            break report;
        }
        assert!(Instant::now() < until && !run.is_finished(), "no report came");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    stop.cancel();
    run.await.unwrap().unwrap();
    let report = DeviceEnvelope::from_json(&report).unwrap();
    let verified = report.verify(Report::PAYLOAD_TYPE, DEVICE, &world.keys.keyring()).unwrap();
    assert_eq!(verified.1, Standing::Enrolled);
    assert!(world.metrics.render().contains("result=\"given\"} 1"), "it asks once");
    assert_private(&device.rights_file());
}

#[cfg(unix)]
fn assert_private(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[cfg(not(unix))]
fn assert_private(_file: &Path) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_reach_as_far_as_the_devices_own_report() {
    let Some(world) = World::new().await else { return };
    let rights = world.trade(&world.device(DEVICE)).await;
    let (read, write) = (world.by(&rights.read), world.by(&rights.reports[&name("test")]));
    let (own, others) = (path("fleet/test/pump-7.json"), path("fleet/test/pump-8.json"));
    let document = path("channels/test/stable.json");

    assert!(read.get(&document).await.unwrap().is_some());
    assert_eq!(read.get(&path("trust/2.root.json")).await.unwrap(), None);
    assert!(read.list("modules").await.unwrap().len() >= 2);
    let first = write.create(&own, b"one").await.unwrap();
    let second = write.replace(&own, b"two", &first).await.unwrap();
    assert_eq!(read.get(&own).await.unwrap().unwrap().bytes, b"two");

    let there = read.get(&document).await.unwrap().unwrap().etag;
    for (with, store) in [("read", &read), ("write", &write)] {
        assert_forbidden(with, store.create(&others, b"x").await);
        assert_forbidden(with, store.replace(&document, b"x", &there).await);
        assert_forbidden(with, store.create(&path("channels/test/new.json"), b"x").await);
        assert_forbidden(with, store.create(&path("trust/2.root.json"), b"x").await);
        assert_forbidden(with, store.delete(&document).await);
        assert_forbidden(with, store.delete(&own).await);
    }
    assert_forbidden("replace by read", read.replace(&own, b"x", &second).await);
    assert_forbidden("get by write", write.get(&own).await);
    assert_forbidden("get by write", write.get(&document).await);
    assert_forbidden("list by write", write.list("").await);
    assert_eq!(read.get(&own).await.unwrap().unwrap().bytes, b"two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_rights_are_renewed_whatever_the_devices_clock_says() {
    let Some(world) = World::new().await else { return };
    let device = world.device(DEVICE);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    // Signed to end yesterday, and kept by a device whose clock calls them fresh.
    let issuer = SasIssuer::open(&world.settings, false).unwrap();
    let period = issuer.period(clock.now_ms() - 3 * 86_400_000, 2 * 86_400_000).await.unwrap();
    let own = path("fleet/test/pump-7.json");
    let sign = |grant| period.sign(grant).reveal().to_owned();
    let old = Rights {
        address: world.settings.address(),
        issued_ms: clock.now_ms(),
        expires_ms: clock.now_ms() + WEEK_MS,
        read: sign(SasGrant::Read),
        reports: [(name("test"), sign(SasGrant::Write(&own)))].into(),
    };
    assert_forbidden("expired", world.by(&old.read).get(&own).await);
    std::fs::write(device.rights_file(), serde_json::to_vec(&old).unwrap()).unwrap();

    let store = world.open(&device, &world.url, &clock);
    let registry = Registry::new(Arc::clone(&store));
    registry.put_report(&name("test"), DEVICE, b"well").await.unwrap();
    assert!(registry.channel(&name("test"), &name("stable")).await.unwrap().is_some());
    let kept = device.kept().unwrap();
    assert_ne!(kept, old);
    assert!(world.metrics.render().contains("result=\"given\"} 1"), "once for all of it");

    // After a restart with the host away, what was kept is enough.
    world.stop.cancel();
    let store = world.open(&device, "http://127.0.0.1:9", &clock);
    assert_eq!(store.get(&own).await.unwrap().unwrap().bytes, b"well");
    let other = store.create(&path("fleet/test/pump-8.json"), b"x").await.unwrap_err();
    assert!(chain(&other).contains("its own reports"), "{}", chain(&other));
    assert!(store.delete(&own).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_renewed_before_they_end() {
    let Some(world) = World::new().await else { return };
    let device = world.device(DEVICE);
    let own = path("fleet/test/pump-7.json");
    let manual = ManualClock::new(SystemClock::new().now_ms());
    let clock: Arc<dyn Clock> = Arc::new(manual.clone());
    let store = world.open(&device, &world.url, &clock);
    assert_eq!(store.get(&own).await.unwrap(), None);
    let first = device.kept().unwrap();
    manual.advance(15 * 3_600_000);
    // A clock that jumps changes nothing: the other one tells.
    manual.set(0);
    store.get(&own).await.unwrap();
    assert_eq!(device.kept().unwrap(), first, "two thirds of a day are not over");
    manual.advance(2 * 3_600_000);
    // The host's time goes on too, by less than Azurite minds.
    world.clock.advance(2000);
    store.get(&own).await.unwrap();
    assert_ne!(device.kept().unwrap(), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_enrollers_device_gets_nothing() {
    let Some(world) = World::new().await else { return };
    let device = world.device(DEVICE);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = world.open(&device, &world.url, &clock);
    assert!(store.get(&path("channels/test/stable.json")).await.unwrap().is_some());

    let first = world.keys.root();
    let second = first.root().revoking(&world.keys.enroller.key_id(), i64::MAX).unwrap();
    let second = first.accept(&second.sign(&[&world.keys.root])).unwrap();
    world.registry.put_root(&second).await.unwrap();
    // The host looks for a root once in a minute.
    world.clock.advance(60_000);
    let late = world.device("pump-8");
    let store = world.open(&late, &world.url, &clock);
    let error = store.get(&path("channels/test/stable.json")).await.unwrap_err();
    assert!(chain(&error).contains("revoked"), "{}", chain(&error));
    assert_eq!(late.kept(), None);
    assert!(world.metrics.render().contains("result=\"untrusted\"} 1"));
}
