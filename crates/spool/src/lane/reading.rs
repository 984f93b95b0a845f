//! Reading a lane from disk: one record after the other, past what is damaged. What is done with an
//! entry is not known here.

use std::io::ErrorKind;
use std::path::Path;

use twinge_journal::JournalError;

use super::{Ahead, Lane};
use crate::entry::Queued;
use crate::error::SpoolError;
use crate::{record, repair};

/// What cannot be read for so long counts as damaged. A disk that fails for a moment loses nothing.
const UNREADABLE_SECONDS_MAX: u64 = 60;

/// What a look at one place of the journal found.
enum Step {
    End,
    Record { offset: u64, bytes: Vec<u8> },
    Lost { next: u64, count: u64 },
}

enum Decoded {
    Entry(Ahead),
    /// Released or dropped before.
    Passed,
    Damaged,
}

/// A reader's place that leaves the lane's own alone.
#[derive(Debug)]
pub(crate) struct Walk {
    next: u64,
    memory: usize,
    pub(crate) current: Option<Queued>,
}

impl Lane {
    pub(crate) fn walk(&mut self) -> Result<Walk, SpoolError> {
        let mut walk = Walk { next: self.head(), memory: 0, current: None };
        self.advance(&mut walk)?;
        Ok(walk)
    }

    /// Moves a walk on to the next entry.
    pub(crate) fn advance(&mut self, walk: &mut Walk) -> Result<(), SpoolError> {
        loop {
            match self.step(walk.next)? {
                Step::End => break,
                Step::Lost { next, .. } => walk.next = next,
                Step::Record { offset, bytes } => {
                    walk.next = offset + 1;
                    if let Decoded::Entry(ahead) = self.decode(offset, &bytes)? {
                        walk.current = Some(ahead.queued);
                        return Ok(());
                    }
                }
            }
        }
        walk.current = self.memory.get(walk.memory).cloned();
        walk.memory += 1;
        Ok(())
    }

    /// Reads one more entry ahead; false when all on disk are read.
    pub(super) fn read_one(&mut self) -> Result<bool, SpoolError> {
        loop {
            match self.step(self.next_read)? {
                Step::End => {
                    self.pass_lost_at_head();
                    return Ok(false);
                }
                Step::Lost { next, count } => self.note_lost(next, count),
                Step::Record { offset, bytes } => match self.decode(offset, &bytes)? {
                    Decoded::Damaged => self.note_lost(offset + 1, 1),
                    Decoded::Passed => {
                        self.pass_lost_at_head();
                        self.passed.on_disk += 1;
                        self.next_read = offset + 1;
                    }
                    Decoded::Entry(mut ahead) => {
                        ahead.lost_before = std::mem::take(&mut self.lost);
                        self.push_ahead(ahead);
                        return Ok(true);
                    }
                },
            }
        }
    }

    fn note_lost(&mut self, next: u64, count: u64) {
        self.next_read = next;
        self.lost += count;
    }

    /// Without an entry before them, damaged records are at the head and passed at once.
    fn pass_lost_at_head(&mut self) {
        if self.ahead.is_empty() {
            self.passed.damaged += std::mem::take(&mut self.lost);
        }
    }

    fn decode(&mut self, offset: u64, bytes: &[u8]) -> Result<Decoded, SpoolError> {
        let Some(record) = record::parse(bytes) else { return Ok(Decoded::Damaged) };
        if record.sequence <= self.cursor {
            return Ok(Decoded::Passed);
        }
        let dictionary = record.dictionary();
        let content = match dictionary.map(|number| self.dictionaries.content(number)) {
            None => None,
            Some(Ok(Some(content))) => Some(content),
            Some(Err(error)) if !self.is_given_up() => return Err(error),
            Some(Ok(None) | Err(_)) => {
                if let Some(number) = dictionary {
                    self.dictionaries.give_up(number);
                }
                return Ok(Decoded::Damaged);
            }
        };
        let content = content.as_deref().unwrap_or_default();
        Ok(match record.unpack(self.importance, content, self.body_bytes_max) {
            Some(queued) => Decoded::Entry(Ahead { offset, lost_before: 0, dictionary, queued }),
            None => Decoded::Damaged,
        })
    }

    /// Looks at the record with this offset.
    fn step(&mut self, from: u64) -> Result<Step, SpoolError> {
        if self.is_absent {
            return Ok(Step::End);
        }
        let durable_end = self.durable_end;
        if self.journal.is_none() {
            self.open_journal()?;
        }
        let Some(journal) = &mut self.journal else { return Ok(Step::End) };
        if from >= durable_end {
            return Ok(Step::End);
        }
        match journal.read(from, 1, 0) {
            Ok(mut records) => {
                self.unreadable_since = None;
                Ok(match records.pop() {
                    Some(record) => Step::Record { offset: from, bytes: record.bytes },
                    None => Step::End,
                })
            }
            Err(JournalError::Released { start, .. }) => {
                Ok(Step::Lost { next: start, count: start - from })
            }
            Err(JournalError::Corrupt { segment, position, .. }) => {
                self.mend(&segment, from, position)
            }
            Err(source) => self.read_in_vain(from, source),
        }
    }

    /// Passes over the damaged records; what lies behind them in their segment is saved if that
    /// is possible.
    fn mend(&mut self, segment: &Path, from: u64, position: u64) -> Result<Step, SpoolError> {
        let bytes_max = self.settings.segment_bytes;
        if let Ok(Some(next)) = repair::split(&*self.disk, segment, from, position, bytes_max) {
            self.journal = None;
            self.open_journal()?;
            return Ok(Step::Lost { next, count: next - from });
        }
        Ok(self.skip_segment(from))
    }

    fn read_in_vain(&mut self, from: u64, source: JournalError) -> Result<Step, SpoolError> {
        let is_missing = matches!(
            &source,
            JournalError::Disk { source, .. } if source.kind() == ErrorKind::NotFound
        );
        if !is_missing && !self.is_given_up() {
            return Err(SpoolError::of_segments("read", self.importance, source));
        }
        self.unreadable_since = None;
        Ok(self.skip_segment(from))
    }

    /// Whether what could not be read just now has been so for too long.
    fn is_given_up(&mut self) -> bool {
        let since = *self.unreadable_since.get_or_insert(self.second);
        self.second.saturating_sub(since) >= UNREADABLE_SECONDS_MAX
    }

    fn skip_segment(&self, from: u64) -> Step {
        let following = self.journal.as_ref().and_then(|journal| journal.next_segment(from));
        let next = following.unwrap_or(self.durable_end);
        Step::Lost { next, count: next - from }
    }
}
