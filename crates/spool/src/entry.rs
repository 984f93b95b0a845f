//! What the spool keeps. Does not know what the bytes of an entry mean.

/// Whether an entry may go first when there is no room for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Importance {
    /// Dropped first, the oldest before the others.
    Normal,
    /// Dropped only when no normal entry is left.
    Anomalous,
}

impl Importance {
    /// Both, the one that is dropped first in front.
    pub const ALL: [Self; 2] = [Self::Normal, Self::Anomalous];

    /// A word for directories, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Anomalous => "anomalous",
        }
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// Something to be sent upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whether it may be dropped before others.
    pub importance: Importance,
    /// What it is about, such as the entity: for sinks that partition by key.
    pub key: Option<String>,
    /// The message itself, typically a `CloudEvent` as JSON; may be empty.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// Length of key and message together, in bytes: what `entry_bytes_max` bounds.
    pub(crate) fn length(&self) -> usize {
        self.key.as_ref().map_or(0, String::len) + self.bytes.len()
    }
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Grows with every entry appended, with gaps; never given twice.
    pub sequence: u64,
    /// When it was appended, in seconds of the spool's operating time.
    pub second: u64,
    /// The entry.
    pub entry: Entry,
}

/// What an entry costs in memory beyond its bytes: the structs and the allocator's share.
const OVERHEAD_BYTES: usize = 128;

impl Queued {
    pub(crate) fn memory_bytes(&self) -> usize {
        self.entry.length() + OVERHEAD_BYTES
    }
}
