//! Ownership of partitions, in the blob layout that Azure's SDKs share: an empty object for each
//! partition whose metadata names the owner, and whose last change says that it is alive.
//!
//! An ownership only divides the work. What keeps two owners from harm is the checkpoint's epoch, so
//! clocks that disagree cost a change of owners and no verdict.

use super::balance::Seen;
use std::collections::BTreeMap;
use std::sync::Arc;
use twinge_registry::{Etag, Metadata, Store, StoreError, StorePath};
use twinge_runner::Layout;

/// Metadata that names the owner, as in all of Azure's SDKs.
const OWNER: &str = "ownerid";

/// Metadata that changes with every renewal: a store may know a change by content alone.
const RENEWED: &str = "renewed";

/// The ownerships of a consumer group.
#[derive(Debug)]
pub(super) struct Ownerships {
    store: Arc<dyn Store>,
    /// `namespace/hub/group`, in lower case.
    root: String,
    me: String,
    expiry_ms: i64,
}

/// What was found of the ownerships.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Every partition with its living owner.
    pub(super) seen: Vec<Seen>,
    /// Tags of the objects that are there, by partition.
    tags: BTreeMap<String, Etag>,
}

impl Ownerships {
    /// The ownerships of `group` on a hub, for the owner called `me`.
    pub(super) fn new(
        store: Arc<dyn Store>,
        (namespace, hub, group): (&str, &str, &str),
        me: String,
        expiry_ms: i64,
    ) -> Self {
        let root = format!("{namespace}/{hub}/{group}").to_lowercase();
        Self { store, root, me, expiry_ms }
    }

    /// Who this owner is.
    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// Where the checkpoints of a partition lie: the pointer where other SDKs look for it, the states
    /// out of their way.
    pub(super) fn layout(&self, partition: &str) -> Layout {
        let root = &self.root;
        Layout::new(format!("{root}/checkpoint/{partition}"), format!("{root}/state/{partition}"))
    }

    /// Looks who owns what.
    pub(super) async fn look(
        &self,
        partitions: &[String],
        now_ms: i64,
    ) -> Result<Found, StoreError> {
        let mut found = Found::default();
        for partition in partitions {
            let object = self.store.get(&self.path(partition)?).await?;
            let mut owner = None;
            if let Some(object) = object {
                let is_alive = now_ms.saturating_sub(object.modified_ms) <= self.expiry_ms;
                let named = object.metadata.value(OWNER).filter(|name| !name.is_empty());
                owner = named.filter(|_| is_alive).map(str::to_owned);
                found.tags.insert(partition.clone(), object.etag);
            }
            found.seen.push(Seen { partition: partition.clone(), owner });
        }
        Ok(found)
    }

    /// Takes or renews a partition as it was found; false when somebody else was quicker.
    pub(super) async fn claim(
        &self,
        found: &Found,
        partition: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(found, partition, &self.me, now_ms).await
    }

    /// Gives a partition up, so that others need not wait until it expires.
    pub(super) async fn give_up(
        &self,
        found: &Found,
        partition: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        self.write(found, partition, "", now_ms).await
    }

    async fn write(
        &self,
        found: &Found,
        partition: &str,
        owner: &str,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let path = self.path(partition)?;
        let metadata = Metadata::new([(OWNER, owner), (RENEWED, &now_ms.to_string())])?;
        let written = match found.tags.get(partition) {
            Some(tag) => self.store.replace_with(&path, b"", &metadata, tag).await,
            None => self.store.create_with(&path, b"", &metadata).await,
        };
        match written {
            Ok(_) => Ok(true),
            Err(
                StoreError::AlreadyExists { .. }
                | StoreError::Changed { .. }
                | StoreError::NotFound { .. },
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn path(&self, partition: &str) -> Result<StorePath, StoreError> {
        StorePath::new(&format!("{}/ownership/{partition}", self.root))
    }
}
