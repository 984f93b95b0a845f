//! What can go wrong with a journal, and the way out.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Why a journal could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The settings contradict each other.
    #[error("use the journal's settings: {reason}")]
    Settings {
        /// Which setting must be what.
        reason: &'static str,
    },

    /// A record is empty or longer than `record_bytes_max`. Nothing of its append was taken.
    #[error("journal a record of {bytes} bytes: 1 to {record_bytes_max} are allowed")]
    RecordSize {
        /// Length of the record; for one appended with others, of the first that does not fit.
        bytes: usize,
        /// The bound from the settings.
        record_bytes_max: u32,
    },

    /// The records of one append would not fit into an empty journal.
    #[error(
        "journal more than {total_bytes_max} bytes at once: split the append or raise \
         total_bytes_max"
    )]
    BatchSize {
        /// The bound from the settings.
        total_bytes_max: u64,
    },

    /// The journal has no room until records are released: backpressure, try again later.
    #[error(
        "journal {needed_bytes} more bytes: {retained_bytes} of {total_bytes_max} are taken; \
         wait until the reader has released some or raise total_bytes_max"
    )]
    Full {
        /// What the append would add.
        needed_bytes: u64,
        /// What the segments take.
        retained_bytes: u64,
        /// The bound from the settings.
        total_bytes_max: u64,
    },

    /// An append had to close a segment and could not make it durable. The journal takes nothing
    /// more until `sync` was called, which fails and tells which records are lost.
    #[error("append to a journal whose last records could not be made durable: call sync first")]
    Unsynced,

    /// Records could not be made durable and are no longer in the journal: their senders must not
    /// be told that they were kept, and their offsets will be given to others.
    #[error("make records {from} to {below} (exclusive) durable in {segment}: check the disk")]
    Sync {
        /// The first offset that was lost.
        from: u64,
        /// One more than the last offset that was lost.
        below: u64,
        /// The segment's file.
        segment: PathBuf,
        /// What the disk said.
        source: io::Error,
    },

    /// The disk failed. After a failed append the journal is as it was before.
    #[error("{action} {path}: check that the disk is writable and has room")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },

    /// A file with a segment's name is not a segment, or a newer version wrote it.
    #[error("read the header of {segment}: it is no journal of version 1; move the file away")]
    Header {
        /// The segment's file.
        segment: PathBuf,
    },

    /// Bytes that had been durable are damaged or missing.
    #[error(
        "read record {offset} at byte {position} of {segment}: it is damaged; restore the file \
         from a copy, or give up the rest of its segment"
    )]
    Corrupt {
        /// The segment's file.
        segment: PathBuf,
        /// The record that should be there.
        offset: u64,
        /// Where in the file, in bytes.
        position: u64,
    },

    /// The reader wants records that were released.
    #[error("read record {from}: the journal starts at {start}; the records before are released")]
    Released {
        /// The offset asked for.
        from: u64,
        /// The first offset that is kept.
        start: u64,
    },

    /// The reader is ahead of the journal: its checkpoint belongs to another journal, or this one
    /// was replaced or restored from an older copy.
    #[error("read record {from}: the journal ends at {end}; check that it is the right directory")]
    Ahead {
        /// The offset asked for.
        from: u64,
        /// The end of what is durable.
        end: u64,
    },
}

impl JournalError {
    /// Whether the same call can succeed once there is room: the journal or the disk is full.
    /// Callers answer 503 or 429 and do not acknowledge.
    pub fn is_backpressure(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::Disk { source, .. } | Self::Sync { source, .. } => {
                matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}
