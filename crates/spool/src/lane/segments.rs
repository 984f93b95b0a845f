//! Opening, mending and removing the segments of a lane. What lies in them is not known here, but for
//! the last entry.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use twinge_journal::{Journal, JournalError};

use super::{Lane, Place};
use crate::dictionary::Dictionaries;
use crate::error::SpoolError;
use crate::{record, repair};

impl Lane {
    pub(super) fn writable_journal(&mut self) -> Result<&mut Journal, SpoolError> {
        if self.journal.is_none() {
            self.open_journal()?;
        }
        Ok(self.journal.as_mut().expect("it was opened just now"))
    }

    /// Opens the journal and mends what keeps it from opening.
    pub(super) fn open_journal(&mut self) -> Result<(), SpoolError> {
        let mut journal = loop {
            let opened = Journal::open(self.disk.clone(), &self.directory, self.settings.clone());
            match opened {
                Ok(journal) => break journal,
                Err(JournalError::Header { segment }) => self.give_up(&segment)?,
                Err(JournalError::Corrupt { segment, offset, position }) => {
                    self.save_rest(&segment, offset, position)?;
                }
                Err(source) => {
                    return Err(SpoolError::of_segments("open", self.importance, source));
                }
            }
        };
        self.durable_end = journal.durable_end();
        self.last_on_disk = last_record(&mut journal, &mut self.dictionaries);
        self.journal = Some(journal);
        self.is_absent = false;
        self.forget_written();
        Ok(())
    }

    /// A segment whose header is damaged: nothing says any more what is in it.
    fn give_up(&mut self, segment: &Path) -> Result<(), SpoolError> {
        tracing::warn!(segment = %segment.display(), "the spool removes a segment without header");
        self.disk
            .remove(segment)
            .map_err(|source| SpoolError::of_disk("remove", segment, source))?;
        let segments = self.segments()?;
        let is_last = segments.last().is_none_or(|last| last.as_path() < segment);
        // How many records a last segment had is not known; that there were some is told.
        self.passed.damaged += u64::from(is_last);
        Ok(())
    }

    fn save_rest(&mut self, segment: &Path, offset: u64, position: u64) -> Result<(), SpoolError> {
        let bytes_max = self.settings.segment_bytes;
        let split = match repair::split(&*self.disk, segment, offset, position, bytes_max) {
            // A spool that does not open would lose more than the rest of a segment.
            Err(error) if error.kind() == ErrorKind::StorageFull => None,
            split => split.map_err(|source| SpoolError::of_disk("mend", segment, source))?,
        };
        if split.is_none() {
            let cut = self.disk.open_append(segment).and_then(|mut file| {
                file.truncate(position)?;
                file.sync()
            });
            cut.map_err(|source| SpoolError::of_disk("cut", segment, source))?;
            self.passed.damaged += 1;
        }
        Ok(())
    }

    /// Entries of a write that failed halfway can be on disk whole: they count from now on.
    fn forget_written(&mut self) {
        let Some(last) = self.last_on_disk else { return };
        while self.memory.front().is_some_and(|queued| queued.sequence <= last.sequence) {
            self.pop_memory();
        }
    }

    pub(super) fn remove_segments(&mut self) -> Result<(), SpoolError> {
        for path in self.segments()? {
            self.disk
                .remove(&path)
                .map_err(|source| SpoolError::of_disk("remove", &path, source))?;
        }
        self.journal = None;
        self.is_absent = true;
        (self.next_read, self.lost, self.durable_end) = (0, 0, 0);
        Ok(())
    }

    pub(super) fn segments(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let listed = self.disk.list(&self.directory);
        let mut paths =
            listed.map_err(|source| SpoolError::of_disk("list", &self.directory, source))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
        Ok(paths)
    }
}

/// The last record that can be read: in the last segment, or the one before if that is empty.
fn last_record(journal: &mut Journal, dictionaries: &mut Dictionaries) -> Option<Place> {
    let mut starts = vec![journal.start()];
    while let Some(next) = starts.last().and_then(|last| journal.next_segment(*last)) {
        starts.push(next);
    }
    starts.iter().rev().take(2).find_map(|start| last_of(journal, *start, dictionaries))
}

fn last_of(journal: &mut Journal, mut from: u64, dictionaries: &mut Dictionaries) -> Option<Place> {
    let mut last = None;
    while let Ok(records) = journal.read(from, 256, 1 << 20)
        && let Some(read) = records.last()
    {
        from = read.offset + 1;
        for record in records.iter().filter_map(|record| record::parse(&record.bytes)) {
            last = Some(Place { sequence: record.sequence, second: record.second });
            record.dictionary().iter().for_each(|number| dictionaries.note_used(*number));
        }
    }
    last
}
