//! The storage contract on a simulated disk, for one program at a time: what a directory keeps when
//! the power goes.

use async_trait::async_trait;
use std::io;
use std::path::PathBuf;
use twinge_platform::{Disk, SimulatedDisk};
use twinge_registry::{Etag, Metadata, Object, Store, StoreError, StorePath};

/// A folder as a store.
#[derive(Debug)]
pub(crate) struct DiskStore {
    disk: SimulatedDisk,
    folder: PathBuf,
}

impl DiskStore {
    pub(crate) fn new(disk: SimulatedDisk, folder: &str) -> Self {
        Self { disk, folder: folder.into() }
    }

    fn file(&self, path: &StorePath) -> PathBuf {
        self.folder.join(path.as_str())
    }

    fn etag(&self, path: &StorePath) -> Etag {
        Etag::new(self.disk.version(&self.file(path)).unwrap_or_default().to_string())
    }
}

fn error(action: &'static str, path: &StorePath) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Io { action, path: path.to_string(), source }
}

fn check(metadata: &Metadata) {
    assert!(*metadata == Metadata::default(), "nothing here is told beside an object");
}

#[async_trait]
impl Store for DiskStore {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        let bytes = match self.disk.read(&self.file(path)) {
            Ok(bytes) => bytes,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(error("read", path)(source)),
        };
        let size = bytes.len() as u64;
        if size > bytes_max {
            let (action, path) = ("read", path.to_string());
            return Err(StoreError::TooLarge { action, path, bytes: size, bytes_max });
        }
        let (metadata, etag) = (Metadata::default(), self.etag(path));
        Ok(Some(Object { bytes, metadata, etag, modified_ms: 0 }))
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        check(metadata);
        match self.disk.create_new(&self.file(path), bytes) {
            Ok(()) => Ok(self.etag(path)),
            Err(there) if there.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::AlreadyExists { path: path.to_string() })
            }
            Err(source) => Err(error("create", path)(source)),
        }
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        check(metadata);
        if self.disk.version(&self.file(path)).is_none() {
            return Err(StoreError::NotFound { path: path.to_string() });
        }
        if self.etag(path) != *expected {
            return Err(StoreError::Changed { path: path.to_string() });
        }
        self.disk.replace(&self.file(path), bytes).map_err(error("replace", path))?;
        Ok(self.etag(path))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        let files = self.disk.files_below(&self.folder.join(prefix));
        let relative = files.iter().filter_map(|file| file.strip_prefix(&self.folder).ok());
        Ok(relative.filter_map(|file| StorePath::new(&file.to_string_lossy()).ok()).collect())
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.disk.remove(&self.file(path)).map_err(error("delete", path))
    }
}
