//! Reading, deciding and writing conditionally: how every change of the registry is made. What is
//! decided is not known here.

use crate::bounds::WRITE_ATTEMPTS_MAX;
use crate::store::check_size;
use crate::{Object, Registry, RegistryError, StoreError, StorePath};

/// What to do about an object, and what comes of it.
pub(crate) enum Decision<T> {
    Keep(T),
    Write(Vec<u8>, T),
}

impl Registry {
    /// For what is usually not there. Creating first also makes durable what a crashed writer
    /// left, before anything points at it.
    pub(crate) async fn create_or_settle(
        &self,
        path: &StorePath,
        bytes: &[u8],
        bytes_max: u64,
        decide: impl Fn(Option<&Object>) -> Result<Decision<()>, RegistryError>,
    ) -> Result<(), RegistryError> {
        check_size("write", path, bytes.len() as u64, bytes_max)?;
        match self.store.create(path, bytes).await {
            Ok(_) => Ok(()),
            Err(StoreError::AlreadyExists { .. }) => self.settle(path, bytes_max, decide).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Reads, decides and writes if nothing changed in between; else starts over. What has more
    /// than `bytes_max` bytes is neither read nor written.
    pub(crate) async fn settle<T>(
        &self,
        path: &StorePath,
        bytes_max: u64,
        decide: impl Fn(Option<&Object>) -> Result<Decision<T>, RegistryError>,
    ) -> Result<T, RegistryError> {
        for _ in 0..WRITE_ATTEMPTS_MAX {
            let stored = self.store.get_within(path, bytes_max).await?;
            let (bytes, outcome) = match decide(stored.as_ref())? {
                Decision::Keep(outcome) => return Ok(outcome),
                Decision::Write(bytes, outcome) => (bytes, outcome),
            };
            check_size("write", path, bytes.len() as u64, bytes_max)?;
            let written = match &stored {
                None => self.store.create(path, &bytes).await,
                Some(stored) => self.store.replace(path, &bytes, &stored.etag).await,
            };
            match written {
                Ok(_) => return Ok(outcome),
                Err(
                    StoreError::AlreadyExists { .. }
                    | StoreError::Changed { .. }
                    | StoreError::NotFound { .. },
                ) => tracing::debug!(%path, "somebody else wrote first"),
                Err(error) => return Err(error.into()),
            }
        }
        Err(RegistryError::Contended { path: path.to_string() })
    }
}

pub(crate) fn overwrite(stored: Option<&Object>, bytes: &[u8]) -> Decision<()> {
    if stored.is_some_and(|object| object.bytes == bytes) {
        return Decision::Keep(());
    }
    Decision::Write(bytes.to_vec(), ())
}
