//! A lease in a store: who holds it works, and nobody else does, until it expires.
//!
//! It is an object that is written under the condition of what was read, so that of several who want
//! it one gets it. Whoever crashes leaves it to expire. The clocks of those who ask may differ by
//! [`SKEW_MS_MAX`]; whoever holds a lease must renew it well before it ends, and once more before
//! doing what nobody else may do at the same time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use twinge_registry::{Etag, Name, Store, StoreError, StorePath};

/// How long after its end a lease is left alone, in milliseconds.
pub const SKEW_MS_MAX: i64 = 60_000;

/// Longest that a lease can be taken for, in milliseconds.
pub const LEASE_MS_MAX: i64 = 3_600_000;

/// A lease that is held.
#[derive(Debug)]
pub struct Lease {
    store: Arc<dyn Store>,
    path: StorePath,
    owner: Owner,
    etag: Etag,
    lifetime_ms: i64,
}

/// Who holds a lease, as it lies in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// What tells it from all others.
    pub id: String,
    /// When it took the lease, in milliseconds since 1970.
    pub taken_ms: i64,
    /// When the lease ends unless it is renewed, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody else has it.
    #[error("take {path}: {owner} holds it for another {left_s} s; wait for it to end")]
    Held {
        /// The object.
        path: String,
        /// Who.
        owner: String,
        /// For how long at most, in seconds.
        left_s: i64,
    },
    /// It was taken over.
    #[error("renew {path}: it was lost to somebody else, so what was begun must not be finished")]
    Lost {
        /// The object.
        path: String,
    },
    /// It ended before it was renewed.
    #[error("renew {path}: it ended {late_s} s ago, so what was begun must not be finished")]
    Late {
        /// The object.
        path: String,
        /// How long ago, in seconds.
        late_s: i64,
    },
    /// What lies there is no lease.
    #[error("read {path}: it is no lease; see that nobody is at work, and delete it")]
    Malformed {
        /// The object.
        path: String,
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Lease {
    /// Takes the lease of a kind of work on a detector, at `now_ms`, for `lifetime_ms` (at most
    /// [`LEASE_MS_MAX`]); one that has expired is taken over. `id` tells its owner from all others.
    pub async fn take(
        store: Arc<dyn Store>,
        work: &Name,
        detector: &Name,
        id: &str,
        now_ms: i64,
        lifetime_ms: i64,
    ) -> Result<Self, LeaseError> {
        let path = StorePath::new(&format!("leases/{work}/{detector}.json"))?;
        let lifetime_ms = lifetime_ms.clamp(1, LEASE_MS_MAX);
        let owner = Owner {
            id: id.to_owned(),
            taken_ms: now_ms,
            expires_ms: now_ms.saturating_add(lifetime_ms),
        };
        let written = match store.get(&path).await? {
            None => store.create(&path, &json(&owner)).await,
            Some(there) => {
                let holder: Owner = serde_json::from_slice(&there.bytes)
                    .map_err(|source| LeaseError::Malformed { path: path.to_string(), source })?;
                if holder.holds(now_ms) {
                    return Err(held(&path, &holder, now_ms));
                }
                store.replace(&path, &json(&owner), &there.etag).await
            }
        };
        match written {
            Ok(etag) => Ok(Self { store, path, owner, etag, lifetime_ms }),
            Err(
                StoreError::AlreadyExists { .. }
                | StoreError::Changed { .. }
                | StoreError::NotFound { .. },
            ) => {
                let winner = store.get(&path).await?;
                let winner = winner.and_then(|there| serde_json::from_slice(&there.bytes).ok());
                let somebody = || Owner { id: "somebody else".into(), ..owner.clone() };
                Err(held(&path, &winner.unwrap_or_else(somebody), now_ms))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Who holds it: we.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Prolongs it, from `now_ms` on. After an error, what it protects must not be done.
    pub async fn renew(&mut self, now_ms: i64) -> Result<(), LeaseError> {
        if now_ms >= self.owner.expires_ms {
            let late_s = (now_ms - self.owner.expires_ms) / 1000;
            return Err(LeaseError::Late { path: self.path.to_string(), late_s });
        }
        let expires_ms = now_ms.saturating_add(self.lifetime_ms);
        self.write(Owner { expires_ms, ..self.owner.clone() }).await
    }

    /// Gives it back, so that the next need not wait.
    pub async fn release(mut self) -> Result<(), LeaseError> {
        // Not deleted: that has no condition, and could take it from whoever has taken it over.
        self.write(Owner { expires_ms: 0, ..self.owner.clone() }).await
    }

    async fn write(&mut self, owner: Owner) -> Result<(), LeaseError> {
        match self.store.replace(&self.path, &json(&owner), &self.etag).await {
            Ok(etag) => {
                (self.etag, self.owner) = (etag, owner);
                Ok(())
            }
            Err(StoreError::Changed { .. } | StoreError::NotFound { .. }) => {
                Err(LeaseError::Lost { path: self.path.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Owner {
    fn holds(&self, now_ms: i64) -> bool {
        // A time beyond what anybody may take is a clock gone wrong, and must not lock us out.
        let latest_ms = now_ms.saturating_add(LEASE_MS_MAX).saturating_add(SKEW_MS_MAX);
        let ends_ms = self.expires_ms.saturating_add(SKEW_MS_MAX);
        self.expires_ms > 0 && now_ms < ends_ms && self.expires_ms <= latest_ms
    }
}

fn held(path: &StorePath, holder: &Owner, now_ms: i64) -> LeaseError {
    let ends_ms = holder.expires_ms.saturating_add(SKEW_MS_MAX);
    let left_s = (ends_ms.saturating_sub(now_ms) / 1000).max(0) + 1;
    // It comes from the store, and goes to a terminal.
    let owner = holder.id.chars().filter(|c| !c.is_control()).take(120).collect();
    LeaseError::Held { path: path.to_string(), owner, left_s }
}

fn json(owner: &Owner) -> Vec<u8> {
    serde_json::to_vec(owner).expect("texts and numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinge_registry::MemoryStore;

    const MINUTE: i64 = 60_000;

    async fn take(store: &Arc<dyn Store>, id: &str, now_ms: i64) -> Result<Lease, LeaseError> {
        let (work, detector) = ("retrain".parse().unwrap(), "pump".parse().unwrap());
        Lease::take(Arc::clone(store), &work, &detector, id, now_ms, 5 * MINUTE).await
    }

    fn store() -> Arc<dyn Store> {
        Arc::new(MemoryStore::default())
    }

    #[tokio::test]
    async fn one_holds_it_until_it_is_given_back() {
        let store = store();
        let mut first = take(&store, "a", MINUTE).await.unwrap();
        let refused = take(&store, "b", 2 * MINUTE).await.unwrap_err();
        assert!(matches!(&refused, LeaseError::Held { owner, .. } if owner == "a"), "{refused}");
        first.renew(5 * MINUTE).await.unwrap();
        assert!(take(&store, "b", 7 * MINUTE).await.is_err());
        first.release().await.unwrap();
        take(&store, "b", 7 * MINUTE).await.unwrap();
    }

    #[tokio::test]
    async fn an_expired_one_is_taken_over_and_cannot_come_back() {
        let store = store();
        let mut first = take(&store, "a", 0).await.unwrap();
        // Clocks differ: at its end alone it is not taken.
        assert!(take(&store, "b", 5 * MINUTE + 1).await.is_err());
        let second = take(&store, "b", 6 * MINUTE).await.unwrap();
        assert_eq!(second.owner().id, "b");
        let late = first.renew(6 * MINUTE).await.unwrap_err();
        assert!(matches!(late, LeaseError::Late { late_s: 60, .. }), "{late}");
        // One whose clock is behind does not see that it is late.
        let lost = first.renew(MINUTE).await.unwrap_err();
        assert!(matches!(lost, LeaseError::Lost { .. }), "{lost}");
        let lost = first.release().await.unwrap_err();
        assert!(matches!(lost, LeaseError::Lost { .. }), "{lost}");
        assert!(take(&store, "c", 7 * MINUTE).await.is_err(), "b's is as it was");
    }

    #[tokio::test]
    async fn of_many_at_once_one_gets_it() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(twinge_registry::Directory::open(folder.path()).unwrap());
        for round in 0..5 {
            let now_ms = round * 10 * MINUTE;
            let tasks: Vec<_> = (0..8)
                .map(|number| {
                    let store = Arc::clone(&store);
                    let id = format!("{round}-{number}");
                    async move { take(&store, &id, now_ms).await }
                })
                .collect();
            let mut set = tokio::task::JoinSet::new();
            for task in tasks {
                set.spawn(task);
            }
            let won = set.join_all().await.into_iter().flatten().count();
            assert_eq!(won, 1, "round {round}");
        }
    }

    #[tokio::test]
    async fn garbage_and_a_clock_gone_wrong_lock_nobody_out_silently() {
        let store = store();
        let path = StorePath::new("leases/retrain/pump.json").unwrap();
        store.create(&path, b"{}").await.unwrap();
        let error = take(&store, "a", 0).await.unwrap_err();
        assert!(matches!(error, LeaseError::Malformed { .. }), "{error}");
        let far = Owner { id: "x".into(), taken_ms: 0, expires_ms: i64::MAX };
        let there = store.get(&path).await.unwrap().unwrap();
        store.replace(&path, &json(&far), &there.etag).await.unwrap();
        take(&store, "a", 0).await.unwrap();
    }
}
