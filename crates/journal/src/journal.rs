//! The journal: which segments there are, where the log ends and how much of it is durable.
//! Does not know the bytes of a frame (`format`) nor how they are read (`reader`).

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinge_platform::{Disk, DiskFile, settle};

use crate::error::JournalError;
use crate::format::{self, HEADER_BYTES, Scan};
use crate::reader::{Cursor, Record};
use crate::settings::Settings;

/// Memory for encoding that is kept between appends, in bytes.
const BATCH_KEPT_BYTES: usize = 1 << 20;

/// An append-only log of records with consecutive offsets.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    settings: Settings,
    /// All segments but the last, in order. They are durable and do not grow.
    closed: VecDeque<Segment>,
    last: Segment,
    /// The last segment's file.
    file: Box<dyn DiskFile>,
    end: u64,
    durable_end: u64,
    /// How much of the last segment is durable.
    durable_bytes: u64,
    released: u64,
    /// The file may hold more than the last segment counts: a failed write that was not cut yet.
    cut_pending: bool,
    /// A segment may have been created that could not be opened: it must be the next one used,
    /// or its offset would stand in the way of those that follow.
    begin_pending: bool,
    /// Why closing a segment failed, until `sync` has told it.
    failed_sync: Option<io::Error>,
    cursor: Option<Cursor>,
    batch: Vec<u8>,
    recovery: Recovery,
}

/// What opening found in the last segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Intact records in the last segment.
    pub records: u64,
    /// Bytes of a torn write that were cut off its end. They belonged to no acknowledged record.
    pub cut_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    first: u64,
    /// Length of the file that counts, header included.
    bytes: u64,
}

impl Journal {
    /// Opens the journal in a directory, or begins one there at offset 0. A torn write at the end
    /// is cut off, and what remains is durable. Files with other names are left alone.
    ///
    /// # Errors
    /// `Settings`, `Header`, `Disk`; `Corrupt` when a record in the last segment is damaged that
    /// others follow. Damage in older segments is found when they are read.
    pub fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        settings: Settings,
    ) -> Result<Self, JournalError> {
        settings.check()?;
        let mut segments = find_segments(&*disk, directory)?;
        let mut last = match segments.pop_back() {
            Some(last) => last,
            None => create_segment(&*disk, directory, 0)?,
        };
        let (file, recovery) = recover(&*disk, directory, &mut last)?;
        let end = last.first + recovery.records;
        Ok(Self {
            disk,
            directory: directory.to_owned(),
            settings,
            file,
            end,
            durable_end: end,
            durable_bytes: last.bytes,
            closed: segments,
            last,
            released: 0,
            cut_pending: false,
            begin_pending: false,
            failed_sync: None,
            cursor: None,
            batch: Vec::new(),
            recovery,
        })
    }

    /// Appends records in one write and returns their offsets. They are neither durable nor
    /// readable before [`sync`](Self::sync). All of one append lie in one segment; beginning one
    /// makes the records before durable.
    ///
    /// # Errors
    /// `Full`, `RecordSize`, `BatchSize`, `Disk`: nothing was taken, the journal is as before and
    /// the offsets go to later records. `Unsynced`: call [`sync`](Self::sync) first.
    pub fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Range<u64>, JournalError> {
        if self.failed_sync.is_some() {
            return Err(JournalError::Unsynced);
        }
        let mut batch = std::mem::take(&mut self.batch);
        let start = self.end;
        let appended = self.encode(&mut batch, records).and_then(|below| self.write(&batch, below));
        batch.clear();
        batch.shrink_to(BATCH_KEPT_BYTES);
        self.batch = batch;
        appended?;
        Ok(start..self.end)
    }

    /// Makes everything appended durable, and readable.
    ///
    /// # Errors
    /// `Sync`: the records since [`durable_end`](Self::durable_end) are no longer in the journal,
    /// for after a failed fsync no one can tell what the disk has. The journal goes on from there.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        let synced = match self.failed_sync.take() {
            Some(error) => Err(error),
            None if self.durable_end == self.end => Ok(()),
            None => self.file.sync(),
        };
        match synced {
            Ok(()) => {
                self.mark_durable();
                Ok(())
            }
            Err(source) => Err(self.drop_unsynced(source)),
        }
    }

    /// Reads durable records in order from offset `from`: up to `max_records`, and up to
    /// `max_bytes` of payload, but one record however long if there is one. Going on where the
    /// last call ended is cheap; elsewhere the segment is searched from its start.
    ///
    /// # Errors
    /// `Released`, `Ahead`, `Corrupt`, `Disk`. Records before the trouble are returned first; the
    /// next call tells it.
    pub fn read(
        &mut self,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let (start, end) = (self.start(), self.durable_end);
        if from < start {
            return Err(JournalError::Released { from, start });
        }
        if from > end {
            return Err(JournalError::Ahead { from, end });
        }
        if from == end || max_records == 0 {
            return Ok(Vec::new());
        }
        let mut cursor = match self.cursor.take() {
            Some(cursor) if cursor.next == from => cursor,
            _ => self.seek(from)?,
        };
        let mut records = Vec::new();
        match self.collect(&mut cursor, &mut records, max_records, max_bytes) {
            Ok(()) => self.cursor = Some(cursor),
            Err(error) if records.is_empty() => return Err(error),
            Err(_told_by_the_next_call) => {}
        }
        Ok(records)
    }

    /// Says that records below this offset, or below the durable end if that is lower, are no
    /// longer needed. Whole segments of them are removed, but never the last: it remembers the
    /// offset.
    ///
    /// # Errors
    /// `Disk`: some segments may still be there; the next release tries again.
    pub fn release(&mut self, below: u64) -> Result<(), JournalError> {
        self.released = self.released.max(below.min(self.durable_end));
        self.remove_released()
    }

    /// The first offset that can be read.
    pub fn start(&self) -> u64 {
        self.closed.front().unwrap_or(&self.last).first
    }

    /// The offset that the next record appended gets. It never goes back beyond
    /// [`durable_end`](Self::durable_end).
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Records below this offset survive a power cut.
    pub fn durable_end(&self) -> u64 {
        self.durable_end
    }

    /// Bytes that the segments take, headers included.
    pub fn bytes(&self) -> u64 {
        self.closed.iter().map(|segment| segment.bytes).sum::<u64>() + self.last.bytes
    }

    /// What opening found.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// The first offset of the segment after the one with this offset: where a reader can go on
    /// that gives up a damaged segment. `None` in the last segment.
    pub fn next_segment(&self, offset: u64) -> Option<u64> {
        let following = self.closed.iter().chain([&self.last]);
        following.map(|segment| segment.first).find(|first| *first > offset)
    }

    /// Encodes the frames and returns the offset after the last.
    fn encode<'a>(
        &self,
        batch: &mut Vec<u8>,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<u64, JournalError> {
        let Settings { record_bytes_max, total_bytes_max, .. } = self.settings;
        let mut offset = self.end;
        for record in records {
            if record.is_empty() || record.len() > record_bytes_max as usize {
                return Err(JournalError::RecordSize { bytes: record.len(), record_bytes_max });
            }
            format::encode(batch, offset, record);
            offset += 1;
            if HEADER_BYTES + batch.len() as u64 > total_bytes_max {
                return Err(JournalError::BatchSize { total_bytes_max });
            }
        }
        Ok(offset)
    }

    fn write(&mut self, batch: &[u8], below: u64) -> Result<(), JournalError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.make_room(batch.len() as u64)?;
        if let Err(source) = self.file.append(batch) {
            self.cut_pending = true;
            // A cut that fails too is tried again before anything else is written.
            self.cut_back().ok();
            return Err(self.disk_error("append to", source));
        }
        self.last.bytes += batch.len() as u64;
        self.end = below;
        Ok(())
    }

    /// Closes the last segment if the batch does not fit it; if the total is exceeded, also when
    /// that lets go of records that are all released.
    fn make_room(&mut self, batch_bytes: u64) -> Result<(), JournalError> {
        self.cut_back()?;
        let has_records = self.last.bytes > HEADER_BYTES;
        let grown_bytes = self.last.bytes + batch_bytes;
        let outgrown =
            self.begin_pending || has_records && grown_bytes > self.settings.segment_bytes;
        let needed_bytes = if outgrown { batch_bytes + HEADER_BYTES } else { batch_bytes };
        let retained_bytes = self.bytes();
        let total_bytes_max = self.settings.total_bytes_max;
        let too_much = retained_bytes + needed_bytes > total_bytes_max;
        let disposable = has_records && self.released == self.end;
        if too_much && !disposable {
            return Err(JournalError::Full { needed_bytes, retained_bytes, total_bytes_max });
        }
        if outgrown || too_much {
            self.begin_segment()?;
        }
        if too_much { self.remove_released() } else { Ok(()) }
    }

    fn begin_segment(&mut self) -> Result<(), JournalError> {
        // Also when all records are durable: a cut since then may not be, and what it removed must
        // not come back in a segment that is not scanned any more.
        if let Err(error) = self.file.sync() {
            self.failed_sync = Some(error);
            return Err(JournalError::Unsynced);
        }
        self.mark_durable();
        self.begin_pending = true;
        let segment = create_segment(&*self.disk, &self.directory, self.end)?;
        self.file = open_segment(&*self.disk, &self.directory, self.end)?;
        self.begin_pending = false;
        self.closed.push_back(std::mem::replace(&mut self.last, segment));
        self.durable_bytes = segment.bytes;
        Ok(())
    }

    fn mark_durable(&mut self) {
        self.durable_end = self.end;
        self.durable_bytes = self.last.bytes;
    }

    fn drop_unsynced(&mut self, source: io::Error) -> JournalError {
        let (from, below) = (self.durable_end, self.end);
        self.end = from;
        self.last.bytes = self.durable_bytes;
        self.cut_pending = true;
        // A cut that fails too is tried again before anything else is written.
        self.cut_back().ok();
        JournalError::Sync { from, below, segment: self.last_path(), source }
    }

    fn cut_back(&mut self) -> Result<(), JournalError> {
        if self.cut_pending {
            let bytes = self.last.bytes;
            self.file.truncate(bytes).map_err(|source| self.disk_error("cut back", source))?;
            self.cut_pending = false;
        }
        Ok(())
    }

    /// Oldest first, each durably: a crash in between leaves no gap.
    fn remove_released(&mut self) -> Result<(), JournalError> {
        while let Some(first) = self.releasable() {
            let path = self.directory.join(format::segment_name(first));
            if self.cursor.as_ref().is_some_and(|cursor| cursor.segment_first == first) {
                self.cursor = None;
            }
            match self.disk.remove(&path) {
                Ok(()) => self.closed.pop_front(),
                Err(source) => return Err(JournalError::Disk { action: "remove", path, source }),
            };
        }
        Ok(())
    }

    /// The first segment, if it is closed and holds nothing but released records.
    fn releasable(&self) -> Option<u64> {
        let first = self.closed.front()?.first;
        let next = self.closed.get(1).unwrap_or(&self.last).first;
        (next <= self.released).then_some(first)
    }

    fn seek(&self, from: u64) -> Result<Cursor, JournalError> {
        let index = self.index_of(from);
        let mut cursor = self.cursor_at(index)?;
        while cursor.next < from {
            cursor.take(self.limit(index))?;
        }
        Ok(cursor)
    }

    fn collect(
        &self,
        cursor: &mut Cursor,
        records: &mut Vec<Record>,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<(), JournalError> {
        let mut room = max_bytes as u64;
        while records.len() < max_records && cursor.next < self.durable_end {
            let limit = self.enter_segment(cursor)?;
            let length = cursor.peek_length(limit)?;
            if length > room && !records.is_empty() {
                break;
            }
            let offset = cursor.next;
            records.push(Record { offset, bytes: cursor.take(limit)?.to_vec() });
            room = room.saturating_sub(length);
        }
        Ok(())
    }

    /// Moves the cursor on if its next record begins a segment; returns how many bytes of the
    /// cursor's segment count. Records missing at a segment's end are found by what is read there.
    fn enter_segment(&self, cursor: &mut Cursor) -> Result<u64, JournalError> {
        let index = self.index_of(cursor.next);
        if self.segment(index).first != cursor.segment_first {
            *cursor = self.cursor_at(index)?;
        }
        Ok(self.limit(index))
    }

    /// Segments are counted from the first one kept; the last has the index `closed.len()`.
    fn index_of(&self, offset: u64) -> usize {
        if offset >= self.last.first {
            return self.closed.len();
        }
        self.closed.partition_point(|segment| segment.first <= offset) - 1
    }

    fn cursor_at(&self, index: usize) -> Result<Cursor, JournalError> {
        let first = self.segment(index).first;
        Cursor::open(&*self.disk, self.directory.join(format::segment_name(first)), first)
    }

    fn segment(&self, index: usize) -> &Segment {
        self.closed.get(index).unwrap_or(&self.last)
    }

    fn limit(&self, index: usize) -> u64 {
        self.closed.get(index).map_or(self.durable_bytes, |segment| segment.bytes)
    }

    fn last_path(&self) -> PathBuf {
        self.directory.join(format::segment_name(self.last.first))
    }

    fn disk_error(&self, action: &'static str, source: io::Error) -> JournalError {
        JournalError::Disk { action, path: self.last_path(), source }
    }
}

/// The segments in a directory, in order, their headers verified.
fn find_segments(disk: &dyn Disk, directory: &Path) -> Result<VecDeque<Segment>, JournalError> {
    let listed = disk.list(directory).map_err(|source| JournalError::Disk {
        action: "list",
        path: directory.to_owned(),
        source,
    })?;
    let names = listed.iter().filter_map(|path| path.file_name()?.to_str());
    names
        .filter_map(format::parse_segment_name)
        .map(|first| {
            let file = open_segment(disk, directory, first)?;
            let path = directory.join(format::segment_name(first));
            match file.len() {
                Ok(bytes) => Ok(Segment { first, bytes }),
                Err(source) => Err(JournalError::Disk { action: "measure", path, source }),
            }
        })
        .collect()
}

/// Creates a segment without records. One is there already if the journal failed to open it after
/// it had created it; it is as good as new.
fn create_segment(disk: &dyn Disk, directory: &Path, first: u64) -> Result<Segment, JournalError> {
    let segment = Segment { first, bytes: HEADER_BYTES };
    let path = directory.join(format::segment_name(first));
    let header = format::header(first);
    match disk.create_new(&path, &header) {
        Ok(()) => Ok(segment),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match disk.read(&path) {
            Ok(bytes) if bytes == header => Ok(segment),
            Ok(_) => Err(JournalError::Header { segment: path }),
            Err(source) => Err(JournalError::Disk { action: "read", path, source }),
        },
        Err(source) => Err(JournalError::Disk { action: "create", path, source }),
    }
}

/// Opens a segment and verifies its header.
fn open_segment(
    disk: &dyn Disk,
    directory: &Path,
    first: u64,
) -> Result<Box<dyn DiskFile>, JournalError> {
    let path = directory.join(format::segment_name(first));
    let mut header = [0; HEADER_BYTES as usize];
    let mut filled = 0;
    let opened = disk.open_append(&path).and_then(|mut file| {
        while filled < header.len() {
            match file.read_at(filled as u64, &mut header[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(file)
    });
    match opened {
        // One that is cut short within an offset of zeros would look like a whole one.
        Ok(file)
            if filled == header.len()
                && header == format::header(first)
                && first <= format::FIRST_MAX =>
        {
            Ok(file)
        }
        Ok(_) => Err(JournalError::Header { segment: path }),
        Err(source) => Err(JournalError::Disk { action: "open", path, source }),
    }
}

/// Scans the last segment, cuts off a torn write and makes the rest durable: records can be whole
/// in the page cache that a killed process never synced.
fn recover(
    disk: &dyn Disk,
    directory: &Path,
    last: &mut Segment,
) -> Result<(Box<dyn DiskFile>, Recovery), JournalError> {
    let path = directory.join(format::segment_name(last.first));
    let failed = |action: &'static str| {
        let path = path.clone();
        move |source| JournalError::Disk { action, path, source }
    };
    let bytes = disk.read(&path).map_err(failed("read"))?;
    let Scan { records, intact_bytes, damaged } = format::scan(&bytes, last.first);
    if damaged {
        let offset = last.first + records;
        return Err(JournalError::Corrupt { segment: path, offset, position: intact_bytes });
    }
    let cut_bytes = bytes.len() as u64 - intact_bytes;
    let mut file = open_segment(disk, directory, last.first)?;
    if cut_bytes > 0 {
        file.truncate(intact_bytes).map_err(failed("cut back"))?;
    }
    file = settle(disk, &path, file, intact_bytes).map_err(failed("sync"))?;
    last.bytes = intact_bytes;
    Ok((file, Recovery { records, cut_bytes }))
}
