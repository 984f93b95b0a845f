//! The bounds of a journal. Does not know where a program's configuration comes from.

use crate::error::JournalError;
use crate::format::{FRAME_BYTES, HEADER_BYTES};

/// The bounds of a journal. They may change between one opening and the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A segment that an append would grow beyond this many bytes is closed and the next begun.
    /// An append that is larger by itself gets one segment of its own. Opening reads the last
    /// segment into memory.
    pub segment_bytes: u64,
    /// The longest payload that [`append`](crate::Journal::append) takes, in bytes.
    pub record_bytes_max: u32,
    /// The most bytes all segments may take together; at least twice `segment_bytes`.
    pub total_bytes_max: u64,
}

impl Default for Settings {
    /// Segments of 16 MiB, records of up to 16 MiB, 1 GiB in all.
    fn default() -> Self {
        Self { segment_bytes: 16 << 20, record_bytes_max: 16 << 20, total_bytes_max: 1 << 30 }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        let overhead = HEADER_BYTES + FRAME_BYTES;
        if self.total_bytes_max / 2 < self.segment_bytes {
            let reason = "total_bytes_max must be at least twice segment_bytes";
            return Err(JournalError::Settings { reason });
        }
        if self.record_bytes_max == 0 {
            return Err(JournalError::Settings { reason: "record_bytes_max must be at least 1" });
        }
        if overhead + u64::from(self.record_bytes_max) > self.total_bytes_max {
            let reason = "total_bytes_max must exceed record_bytes_max by 32 bytes or more";
            return Err(JournalError::Settings { reason });
        }
        Ok(())
    }
}
