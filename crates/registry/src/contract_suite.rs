//! What every backend of [`Store`] must do, as one function that each backend's tests call.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::{Etag, METADATA_BYTES_MAX, Metadata, Object, Store, StoreError, StorePath};

const REPLACERS: usize = 16;
const ROUNDS: usize = 4;
const CREATORS: usize = 16;
/// Remote storage counts whole seconds.
const TICKS_MAX: usize = 100;
const TICK: Duration = Duration::from_millis(50);

/// How much the suite asks.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// How many objects lie in one folder; remote storage lists 5,000 at a time.
    pub list_objects: usize,
    /// How large the large object is.
    pub large_bytes: usize,
    /// Answers get lost on the way. Then a creator cannot tell its own object from another's with
    /// the same content, and is not asked to.
    pub answers_get_lost: bool,
}

impl Default for Suite {
    fn default() -> Self {
        Self { list_objects: 300, large_bytes: 4 * 1024 * 1024, answers_get_lost: false }
    }
}

/// Checks the contract on an empty store, and leaves it with a few objects below `contract/`.
///
/// # Panics
/// Where the backend breaks the contract.
pub async fn check_store_contract(store: Arc<dyn Store>, suite: &Suite) {
    check_create(&*store, suite).await;
    check_replace(&*store).await;
    check_names(&*store).await;
    check_metadata(&*store).await;
    check_old_tags(&*store).await;
    check_modified(&*store).await;
    check_large(&*store, suite.large_bytes).await;
    check_bounds(&*store).await;
    check_list(&*store).await;
    check_many(&store, suite.list_objects).await;
    check_delete(&*store).await;
    check_racing_creators(&store).await;
    for round in 0..ROUNDS {
        check_racing_replacers(&store, round).await;
    }
}

async fn check_create(store: &dyn Store, suite: &Suite) {
    let path = path("contract/create");
    assert_eq!(store.get(&path).await.expect("get of nothing"), None);
    let etag = store.create(&path, b"one").await.expect("create");
    let object = read(store, &path).await;
    assert_eq!((object.bytes.as_slice(), &object.etag), (&b"one"[..], &etag));
    assert!(object.metadata.is_empty());
    let others: &[&[u8]] = if suite.answers_get_lost { &[b"two"] } else { &[b"two", b"one"] };
    for other in others {
        let again = store.create(&path, other).await;
        assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    }
    assert_eq!(read(store, &path).await, object, "a refused write changes nothing");
    let etag = store.create(&self::path("contract/empty"), b"").await.expect("create empty");
    let empty = read(store, &self::path("contract/empty")).await;
    assert_eq!((empty.bytes.len(), empty.etag), (0, etag));
}

async fn check_replace(store: &dyn Store) {
    let path = path("contract/deep/er/replace");
    let first = store.create(&path, b"one").await.expect("create");
    let absent = store.replace(&self::path("contract/absent"), b"x", &first).await;
    assert!(matches!(absent, Err(StoreError::NotFound { .. })), "{absent:?}");
    let second = store.replace(&path, b"two", &first).await.expect("replace");
    assert_ne!(first, second, "other content has another tag");
    let stale = store.replace(&path, b"three", &first).await;
    assert!(matches!(stale, Err(StoreError::Changed { .. })), "{stale:?}");
    let object = read(store, &path).await;
    assert_eq!((object.bytes.as_slice(), object.etag), (&b"two"[..], second));
}

/// Every character that a path may have, as Azure's event processors use them among others.
async fn check_names(store: &dyn Store) {
    let path = path("contract/ns.servicebus.windows.net/events/$default/ownership/0-_=A");
    store.create(&path, b"x").await.expect("create");
    assert_eq!(read(store, &path).await.bytes, b"x");
    let folder = "contract/ns.servicebus.windows.net/events/$default";
    assert_eq!(store.list(folder).await.expect("list"), [path]);
}

async fn check_metadata(store: &dyn Store) {
    let path = path("contract/metadata");
    let of = |value: &str| Metadata::new([("ownerid", value), ("x_1", "a: b=c, \"~\"")]);
    let (one, two) = (of("one").expect("valid"), of("").expect("valid"));
    let first = store.create_with(&path, b"", &one).await.expect("create");
    let object = read(store, &path).await;
    assert_eq!((object.bytes.len(), &object.metadata, &object.etag), (0, &one, &first));
    let second = store.replace_with(&path, b"", &two, &first).await.expect("replace");
    assert_ne!(first, second, "other metadata has another tag");
    assert_eq!(read(store, &path).await.metadata, two);
    let stale = store.replace_with(&path, b"", &of("three").expect("valid"), &first).await;
    assert!(matches!(stale, Err(StoreError::Changed { .. })), "{stale:?}");
    let third = store.replace(&path, b"bytes", &second).await.expect("replace");
    let object = read(store, &path).await;
    assert_eq!((object.metadata, object.etag), (Metadata::default(), third), "it is gone");
    let full = Metadata::new([("k", "x".repeat(METADATA_BYTES_MAX - 1))]).expect("valid");
    store.create_with(&self::path("contract/full"), b"x", &full).await.expect("create");
    assert_eq!(read(store, &self::path("contract/full")).await.metadata, full);
}

/// Bytes count, and what lies beside them does not.
async fn check_bounds(store: &dyn Store) {
    let path = path("contract/bounds");
    let metadata = Metadata::new([("k", "a value")]).expect("valid");
    store.create_with(&path, b"12345678", &metadata).await.expect("create");
    for bytes_max in [8, 9, u64::MAX] {
        let object = store.get_within(&path, bytes_max).await.expect("get").expect("it is there");
        assert_eq!(object.bytes, b"12345678", "{bytes_max}");
    }
    for allowed in [0, 7] {
        let refused = store.get_within(&path, allowed).await;
        let Err(StoreError::TooLarge { path: told, bytes_max, .. }) = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!((told.as_str(), *bytes_max), (path.as_str(), allowed));
    }
    let absent = store.get_within(&self::path("contract/absent"), 0).await.expect("get of nothing");
    assert_eq!(absent, None);
}

/// A tag does not come back: not with the old content, and not by writing the same again.
async fn check_old_tags(store: &dyn Store) {
    let path = path("contract/old-tags");
    let mut etag = store.create(&path, b"a").await.expect("create");
    let mut old: Vec<Etag> = Vec::new();
    for bytes in [b"b", b"a", b"a", b"a", b"b", b"a"] {
        old.push(etag.clone());
        etag = store.replace(&path, bytes, &etag).await.expect("replace");
        assert!(!old.contains(&etag), "{etag:?} came back");
        assert_eq!(read(store, &path).await.etag, etag);
    }
    for old in old {
        let stale = store.replace(&path, b"c", &old).await;
        assert!(matches!(stale, Err(StoreError::Changed { .. })), "{stale:?}");
    }
}

/// Renewals with the same content, as an owner of a partition does it.
async fn check_modified(store: &dyn Store) {
    let path = path("contract/modified");
    let mut etag = store.create(&path, b"").await.expect("create");
    let first_ms = read(store, &path).await.modified_ms;
    let mut last_ms = first_ms;
    for _ in 0..TICKS_MAX {
        etag = store.replace(&path, b"", &etag).await.expect("replace");
        let now_ms = read(store, &path).await.modified_ms;
        assert!(now_ms >= last_ms, "modified goes back from {last_ms} to {now_ms}");
        last_ms = now_ms;
        if now_ms > first_ms {
            return;
        }
        tokio::time::sleep(TICK).await;
    }
    panic!("modified stays at {first_ms}");
}

async fn check_large(store: &dyn Store, count: usize) {
    let path = path("contract/large");
    let bytes: Vec<u8> = (0..count).map(|index| (index % 251) as u8).collect();
    store.create(&path, &bytes).await.expect("create");
    assert!(read(store, &path).await.bytes == bytes, "a large object comes back");
}

async fn check_list(store: &dyn Store) {
    for name in ["contract/list/b", "contract/list/a/c", "contract/list/a.json", "contract/list-2"]
    {
        store.create(&path(name), b"x").await.expect("create");
    }
    let expected = ["contract/list/a.json", "contract/list/a/c", "contract/list/b"].map(path);
    for prefix in ["contract/list", "contract/list/"] {
        assert_eq!(store.list(prefix).await.expect("list"), expected, "{prefix}");
    }
    assert_eq!(store.list("contract/li").await.expect("list"), []);
    assert_eq!(store.list("contract/list/b").await.expect("list"), [], "no folder");
    assert_eq!(store.list("nowhere").await.expect("list"), []);
    let all = store.list("").await.expect("list");
    assert!(all.is_sorted() && expected.iter().all(|path| all.contains(path)), "{all:?}");
    assert!(store.list("contract/../x").await.is_err());
}

async fn check_many(store: &Arc<dyn Store>, count: usize) {
    let name = |number: usize| path(&format!("contract/many/{:02}/{number:05}", number % 7));
    let mut creators = JoinSet::new();
    for creator in 0..CREATORS {
        let store = store.clone();
        creators.spawn(async move {
            for number in (creator..count).step_by(CREATORS) {
                store.create(&name(number), b"").await.expect("create");
            }
        });
    }
    creators.join_all().await;
    let mut expected: Vec<StorePath> = (0..count).map(name).collect();
    expected.sort();
    assert!(store.list("contract/many").await.expect("list") == expected, "a long list is whole");
}

async fn check_delete(store: &dyn Store) {
    let path = path("contract/delete");
    let etag = store.create(&path, b"one").await.expect("create");
    store.delete(&path).await.expect("delete");
    store.delete(&path).await.expect("delete what is not there");
    assert_eq!(store.get(&path).await.expect("get"), None);
    let gone = store.replace(&path, b"two", &etag).await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
    store.create(&path, b"again").await.expect("create after delete");
}

async fn check_racing_creators(store: &Arc<dyn Store>) {
    for round in 0..ROUNDS {
        let path = path(&format!("contract/race/create-{round}"));
        let mut creators = JoinSet::new();
        for creator in 0..2_u8 {
            let (store, path) = (store.clone(), path.clone());
            creators.spawn(async move { (creator, store.create(&path, &[creator; 4096]).await) });
        }
        let outcomes = creators.join_all().await;
        let winners: Vec<u8> = outcomes.iter().filter(|o| o.1.is_ok()).map(|o| o.0).collect();
        assert_eq!(winners.len(), 1, "{outcomes:?}");
        let lost = |outcome: &Result<_, _>| {
            matches!(outcome, Ok(_) | Err(StoreError::AlreadyExists { .. }))
        };
        assert!(outcomes.iter().all(|outcome| lost(&outcome.1)), "{outcomes:?}");
        let object = store.get(&path).await.expect("get").expect("somebody won");
        assert_eq!(object.bytes, [winners[0]; 4096], "the winner's bytes are there, whole");
    }
}

/// Every replacer read the same tag; exactly one may win by it.
async fn check_racing_replacers(store: &Arc<dyn Store>, round: usize) {
    let path = path(&format!("contract/race/replace-{round}"));
    let etag = store.create(&path, b"start").await.expect("create");
    let mut replacers = JoinSet::new();
    for replacer in 0..REPLACERS {
        let (store, path, etag) = (store.clone(), path.clone(), etag.clone());
        let bytes = format!("replacer {replacer}").into_bytes();
        replacers.spawn(async move { store.replace(&path, &bytes, &etag).await.map(|_| bytes) });
    }
    let outcomes = replacers.join_all().await;
    let winners: Vec<&Vec<u8>> = outcomes.iter().filter_map(|o| o.as_ref().ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let lost = |outcome: &Result<_, _>| matches!(outcome, Ok(_) | Err(StoreError::Changed { .. }));
    assert!(outcomes.iter().all(lost), "{outcomes:?}");
    let object = store.get(&path).await.expect("get").expect("it is there");
    assert_eq!(&object.bytes, winners[0]);
}

async fn read(store: &dyn Store, path: &StorePath) -> Object {
    store.get(path).await.expect("get").expect("it is there")
}

fn path(text: &str) -> StorePath {
    StorePath::new(text).expect("the suite's own paths are valid")
}
