//! Checkpoints: offset, states and slots as one atomic thing.
//!
//! First an immutable object with the state, named by its digest; then the pointer, replaced only if
//! it is still the one this owner wrote last. A displaced owner therefore fails instead of
//! overwriting its successor. Most objects hold only what changed; now and then one stands alone
//! and those before it are removed.

use crate::entities::EntitySnapshot;
use crate::runner::{Place, Runner};
use crate::window::WindowSnapshot;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thiserror::Error;
use twinge_engine::Module;
use twinge_registry::{Etag, Store, StoreError, StorePath};
use twinge_trust::Digest;

/// Changes written on top of a full snapshot before the next full one.
const CHANGES_MAX: usize = 32;

const FORMAT: u32 = 1;

/// State of a runner, or what changed of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunnerSnapshot {
    pub(crate) is_full: bool,
    pub(crate) next_offset: u64,
    pub(crate) champion: EntitySnapshot,
    pub(crate) candidate: Option<CandidateSnapshot>,
    pub(crate) window: WindowSnapshot,
}

/// State of the module in shadow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CandidateSnapshot {
    pub(crate) entities: EntitySnapshot,
    pub(crate) since: u64,
    pub(crate) scored: u64,
    pub(crate) champion_counted: u64,
    pub(crate) candidate_counted: u64,
    pub(crate) compared: u64,
    pub(crate) agreed: u64,
}

/// What the pointer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// Version of this format.
    pub format: u32,
    /// Counts owners of the partition.
    pub epoch: u64,
    /// Where the runner works.
    pub place: Place,
    /// The next offset.
    pub next_offset: u64,
    /// Whatever the source needs to go on from there, such as a position in bytes.
    pub source_position: u64,
    /// When reading of the source began: ingestion time of sources that keep none, epoch ms.
    pub started_ms: i64,
    /// Digest of the champion.
    pub champion: Digest,
    /// Digest of the module in shadow.
    pub candidate: Option<Digest>,
    /// State objects in order: a full one and changes.
    pub objects: Vec<Digest>,
}

/// Why a checkpoint cannot be read or written.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The store failed.
    #[error("checkpoint of `{0}` cannot be stored or read")]
    Store(String, #[source] StoreError),
    /// Another owner wrote the pointer.
    #[error(
        "checkpoint of `{0}` was taken over by another process: this one stops, so that events are not scored twice; run one process per partition"
    )]
    Displaced(String),
    /// The pointer cannot be read.
    #[error(
        "checkpoint pointer `{path}` is not readable ({reason}): restore it from a backup, or remove it to start over from the first event"
    )]
    Pointer {
        /// Where it lies.
        path: String,
        /// Why.
        reason: String,
    },
    /// A state object is missing or damaged.
    #[error(
        "checkpoint of `{path}` names the state {object}, which is {problem}: restore it from a backup, or remove the checkpoint to start over from the first event"
    )]
    State {
        /// Where the pointer lies.
        path: String,
        /// The object.
        object: Digest,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The checkpoints of one runner.
#[derive(Debug)]
pub struct Checkpoints {
    store: Arc<dyn Store>,
    directory: String,
    pointer: Option<(Pointer, Etag)>,
    epoch: u64,
}

impl Checkpoints {
    /// Opens the checkpoints of a place; they may be none yet.
    pub async fn open(store: Arc<dyn Store>, place: &Place) -> Result<Self, CheckpointError> {
        let directory = format!(
            "checkpoints/{}/{}/{}",
            path_segment(&place.detector),
            path_segment(&place.source),
            path_segment(&place.partition)
        );
        let mut this = Self { store, directory, pointer: None, epoch: 1 };
        let path = this.pointer_path()?;
        if let Some(object) =
            this.store.get(&path).await.map_err(|error| this.store_error(error))?
        {
            let pointer: Pointer =
                serde_json::from_slice(&object.bytes).map_err(|error| this.unreadable(&error))?;
            if pointer.format != FORMAT {
                let reason =
                    format!("its format is {}, and this program reads {FORMAT}", pointer.format);
                return Err(CheckpointError::Pointer { path: this.directory, reason });
            }
            this.epoch = pointer.epoch + 1;
            this.pointer = Some((pointer, object.etag));
        }
        Ok(this)
    }

    /// What the latest checkpoint says, if there is one.
    pub fn latest(&self) -> Option<&Pointer> {
        self.pointer.as_ref().map(|(pointer, _)| pointer)
    }

    /// The runner of the latest checkpoint. `champion` and `candidate` are the modules that
    /// [`Self::latest`] names.
    pub async fn restore(
        &self,
        champion: &Module,
        candidate: Option<&Module>,
        entities_max: Option<u32>,
    ) -> Result<Option<Runner>, CheckpointError> {
        let Some((pointer, _)) = &self.pointer else { return Ok(None) };
        let mut snapshots = Vec::new();
        for digest in &pointer.objects {
            snapshots.push(self.snapshot(digest).await?);
        }
        let runner =
            Runner::restore(pointer.place.clone(), champion, candidate, entities_max, &snapshots);
        let last = pointer.objects.last().copied().unwrap_or_else(|| Digest::of(b""));
        runner.map(Some).ok_or_else(|| self.bad_state(last, "not of these modules or settings"))
    }

    /// Writes a checkpoint of `runner`. On an error the one before still holds.
    pub async fn save(
        &mut self,
        runner: &mut Runner,
        source_position: u64,
        started_ms: i64,
    ) -> Result<(), CheckpointError> {
        let saved = self.try_save(runner, source_position, started_ms).await;
        if saved.is_err() {
            runner.snapshot_was_lost();
        }
        saved
    }

    async fn try_save(
        &mut self,
        runner: &mut Runner,
        source_position: u64,
        started_ms: i64,
    ) -> Result<(), CheckpointError> {
        let before =
            self.pointer.as_ref().map(|(pointer, _)| pointer.objects.clone()).unwrap_or_default();
        let full = before.is_empty() || before.len() > CHANGES_MAX || runner.wants_full_snapshot();
        let snapshot = runner.snapshot(full);
        let bytes =
            postcard::to_allocvec(&snapshot).expect("a snapshot holds nothing that postcard lacks");
        let digest = Digest::of(&bytes);
        match self.store.create(&self.object_path(&digest)?, &bytes).await {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(self.store_error(error)),
        }
        let mut objects = if full { Vec::new() } else { before.clone() };
        objects.push(digest);
        let (champion, candidate) = runner.digests();
        let pointer = Pointer {
            format: FORMAT,
            epoch: self.epoch,
            place: runner.place().clone(),
            next_offset: runner.next_offset(),
            source_position,
            started_ms,
            champion,
            candidate,
            objects,
        };
        self.replace_pointer(pointer).await?;
        self.remove_unused(&before).await;
        Ok(())
    }

    async fn replace_pointer(&mut self, pointer: Pointer) -> Result<(), CheckpointError> {
        let json =
            serde_json::to_vec_pretty(&pointer).expect("a pointer holds nothing that JSON lacks");
        let path = self.pointer_path()?;
        let written = match &self.pointer {
            None => self.store.create(&path, &json).await,
            Some((_, etag)) => self.store.replace(&path, &json, etag).await,
        };
        match written {
            Ok(etag) => {
                self.pointer = Some((pointer, etag));
                Ok(())
            }
            Err(
                StoreError::AlreadyExists { .. }
                | StoreError::Changed { .. }
                | StoreError::NotFound { .. },
            ) => Err(CheckpointError::Displaced(self.directory.clone())),
            Err(error) => Err(self.store_error(error)),
        }
    }

    /// Objects that the pointer no longer names. One that cannot be removed costs room, not truth.
    async fn remove_unused(&self, before: &[Digest]) {
        let Some((pointer, _)) = &self.pointer else { return };
        for digest in before.iter().filter(|digest| !pointer.objects.contains(digest)) {
            let Ok(path) = self.object_path(digest) else { continue };
            if let Err(error) = self.store.delete(&path).await {
                tracing::warn!(%error, object = %digest, "an old checkpoint object could not be removed");
            }
        }
    }

    async fn snapshot(&self, digest: &Digest) -> Result<RunnerSnapshot, CheckpointError> {
        let object = self
            .store
            .get(&self.object_path(digest)?)
            .await
            .map_err(|error| self.store_error(error))?;
        let object = object.ok_or_else(|| self.bad_state(*digest, "missing"))?;
        if Digest::of(&object.bytes) != *digest {
            return Err(self.bad_state(*digest, "damaged"));
        }
        postcard::from_bytes(&object.bytes)
            .map_err(|_unreadable| self.bad_state(*digest, "not readable"))
    }

    fn pointer_path(&self) -> Result<StorePath, CheckpointError> {
        StorePath::new(&format!("{}/pointer.json", self.directory))
            .map_err(|error| self.store_error(error))
    }

    fn object_path(&self, digest: &Digest) -> Result<StorePath, CheckpointError> {
        StorePath::new(&format!("{}/state-{digest}.bin", self.directory))
            .map_err(|error| self.store_error(error))
    }

    fn store_error(&self, error: StoreError) -> CheckpointError {
        CheckpointError::Store(self.directory.clone(), error)
    }

    fn unreadable(&self, error: &serde_json::Error) -> CheckpointError {
        CheckpointError::Pointer { path: self.directory.clone(), reason: error.to_string() }
    }

    fn bad_state(&self, object: Digest, problem: &'static str) -> CheckpointError {
        CheckpointError::State { path: self.directory.clone(), object, problem }
    }
}

/// A name as one segment of a path: other characters are written as `=XX`, as in quoted-printable.
fn path_segment(name: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut segment = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => segment.push(byte as char),
            _ => segment.extend(
                [b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]].map(char::from),
            ),
        }
    }
    if segment.is_empty() { "=".into() } else { segment }
}
