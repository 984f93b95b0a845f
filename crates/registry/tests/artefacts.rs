//! Artefacts in a registry: put and fetched, refused when they are not believed, and whole again
//! after a crash in the middle.

use std::sync::Arc;

use twinge_registry::{
    Directory, MemoryStore, Registry, RegistryError, Store, StoreError, StorePath,
};
use twinge_trust::{
    ArtefactIdentity, ArtefactStatement, Digest, Envelope, Keyring, Role, SigningKey, TrustError,
    TrustedKey, VerifiedModule,
};

const CODE: &[u8] = b"machine code";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32])
}

const NATIVE: u8 = 1;
const OTHER_NATIVE: u8 = 2;
const PROMOTER: u8 = 3;

fn keyring() -> Keyring {
    let entry = |seed, role| TrustedKey::new(key(seed).public(), &[role], "");
    let keys = [
        entry(NATIVE, Role::Native),
        entry(OTHER_NATIVE, Role::Native),
        entry(PROMOTER, Role::Promoter),
    ];
    Keyring::new(keys.to_vec()).expect("three different keys")
}

fn module() -> VerifiedModule {
    VerifiedModule::allow_unsigned(&b"module"[..])
}

fn identity(target: &str) -> ArtefactIdentity {
    ArtefactIdentity {
        target: target.into(),
        engine_version: "wasmtime-48".into(),
        settings_digest: Digest::of(b"settings"),
    }
}

fn statement(identity: &ArtefactIdentity, code: &[u8]) -> ArtefactStatement {
    ArtefactStatement {
        detector: "pump".into(),
        module_digest: module().digest(),
        identity: identity.clone(),
        digest: Digest::of(code),
        bytes: code.len() as u64,
    }
}

fn signed(identity: &ArtefactIdentity, code: &[u8], seed: u8) -> Envelope {
    statement(identity, code).sign(&key(seed))
}

async fn put(registry: &Registry, target: &str, code: &[u8]) -> Result<StorePath, RegistryError> {
    let envelope = signed(&identity(target), code, NATIVE);
    registry.put_artefact(&module(), code, &envelope, &keyring()).await
}

async fn fetch(registry: &Registry, target: &str) -> Result<Option<Vec<u8>>, RegistryError> {
    let found = registry.fetch_artefact(&module(), &identity(target), &keyring()).await?;
    let found = found.map(|(artefact, _)| artefact);
    Ok(found.map(|artefact| artefact.bytes().to_vec()))
}

fn statement_path(path: &StorePath) -> StorePath {
    StorePath::new(&path.as_str().replace(".cwasm", ".json")).expect("a valid path")
}

fn memory() -> (Arc<MemoryStore>, Registry) {
    let store = Arc::new(MemoryStore::default());
    (store.clone(), Registry::new(store))
}

async fn check_put_and_fetched(registry: &Registry) -> Result<(), RegistryError> {
    assert_eq!(fetch(registry, "x86_64-unknown-linux").await?, None);
    let path = put(registry, "x86_64-unknown-linux", CODE).await?;
    let folder = format!("artefacts/{}/x86_64-unknown-linux-wasmtime-48-", module().digest());
    assert!(path.as_str().starts_with(&folder) && path != statement_path(&path), "{path}");
    assert_eq!(put(registry, "x86_64-unknown-linux", CODE).await?, path, "again");
    put(registry, "pulley32", b"bytecode").await?;

    assert_eq!(fetch(registry, "x86_64-unknown-linux").await?.as_deref(), Some(CODE));
    assert_eq!(fetch(registry, "pulley32").await?.as_deref(), Some(&b"bytecode"[..]));
    assert_eq!(fetch(registry, "aarch64-unknown-linux").await?, None);
    let settings_digest = Digest::of(b"settings of the next release");
    let next = ArtefactIdentity { settings_digest, ..identity("pulley32") };
    assert!(registry.fetch_artefact(&module(), &next, &keyring()).await?.is_none());
    let other = VerifiedModule::allow_unsigned(&b"another module"[..]);
    assert!(registry.fetch_artefact(&other, &identity("pulley32"), &keyring()).await?.is_none());

    let statements = registry.artefacts(&module().digest()).await?;
    let targets: Vec<&str> =
        statements.iter().map(|statement| statement.identity.target.as_str()).collect();
    assert_eq!(targets, ["pulley32", "x86_64-unknown-linux"]);
    assert!(registry.artefacts(&other.digest()).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn artefacts_are_put_and_fetched_by_what_they_were_compiled_for() {
    check_put_and_fetched(&memory().1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let directory = Arc::new(Directory::open(folder.path()).unwrap());
    check_put_and_fetched(&Registry::new(directory)).await.unwrap();
}

#[tokio::test]
async fn what_would_not_be_believed_is_not_written() {
    let (store, registry) = memory();
    let own = identity("pulley32");
    let other = VerifiedModule::allow_unsigned(&b"another module"[..]);
    let cases = [
        (module(), CODE, signed(&own, CODE, PROMOTER)),
        (module(), CODE, signed(&own, CODE, 9)),
        (module(), &CODE[1..], signed(&own, CODE, NATIVE)),
        (other, CODE, signed(&own, CODE, NATIVE)),
    ];
    for (module, code, envelope) in cases {
        let refused = registry.put_artefact(&module, code, &envelope, &keyring()).await;
        assert!(matches!(refused, Err(RegistryError::Untrusted { .. })), "{refused:?}");
    }
    for target in ["a/b", "..", "a b"] {
        let refused = put(&registry, target, CODE).await;
        assert!(matches!(refused, Err(RegistryError::Store(_))), "{refused:?}");
    }
    assert!(store.list("").await.unwrap().is_empty());
    put(&registry, "pulley32", CODE).await.unwrap();
    assert_eq!(store.list("").await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_altered_or_displaced_artefact_is_told_by_name() {
    let (store, registry) = memory();
    let path = put(&registry, "pulley32", CODE).await.unwrap();
    let here = put(&registry, "x86_64-unknown-linux", CODE).await.unwrap();

    let etag = store.get(&path).await.unwrap().unwrap().etag;
    store.replace(&path, b"machine c0de", &etag).await.unwrap();
    let error = fetch(&registry, "pulley32").await.unwrap_err();
    assert!(error.to_string().contains(path.as_str()), "{error}");
    let RegistryError::Untrusted { source: TrustError::WrongArtefact { .. }, .. } = error else {
        panic!("{error:?}");
    };
    put(&registry, "pulley32", CODE).await.unwrap();
    assert_eq!(fetch(&registry, "pulley32").await.unwrap().unwrap(), CODE, "mended");

    let displaced = store.get(&statement_path(&here)).await.unwrap().unwrap().bytes;
    let etag = store.get(&statement_path(&path)).await.unwrap().unwrap().etag;
    store.replace(&statement_path(&path), &displaced, &etag).await.unwrap();
    let error = fetch(&registry, "pulley32").await.unwrap_err();
    assert!(matches!(error, RegistryError::OtherArtefact { .. }), "{error}");

    store.delete(&here).await.unwrap();
    let error = fetch(&registry, "x86_64-unknown-linux").await.unwrap_err();
    assert!(matches!(error, RegistryError::HalfArtefact { .. }), "{error}");
}

/// An artefact may be large, so no more of it is read than somebody answers for.
#[tokio::test]
async fn an_artefact_is_read_as_far_as_its_statement_is_signed() {
    let (store, registry) = memory();
    let path = put(&registry, "pulley32", CODE).await.unwrap();
    let etag = store.get(&path).await.unwrap().unwrap().etag;
    store.replace(&path, &[CODE, b"!"].concat(), &etag).await.unwrap();
    let error = fetch(&registry, "pulley32").await.unwrap_err();
    let RegistryError::Store(StoreError::TooLarge { bytes_max, .. }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*bytes_max, CODE.len() as u64);
    assert!(error.to_string().contains(path.as_str()), "{error}");
    // A length that nobody signed is no reason to read at all.
    let large = ArtefactStatement { bytes: u64::MAX, ..statement(&identity("pulley32"), CODE) };
    let place = statement_path(&path);
    let etag = store.get(&place).await.unwrap().unwrap().etag;
    store.replace(&place, &large.sign(&key(PROMOTER)).to_json(), &etag).await.unwrap();
    let error = fetch(&registry, "pulley32").await.unwrap_err();
    assert!(matches!(error, RegistryError::Untrusted { .. }), "{error:?}");
}

#[tokio::test]
async fn a_crash_between_the_bytes_and_their_statement_is_mended() {
    let (store, registry) = memory();
    let path = put(&registry, "pulley32", CODE).await.unwrap();
    store.delete(&statement_path(&path)).await.unwrap();
    assert_eq!(fetch(&registry, "pulley32").await.unwrap(), None, "bytes without a statement");
    put(&registry, "pulley32", CODE).await.unwrap();
    assert_eq!(fetch(&registry, "pulley32").await.unwrap().unwrap(), CODE);

    // The same compiler in a later build: other bytes under the same name.
    put(&registry, "pulley32", b"newer code").await.unwrap();
    assert_eq!(fetch(&registry, "pulley32").await.unwrap().unwrap(), b"newer code");
}

#[tokio::test]
async fn two_native_keys_sign_the_same_artefact() {
    let (_, registry) = memory();
    put(&registry, "pulley32", CODE).await.unwrap();
    let second = signed(&identity("pulley32"), CODE, OTHER_NATIVE);
    registry.put_artefact(&module(), CODE, &second, &keyring()).await.unwrap();
    put(&registry, "pulley32", CODE).await.unwrap();
    for revoked in [NATIVE, OTHER_NATIVE] {
        let mut keyring = keyring();
        assert!(keyring.revoke(&key(revoked).key_id()));
        let found = registry.fetch_artefact(&module(), &identity("pulley32"), &keyring).await;
        assert_eq!(&found.unwrap().unwrap().0.bytes()[..], CODE);
    }
    let mut keyring = keyring();
    for revoked in [NATIVE, OTHER_NATIVE] {
        assert!(keyring.revoke(&key(revoked).key_id()));
    }
    let refused = registry.fetch_artefact(&module(), &identity("pulley32"), &keyring).await;
    let Err(RegistryError::Untrusted { source: TrustError::RevokedKey { .. }, .. }) = refused
    else {
        panic!("{refused:?}");
    };
}
