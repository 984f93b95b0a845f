//! The roots of trust in a registry: one object for each version, so that whoever was away can
//! step from the one they have to the newest.
//!
//! Knows no keys: what lies here is on nobody's word until
//! [`TrustedRoot::accept`](twinge_trust::TrustedRoot::accept) has seen it.

use twinge_trust::{Envelope, Root, TrustedRoot};

use crate::store::check_size;
use crate::{DOCUMENT_BYTES_MAX, Registry, RegistryError, StoreError, StorePath};

/// Most versions that one look steps over; the next look goes on from there.
const STEPS_MAX: u32 = 1000;

impl Registry {
    /// Puts a root that is believed; one of the same version that says something else is never
    /// replaced.
    pub async fn put_root(&self, root: &TrustedRoot) -> Result<(), RegistryError> {
        let path = root_path(root.root().version)?;
        let bytes = root.envelope().to_json();
        check_size("write", &path, bytes.len() as u64, DOCUMENT_BYTES_MAX)?;
        match self.store.create(&path, &bytes).await {
            Ok(_) => Ok(()),
            Err(StoreError::AlreadyExists { .. }) => self.check_root(&path, root).await,
            Err(error) => Err(error.into()),
        }
    }

    /// The newest root that follows from the one that is believed, as far as there is one. An
    /// object that does not follow is an error that names it, and what is believed stays.
    pub async fn newest_root(&self, believed: &TrustedRoot) -> Result<TrustedRoot, RegistryError> {
        let mut believed = believed.clone();
        for _ in 0..STEPS_MAX {
            let path = root_path(believed.root().version.saturating_add(1))?;
            let found = self.store.get_within(&path, DOCUMENT_BYTES_MAX).await?;
            let Some(object) = found else { break };
            believed = Envelope::from_json(&object.bytes)
                .and_then(|next| believed.accept(&next))
                .map_err(|source| RegistryError::Untrusted {
                path: path.to_string(),
                source,
            })?;
        }
        Ok(believed)
    }

    async fn check_root(&self, path: &StorePath, root: &TrustedRoot) -> Result<(), RegistryError> {
        let object = self.store.get_within(path, DOCUMENT_BYTES_MAX).await?;
        let there = object.and_then(|object| Envelope::from_json(&object.bytes).ok());
        let same = there.is_some_and(|there| {
            Root::from_json(there.payload_unverified()).is_ok_and(|there| there == *root.root())
        });
        if same { Ok(()) } else { Err(RegistryError::RootDiffers { path: path.to_string() }) }
    }
}

fn root_path(version: u64) -> Result<StorePath, StoreError> {
    StorePath::new(&format!("trust/{version}.root.json"))
}
