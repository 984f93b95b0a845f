//! What a spool tells of itself. Does not know where it is shown.

use crate::drops::Dropped;

/// What a spool holds, what it has let go, and whether it can write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// Entries that are dropped first.
    pub normal: LaneFigures,
    /// Entries that are dropped last.
    pub anomalous: LaneFigures,
    /// How long the oldest entry has waited, in seconds of operating time.
    pub oldest_age_seconds: Option<u64>,
    /// The bound on disk, from the settings.
    pub bytes_max: u64,
    /// Entries released since the spool was begun. Those of the time just before a crash may be
    /// missing, or be counted twice where they come back.
    pub released: u64,
    /// Why writing fails, if the last attempt did.
    pub last_error: Option<String>,
}

/// The entries of one importance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneFigures {
    /// Entries held, on disk and in memory; damaged ones count until they are passed.
    pub entries: u64,
    /// Those that a power cut would lose.
    pub memory_entries: u64,
    /// What segments and dictionaries take, in bytes.
    pub disk_bytes: u64,
    /// What entries that are not on disk take in memory, in bytes.
    pub memory_bytes: u64,
    /// What was dropped since the spool was begun.
    pub dropped: Dropped,
}

impl Figures {
    /// Entries held, of both importances.
    pub fn entries(&self) -> u64 {
        self.normal.entries + self.anomalous.entries
    }

    /// What segments and dictionaries take, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.normal.disk_bytes + self.anomalous.disk_bytes
    }
}
