//! The storage contract in memory, for tests and simulations. Forgets everything when dropped.
//!
//! It reads no clock: who cares for the time of writes supplies one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::store::{check_prefix, check_size};
use crate::{Etag, Metadata, OBJECT_BYTES_MAX, Object, Store, StoreError, StorePath};

/// A [`Store`] that is a map.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
    clock: Option<Clock>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<StorePath, Object>,
    /// Counts writes; no tag and no time comes twice.
    writes: i64,
    modified_ms: i64,
}

struct Clock(Box<dyn Fn() -> i64 + Send + Sync>);

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Clock")
    }
}

impl MemoryStore {
    /// A store whose writes are dated by `clock`, in milliseconds since 1970. Without one, as by
    /// `default`, a write is one millisecond later than the one before, from 1970 on.
    pub fn with_clock(clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { clock: Some(Clock(Box::new(clock))), ..Self::default() }
    }

    /// A poisoned lock is taken all the same: no write here can be left half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next version of an object, later than every one before.
    fn version(&self, state: &mut State, bytes: &[u8], metadata: &Metadata) -> Object {
        state.writes += 1;
        let now_ms = self.clock.as_ref().map_or(state.writes, |clock| (clock.0)());
        state.modified_ms = state.modified_ms.max(now_ms);
        Object {
            bytes: bytes.to_vec(),
            metadata: metadata.clone(),
            etag: Etag::new(state.writes.to_string()),
            modified_ms: state.modified_ms,
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        let state = self.state();
        let Some(object) = state.objects.get(path) else { return Ok(None) };
        check_size("read", path, object.bytes.len() as u64, bytes_max)?;
        Ok(Some(object.clone()))
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        check_size("create", path, bytes.len() as u64, OBJECT_BYTES_MAX)?;
        let mut state = self.state();
        if state.objects.contains_key(path) {
            return Err(StoreError::AlreadyExists { path: path.to_string() });
        }
        let object = self.version(&mut state, bytes, metadata);
        let etag = object.etag.clone();
        state.objects.insert(path.clone(), object);
        Ok(etag)
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        check_size("replace", path, bytes.len() as u64, OBJECT_BYTES_MAX)?;
        let mut state = self.state();
        match state.objects.get(path) {
            None => return Err(StoreError::NotFound { path: path.to_string() }),
            Some(found) if found.etag != *expected => {
                return Err(StoreError::Changed { path: path.to_string() });
            }
            Some(_) => {}
        }
        let object = self.version(&mut state, bytes, metadata);
        let etag = object.etag.clone();
        state.objects.insert(path.clone(), object);
        Ok(etag)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        let prefix = check_prefix(prefix)?;
        let state = self.state();
        Ok(state.objects.keys().filter(|path| path.is_below(prefix)).cloned().collect())
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.state().objects.remove(path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::contract_suite::{Suite, check_store_contract};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn memory_keeps_the_contract() {
        check_store_contract(Arc::new(MemoryStore::default()), &Suite::default()).await;
    }

    #[tokio::test]
    async fn a_supplied_clock_dates_the_writes() {
        let now_ms = Arc::new(AtomicI64::new(1_000));
        let clock = now_ms.clone();
        let store = MemoryStore::with_clock(move || clock.load(Ordering::Relaxed));
        let path = StorePath::new("a").unwrap();
        let etag = store.create(&path, b"").await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().unwrap().modified_ms, 1_000);
        now_ms.store(500, Ordering::Relaxed);
        store.replace(&path, b"", &etag).await.unwrap();
        let object = store.get(&path).await.unwrap().unwrap();
        assert_eq!(object.modified_ms, 1_000, "a clock that goes back does not take it along");
    }
}
