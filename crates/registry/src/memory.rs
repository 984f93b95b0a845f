//! The storage contract in memory, for tests and simulations. Forgets everything when dropped.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use twinge_trust::Digest;

use crate::store::check_size;
use crate::{Etag, Object, Store, StoreError, StorePath};

/// A [`Store`] that is a map.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<StorePath, Vec<u8>>>,
}

impl MemoryStore {
    /// A poisoned lock is taken all the same: no write here can be left half done.
    fn objects(&self) -> MutexGuard<'_, BTreeMap<StorePath, Vec<u8>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, path: &StorePath) -> Result<Option<Object>, StoreError> {
        let bytes = self.objects().get(path).cloned();
        Ok(bytes.map(|bytes| Object { etag: content_etag(&bytes), bytes }))
    }

    async fn create(&self, path: &StorePath, bytes: &[u8]) -> Result<Etag, StoreError> {
        check_size("create", path, bytes.len() as u64)?;
        let mut objects = self.objects();
        if objects.contains_key(path) {
            return Err(StoreError::AlreadyExists { path: path.to_string() });
        }
        objects.insert(path.clone(), bytes.to_vec());
        Ok(content_etag(bytes))
    }

    async fn replace(
        &self,
        path: &StorePath,
        bytes: &[u8],
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        check_size("replace", path, bytes.len() as u64)?;
        match self.objects().get_mut(path) {
            None => Err(StoreError::NotFound { path: path.to_string() }),
            Some(found) if content_etag(found) != *expected => {
                Err(StoreError::Changed { path: path.to_string() })
            }
            Some(found) => {
                *found = bytes.to_vec();
                Ok(content_etag(bytes))
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() {
            StorePath::new(prefix)?;
        }
        Ok(self.objects().keys().filter(|path| path.is_below(prefix)).cloned().collect())
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.objects().remove(path);
        Ok(())
    }
}

/// The tag of backends that have no versions of their own: the digest of the content.
pub(crate) fn content_etag(bytes: &[u8]) -> Etag {
    Etag::new(Digest::of(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract_suite::check_store_contract;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn memory_keeps_the_contract() {
        check_store_contract(Arc::new(MemoryStore::default())).await;
    }
}
