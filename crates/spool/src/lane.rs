//! The entries of one importance, in order: first those in a journal on disk, then those in
//! memory. Knows neither the other importance nor the bounds: the spool says what is dropped.

mod reading;
mod segments;
mod writing;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinge_journal::{Journal, Settings as JournalSettings};
use twinge_platform::Disk;

use crate::dictionary::Dictionaries;
use crate::entry::{Importance, Queued};
use crate::error::SpoolError;
use crate::settings::Settings;
use crate::state::LaneState;

pub(crate) use self::reading::Walk;
pub(crate) use self::writing::Batch;

/// What a journal adds to each segment.
const HEADER_BYTES: u64 = 16;

#[derive(Debug)]
pub(crate) struct Lane {
    importance: Importance,
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    settings: JournalSettings,
    body_bytes_max: usize,
    dictionaries: Dictionaries,
    journal: Option<Journal>,
    /// No segment is on disk: one is made when something is written.
    is_absent: bool,
    /// The last segment holds nothing that is needed and is to be removed for its room.
    discard_last: bool,
    /// Entries read from disk and not released yet.
    ahead: VecDeque<Ahead>,
    ahead_bytes: usize,
    /// The offset of the record to be read after those.
    next_read: u64,
    /// Damaged records between those and `next_read`.
    lost: u64,
    passed: Passed,
    /// Since when the next place cannot be read, in operating time.
    unreadable_since: Option<u64>,
    /// Operating time, as the spool last said.
    second: u64,
    memory: VecDeque<Queued>,
    memory_bytes: usize,
    /// How many entries at the front of `memory` were appended since `durable_end`.
    staged: usize,
    durable_end: u64,
    /// Entries up to this sequence number were released or dropped.
    cursor: u64,
    /// The last entry that was on disk when the journal was opened.
    last_on_disk: Option<Place>,
}

/// What the head has passed and the spool has not counted yet.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// Damaged records.
    pub(crate) damaged: u64,
    /// Released entries that were on disk.
    pub(crate) on_disk: u64,
    /// Released entries that were in memory only.
    pub(crate) in_memory: u64,
}

#[derive(Debug)]
struct Ahead {
    offset: u64,
    /// Damaged records just before this one.
    lost_before: u64,
    dictionary: Option<u32>,
    queued: Queued,
}

/// Where an entry is in the order and in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) second: u64,
}

impl Lane {
    /// Opens what is on disk. Content that is damaged is counted or removed, and never an error.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        importance: Importance,
        settings: &Settings,
        state: &LaneState,
    ) -> Result<Self, SpoolError> {
        let directory = directory.join(importance.name());
        let dictionary_bounds =
            (settings.dictionary_bytes_max(), settings.dictionaries_bytes_max());
        let dictionaries =
            Dictionaries::open(disk.clone(), &directory, dictionary_bounds, state.dictionary_next)?;
        let mut lane = Self {
            importance,
            disk,
            directory,
            settings: settings.journal(),
            // The bound may have been higher when the entry was written.
            body_bytes_max: settings.entry_bytes_max().max(4 << 20),
            dictionaries,
            journal: None,
            is_absent: false,
            discard_last: false,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            next_read: 0,
            lost: 0,
            passed: Passed::default(),
            unreadable_since: None,
            second: 0,
            memory: VecDeque::new(),
            memory_bytes: 0,
            staged: 0,
            durable_end: 0,
            cursor: state.cursor,
            last_on_disk: None,
        };
        lane.is_absent = lane.segments()?.is_empty();
        if !lane.is_absent {
            lane.open_journal()?;
            lane.next_read = lane.journal.as_ref().map_or(0, Journal::start);
            lane.settle()?;
            // What comes before the cursor was counted in its time.
            lane.passed.on_disk = 0;
        }
        Ok(lane)
    }

    /// Tells the lane the operating time.
    pub(crate) fn set_second(&mut self, second: u64) {
        self.second = second;
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(crate) fn dictionary_next(&self) -> u32 {
        self.dictionaries.next()
    }

    pub(crate) fn last_on_disk(&self) -> Option<Place> {
        self.last_on_disk
    }

    /// What segments take, in bytes.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.journal.as_ref().map_or(0, Journal::bytes)
    }

    /// What segments and dictionaries take, in bytes.
    pub(crate) fn disk_bytes(&self) -> u64 {
        self.segment_bytes() + self.dictionaries.bytes()
    }

    pub(crate) fn disk_entries(&self) -> u64 {
        self.durable_end.saturating_sub(self.head())
    }

    pub(crate) fn memory_entries(&self) -> u64 {
        self.memory.len() as u64
    }

    /// What entries that are not on disk take in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub(crate) fn entries(&self) -> u64 {
        self.disk_entries() + self.memory_entries()
    }

    pub(crate) fn push(&mut self, queued: Queued) {
        self.memory_bytes += queued.memory_bytes();
        self.memory.push_back(queued);
    }

    /// The entry with this index, counted from the oldest.
    pub(crate) fn get(&mut self, index: usize) -> Result<Option<&Queued>, SpoolError> {
        while self.ahead.len() <= index && self.read_one()? {}
        match self.ahead.get(index) {
            Some(ahead) => Ok(Some(&ahead.queued)),
            None => Ok(self.memory.get(index - self.ahead.len())),
        }
    }

    /// Removes the oldest entry. [`get`](Self::get) must have returned it.
    pub(crate) fn pop(&mut self) {
        if let Some(sequence) = self.pop_ahead().or_else(|| self.pop_memory()) {
            self.cursor = self.cursor.max(sequence);
        }
    }

    /// Removes the oldest entry that is only in memory.
    pub(crate) fn pop_memory(&mut self) -> Option<u64> {
        let queued = self.memory.pop_front()?;
        self.memory_bytes -= queued.memory_bytes();
        Some(queued.sequence)
    }

    /// Passes all entries up to this sequence number, read or not.
    pub(crate) fn release(&mut self, through: u64) {
        self.cursor = self.cursor.max(through);
        while self.ahead.front().is_some_and(|ahead| ahead.queued.sequence <= through) {
            self.pop_ahead();
            self.passed.on_disk += 1;
        }
        while self.memory.front().is_some_and(|queued| queued.sequence <= through) {
            self.pop_memory();
            self.passed.in_memory += 1;
        }
        // What cannot be read now is passed when it can.
        self.settle().ok();
    }

    /// What was passed since the last call.
    pub(crate) fn take_passed(&mut self) -> Passed {
        std::mem::take(&mut self.passed)
    }

    /// Passes the oldest segment for its room, and returns how many entries that drops: none if
    /// all were released. `None` when there is nothing to gain. [`reclaim`](Self::reclaim)
    /// removes it.
    pub(crate) fn pass_segment(&mut self, sequence_next: u64) -> Option<u64> {
        let head = self.head();
        let journal = self.journal.as_ref()?;
        let boundary = journal.next_segment(head).unwrap_or(self.durable_end);
        let is_last = boundary == self.durable_end;
        if is_last && journal.bytes() <= HEADER_BYTES {
            return None;
        }
        self.discard_last |= is_last;
        self.forget_read_below(boundary);
        // If what remains cannot be read now, the cursor stays where it is, which is safe too.
        if let Ok(first) = self.get(0) {
            let remaining = first.map_or(sequence_next, |first| first.sequence);
            self.cursor = self.cursor.max(remaining.saturating_sub(1));
        }
        Some(boundary.saturating_sub(head))
    }

    /// Whether [`reclaim`](Self::reclaim) would remove something.
    pub(crate) fn is_reclaimable(&self) -> bool {
        let Some(journal) = &self.journal else { return false };
        let is_passed = |next| next <= self.head();
        self.discard_last || journal.next_segment(journal.start()).is_some_and(is_passed)
    }

    /// Removes the segments that were passed, and dictionaries that nothing needs any more.
    pub(crate) fn reclaim(&mut self) -> Result<(), SpoolError> {
        let head = self.head();
        if let Some(journal) = &mut self.journal {
            journal
                .release(head)
                .map_err(|source| SpoolError::of_segments("release", self.importance, source))?;
        }
        if self.discard_last && head == self.durable_end && self.staged == 0 {
            self.remove_segments()?;
        }
        self.discard_last = false;
        match self.ahead.front().map(|ahead| ahead.dictionary) {
            Some(Some(oldest)) => self.dictionaries.remove_below(oldest),
            None if self.disk_entries() == 0 => self.dictionaries.remove_unused(),
            Some(None) | None => Ok(()),
        }
    }

    /// The offset of the oldest record that was not passed.
    fn head(&self) -> u64 {
        let front = self.ahead.front().map(|ahead| ahead.offset - ahead.lost_before);
        front.unwrap_or(self.next_read - self.lost)
    }

    /// Reads on until the oldest entry is known, so that counts are exact.
    fn settle(&mut self) -> Result<(), SpoolError> {
        if self.ahead.is_empty() { self.read_one().map(drop) } else { Ok(()) }
    }

    fn pop_ahead(&mut self) -> Option<u64> {
        let ahead = self.ahead.pop_front()?;
        self.ahead_bytes -= ahead.queued.memory_bytes();
        self.passed.damaged += ahead.lost_before;
        Some(ahead.queued.sequence)
    }

    fn push_ahead(&mut self, ahead: Ahead) {
        self.next_read = ahead.offset + 1;
        self.ahead_bytes += ahead.queued.memory_bytes();
        self.ahead.push_back(ahead);
    }

    /// Forgets what was read of the records before this offset; they are counted by their caller.
    fn forget_read_below(&mut self, boundary: u64) {
        while self.ahead.front().is_some_and(|ahead| ahead.offset < boundary) {
            let ahead = self.ahead.pop_front().expect("there is a front");
            self.ahead_bytes -= ahead.queued.memory_bytes();
        }
        if let Some(front) = self.ahead.front_mut() {
            front.lost_before = front.lost_before.min(front.offset - boundary);
        } else {
            self.next_read = self.next_read.max(boundary);
            self.lost = self.lost.min(self.next_read - boundary);
        }
    }
}
