//! Reads one segment forwards, a block at a time. Does not know which segment comes next, nor
//! how much of the file is durable: the journal says how far to go.

use std::path::PathBuf;

use twinge_platform::{Disk, DiskFile};

use crate::error::JournalError;
use crate::format::{self, FRAME_BYTES, HEADER_BYTES};

/// How many bytes are read at once, unless a single record is longer.
const READ_AHEAD_BYTES: u64 = 256 * 1024;

/// A record as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the journal, counted from zero.
    pub offset: u64,
    /// The payload.
    pub bytes: Vec<u8>,
}

/// A place in a segment.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) segment_first: u64,
    /// The offset of the record at `position`.
    pub(crate) next: u64,
    /// Where that record starts, in bytes from the start of the file.
    position: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// The file's bytes from `position` on, after the first `taken`.
    ahead: Vec<u8>,
    taken: usize,
}

impl Cursor {
    pub(crate) fn open(disk: &dyn Disk, path: PathBuf, first: u64) -> Result<Self, JournalError> {
        match disk.open_append(&path) {
            Ok(file) => Ok(Self {
                segment_first: first,
                next: first,
                position: HEADER_BYTES,
                path,
                file,
                ahead: Vec::new(),
                taken: 0,
            }),
            Err(source) => Err(JournalError::Disk { action: "open", path, source }),
        }
    }

    /// The payload length, in bytes, that the next record claims. The segment counts up to
    /// `limit` bytes.
    pub(crate) fn peek_length(&mut self, limit: u64) -> Result<u64, JournalError> {
        let head = self.fill(FRAME_BYTES, limit)?;
        let frame = format::claimed_frame(head).expect("a whole head was read");
        Ok(frame - FRAME_BYTES)
    }

    /// The next record's payload, verified; moves on to the one after.
    pub(crate) fn take(&mut self, limit: u64) -> Result<&[u8], JournalError> {
        let frame_bytes = FRAME_BYTES + self.peek_length(limit)?;
        self.fill(frame_bytes, limit)?;
        let start = self.taken;
        if format::payload(&self.ahead[start..], self.next).is_none() {
            return Err(self.corrupt());
        }
        self.taken += frame_bytes as usize;
        self.position += frame_bytes;
        self.next += 1;
        Ok(&self.ahead[start + FRAME_BYTES as usize..self.taken])
    }

    fn corrupt(&self) -> JournalError {
        let segment = self.path.clone();
        JournalError::Corrupt { segment, offset: self.next, position: self.position }
    }

    /// At least `needed` bytes from `position` on. Bytes beyond `limit` are never kept: they can
    /// still be cut off and written anew.
    fn fill(&mut self, needed: u64, limit: u64) -> Result<&[u8], JournalError> {
        let available = limit.saturating_sub(self.position);
        if needed > available {
            return Err(self.corrupt());
        }
        if ((self.ahead.len() - self.taken) as u64) < needed {
            self.ahead.drain(..self.taken);
            self.taken = 0;
            self.read_ahead(needed.max(READ_AHEAD_BYTES).min(available) as usize)?;
        }
        Ok(&self.ahead[self.taken..])
    }

    fn read_ahead(&mut self, wanted: usize) -> Result<(), JournalError> {
        let mut filled = self.ahead.len();
        self.ahead.shrink_to(wanted);
        self.ahead.resize(wanted, 0);
        while filled < wanted {
            let place = self.position + filled as u64;
            match self.file.read_at(place, &mut self.ahead[filled..]) {
                Ok(0) => return Err(self.corrupt()),
                Ok(count) => filled += count,
                Err(source) => {
                    let path = self.path.clone();
                    return Err(JournalError::Disk { action: "read", path, source });
                }
            }
        }
        Ok(())
    }
}
