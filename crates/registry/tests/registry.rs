//! What the registry promises to those who publish, promote and fetch, and what it keeps when it
//! dies in the middle.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::Value;
use twinge_registry::{
    Author, Channel, ChannelView, DOCUMENT_BYTES_MAX, Directory, Etag, KnownSerial,
    MODULE_BYTES_MAX, MemoryStore, Metadata, Name, Object, REPORT_BYTES_MAX, Refusal, Registry,
    RegistryError, Store, StoreError, StorePath, Target, TransitionError,
};
use twinge_rollout::{Gate, Policy};
use twinge_trust::{
    Digest, Envelope, Keyring, Provenance, Role, Root, SigningKey, Statement, TrustedKey,
    TrustedRoot,
};

const NOW_MS: i64 = 1_000_000;

fn retrainer() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

fn promoter() -> SigningKey {
    SigningKey::from_seed([2; 32])
}

fn keyring() -> Keyring {
    let entry = |key: SigningKey, role| TrustedKey::new(key.public(), &[role], "");
    let keys = vec![entry(retrainer(), Role::Retrainer), entry(promoter(), Role::Promoter)];
    Keyring::new(keys).expect("two different keys")
}

fn author<'a>(key: &'a SigningKey, keyring: &'a Keyring) -> Author<'a> {
    let known = KnownSerial::Nothing;
    Author { key, keyring, now_ms: NOW_MS, lifetime_ms: 1000, known, promoted: None }
}

fn name(text: &str) -> Name {
    text.parse().expect("a valid name")
}

fn path(text: &str) -> StorePath {
    StorePath::new(text).expect("a valid path")
}

fn module(version: u32) -> Vec<u8> {
    format!("module {version}").into_bytes()
}

fn digest(version: u32) -> Digest {
    Digest::of(&module(version))
}

fn is(target: Option<&Target>, version: u32) -> bool {
    target.is_some_and(|target| target.digest == digest(version))
}

fn target(version: u32) -> Target {
    Target { digest: digest(version), version: version.to_string(), since: 0 }
}

fn statement(version: u32) -> Statement {
    Statement {
        detector: "pump".to_owned(),
        version: version.to_string(),
        module_digest: digest(version),
        module_bytes: module(version).len() as u64,
        manifest: Value::Null,
        metrics: Value::Null,
    }
}

async fn publish(registry: &Registry, version: u32) -> Result<Channel, RegistryError> {
    let (key, keyring) = (retrainer(), keyring());
    let envelope = statement(version).sign(&key);
    let author = author(&key, &keyring);
    registry.publish(&module(version), &envelope, &name("stable"), &author).await
}

async fn promote(registry: &Registry, version: u32) -> Result<Channel, RegistryError> {
    let (key, keyring) = (promoter(), keyring());
    let author = author(&key, &keyring);
    registry.promote(&name("pump"), &name("stable"), &digest(version), &author).await
}

async fn rollback(registry: &Registry, from: u32) -> Result<Channel, RegistryError> {
    let (key, keyring) = (promoter(), keyring());
    let author = author(&key, &keyring);
    registry.rollback(&name("pump"), &name("stable"), &digest(from), None, &author).await
}

async fn advance(registry: &Registry, version: u32, stage: u16) -> Result<Channel, RegistryError> {
    let (key, keyring) = (promoter(), keyring());
    let author = author(&key, &keyring);
    registry.advance(&name("pump"), &name("stable"), &digest(version), stage, &author).await
}

async fn withdraw(registry: &Registry, version: u32) -> Result<Channel, RegistryError> {
    let (key, keyring) = (promoter(), keyring());
    let author = author(&key, &keyring);
    registry.withdraw(&name("pump"), &name("stable"), &digest(version), &author).await
}

async fn hold(registry: &Registry, reason: Option<&str>) -> Result<Channel, RegistryError> {
    let (key, keyring) = (promoter(), keyring());
    let author = author(&key, &keyring);
    registry.hold(&name("pump"), &name("stable"), reason, &author).await
}

async fn set_policy(
    registry: &Registry,
    key: &SigningKey,
    events_min: u64,
) -> Result<Channel, RegistryError> {
    let keyring = keyring();
    let policy = Policy { gate: Gate { events_min, ..Gate::default() }, ..Policy::default() };
    let author = author(key, &keyring);
    registry.set_policy(&name("pump"), &name("stable"), &policy, &author).await
}

async fn document(registry: &Registry) -> Option<(Envelope, Channel)> {
    registry.channel(&name("pump"), &name("stable")).await.expect("channel")
}

fn memory() -> (Arc<MemoryStore>, Registry) {
    let store = Arc::new(MemoryStore::default());
    (store.clone(), Registry::new(store))
}

#[tokio::test]
async fn a_module_goes_from_publish_to_champion_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(Arc::new(Directory::open(folder.path()).unwrap()));
    assert!(document(&registry).await.is_none());

    let first = publish(&registry, 1).await.unwrap();
    assert_eq!((first.serial, &first.champion), (1, &None));
    assert!(is(first.challenger.as_ref(), 1));
    assert!(is(promote(&registry, 1).await.unwrap().champion.as_ref(), 1));
    publish(&registry, 2).await.unwrap();
    promote(&registry, 2).await.unwrap();
    let back = rollback(&registry, 2).await.unwrap();
    assert!(back.serial == 5 && is(back.champion.as_ref(), 1));

    let fetched = registry.fetch(&digest(1), &keyring()).await.unwrap();
    assert_eq!(&fetched.bytes()[..], module(1));
    assert!(matches!(fetched.provenance(), Provenance::Signed { role: Role::Retrainer, .. }));
    let detectors = registry.detectors().await.unwrap();
    assert_eq!(detectors.into_iter().collect::<Vec<_>>(), [(name("pump"), vec![name("stable")])]);
}

#[tokio::test]
async fn a_device_that_missed_the_promotion_believes_the_retrainers_document() {
    let (_, registry) = memory();
    let mut view = ChannelView::new(name("pump"), name("stable"));
    let mut last_seen = None;
    // The device looks only now and then; what it finds was mostly signed by the retrainer.
    for version in 1..=3 {
        publish(&registry, version).await.unwrap();
        promote(&registry, version).await.unwrap();
        publish(&registry, version + 10).await.unwrap();
        publish(&registry, version + 20).await.unwrap();
        let (envelope, _) = document(&registry).await.unwrap();
        let accepted = view.accept(&envelope, &keyring(), last_seen, NOW_MS).unwrap();
        assert_eq!(accepted.role, Role::Retrainer);
        assert!(is(accepted.channel.champion.as_ref(), version));
        (view, last_seen) = (view.after(&accepted), Some(accepted.last_seen));
    }
    let size = document(&registry).await.unwrap().0.to_json().len();
    assert!(size < 8192, "endorsements do not nest: {size} bytes");
}

#[tokio::test]
async fn nobody_writes_what_devices_would_refuse() {
    let (_, registry) = memory();
    publish(&registry, 1).await.unwrap();
    let (key, keyring) = (retrainer(), keyring());
    let author = author(&key, &keyring);
    let (pump, stable) = (name("pump"), name("stable"));
    let error = registry.promote(&pump, &stable, &digest(1), &author).await.unwrap_err();
    let refused =
        matches!(error, RegistryError::WouldBeRefused { source: Refusal::NotPromoted { .. }, .. });
    assert!(refused, "{error:?}");
    let stranger = SigningKey::from_seed([9; 32]);
    let author = Author { key: &stranger, ..author };
    let error = registry.renew(&pump, &stable, &author).await.unwrap_err();
    assert!(matches!(error, RegistryError::WouldBeRefused { .. }), "{error:?}");
    let envelope = statement(2).sign(&stranger);
    let error = registry.publish(&module(2), &envelope, &stable, &author).await.unwrap_err();
    assert!(matches!(error, RegistryError::Untrusted { .. }), "{error:?}");
    assert_eq!(document(&registry).await.unwrap().1.serial, 1);
}

#[tokio::test]
async fn nobody_signs_on_top_of_a_forged_channel() {
    let (store, registry) = memory();
    publish(&registry, 1).await.unwrap();
    let place = path("channels/pump/stable.json");
    let object = store.get(&place).await.unwrap().unwrap();
    let (_, genuine) = document(&registry).await.unwrap();
    let forged = Channel { challenger: Some(target(66)), ..genuine };
    let forged = forged.sign(&SigningKey::from_seed([9; 32])).to_json();
    store.replace(&place, &forged, &object.etag).await.unwrap();
    let error = promote(&registry, 66).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotGenuine { .. }), "{error:?}");

    let (key, keyring) = (promoter(), keyring());
    let restated =
        Channel { champion: Some(target(1)), ..Channel::new(name("pump"), name("stable")) };
    let restated = registry.restate(&restated, &author(&key, &keyring)).await.unwrap();
    assert_eq!(restated.serial, 2);
    publish(&registry, 2).await.unwrap();
}

/// A retrainer's document of a greater serial that repeats what a promoter has left: devices refuse
/// it, and so does whoever would sign it anew.
#[tokio::test]
async fn nobody_signs_an_older_champion_anew() {
    let (store, registry) = memory();
    publish(&registry, 1).await.unwrap();
    promote(&registry, 1).await.unwrap();
    let (older, _) = document(&registry).await.unwrap();
    publish(&registry, 2).await.unwrap();
    let newer = promote(&registry, 2).await.unwrap();
    let (keyring, stolen) = (keyring(), retrainer());
    let place = path("channels/pump/stable.json");
    let put = async |document: Channel| {
        let etag = store.get(&place).await.unwrap().unwrap().etag;
        store.replace(&place, &document.sign(&stolen).to_json(), &etag).await.unwrap();
    };
    let repeated = Channel::from_json(older.payload_unverified()).unwrap();
    let found = repeated.serial;
    let (serial, expires_ms) = (newer.serial + 5, NOW_MS + 99_999);
    let blank = Channel { serial, expires_ms, ..Channel::new(name("pump"), name("stable")) };
    let older = Channel { serial, expires_ms, endorsement: Some(older), ..repeated };
    let (key, seen) = (promoter(), newer.serial);
    let author = Author { promoted: Some(newer.clone()), ..author(&key, &keyring) };
    let (detector, stable) = (name("pump"), name("stable"));
    for (document, told) in [(older, found), (blank, 0)] {
        put(document).await;
        let refused = [
            registry.renew(&detector, &stable, &author).await,
            registry.hold(&detector, &stable, Some("wait"), &author).await,
            registry.rollback(&detector, &stable, &digest(1), None, &author).await,
        ];
        for refused in refused {
            let Err(RegistryError::BehindPromoted { seen: newest, found, .. }) = &refused else {
                panic!("{refused:?}")
            };
            assert_eq!((*newest, *found), (seen, told));
            assert!(refused.unwrap_err().to_string().contains("restate the channel"));
        }
        assert_eq!(document_serial(&registry).await, serial, "nothing was written");
    }
    // The way out, and what a retrainer may do stays possible.
    let champion = newer.champion.clone();
    let meant = Channel { champion, ..Channel::new(detector.clone(), stable.clone()) };
    let restated = registry.restate(&meant, &author).await.unwrap();
    assert!(restated.serial > serial);
    let author = Author { promoted: Some(restated), ..author };
    publish(&registry, 3).await.unwrap();
    registry.renew(&detector, &stable, &author).await.unwrap();
}

async fn document_serial(registry: &Registry) -> u64 {
    document(registry).await.expect("a channel").1.serial
}

#[tokio::test]
async fn repeating_and_missing_steps_are_told_apart() {
    let (_, registry) = memory();
    assert!(matches!(promote(&registry, 1).await, Err(RegistryError::NoChannel { .. })));
    publish(&registry, 1).await.unwrap();
    assert_eq!(publish(&registry, 1).await.unwrap().serial, 1);
    let error = promote(&registry, 2).await.unwrap_err();
    assert!(matches!(
        error,
        RegistryError::Transition(TransitionError::NotChallenger { found: Some(_), .. })
    ));
    promote(&registry, 1).await.unwrap();
    assert_eq!(promote(&registry, 1).await.unwrap().serial, 2);
    assert!(matches!(
        rollback(&registry, 1).await,
        Err(RegistryError::Transition(TransitionError::NoHistory))
    ));
    let (key, keyring) = (promoter(), keyring());
    let (pump, stable, author) = (name("pump"), name("stable"), author(&key, &keyring));
    assert_eq!(registry.renew(&pump, &stable, &author).await.unwrap().serial, 3);
    let same = registry.withdraw(&pump, &stable, &digest(5), &author).await.unwrap();
    assert_eq!(same.serial, 3);
    let finer = registry.set_sensitivity(&pump, &stable, Some(1.5), &author).await.unwrap();
    assert_eq!((finer.serial, finer.sensitivity), (4, Some(1.5)));
}

#[tokio::test]
async fn a_fetched_module_is_the_one_asked_for() {
    let (store, registry) = memory();
    publish(&registry, 1).await.unwrap();
    publish(&registry, 2).await.unwrap();
    let missing = registry.fetch(&digest(3), &keyring()).await.unwrap_err();
    assert!(matches!(missing, RegistryError::NoModule { .. }));
    // A signed pair under another module's name.
    for extension in ["wasm", "json"] {
        let place = |version| path(&format!("modules/{}.{extension}", digest(version)));
        let object = store.get(&place(2)).await.unwrap().unwrap();
        store.delete(&place(1)).await.unwrap();
        store.create(&place(1), &object.bytes).await.unwrap();
    }
    let error = registry.fetch(&digest(1), &keyring()).await.unwrap_err();
    assert!(matches!(error, RegistryError::OtherModule { .. }), "{error:?}");
    // Publishing again mends it.
    publish(&registry, 1).await.unwrap();
    registry.fetch(&digest(1), &keyring()).await.unwrap();
}

/// Each reader says how much it takes, whatever the storage holds.
#[tokio::test]
async fn what_is_larger_than_its_kind_is_refused_before_it_is_looked_at() {
    let (store, registry) = memory();
    let (_, _, root) = first_root();
    let document = DOCUMENT_BYTES_MAX as usize;
    let module = (format!("modules/{}.wasm", digest(1)), MODULE_BYTES_MAX as usize);
    let statement = (format!("modules/{}.json", digest(2)), document);
    store.create(&path(&format!("modules/{}.wasm", digest(2))), &self::module(2)).await.unwrap();
    for (place, bytes_max) in [
        ("channels/pump/stable.json".to_owned(), document),
        ("trust/2.root.json".to_owned(), document),
        ("fleet/pump/d7.json".to_owned(), REPORT_BYTES_MAX),
        module,
        statement,
    ] {
        store.create(&path(&place), &vec![b' '; bytes_max + 1]).await.unwrap();
        let outcome = match place.split('/').next().unwrap() {
            "channels" => registry.channel(&name("pump"), &name("stable")).await.map(drop),
            "trust" => registry.newest_root(&root).await.map(drop),
            "fleet" => registry.report(&name("pump"), "d7").await.map(drop),
            _ if place.ends_with("wasm") => registry.fetch(&digest(1), &keyring()).await.map(drop),
            _ => registry.fetch(&digest(2), &keyring()).await.map(drop),
        };
        let error = outcome.unwrap_err().to_string();
        for part in [&place, &(bytes_max + 1).to_string(), &bytes_max.to_string()] {
            assert!(error.contains(part), "{error}");
        }
    }
    // A promoter writes over it.
    let champion = Some(target(1));
    let meant = Channel { champion, ..Channel::new(name("pump"), name("stable")) };
    let (key, keyring) = (promoter(), keyring());
    registry.restate(&meant, &author(&key, &keyring)).await.unwrap();
    assert_eq!(document_serial(&registry).await, 1);
    // Nor is written what nobody could read.
    let (store, registry) = memory();
    let key = retrainer();
    let large = vec![0; MODULE_BYTES_MAX as usize + 1];
    let digest = Digest::of(&large);
    let module_bytes = large.len() as u64;
    let said = Statement { module_digest: digest, module_bytes, ..self::statement(3) };
    let error = registry.put(&large, &said.sign(&key), &keyring).await.unwrap_err();
    assert!(matches!(error, RegistryError::Store(StoreError::TooLarge { .. })), "{error}");
    assert!(store.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_second_statement_adds_signatures_or_is_refused() {
    let (_, registry) = memory();
    publish(&registry, 1).await.unwrap();
    let (key, keyring) = (promoter(), keyring());
    let (stable, author) = (name("stable"), author(&key, &keyring));
    let again = statement(1).sign(&key);
    registry.publish(&module(1), &again, &stable, &author).await.unwrap();
    let provenance = registry.fetch(&digest(1), &keyring).await.unwrap().provenance();
    assert_eq!(provenance, Provenance::Signed { key_id: key.key_id(), role: Role::Promoter });
    let renamed = Statement { version: "other".to_owned(), ..statement(1) }.sign(&key);
    let error = registry.publish(&module(1), &renamed, &stable, &author).await.unwrap_err();
    assert!(matches!(error, RegistryError::StatementDiffers { .. }), "{error:?}");
    let remeasured = Statement { metrics: Value::Bool(true), ..statement(1) }.sign(&key);
    registry.publish(&module(1), &remeasured, &stable, &author).await.unwrap();
}

#[tokio::test]
async fn reports_are_kept_by_device() {
    let (_, registry) = memory();
    let pump = name("pump");
    for (device, report) in [("b", "1"), ("Site_1.a", "2"), ("b", "3")] {
        registry.put_report(&pump, device, report.as_bytes()).await.unwrap();
    }
    assert_eq!(registry.devices(&pump).await.unwrap(), ["Site_1.a", "b"]);
    for (device, report) in [("Site_1.a", "2"), ("b", "3")] {
        let found = registry.report(&pump, device).await.unwrap();
        assert_eq!(found.as_deref(), Some(report.as_bytes()));
    }
    for device in ["", "../x", "a/b", ".a"] {
        assert!(registry.put_report(&pump, device, b"x").await.is_err(), "{device}");
    }
}

#[tokio::test]
async fn a_rollout_goes_through_its_stages_and_a_retrainer_cannot_steer_it() {
    let (_, registry) = memory();
    publish(&registry, 1).await.unwrap();
    promote(&registry, 1).await.unwrap();
    let stolen = set_policy(&registry, &retrainer(), 1).await.unwrap_err();
    assert!(matches!(stolen, RegistryError::WouldBeRefused { .. }), "{stolen}");
    registry.put_report(&name("pump"), "pump-7", b"fine").await.unwrap();
    assert_eq!(registry.devices(&name("pump")).await.unwrap(), ["pump-7"]);

    let shadow = publish(&registry, 2).await.unwrap();
    assert_eq!(shadow.rollout.as_ref().unwrap().stage, 0);
    let canary = advance(&registry, 2, 1).await.unwrap();
    assert_eq!(canary.rollout.as_ref().unwrap().entered_ms, NOW_MS);
    assert_eq!(advance(&registry, 2, 1).await.unwrap().serial, canary.serial, "done already");
    let third = publish(&registry, 3).await.unwrap_err();
    assert!(third.to_string().contains("acts on devices"), "{third}");
    let held = hold(&registry, Some("a look at pump 7")).await.unwrap();
    assert_eq!(held.rollout.as_ref().unwrap().stage, 1);
    assert_eq!(hold(&registry, None).await.unwrap().rollout.unwrap().hold, None);

    // A device that saw none of it believes the document that a retrainer makes from it.
    let (key, keyring) = (retrainer(), keyring());
    let retrainer = author(&key, &keyring);
    let (detector, stable) = (name("pump"), name("stable"));
    registry.renew(&detector, &stable, &retrainer).await.unwrap();
    let (envelope, renewed) = document(&registry).await.unwrap();
    let view = ChannelView::new(detector.clone(), stable.clone());
    assert!(view.accept(&envelope, &keyring, None, NOW_MS).is_ok());
    assert_eq!(renewed.acting().unwrap().1.stage, 1);
    // Stopping is the promoter's as well: what acts is theirs.
    let stopped = registry.withdraw(&detector, &stable, &digest(2), &retrainer).await;
    assert!(matches!(stopped, Err(RegistryError::WouldBeRefused { .. })), "{stopped:?}");
    assert_eq!(withdraw(&registry, 2).await.unwrap().challenger, None);
}

fn first_root() -> (SigningKey, Root, TrustedRoot) {
    let key = SigningKey::from_seed([9; 32]);
    let keys = vec![TrustedKey::new(key.public(), &[Role::Root], "")];
    let keyring = Keyring::new(keys).expect("one key");
    let root = Root { version: 1, expires_ms: 1, threshold: 1, keyring };
    let first = TrustedRoot::anchor(root.sign(&[&key])).expect("it signed itself");
    (key, root, first)
}

#[tokio::test]
async fn a_root_is_followed_step_by_step() {
    let (store, registry) = memory();
    let (key, mut root, first) = first_root();
    let mut newest = first.clone();
    for _ in 0..3 {
        root = root.next(1).unwrap();
        newest = newest.accept(&root.sign(&[&key])).unwrap();
        registry.put_root(&newest).await.unwrap();
        registry.put_root(&newest).await.unwrap();
    }
    assert_eq!(registry.newest_root(&first).await.unwrap(), newest);
    let other = Root { expires_ms: 7, ..root.clone() }.sign(&[&key]);
    let other = TrustedRoot::anchor(other).unwrap();
    let refused = registry.put_root(&other).await;
    assert!(matches!(refused, Err(RegistryError::RootDiffers { .. })), "{refused:?}");
    let forged = root.next(1).unwrap().sign(&[&promoter()]);
    store.create(&path("trust/5.root.json"), &forged.to_json()).await.unwrap();
    let refused = registry.newest_root(&first).await;
    assert!(matches!(refused, Err(RegistryError::Untrusted { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_publishers_lose_no_document() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new(Arc::new(Directory::open(folder.path()).unwrap()));
    let (one, two, three) =
        tokio::join!(publish(&registry, 1), publish(&registry, 2), publish(&registry, 3));
    let mut serials = [one, two, three].map(|outcome| outcome.unwrap().serial);
    serials.sort_unstable();
    assert_eq!(serials, [1, 2, 3]);
}

/// Fails at one operation, before or after it took effect, and works again from then on.
#[derive(Debug)]
struct FailingStore {
    inner: Arc<MemoryStore>,
    left: AtomicUsize,
    after: bool,
}

impl FailingStore {
    fn failure() -> StoreError {
        let (action, path) = ("reach", "the store".to_owned());
        StoreError::Io { action, path, source: io::Error::other("made to fail") }
    }

    async fn pass<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        if left != 1 {
            return operation.await;
        }
        if self.after {
            operation.await?;
        }
        Err(Self::failure())
    }
}

#[async_trait]
impl Store for FailingStore {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        self.pass(self.inner.get_within(path, bytes_max)).await
    }
    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        self.pass(self.inner.create_with(path, bytes, metadata)).await
    }
    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        self.pass(self.inner.replace_with(path, bytes, metadata, expected)).await
    }
    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        self.pass(self.inner.list(prefix)).await
    }
    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.pass(self.inner.delete(path)).await
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(u32),
    Advance(u32),
    Promote(u32),
    Rollback(u32),
    Hold,
    Withdraw(u32),
    Policy,
    Report,
}

async fn run(registry: &Registry, step: Step) -> Result<(), RegistryError> {
    match step {
        Step::Publish(version) => publish(registry, version).await.map(drop),
        Step::Advance(version) => advance(registry, version, 1).await.map(drop),
        Step::Promote(version) => promote(registry, version).await.map(drop),
        Step::Hold => hold(registry, Some("wait")).await.map(drop),
        Step::Withdraw(version) => withdraw(registry, version).await.map(drop),
        Step::Policy => set_policy(registry, &promoter(), 7).await.map(drop),
        Step::Rollback(from) => rollback(registry, from).await.map(drop),
        Step::Report => registry.put_report(&name("pump"), "a", b"fine").await,
    }
}

/// Everything a channel points at is there, and a newcomer believes the document.
async fn check_consistent(registry: &Registry, context: &str) {
    let Some((envelope, channel)) = document(registry).await else { return };
    let view = ChannelView::new(name("pump"), name("stable"));
    let accepted = view.accept(&envelope, &keyring(), None, NOW_MS);
    assert!(accepted.is_ok(), "{context}: {accepted:?}");
    for target in channel.champion.iter().chain(&channel.challenger).chain(&channel.history) {
        let fetched = registry.fetch(&target.digest, &keyring()).await;
        assert!(fetched.is_ok(), "{context}: {fetched:?}");
    }
}

#[tokio::test]
async fn every_step_can_be_run_again_after_dying_anywhere() {
    use Step::{Advance, Hold, Policy, Promote, Publish, Report, Rollback, Withdraw};
    let story = [
        Policy,
        Publish(1),
        Promote(1),
        Report,
        Publish(2),
        Advance(2),
        Promote(2),
        Publish(3),
        Hold,
        Withdraw(3),
        Rollback(2),
        Report,
    ];
    let (_, untroubled) = memory();
    for step in story {
        run(&untroubled, step).await.unwrap();
    }
    let expected = document(&untroubled).await.unwrap();

    for after in [false, true] {
        let mut failed = 0;
        for k in 1.. {
            let left = AtomicUsize::new(k);
            let store = Arc::new(FailingStore { inner: Arc::default(), left, after });
            let inspector = Registry::new(store.inner.clone());
            let registry = Registry::new(store);
            let mut troubled = false;
            for step in story {
                if run(&registry, step).await.is_err() {
                    troubled = true;
                    let context = format!("operation {k}, after {after}, {step:?}");
                    check_consistent(&inspector, &context).await;
                    let again = run(&registry, step).await;
                    assert!(again.is_ok(), "{context}: {again:?}");
                }
            }
            assert_eq!(document(&inspector).await.unwrap(), expected, "operation {k}, {after}");
            if !troubled {
                break;
            }
            failed = k;
        }
        assert!(failed > 20, "the story has {failed} operations");
    }
}
