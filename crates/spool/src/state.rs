//! What the spool remembers beside its entries: how far they were released, what was dropped,
//! and which sequence numbers were given. Does not know when it is written.

use serde::{Deserialize, Serialize};

use crate::drops::Dropped;
use crate::sealed;

const MAGIC_AND_VERSION: [u8; 8] = *b"TWINGES\x01";

/// The file `state`, by postcard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Sequence numbers below this one may have been given.
    pub(crate) sequence_reserved: u64,
    /// Operating time in seconds.
    pub(crate) second: u64,
    /// Entries released, all in all.
    pub(crate) released: u64,
    pub(crate) lanes: [LaneState; 2],
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneState {
    /// Entries up to this sequence number were released or dropped.
    pub(crate) cursor: u64,
    pub(crate) dropped: Dropped,
    /// Dictionaries with lower numbers may exist.
    pub(crate) dictionary_next: u32,
}

impl State {
    pub(crate) fn to_file(&self) -> Vec<u8> {
        let content = postcard::to_stdvec(self).expect("postcard writes plain integers to memory");
        sealed::seal(MAGIC_AND_VERSION, &content)
    }

    /// `None` when the file is damaged or of another version.
    pub(crate) fn from_file(file: &[u8]) -> Option<Self> {
        postcard::from_bytes(sealed::unseal(MAGIC_AND_VERSION, file)?).ok()
    }
}
