//! What can go wrong with a spool, and the way out.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use twinge_journal::JournalError;

use crate::entry::Importance;

/// Why a spool could not do what it was asked to. Entries that it has are kept in any case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// A setting is out of its range.
    #[error("use the spool's settings: {reason}")]
    Settings {
        /// Which setting must be what.
        reason: &'static str,
    },

    /// An entry is too long. It was not taken.
    #[error(
        "spool an entry of {bytes} bytes: at most {entry_bytes_max} are allowed; split it, or \
         raise bytes_max and memory_bytes_max"
    )]
    EntrySize {
        /// Length of key and message together.
        bytes: usize,
        /// The bound that follows from the settings.
        entry_bytes_max: usize,
    },

    /// The segments of one importance could not be written or read. What was not written stays
    /// in memory, and the next call tries again.
    #[error("{action} the {lane} entries of the spool")]
    Segments {
        /// What was tried.
        action: &'static str,
        /// `normal` or `anomalous`.
        lane: &'static str,
        /// What the journal said.
        source: JournalError,
    },

    /// A file of the spool could not be written, read or removed.
    #[error("{action} {path}: check that the disk is readable, writable and has room")]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

impl SpoolError {
    /// Whether the same call can succeed once there is room on the disk.
    pub fn is_backpressure(&self) -> bool {
        match self {
            Self::Segments { source, .. } => source.is_backpressure(),
            Self::Disk { source, .. } => {
                matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            }
            Self::Settings { .. } | Self::EntrySize { .. } => false,
        }
    }

    pub(crate) fn of_segments(
        action: &'static str,
        importance: Importance,
        source: JournalError,
    ) -> Self {
        Self::Segments { action, lane: importance.name(), source }
    }

    pub(crate) fn of_disk(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Disk { action, path: path.to_owned(), source }
    }

    /// The message and those of its causes, on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
