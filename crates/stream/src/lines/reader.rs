//! Lines out of one file. Does not know whether the file grows, nor what comes after it.

use super::error::LinesError;
use super::ledger::Head;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Longest line that is kept whole; of a longer one the rest is passed over, and the event becomes a
/// dead letter for its size.
const LINE_BYTES_MAX: usize = 64 << 20;

const CHUNK_BYTES: usize = 256 << 10;

/// A file that is read line by line.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    file: File,
    /// Position in the file behind the lines that were taken.
    position: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were taken.
    taken: usize,
    /// Bytes of `buffer` that have been searched for a line's end.
    searched: usize,
    /// The line under way is too long: this many of its bytes were passed over.
    passed_over: u64,
    /// What lies behind this in the file is none of our business.
    limit: u64,
    /// What the file began with, where it may be cut while it is read.
    head: Option<Head>,
}

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A line without its end.
    Line(Vec<u8>),
    /// No whole line is there now.
    Nothing,
    /// The file is not the one that was read before: it was cut.
    Cut,
}

enum Filled {
    More,
    End,
    Cut,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, LinesError> {
        let path = path.to_owned();
        match File::open(&path) {
            Ok(file) => Ok(Self::new(path, file)),
            Err(source) => Err(LinesError::Io { action: "open", path, source }),
        }
    }

    /// `file` is read from its beginning, or from where [`Self::seek_to`] says.
    pub(super) fn new(path: PathBuf, file: File) -> Self {
        Self {
            path,
            file,
            position: 0,
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
            passed_over: 0,
            limit: u64::MAX,
            head: None,
        }
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Position behind the lines that were taken.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Position behind what was read.
    fn end(&self) -> u64 {
        self.position + (self.buffer.len() - self.taken) as u64 + self.passed_over
    }

    /// The file ends at `limit` for us, whatever is behind.
    pub(super) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// From now on each read makes sure that the file still begins so.
    pub(super) fn set_head(&mut self, head: Head) {
        self.head = Some(head);
    }

    /// How the file begins, when that says much more than what it is known by.
    pub(super) fn better_head(&mut self) -> Result<Option<Head>, LinesError> {
        let end = self.end();
        let Some(head) = self.head.as_ref().filter(|head| head.is_short_for(end)) else {
            return Ok(None);
        };
        // The old one last: if it is still right, the file was not cut before the new one was read.
        let better = Head::of(&mut self.file).and_then(|better| {
            let is_right = head.is_of(&mut self.file)?;
            self.file.seek(SeekFrom::Start(end))?;
            Ok(is_right.then_some(better))
        });
        better.map_err(|error| self.io_error("look again at", error))
    }

    pub(super) fn seek_to(&mut self, position: u64) -> Result<(), LinesError> {
        let bytes = self.bytes()?;
        if position > bytes {
            return Err(LinesError::Cut { path: self.path.clone(), bytes, position });
        }
        self.file
            .seek(SeekFrom::Start(position))
            .map_err(|error| self.io_error("seek in", error))?;
        (self.position, self.passed_over) = (position, 0);
        (self.taken, self.searched) = (0, 0);
        self.buffer.clear();
        Ok(())
    }

    /// The file's size.
    fn bytes(&self) -> Result<u64, LinesError> {
        Ok(self.file.metadata().map_err(|error| self.io_error("measure", error))?.len())
    }

    pub(super) fn next_line(&mut self) -> Result<Next, LinesError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let end = self.searched + end;
                let mut line = self.buffer[self.taken..end].to_vec();
                self.take(end + 1);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Next::Line(line));
            }
            let longest = self.taken + LINE_BYTES_MAX;
            if self.buffer.len() > longest {
                self.passed_over += (self.buffer.len() - longest) as u64;
                self.buffer.truncate(longest);
            }
            self.searched = self.buffer.len();
            match self.fill()? {
                Filled::More => {}
                Filled::End => return Ok(Next::Nothing),
                Filled::Cut => return Ok(Next::Cut),
            }
        }
    }

    /// What was read behind the last line's end, if anything: for a file that will not grow any more.
    pub(super) fn last_line(&mut self) -> Option<Vec<u8>> {
        if self.taken == self.buffer.len() {
            return None;
        }
        let line = self.buffer[self.taken..].to_vec();
        self.take(self.buffer.len());
        Some(line)
    }

    /// Everything before `end` in the buffer was taken.
    fn take(&mut self, end: usize) {
        self.position += (end - self.taken) as u64 + std::mem::take(&mut self.passed_over);
        (self.taken, self.searched) = (end, end);
    }

    /// Reads on behind what is left. What was taken is dropped here and not line by line, which
    /// would move the rest of the buffer for each.
    fn fill(&mut self) -> Result<Filled, LinesError> {
        self.buffer.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        let start = self.buffer.len();
        let room = (self.limit - self.end().min(self.limit)).min(CHUNK_BYTES as u64);
        self.buffer.resize(start + room as usize, 0);
        let read = self.file.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        let read = read.map_err(|error| self.io_error("read", error))?;
        // Only afterwards it is known that these bytes stood behind those of before.
        if !self.is_whole()? {
            self.buffer.truncate(start);
            return Ok(Filled::Cut);
        }
        Ok(if read > 0 { Filled::More } else { Filled::End })
    }

    /// Whether the file begins as it did and still has what was read of it.
    fn is_whole(&mut self) -> Result<bool, LinesError> {
        let Some(head) = &self.head else { return Ok(true) };
        let is_there = head.is_of(&mut self.file);
        let back = SeekFrom::Start(self.end());
        let is_there = is_there.and_then(|is_there| self.file.seek(back).map(|_| is_there));
        let is_there = is_there.map_err(|error| self.io_error("look again at", error))?;
        Ok(is_there && self.bytes()? >= self.end())
    }

    pub(super) fn io_error(&self, action: &'static str, source: io::Error) -> LinesError {
        LinesError::Io { action, path: self.path.clone(), source }
    }
}
