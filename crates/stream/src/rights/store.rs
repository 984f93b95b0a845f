//! A container as a device with little rights sees it: reads by one signature, its own reports by
//! others, and nothing else.

use super::holder::{Holder, Stores};
use async_trait::async_trait;
use std::sync::Arc;
use twinge_registry::{Adls, Etag, Metadata, Object, Store, StoreError, StorePath};

/// A [`Store`] that opens the container by the rights that a [`Holder`] holds.
#[derive(Debug)]
pub struct RightsStore {
    holder: Holder,
}

#[derive(Debug, thiserror::Error)]
#[error("a device has rights to write its own reports and nothing else")]
struct NotOurs;

impl RightsStore {
    /// A container by these rights.
    pub fn new(holder: Holder) -> Self {
        Self { holder }
    }

    async fn stores(&self, action: &'static str, path: &str) -> Result<Arc<Stores>, StoreError> {
        let stores = self.holder.stores().await;
        stores.map_err(|why| refused(action, path, Box::new(why)))
    }

    /// What to try again with, where the store refused for want of rights.
    async fn fresher(&self, used: &Arc<Stores>, error: Option<&StoreError>) -> Option<Arc<Stores>> {
        match error {
            Some(error) if error.is_forbidden() => self.holder.instead_of(used).await,
            _ => None,
        }
    }
}

impl Stores {
    fn report(&self, action: &'static str, path: &StorePath) -> Result<&Adls, StoreError> {
        self.reports.get(path).ok_or_else(|| refused(action, path.as_str(), Box::new(NotOurs)))
    }
}

#[async_trait]
impl Store for RightsStore {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        let stores = self.stores("read", path.as_str()).await?;
        let outcome = stores.read.get_within(path, bytes_max).await;
        match self.fresher(&stores, outcome.as_ref().err()).await {
            Some(stores) => stores.read.get_within(path, bytes_max).await,
            None => outcome,
        }
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        let stores = self.stores("create", path.as_str()).await?;
        let outcome = stores.report("create", path)?.create_with(path, bytes, metadata).await;
        match self.fresher(&stores, outcome.as_ref().err()).await {
            Some(stores) => stores.report("create", path)?.create_with(path, bytes, metadata).await,
            None => outcome,
        }
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        let stores = self.stores("replace", path.as_str()).await?;
        let report = stores.report("replace", path)?;
        let outcome = report.replace_with(path, bytes, metadata, expected).await;
        match self.fresher(&stores, outcome.as_ref().err()).await {
            Some(stores) => {
                let report = stores.report("replace", path)?;
                report.replace_with(path, bytes, metadata, expected).await
            }
            None => outcome,
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        let stores = self.stores("list", prefix).await?;
        let outcome = stores.read.list(prefix).await;
        match self.fresher(&stores, outcome.as_ref().err()).await {
            Some(stores) => stores.read.list(prefix).await,
            None => outcome,
        }
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        Err(refused("delete", path.as_str(), Box::new(NotOurs)))
    }
}

fn refused(
    action: &'static str,
    path: &str,
    source: Box<dyn std::error::Error + Send + Sync>,
) -> StoreError {
    StoreError::Backend { action, path: path.to_owned(), source }
}
