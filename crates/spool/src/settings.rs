//! The bounds of a spool. Does not know where a program's configuration comes from.

use twinge_journal::Settings as JournalSettings;

use crate::error::SpoolError;

/// The smallest bound on disk that makes sense: sixteen of the smallest segments.
const BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 64 << 10..=4 << 20;
const DICTIONARY_BYTES_MAX: u64 = 8 << 10;
/// State files, the old and the new beside each other while one replaces the other.
const STATE_BYTES: u64 = 1 << 10;
/// A file that gives way to the state on a full disk: a block of most file systems.
pub(crate) const RESERVE_BYTES: u64 = 4 << 10;
const ENTRY_BYTES_MAX: u64 = 2 << 20;
/// A record's head and the codec's worst case.
const RECORD_OVERHEAD_BYTES: u64 = 128;

/// The bounds of a spool. They may change between one opening and the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The most bytes all files of the spool take together; at least 1 MiB.
    pub bytes_max: u64,
    /// How old an entry gets, in seconds of the spool's operating time; at least 1. The time the
    /// device is off does not count, and clock jumps do not either.
    pub age_seconds_max: u64,
    /// Entries that are not on disk yet take at most this many bytes of memory; at least 64 KiB.
    /// Beyond it they are written out.
    pub memory_bytes_max: usize,
}

impl Default for Settings {
    /// 1 GiB on disk, 30 days, 4 MiB of memory.
    fn default() -> Self {
        Self { bytes_max: 1 << 30, age_seconds_max: 30 * 86_400, memory_bytes_max: 4 << 20 }
    }
}

impl Settings {
    /// The longest entry that is taken, key and message together, in bytes: 2 MiB, or an eighth
    /// of `bytes_max` or half of `memory_bytes_max` where one of these is less.
    pub fn entry_bytes_max(&self) -> usize {
        let of_disk = ENTRY_BYTES_MAX.min(self.bytes_max / 8) as usize;
        of_disk.min(self.memory_bytes_max / 2)
    }

    pub(crate) fn check(&self) -> Result<(), SpoolError> {
        let reason = if self.bytes_max < BYTES_MIN {
            "bytes_max must be at least 1 MiB"
        } else if self.age_seconds_max == 0 {
            "age_seconds_max must be at least 1"
        } else if self.memory_bytes_max < 64 << 10 {
            "memory_bytes_max must be at least 64 KiB"
        } else {
            return Ok(());
        };
        Err(SpoolError::Settings { reason })
    }

    /// Small segments, so that drops are fine-grained.
    pub(crate) fn segment_bytes(&self) -> u64 {
        (self.bytes_max / 64).clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end())
    }

    pub(crate) fn journal(&self) -> JournalSettings {
        let record_bytes_max = self.entry_bytes_max() as u64 + RECORD_OVERHEAD_BYTES;
        JournalSettings {
            segment_bytes: self.segment_bytes(),
            record_bytes_max: record_bytes_max as u32,
            // The spool bounds both journals together, before it appends.
            total_bytes_max: self.bytes_max,
        }
    }

    pub(crate) fn dictionary_bytes_max(&self) -> usize {
        DICTIONARY_BYTES_MAX.min(self.dictionaries_bytes_max() / 4) as usize
    }

    /// For the dictionaries of one importance, all together.
    pub(crate) fn dictionaries_bytes_max(&self) -> u64 {
        (self.bytes_max / 64).min(8 * DICTIONARY_BYTES_MAX)
    }

    /// What the segments of both importances may take together. The rest is for dictionaries,
    /// the state and its room, and the copy of a segment that a repair makes.
    pub(crate) fn segments_bytes_max(&self) -> u64 {
        let small_files = STATE_BYTES + RESERVE_BYTES;
        let reserved = 2 * self.dictionaries_bytes_max() + small_files + self.segment_bytes();
        self.bytes_max - reserved
    }
}
