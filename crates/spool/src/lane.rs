//! The entries of one importance, in order: first those in a journal on disk, then those in
//! memory. Knows neither the other importance nor the bounds: the spool says what is dropped.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinge_journal::{Journal, JournalError, Settings as JournalSettings};
use twinge_platform::Disk;

use crate::dictionary::Dictionaries;
use crate::entry::{Importance, Queued};
use crate::error::SpoolError;
use crate::record;
use crate::repair;
use crate::settings::Settings;
use crate::state::LaneState;

/// Entries just written are kept for reading up to this many bytes.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// Records of one write, together, unless a single one is longer.
const BATCH_BYTES_MAX: u64 = 64 << 10;
/// What cannot be read for so long counts as damaged. A disk that fails for a moment loses nothing.
const UNREADABLE_SECONDS_MAX: u64 = 60;
/// What a journal adds to each record, and to each segment.
const FRAME_BYTES: u64 = 16;
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

/// What a look at one place of the journal found.
enum Step {
    End,
    Record { offset: u64, bytes: Vec<u8> },
    Lost { next: u64, count: u64 },
}

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

/// A reader's place that leaves the lane's own alone.
#[derive(Debug)]
pub(crate) struct Walk {
    next: u64,
    memory: usize,
    pub(crate) current: Option<Queued>,
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
                .map_err(|source| segments_error("release", self.importance, source))?;
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
        appended.map_err(|source| segments_error("write", importance, source))?;
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
        synced.map_err(|source| segments_error("write", self.importance, source))
    }

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

    /// Reads one more entry ahead; false when all on disk are read.
    fn read_one(&mut self) -> Result<bool, SpoolError> {
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
            return Err(segments_error("read", self.importance, source));
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

    fn writable_journal(&mut self) -> Result<&mut Journal, SpoolError> {
        if self.journal.is_none() {
            self.open_journal()?;
        }
        Ok(self.journal.as_mut().expect("it was opened just now"))
    }

    /// Opens the journal and mends what keeps it from opening.
    fn open_journal(&mut self) -> Result<(), SpoolError> {
        let mut journal = loop {
            let opened = Journal::open(self.disk.clone(), &self.directory, self.settings.clone());
            match opened {
                Ok(journal) => break journal,
                Err(JournalError::Header { segment }) => self.give_up(&segment)?,
                Err(JournalError::Corrupt { segment, offset, position }) => {
                    self.save_rest(&segment, offset, position)?;
                }
                Err(source) => return Err(segments_error("open", self.importance, source)),
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
        self.disk.remove(segment).map_err(|source| disk_error("remove", segment, source))?;
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
            split => split.map_err(|source| disk_error("mend", segment, source))?,
        };
        if split.is_none() {
            let cut = self.disk.open_append(segment).and_then(|mut file| {
                file.truncate(position)?;
                file.sync()
            });
            cut.map_err(|source| disk_error("cut", segment, source))?;
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

    fn remove_segments(&mut self) -> Result<(), SpoolError> {
        for path in self.segments()? {
            self.disk.remove(&path).map_err(|source| disk_error("remove", &path, source))?;
        }
        self.journal = None;
        self.is_absent = true;
        (self.next_read, self.lost, self.durable_end) = (0, 0, 0);
        Ok(())
    }

    fn segments(&self) -> Result<Vec<PathBuf>, SpoolError> {
        let listed = self.disk.list(&self.directory);
        let mut paths = listed.map_err(|source| disk_error("list", &self.directory, source))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "journal"));
        Ok(paths)
    }
}

enum Decoded {
    Entry(Ahead),
    /// Released or dropped before.
    Passed,
    Damaged,
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

fn segments_error(
    action: &'static str,
    importance: Importance,
    source: JournalError,
) -> SpoolError {
    SpoolError::Segments { action, lane: importance.name(), source }
}

fn disk_error(action: &'static str, path: &Path, source: std::io::Error) -> SpoolError {
    SpoolError::Disk { action, path: path.to_owned(), source }
}
