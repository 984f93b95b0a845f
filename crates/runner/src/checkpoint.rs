//! Checkpoints: offset, states and slots as one atomic thing.
//!
//! First an immutable object with the state, named by its owner's epoch and its digest; then the
//! pointer, replaced only if it is still the one this owner wrote last. A displaced owner therefore
//! fails instead of overwriting its successor, and what it removes late are never its successor's
//! objects, since those have a later epoch. Most objects hold only what changed; now and then one stands alone
//! and those before it are removed. All detectors on a partition share one pointer, so they stand
//! at one offset.

use crate::place::Place;
use crate::runner::Runner;
use crate::snapshot::RunnerSnapshot;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;
use twinge_engine::Module;
use twinge_registry::{Etag, Metadata, Store, StoreError, StorePath};
use twinge_trust::Digest;

/// Changes written on top of a full snapshot before the next full one.
const CHANGES_MAX: usize = 32;

const FORMAT: u32 = 4;

/// The format before: names of states had no epoch.
const FORMAT_BEFORE: u32 = 3;

/// What the pointer says of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// Version of this format.
    pub format: u32,
    /// Counts owners of the partition.
    pub epoch: u64,
    /// The source.
    pub source: String,
    /// The partition.
    pub partition: String,
    /// The next offset.
    pub next_offset: u64,
    /// Whatever the source needs to go on from there, such as a position in bytes.
    pub source_position: u64,
    /// When reading of the source began: ingestion time of sources that keep none, epoch ms.
    pub started_ms: i64,
    /// The detectors that run on the partition.
    pub detectors: Vec<DetectorPointer>,
}

/// What the pointer says of one detector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectorPointer {
    /// The detector's name.
    pub name: String,
    /// Digest of the module whose verdicts count.
    pub acting: Digest,
    /// Digest of the module beside it.
    pub beside: Option<Digest>,
    /// State objects in order: a full one and changes.
    pub objects: Vec<StateObject>,
}

/// An object with a state, or with what changed of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct StateObject {
    /// The epoch of the owner that wrote it; zero where an older version did.
    pub epoch: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

impl fmt::Display for StateObject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch {
            0 => self.digest.fmt(formatter),
            epoch => write!(formatter, "{epoch}-{}", self.digest),
        }
    }
}

impl From<StateObject> for String {
    fn from(object: StateObject) -> Self {
        object.to_string()
    }
}

impl TryFrom<String> for StateObject {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (epoch, digest) = text.split_once('-').unwrap_or(("0", &text));
        match (epoch.parse(), digest.parse()) {
            (Ok(epoch), Ok(digest)) => Ok(Self { epoch, digest }),
            _ => Err(format!("`{text}` names no state: it is an epoch and a digest")),
        }
    }
}

/// Where the checkpoints of a partition lie in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pointer: String,
    states: String,
}

/// What a checkpoint tells beside the states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whatever the source needs to go on from there.
    pub position: u64,
    /// When reading of the source began, epoch ms.
    pub started_ms: i64,
    /// Told beside the pointer, for programs that know the store and not Twinge; as before where it
    /// is nothing.
    pub metadata: Option<Metadata>,
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
    /// The pointer is of another source.
    #[error(
        "checkpoint `{path}` was written for {found}, and this is {source_name}: the source was made anew or another one has its name; remove the checkpoint to start over from the first event"
    )]
    Foreign {
        /// Where it lies.
        path: String,
        /// The source it was written for.
        found: String,
        /// The source that is read.
        source_name: String,
    },
    /// A state object is missing or damaged.
    #[error(
        "checkpoint of `{path}` names the state {object}, which is {problem}: restore it from a backup, or remove the checkpoint to start over from the first event"
    )]
    State {
        /// Where the pointer lies.
        path: String,
        /// The object.
        object: StateObject,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// The checkpoints of a partition, for all runners on it at once.
#[derive(Debug)]
pub struct Checkpoints {
    store: Arc<dyn Store>,
    layout: Layout,
    pointer: Option<(Pointer, Etag)>,
    metadata: Metadata,
    epoch: u64,
}

impl Layout {
    /// A pointer at `pointer`, and states in the folder `states`.
    pub fn new(pointer: String, states: String) -> Self {
        Self { pointer, states }
    }

    /// Pointer and states in a folder of their own, named after source and partition.
    pub fn of(source: &str, partition: &str) -> Self {
        let folder = format!("checkpoints/{}/{}", path_segment(source), path_segment(partition));
        Self { pointer: format!("{folder}/pointer.json"), states: folder }
    }
}

impl Checkpoints {
    /// Opens the checkpoints of a partition; they may be none yet.
    ///
    /// An owner that was here before is locked out at once: the pointer gets the next epoch, and
    /// whatever the other still writes fails.
    pub async fn open(store: Arc<dyn Store>, layout: Layout) -> Result<Self, CheckpointError> {
        let metadata = Metadata::default();
        let mut this = Self { store, layout, pointer: None, metadata, epoch: 1 };
        let path = this.pointer_path()?;
        let found = this.store.get(&path).await.map_err(|error| this.store_error(error))?;
        let Some(object) = found else { return Ok(this) };
        let pointer: Pointer =
            serde_json::from_slice(&object.bytes).map_err(|error| this.unreadable(&error))?;
        if ![FORMAT_BEFORE, FORMAT].contains(&pointer.format) {
            let reason =
                format!("its format is {}, and this program reads {FORMAT}", pointer.format);
            return Err(CheckpointError::Pointer { path: this.layout.pointer, reason });
        }
        let Some(epoch) = pointer.epoch.checked_add(1) else {
            let reason = format!("its epoch is {}, after which there is none", pointer.epoch);
            return Err(CheckpointError::Pointer { path: this.layout.pointer, reason });
        };
        this.epoch = epoch;
        let claimed = Pointer { format: FORMAT, epoch: this.epoch, ..pointer.clone() };
        this.pointer = Some((pointer, object.etag));
        this.metadata = object.metadata;
        this.replace_pointer(claimed).await?;
        this.collect_orphans().await?;
        Ok(this)
    }

    /// Removes states that no pointer will ever name: their owner died between state and pointer,
    /// or lost the partition. This owner may itself have lost it by now, so it keeps away from what
    /// owners after it write.
    async fn collect_orphans(&self) -> Result<(), CheckpointError> {
        let named = self.objects();
        let paths = self.store.list(&self.layout.states).await;
        for path in paths.map_err(|error| self.store_error(error))? {
            let state = path.segments().last().and_then(|name| name.strip_prefix("state-"));
            let object = state
                .and_then(|name| StateObject::try_from(name.strip_suffix(".bin")?.to_owned()).ok());
            let is_left =
                |object: StateObject| object.epoch < self.epoch && !named.contains(&object);
            if object.is_some_and(is_left) {
                self.store.delete(&path).await.map_err(|error| self.store_error(error))?;
            }
        }
        Ok(())
    }

    /// What the latest checkpoint says, if there is one.
    pub fn latest(&self) -> Option<&Pointer> {
        self.pointer.as_ref().map(|(pointer, _)| pointer)
    }

    /// Counts owners of the partition; this one's number is the largest so far.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The runner of the latest checkpoint at `place`, or nothing if its detector did not run then.
    /// `acting` and `beside` are the modules that [`Self::latest`] names.
    pub async fn restore(
        &self,
        place: &Place,
        acting: &Module,
        beside: Option<&Module>,
        entities_max: Option<u32>,
    ) -> Result<Option<Runner>, CheckpointError> {
        let Some((pointer, _)) = &self.pointer else { return Ok(None) };
        if (&*pointer.source, &*pointer.partition) != (&*place.source, &*place.partition) {
            return Err(CheckpointError::Foreign {
                path: self.layout.pointer.clone(),
                found: format!("partition {} of {}", pointer.partition, pointer.source),
                source_name: format!("partition {} of {}", place.partition, place.source),
            });
        }
        let detector = pointer.detectors.iter().find(|detector| detector.name == place.detector);
        let Some(detector) = detector else { return Ok(None) };
        let mut snapshots = Vec::new();
        for object in &detector.objects {
            snapshots.push(self.snapshot(object).await?);
        }
        let runner = Runner::restore(place.clone(), acting, beside, entities_max, &snapshots);
        let none = StateObject { epoch: 0, digest: Digest::of(b"") };
        let last = detector.objects.last().copied().unwrap_or(none);
        runner.map(Some).ok_or_else(|| self.bad_state(last, "not of these modules or settings"))
    }

    /// Writes a checkpoint of all runners on the partition, which stand at one offset. On an error
    /// the one before still holds.
    pub async fn save(
        &mut self,
        runners: &mut [&mut Runner],
        progress: &Progress,
    ) -> Result<(), CheckpointError> {
        let saved = self.try_save(runners, progress).await;
        if saved.is_err() {
            for runner in runners.iter_mut() {
                runner.snapshot_was_lost();
            }
        }
        saved
    }

    async fn try_save(
        &mut self,
        runners: &mut [&mut Runner],
        progress: &Progress,
    ) -> Result<(), CheckpointError> {
        let Some(first) = runners.first() else { return Ok(()) };
        let (place, next_offset) = (first.place().clone(), first.next_offset());
        debug_assert!(runners.iter().all(|runner| runner.next_offset() == next_offset));
        let before = self.objects();
        let mut detectors = Vec::with_capacity(runners.len());
        for runner in runners {
            detectors.push(self.save_states(runner).await?);
        }
        let pointer = Pointer {
            format: FORMAT,
            epoch: self.epoch,
            source: place.source.to_string(),
            partition: place.partition.to_string(),
            next_offset,
            source_position: progress.position,
            started_ms: progress.started_ms,
            detectors,
        };
        if let Some(metadata) = &progress.metadata {
            self.metadata.clone_from(metadata);
        }
        self.replace_pointer(pointer).await?;
        self.remove_unused(&before).await;
        Ok(())
    }

    /// Writes what changed of a runner, or all of it, and answers with where it is.
    async fn save_states(&self, runner: &mut Runner) -> Result<DetectorPointer, CheckpointError> {
        let name = runner.place().detector.clone();
        let known = self.pointer.iter().flat_map(|(pointer, _)| &pointer.detectors);
        let before = known.into_iter().find(|detector| detector.name == name);
        let before = before.map(|detector| detector.objects.clone()).unwrap_or_default();
        let full = runner.wants_full_snapshot() || before.is_empty() || before.len() > CHANGES_MAX;
        let snapshot = runner.snapshot(full);
        let bytes =
            postcard::to_allocvec(&snapshot).expect("a snapshot holds nothing that postcard lacks");
        let object = StateObject { epoch: self.epoch, digest: Digest::of(&bytes) };
        match self.store.create(&self.object_path(&object)?, &bytes).await {
            Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => return Err(self.store_error(error)),
        }
        let mut objects = if full { Vec::new() } else { before };
        objects.push(object);
        let (acting, beside) = runner.digests();
        Ok(DetectorPointer { name, acting, beside, objects })
    }

    /// State objects that the latest pointer names.
    fn objects(&self) -> Vec<StateObject> {
        let detectors = self.pointer.iter().flat_map(|(pointer, _)| &pointer.detectors);
        detectors.flat_map(|detector| detector.objects.iter().copied()).collect()
    }

    async fn replace_pointer(&mut self, pointer: Pointer) -> Result<(), CheckpointError> {
        let json =
            serde_json::to_vec_pretty(&pointer).expect("a pointer holds nothing that JSON lacks");
        let path = self.pointer_path()?;
        let written = match &self.pointer {
            None => self.store.create_with(&path, &json, &self.metadata).await,
            Some((_, etag)) => self.store.replace_with(&path, &json, &self.metadata, etag).await,
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
            ) => Err(CheckpointError::Displaced(self.layout.pointer.clone())),
            Err(error) => Err(self.store_error(error)),
        }
    }

    /// Objects that the pointer no longer names. One that cannot be removed costs room, not truth.
    async fn remove_unused(&self, before: &[StateObject]) {
        let now = self.objects();
        for object in before.iter().filter(|object| !now.contains(object)) {
            let Ok(path) = self.object_path(object) else { continue };
            if let Err(error) = self.store.delete(&path).await {
                tracing::warn!(%error, %object, "an old checkpoint object could not be removed");
            }
        }
    }

    async fn snapshot(&self, state: &StateObject) -> Result<RunnerSnapshot, CheckpointError> {
        match self.read_snapshot(state).await {
            // Whoever took over since removes what it needs no more.
            Err(CheckpointError::State { .. }) if self.is_displaced().await? => {
                Err(CheckpointError::Displaced(self.layout.pointer.clone()))
            }
            read => read,
        }
    }

    async fn is_displaced(&self) -> Result<bool, CheckpointError> {
        let there = self.store.get(&self.pointer_path()?).await;
        let there = there.map_err(|error| self.store_error(error))?;
        let own = self.pointer.as_ref().map(|(_, etag)| etag);
        Ok(there.as_ref().map(|object| &object.etag) != own)
    }

    async fn read_snapshot(&self, state: &StateObject) -> Result<RunnerSnapshot, CheckpointError> {
        let object = self
            .store
            .get(&self.object_path(state)?)
            .await
            .map_err(|error| self.store_error(error))?;
        let object = object.ok_or_else(|| self.bad_state(*state, "missing"))?;
        if Digest::of(&object.bytes) != state.digest {
            return Err(self.bad_state(*state, "damaged"));
        }
        let snapshot: RunnerSnapshot = postcard::from_bytes(&object.bytes)
            .map_err(|_unreadable| self.bad_state(*state, "not readable"))?;
        if !snapshot.is_plausible() {
            return Err(self.bad_state(*state, "of numbers that no runner comes to"));
        }
        Ok(snapshot)
    }

    fn pointer_path(&self) -> Result<StorePath, CheckpointError> {
        StorePath::new(&self.layout.pointer).map_err(|error| self.store_error(error))
    }

    fn object_path(&self, object: &StateObject) -> Result<StorePath, CheckpointError> {
        StorePath::new(&format!("{}/state-{object}.bin", self.layout.states))
            .map_err(|error| self.store_error(error))
    }

    fn store_error(&self, error: StoreError) -> CheckpointError {
        CheckpointError::Store(self.layout.pointer.clone(), error)
    }

    fn unreadable(&self, error: &serde_json::Error) -> CheckpointError {
        CheckpointError::Pointer { path: self.layout.pointer.clone(), reason: error.to_string() }
    }

    fn bad_state(&self, object: StateObject, problem: &'static str) -> CheckpointError {
        CheckpointError::State { path: self.layout.pointer.clone(), object, problem }
    }
}

/// A name as one segment of a path: other characters are written as `=XX`, as in quoted-printable.
pub fn path_segment(name: &str) -> String {
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
