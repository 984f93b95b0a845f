//! Whom a program trusts: the anchor that its operator gave it, and the newest root that follows
//! from it, which outlives a restart.

use crate::module_error::ModuleError;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use twinge_platform::Disk;
use twinge_registry::Registry;
use twinge_trust::{Anchor, Digest, Envelope, Keyring, TrustedRoot};

/// The keys that count at present; cheap to clone, and all clones change together.
#[derive(Clone, Debug)]
pub struct Trust(Arc<Mutex<Believed>>);

#[derive(Debug)]
enum Believed {
    /// Keys from a file, which nothing changes while the program runs.
    Keys(Keyring),
    Root {
        anchor: Digest,
        newest: Box<TrustedRoot>,
        file: PathBuf,
        disk: Arc<dyn Disk>,
    },
}

/// The newest root, and the anchor that it follows from: with another anchor it counts no more.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    anchor: Digest,
    root: Envelope,
}

impl Trust {
    /// Begins with an anchor, and goes on from the root that was kept in `state` if that follows
    /// from the same one.
    pub fn open(anchor: Anchor, state: &Path, disk: Arc<dyn Disk>) -> Result<Self, ModuleError> {
        let believed = match anchor {
            Anchor::Keys(keyring) => Believed::Keys(keyring),
            Anchor::Root(root) => {
                let (anchor, file) =
                    (Digest::of(&root.envelope().to_json()), state.join("root.json"));
                let kept = read_kept(disk.as_ref(), &file, &anchor)?;
                Believed::Root { anchor, newest: kept.map_or(root, Box::new), file, disk }
            }
        };
        Ok(Self(Arc::new(Mutex::new(believed))))
    }

    /// The keys that count now.
    pub fn keyring(&self) -> Keyring {
        match &*self.lock() {
            Believed::Keys(keyring) => keyring.clone(),
            Believed::Root { newest, .. } => newest.keyring().clone(),
        }
    }

    /// The version of the root; zero for keys from a file.
    pub fn version(&self) -> u64 {
        match &*self.lock() {
            Believed::Keys(_) => 0,
            Believed::Root { newest, .. } => newest.root().version,
        }
    }

    /// Steps to the newest root of a registry. Each is durable before anything is believed by it.
    /// A root that does not follow is an error; what was believed stays.
    pub async fn update(&self, registry: &Registry) -> Result<(), ModuleError> {
        let before = match &*self.lock() {
            Believed::Keys(_) => return Ok(()),
            Believed::Root { newest, .. } => newest.clone(),
        };
        let newest = registry.newest_root(&before).await?;
        if newest == *before {
            return Ok(());
        }
        let Believed::Root { anchor, newest: believed, file, disk } = &mut *self.lock() else {
            return Ok(());
        };
        // Another detector's look may have come first and further.
        if newest.root().version > believed.root().version {
            let kept = Kept { anchor: *anchor, root: newest.envelope().clone() };
            let json = serde_json::to_vec(&kept).expect("an envelope holds only texts");
            disk.replace(file, &json)
                .map_err(|source| ModuleError::View { path: file.clone(), source })?;
            tracing::info!(version = newest.root().version, "a new root of trust is believed");
            **believed = newest;
        }
        Ok(())
    }

    /// Refuses to believe anything new by a root that nobody renewed in time.
    pub fn check_current(&self, now_ms: i64) -> Result<(), ModuleError> {
        match &*self.lock() {
            Believed::Root { newest, .. } if newest.is_expired(now_ms) => {
                Err(ModuleError::RootExpired {
                    version: newest.root().version,
                    expires_ms: newest.root().expires_ms,
                })
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Believed> {
        // Each change is one assignment, so a thread that died left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_kept(
    disk: &dyn Disk,
    file: &Path,
    anchor: &Digest,
) -> Result<Option<TrustedRoot>, ModuleError> {
    let error = |source| ModuleError::View { path: file.to_owned(), source };
    let bytes = match disk.read(file) {
        Ok(bytes) => bytes,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(error(source)),
    };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|source| error(source.into()))?;
    if kept.anchor != *anchor {
        tracing::warn!(
            "another root of trust was put in place; what followed from the old is gone"
        );
        return Ok(None);
    }
    let root = TrustedRoot::anchor(kept.root);
    root.map(Some).map_err(|source| error(io::Error::other(source)))
}
