//! The storage contract against Azurite, the emulator of Azure storage.
//!
//! `TWINGE_TEST_AZURITE` holds its connection string with a `BlobEndpoint`; without it, nothing is
//! tested here. To start one:
//!
//! ```sh
//! npx azurite-blob --blobPort 10000 --inMemoryPersistence --skipApiVersionCheck \
//!     --disableProductStyleUrl --disableTelemetry --silent
//! ```

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use twinge_registry::contract_suite::{Suite, check_store_contract};
use twinge_registry::faulty::{Faults, Faulty};
use twinge_registry::{
    Adls, AdlsSettings, Metadata, RetrySettings, Retrying, Store, StoreError, StorePath,
};
use twinge_trust::Digest;

/// More than one page of names.
const WHOLE: Suite =
    Suite { list_objects: 5_200, large_bytes: 4 * 1024 * 1024, answers_get_lost: false };
const LOSSY: Suite = Suite { list_objects: 20, large_bytes: 300_000, answers_get_lost: true };
const QUICK: RetrySettings =
    RetrySettings { attempts_max: 60, pause_first: Duration::ZERO, pause_max: Duration::ZERO };
const SEEDS: u64 = 3;
const WRONG_KEY: &str = "d3Jvbmcgd3Jvbmcgd3Jvbmc=";

/// The connection string, if there is an Azurite.
fn azurite() -> Option<String> {
    static SKIPPED: Once = Once::new();
    let text = std::env::var("TWINGE_TEST_AZURITE").ok().filter(|text| !text.is_empty());
    if text.is_none() {
        // Not by a macro, whose output is kept from whoever sees the tests succeed.
        let line = "skipped: TWINGE_TEST_AZURITE holds no connection string of an Azurite\n";
        SKIPPED.call_once(|| drop(std::io::stderr().write_all(line.as_bytes())));
    }
    text
}

fn part<'a>(text: &'a str, name: &str) -> &'a str {
    let parts = text.split(';').filter_map(|part| part.split_once('='));
    let found = parts.into_iter().find(|(found, _)| *found == name);
    found.unwrap_or_else(|| panic!("TWINGE_TEST_AZURITE has no {name}")).1
}

fn with_part(text: &str, name: &str, value: &str) -> String {
    text.replace(&format!("{name}={}", part(text, name)), &format!("{name}={value}"))
}

/// A container that nobody has yet.
fn container() -> String {
    format!("test-{:016x}", RandomState::new().hash_one(0))
}

fn settings(text: &str, path: &str) -> AdlsSettings {
    AdlsSettings::from_connection_string(text, path).expect("a connection string")
}

async fn open(text: &str, path: &str) -> Adls {
    let store = Adls::open(&settings(text, path)).expect("a client");
    store.create_container().await.expect("a container");
    store
}

fn path(text: &str) -> StorePath {
    StorePath::new(text).expect("a valid path")
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_with_the_account_key() {
    let Some(text) = azurite() else { return };
    let container = container();
    let store = open(&text, &container).await;
    store.create_container().await.unwrap();
    check_store_contract(Arc::new(store), &WHOLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_with_a_shared_access_signature_in_a_folder() {
    let Some(text) = azurite() else { return };
    let (account, endpoint) = (part(&text, "AccountName"), part(&text, "BlobEndpoint"));
    let signature = shared_access_signature(account, part(&text, "AccountKey"));
    let signed = format!("BlobEndpoint={endpoint};SharedAccessSignature={signature}");
    let store = open(&signed, &format!("{}/a/folder", container())).await;
    check_store_contract(Arc::new(store), &Suite::default()).await;
}

#[tokio::test]
async fn the_contract_holds_through_injected_faults() {
    let Some(text) = azurite() else { return };
    let container = container();
    for seed in 0..SEEDS {
        let store = open(&text, &format!("{container}/{seed}")).await;
        let faulty = Faulty::new(store, Faults::default(), seed);
        let store = Arc::new(Retrying::new(faulty, QUICK, seed));
        assert!(keeps_the_contract(store).await, "seed {seed}");
    }
}

/// In a task of its own, so that the seed is told after the panic.
async fn keeps_the_contract(store: Arc<dyn Store>) -> bool {
    let mut checked = tokio::task::JoinSet::new();
    checked.spawn(async move { check_store_contract(store, &LOSSY).await });
    matches!(checked.join_next().await, Some(Ok(())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_over_a_line_that_breaks() {
    let Some(text) = azurite() else { return };
    let container = container();
    open(&text, &container).await;
    for seed in 0..SEEDS {
        let line = BrokenLine::to(part(&text, "BlobEndpoint"), seed);
        let broken = with_part(&text, "BlobEndpoint", &line.endpoint);
        let mut settings = settings(&broken, &format!("{container}/{seed}"));
        settings.retries = QUICK;
        let store = Arc::new(Adls::open(&settings).unwrap());
        let kept = keeps_the_contract(store).await;
        let cuts = line.cuts.load(Ordering::Relaxed);
        assert!(kept, "seed {seed}, {cuts} cuts");
        assert!(cuts > 10, "seed {seed} has only {cuts} cuts");
    }
}

#[tokio::test]
async fn a_wrong_key_is_told_and_not_shown() {
    let Some(text) = azurite() else { return };
    let key = part(&text, "AccountKey");
    let right = open(&text, &container()).await;
    assert!(!format!("{right:?}").contains(key), "{right:?}");
    let wrong = Adls::open(&settings(&with_part(&text, "AccountKey", WRONG_KEY), "lake")).unwrap();
    let begin = Instant::now();
    for error in [
        wrong.get(&path("a")).await.unwrap_err(),
        wrong.create(&path("a"), b"x").await.unwrap_err(),
        wrong.list("").await.unwrap_err(),
        wrong.delete(&path("a")).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Backend { .. }), "{error:?}");
        let told = format!("{} {error:?}", chain(&error));
        assert!(told.contains("403") && told.contains("credentials"), "{told}");
        assert!(!told.contains(WRONG_KEY) && told.len() < 1000, "{told}");
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "a refusal is not tried again");
}

#[tokio::test]
async fn a_missing_container_is_not_an_empty_one() {
    let Some(text) = azurite() else { return };
    let store = Adls::open(&settings(&text, &container())).unwrap();
    for error in [
        store.get(&path("a")).await.unwrap_err(),
        store.create(&path("a"), b"x").await.unwrap_err(),
        store.list("").await.unwrap_err(),
        store.delete(&path("a")).await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Backend { .. }), "{error:?}");
        assert!(chain(&error).contains("ContainerNotFound"), "{}", chain(&error));
    }
}

#[tokio::test]
async fn marked_folders_are_no_objects() {
    let Some(text) = azurite() else { return };
    let store = open(&text, &container()).await;
    let mark = Metadata::new([("hdi_isfolder", "true")]).unwrap();
    store.create_with(&path("a"), b"", &mark).await.unwrap();
    store.create_with(&path("empty"), b"", &mark).await.unwrap();
    store.create(&path("a/b"), b"").await.unwrap();
    assert_eq!(store.get(&path("a")).await.unwrap(), None);
    assert_eq!(store.get(&path("empty")).await.unwrap(), None);
    assert_eq!(store.list("").await.unwrap(), [path("a/b"), path("empty")]);
}

#[tokio::test]
async fn folders_of_a_container_do_not_see_each_other() {
    let Some(text) = azurite() else { return };
    let container = container();
    let whole = open(&text, &container).await;
    let one = open(&text, &format!("{container}/one")).await;
    let two = open(&text, &format!("{container}/one-two")).await;
    one.create(&path("a"), b"1").await.unwrap();
    two.create(&path("b"), b"2").await.unwrap();
    assert_eq!(one.list("").await.unwrap(), [path("a")]);
    assert_eq!(two.list("").await.unwrap(), [path("b")]);
    assert_eq!(whole.list("").await.unwrap(), [path("one-two/b"), path("one/a")]);
}

/// Needs no Azurite: nobody listens.
#[tokio::test]
async fn a_service_that_is_not_there_is_told_in_bounded_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/devstoreaccount1", listener.local_addr().unwrap());
    drop(listener);
    let text = format!("BlobEndpoint={endpoint};AccountKey={WRONG_KEY}");
    let mut settings = settings(&text, "lake");
    settings.retries.attempts_max = 3;
    let store = Adls::open(&settings).unwrap();
    let begin = Instant::now();
    let error = store.create(&path("a"), b"x").await.unwrap_err();
    assert!(error.is_ambiguous(), "{error:?}");
    assert!(chain(&error).contains("refused"), "{}", chain(&error));
    let elapsed = begin.elapsed();
    assert!((0.15..5.0).contains(&elapsed.as_secs_f64()), "{elapsed:?}");
}

/// An account SAS for everything in blob storage
/// (<https://learn.microsoft.com/rest/api/storageservices/create-account-sas>).
fn shared_access_signature(account: &str, key: &str) -> String {
    let (permissions, expiry, version) = ("rwdlac", "2099-01-01T00:00:00Z", "2020-08-04");
    let text = format!("{account}\n{permissions}\nb\nsco\n\n{expiry}\n\nhttps,http\n{version}\n");
    let key = BASE64_STANDARD.decode(key).expect("base64");
    let signature = BASE64_STANDARD.encode(hmac(&key, text.as_bytes()));
    let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("sv={version}&ss=b&srt=sco&sp={permissions}&se={expiry}&spr=https,http&sig={signature}")
}

/// HMAC-SHA-256 (RFC 2104) with a key of at most one block.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let pad = |mask: u8| -> Vec<u8> {
        let key = key.iter().copied().chain(std::iter::repeat(0));
        key.take(64).map(|byte| byte ^ mask).collect()
    };
    let inner = Digest::of(&[&pad(0x36), text].concat());
    *Digest::of(&[&pad(0x5c), &inner.as_bytes()[..]].concat()).as_bytes()
}

/// A line to a service that breaks now and then: before, within and after a request, and within an
/// answer.
struct BrokenLine {
    endpoint: String,
    cuts: Arc<AtomicU64>,
}

impl BrokenLine {
    fn to(endpoint: &str, seed: u64) -> Self {
        let (_, rest) = endpoint.split_once("://").expect("a URL");
        let (service, path) = rest.split_once('/').expect("a URL with an account");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let cuts = Arc::new(AtomicU64::new(0));
        let (service, cuts_counted) = (service.to_owned(), cuts.clone());
        // Ends with the process; nobody can ask a listener to stop.
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (Ok(client), Ok(service)) = (client, TcpStream::connect(&service)) else {
                    continue;
                };
                let seed = seed << 32 | (number as u64) << 1;
                let there =
                    (client.try_clone().expect("a socket"), service.try_clone().expect("a socket"));
                let cuts = cuts_counted.clone();
                thread::spawn(move || pump(there.0, there.1, seed, &cuts));
                let cuts = cuts_counted.clone();
                thread::spawn(move || pump(service, client, seed | 1, &cuts));
            }
        });
        Self { endpoint: format!("http://{address}/{path}"), cuts }
    }
}

/// Passes bytes on until either side ends, or chance cuts both off, with half of the last bytes
/// passed on.
fn pump(mut from: TcpStream, mut to: TcpStream, seed: u64, cuts: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    for turn in 0_u64.. {
        let Ok(count @ 1..) = from.read(&mut buffer) else { break };
        let chance = Digest::of(&[seed.to_le_bytes(), turn.to_le_bytes()].concat());
        let (cut, half) = (chance.as_bytes()[0] < 26, chance.as_bytes()[1] < 128);
        let count = match (cut, half) {
            (false, _) => count,
            (true, true) => count / 2,
            (true, false) => 0,
        };
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        if cut {
            cuts.fetch_add(1, Ordering::Relaxed);
            break;
        }
    }
    for stream in [from, to] {
        // It may be gone already.
        drop(stream.shutdown(Shutdown::Both));
    }
}
