//! A lake and what is in it.

use crate::error::LakeError;
use crate::facts::FileFacts;
use crate::listing::{Compaction, Entry, Expired};
use crate::parquet_file::{Rows, read_rows};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::sync::Arc;
use twinge_registry::{Etag, Store, StoreError, StorePath};

/// A lake in a store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lake {
    store: Arc<dyn Store>,
}

/// A span of time, its end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// From, milliseconds since 1970.
    pub from_ms: i64,
    /// Until.
    pub until_ms: i64,
}

impl Range {
    /// All time.
    pub const ALL: Self = Self { from_ms: i64::MIN, until_ms: i64::MAX };

    /// Whether a moment lies within.
    pub fn holds(&self, milliseconds: i64) -> bool {
        (self.from_ms..self.until_ms).contains(&milliseconds)
    }
}

impl Lake {
    /// The lake in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The files of a detector that hold rows within `range`, sorted by path.
    pub async fn files(&self, detector: &str, range: Range) -> Result<Vec<FileFacts>, LakeError> {
        let mut files = self.listed(detector).await?;
        files.retain(|file| file.first_ms < range.until_ms && file.last_ms >= range.from_ms);
        Ok(files)
    }

    /// All files that count, sorted by path.
    pub(crate) async fn listed(&self, detector: &str) -> Result<Vec<FileFacts>, LakeError> {
        let mut files = Vec::new();
        for path in self.store.list(&manifest(detector)).await? {
            if path.as_str().contains("/compacted/") || path.as_str().ends_with("/expired.json") {
                continue;
            }
            let entry: Option<Entry> = self.document(path.as_str()).await?;
            files.extend(entry.into_iter().flat_map(|entry| entry.files));
        }
        let mut replaced = BTreeSet::new();
        for compaction in self.compactions(detector).await? {
            replaced.extend(compaction.replaces);
            files.push(compaction.file);
        }
        let before = self.expired(detector).await?.before;
        files.retain(|file| !replaced.contains(&file.path) && file.date() >= before.as_str());
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    pub(crate) async fn compactions(&self, detector: &str) -> Result<Vec<Compaction>, LakeError> {
        let mut all = Vec::new();
        for path in self.store.list(&format!("{}/compacted", manifest(detector))).await? {
            all.extend(self.document::<Compaction>(path.as_str()).await?);
        }
        Ok(all)
    }

    pub(crate) async fn expired(&self, detector: &str) -> Result<Expired, LakeError> {
        let path = format!("{}/expired.json", manifest(detector));
        Ok(self.document(&path).await?.unwrap_or_default())
    }

    /// Names of the detectors that have something here.
    pub async fn detectors(&self) -> Result<Vec<String>, LakeError> {
        let paths = self.store.list("_manifest").await?;
        let names = paths.iter().filter_map(|path| path.segments().nth(1)).map(str::to_owned);
        Ok(names.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// The rows of a listed file, once its digest is found to be the one listed.
    pub async fn rows(&self, file: &FileFacts) -> Result<Rows, LakeError> {
        read_rows(&file.path, self.bytes(file).await?)
    }

    /// The bytes of a listed file, once their digest is found to be the one listed.
    pub async fn bytes(&self, file: &FileFacts) -> Result<Vec<u8>, LakeError> {
        let bytes =
            self.get(&file.path).await?.ok_or_else(|| LakeError::Gone(file.path.clone()))?;
        let found = digest(&bytes);
        if found == file.digest {
            return Ok(bytes);
        }
        Err(LakeError::Altered { path: file.path.clone(), listed: file.digest.clone(), found })
    }

    /// The document at `path`, if it is there.
    pub async fn document<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, LakeError> {
        let Some(bytes) = self.get(path).await? else { return Ok(None) };
        let document = serde_json::from_slice(&bytes);
        document.map(Some).map_err(|error| LakeError::file(path, error))
    }

    /// Writes a document that is not there yet; whether it was not.
    pub async fn create_document<T: Serialize + Sync>(
        &self,
        path: &str,
        document: &T,
    ) -> Result<bool, LakeError> {
        let text = serde_json::to_vec_pretty(document).map_err(LakeError::encode)?;
        self.create(path, &text).await
    }

    /// Writes a document over whatever is there.
    pub(crate) async fn put_document<T: Serialize + Sync>(
        &self,
        path: &str,
        document: &T,
    ) -> Result<(), LakeError> {
        let text = serde_json::to_vec_pretty(document).map_err(LakeError::encode)?;
        let path = StorePath::new(path)?;
        loop {
            let written = match self.store.get(&path).await? {
                None => self.store.create(&path, &text).await,
                Some(object) => self.store.replace(&path, &text, &object.etag).await,
            };
            match written {
                Err(
                    StoreError::AlreadyExists { .. }
                    | StoreError::Changed { .. }
                    | StoreError::NotFound { .. },
                ) => {}
                written => return written.map(|_: Etag| ()).map_err(LakeError::from),
            }
        }
    }

    /// Writes an object that is not there yet; whether it was not.
    pub(crate) async fn create(&self, path: &str, bytes: &[u8]) -> Result<bool, LakeError> {
        match self.store.create(&StorePath::new(path)?, bytes).await {
            Ok(_) => Ok(true),
            Err(StoreError::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LakeError> {
        Ok(self.store.get(&StorePath::new(path)?).await?.map(|object| object.bytes))
    }

    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<String>, LakeError> {
        let paths = self.store.list(prefix).await?;
        Ok(paths.iter().map(|path| path.as_str().to_owned()).collect())
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), LakeError> {
        Ok(self.store.delete(&StorePath::new(path)?).await?)
    }
}

/// The folder of a detector's manifest.
pub(crate) fn manifest(detector: &str) -> String {
    format!("_manifest/{detector}")
}

/// SHA-256 in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
