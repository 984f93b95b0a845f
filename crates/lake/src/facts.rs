//! What is known of a file of the lake without reading it.

use serde::{Deserialize, Serialize};

/// A file of the lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Where it lies.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub digest: String,
    /// The earliest time of a row, milliseconds since 1970.
    pub first_ms: i64,
    /// The latest.
    pub last_ms: i64,
}

impl FileFacts {
    /// The day it lies under, as 2026-01-31.
    pub fn date(&self) -> &str {
        self.part("date=")
    }

    /// The hour it lies under, as 07.
    pub fn hour(&self) -> &str {
        self.part("hour=")
    }

    fn part(&self, name: &str) -> &str {
        self.path.split('/').find_map(|part| part.strip_prefix(name)).unwrap_or_default()
    }
}
