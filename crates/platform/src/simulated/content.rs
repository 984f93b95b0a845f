//! What one file holds for programs and on the platters, and what a power cut leaves of it. Knows no
//! names and no other file.

use std::ops::Range;

use super::random::below;

/// A file's bytes as programs see them, and what the platters have.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// How many of the first bytes are durable.
    synced: usize,
    /// Bytes after `synced` that are still on the platters: truncated since the last sync.
    cut: Vec<u8>,
    /// Bytes that a failed sync was for and no later one will write: the system believes that they
    /// are on the platters, where there are zeros.
    lost: Vec<Range<usize>>,
}

impl Content {
    /// A durable file with these bytes.
    pub(super) fn durable(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), synced: bytes.len(), cut: Vec::new(), lost: Vec::new() }
    }

    pub(super) fn sync(&mut self) {
        self.synced = self.bytes.len();
        self.cut.clear();
    }

    pub(super) fn lose_unsynced(&mut self) {
        if self.synced < self.bytes.len() {
            self.lost.push(self.synced..self.bytes.len());
        }
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.lost.retain(|lost| lost.start < len);
        for lost in &mut self.lost {
            lost.end = lost.end.min(len);
        }
        if len < self.synced {
            self.cut.splice(0..0, self.bytes[len..self.synced].iter().copied());
            self.synced = len;
        }
        self.bytes.truncate(len);
    }

    pub(super) fn lose_power(&mut self, random: &mut u64) {
        if !self.cut.is_empty() && below(random, 1) == 0 {
            self.bytes.truncate(self.synced);
            self.bytes.append(&mut self.cut);
        } else {
            let unsynced = self.bytes.len() - self.synced;
            self.bytes.truncate(self.synced + below(random, unsynced));
            for lost in std::mem::take(&mut self.lost) {
                let end = lost.end.min(self.bytes.len());
                self.bytes[lost.start.min(end)..end].fill(0);
            }
        }
        self.lost.clear();
        self.sync();
    }
}
