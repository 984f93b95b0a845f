//! Writing a lane to disk: entries in memory become records, and leave the memory once they are
//! durable. When that is done is not known here.

use super::{Ahead, HEADER_BYTES, Lane};
use crate::error::SpoolError;
use crate::record;

/// Entries just written are kept for reading up to this many bytes.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// Records of one write, together, unless a single one is longer.
const BATCH_BYTES_MAX: u64 = 64 << 10;
/// What a journal adds to each record.
const FRAME_BYTES: u64 = 16;

/// Records to be appended in one write.
#[derive(Debug)]
pub(crate) struct Batch {
    records: Vec<Vec<u8>>,
    /// What they add to the disk at most.
    pub(crate) disk_bytes: u64,
}

impl Batch {
    pub(crate) fn entries(&self) -> usize {
        self.records.len()
    }
}

impl Lane {
    /// The next entries in memory as records. `None` when all are staged.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        let unstaged = self.memory.range(self.staged..);
        let bodies = unstaged.clone().map(|queued| record::body(&queued.entry));
        if let Err(error) = self.dictionaries.prepare(bodies) {
            tracing::debug!(error = error.chain(), "the spool goes on without a new dictionary");
        }
        let bytes_max = BATCH_BYTES_MAX.min(self.settings.segment_bytes / 4);
        let mut batch = Batch { records: Vec::new(), disk_bytes: HEADER_BYTES };
        for queued in unstaged {
            let (packing, packed) = self.dictionaries.pack(&record::body(&queued.entry));
            let encoded = record::encode(queued, packing, &packed);
            let disk_bytes = batch.disk_bytes + FRAME_BYTES + encoded.len() as u64;
            if disk_bytes > bytes_max && !batch.records.is_empty() {
                break;
            }
            batch.records.push(encoded);
            batch.disk_bytes = disk_bytes;
        }
        (!batch.records.is_empty()).then_some(batch)
    }

    /// Appends a batch; it is durable and readable after [`commit`](Self::commit).
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<(), SpoolError> {
        let importance = self.importance;
        let journal = self.writable_journal()?;
        let appended = journal.append(batch.records.iter().map(Vec::as_slice));
        appended.map_err(|source| SpoolError::of_segments("write", importance, source))?;
        self.staged += batch.entries();
        Ok(())
    }

    /// Makes what was appended durable. What is, leaves the memory; the rest stays.
    pub(crate) fn commit(&mut self) -> Result<(), SpoolError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let synced = journal.sync();
        let durable = (journal.durable_end() - self.durable_end) as usize;
        for _ in 0..durable.min(self.staged) {
            self.note_written();
        }
        self.staged = 0;
        synced.map_err(|source| SpoolError::of_segments("write", self.importance, source))
    }

    /// The oldest entry in memory is on disk now. It is kept for reading if it is the next to be
    /// read and there is room.
    fn note_written(&mut self) {
        let offset = self.durable_end;
        self.durable_end += 1;
        let Some(queued) = self.memory.pop_front() else { return };
        let bytes = queued.memory_bytes();
        self.memory_bytes -= bytes;
        if self.next_read == offset && self.ahead_bytes + bytes <= AHEAD_BYTES_MAX {
            let lost_before = std::mem::take(&mut self.lost);
            self.push_ahead(Ahead { offset, lost_before, dictionary: None, queued });
        }
    }
}
