//! The manifest: which files are whole and count.

use crate::columns::Place;
use crate::facts::FileFacts;
use serde::{Deserialize, Serialize};

/// The format of entries that this version writes.
pub(crate) const FORMAT: u32 = 1;

/// What one roll of a partition put into the lake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// 1.
    pub format: u32,
    /// The detector.
    pub detector: String,
    /// Source and partition.
    #[serde(flatten)]
    pub place: Place,
    /// The offset at which the roll before this one ended.
    pub first_offset: u64,
    /// The offset at which the next one begins.
    pub next_offset: u64,
    /// Its files.
    pub files: Vec<FileFacts>,
}

/// A file that stands in place of others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Compaction {
    pub(crate) format: u32,
    pub(crate) file: FileFacts,
    pub(crate) replaces: Vec<String>,
}

/// What was removed for its age.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Expired {
    pub(crate) format: u32,
    /// The first day that is kept, as 2026-01-31.
    pub(crate) before: String,
}

/// What a roll is about to write: files that are removed should it never be listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) files: Vec<String>,
}

/// Facts of a file before it has a place.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) facts: FileFacts,
    pub(crate) bytes: Vec<u8>,
}
