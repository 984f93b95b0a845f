//! What every backend of [`Store`] must do, as one function that each backend's tests call.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::{Store, StoreError, StorePath};

const REPLACERS: usize = 16;
const ROUNDS: usize = 4;

/// Checks the contract on an empty store, and leaves it with a few objects below `contract/`.
///
/// # Panics
/// Where the backend breaks the contract.
pub async fn check_store_contract(store: Arc<dyn Store>) {
    check_create(&*store).await;
    check_replace(&*store).await;
    check_list(&*store).await;
    check_delete(&*store).await;
    check_racing_creators(&store).await;
    for round in 0..ROUNDS {
        check_racing_replacers(&store, round).await;
    }
}

async fn check_create(store: &dyn Store) {
    let path = path("contract/create");
    assert_eq!(store.get(&path).await.expect("get of nothing"), None);
    let etag = store.create(&path, b"one").await.expect("create");
    let object = store.get(&path).await.expect("get").expect("what was created is there");
    assert_eq!((object.bytes.as_slice(), &object.etag), (&b"one"[..], &etag));
    let again = store.create(&path, b"one").await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    let etag = store.create(&self::path("contract/empty"), b"").await.expect("create empty");
    let empty = store.get(&self::path("contract/empty")).await.expect("get").expect("empty");
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
    let object = store.get(&path).await.expect("get").expect("it is there");
    assert_eq!((object.bytes.as_slice(), object.etag), (&b"two"[..], second));
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
    assert_eq!(store.list("nowhere").await.expect("list"), []);
    let all = store.list("").await.expect("list");
    assert!(all.is_sorted() && expected.iter().all(|path| all.contains(path)), "{all:?}");
    assert!(store.list("contract/../x").await.is_err());
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

fn path(text: &str) -> StorePath {
    StorePath::new(text).expect("the suite's own paths are valid")
}
