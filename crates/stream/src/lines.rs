//! Files of one event a line: replayed from beginning to end, or followed as they grow.
//!
//! A replayed file is known by the digest of its content, so that a checkpoint is never applied to
//! another file. A followed file grows; it is known by its first line.

use crate::source::{Delivery, Source, SourceError, Start};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use twinge_platform::Clock;
use twinge_runner::{Arrival, Place};

/// Longest line that is kept whole; of a longer one the rest is passed over, and the event becomes a
/// dead letter for its size.
const LINE_BYTES_MAX: usize = 64 << 20;

const CHUNK_BYTES: usize = 256 << 10;

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Bytes of arrivals in one delivery.
const DELIVERY_BYTES_MAX: usize = 8 << 20;

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum LinesError {
    /// It cannot be opened or read.
    #[error("cannot {action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is empty, so nobody can say which file it is.
    #[error("{0} has no whole line yet: it needs at least one event")]
    Empty(PathBuf),
    /// It is shorter than the checkpoint says.
    #[error(
        "{path} has {bytes} bytes and the checkpoint lies at {position}: it was cut; put the whole file back or remove the checkpoint"
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The checkpoint's position.
        position: u64,
    },
}

/// A file as a source.
#[derive(Debug)]
pub struct Lines {
    path: PathBuf,
    file: File,
    identity: String,
    /// The clock of a file that is followed: its events come in as they are read.
    follow: Option<Arc<dyn Clock>>,
    started_ms: i64,
    line: u64,
    /// Position in the file behind the lines that were delivered.
    position: u64,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were delivered.
    taken: usize,
    /// Bytes of `buffer` that have been searched for a line's end.
    searched: usize,
    /// The line under way is too long: this many of its bytes were passed over.
    passed_over: u64,
    ended: bool,
}

impl Lines {
    /// Opens a file to be read once, from beginning to end.
    pub fn replay(path: &Path, started_ms: i64) -> Result<Self, LinesError> {
        let mut this = Self::open(path, None, started_ms)?;
        let digest = this.digest_of_content()?;
        this.identity = format!("file-{digest}");
        Ok(this)
    }

    /// Opens a file to be read to its end and on, as it grows. It must have a first line.
    pub fn follow(path: &Path, clock: &Arc<dyn Clock>) -> Result<Self, LinesError> {
        let mut this = Self::open(path, Some(Arc::clone(clock)), clock.now_ms())?;
        let mut start = vec![0; 4096];
        let read = this.file.read(&mut start).map_err(|error| this.io_error("read", error))?;
        // Half a first line would give another identity than the whole one.
        if read == 0 || (read < start.len() && !start[..read].contains(&b'\n')) {
            return Err(LinesError::Empty(this.path));
        }
        let first_line = start[..read].split(|byte| *byte == b'\n').next().unwrap_or_default();
        this.identity = format!("tail-{}", hex::encode(&Sha256::digest(first_line)[..16]));
        this.seek_to(0)?;
        Ok(this)
    }

    fn open(
        path: &Path,
        follow: Option<Arc<dyn Clock>>,
        started_ms: i64,
    ) -> Result<Self, LinesError> {
        let path = path.to_owned();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) => return Err(LinesError::Io { action: "open", path, source }),
        };
        Ok(Self {
            path,
            file,
            identity: String::new(),
            follow,
            started_ms,
            line: 0,
            position: 0,
            buffer: Vec::new(),
            taken: 0,
            searched: 0,
            passed_over: 0,
            ended: false,
        })
    }

    fn digest_of_content(&mut self) -> Result<String, LinesError> {
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = self.file.read(&mut chunk).map_err(|error| self.io_error("read", error))?;
            if read == 0 {
                break;
            }
            hash.update(&chunk[..read]);
        }
        self.seek_to(0)?;
        Ok(hex::encode(hash.finalize()))
    }

    fn seek_to(&mut self, position: u64) -> Result<(), LinesError> {
        let bytes = self.file.metadata().map_err(|error| self.io_error("measure", error))?.len();
        if position > bytes {
            return Err(LinesError::Cut { path: self.path.clone(), bytes, position });
        }
        self.file
            .seek(SeekFrom::Start(position))
            .map_err(|error| self.io_error("seek in", error))?;
        (self.position, self.passed_over, self.ended) = (position, 0, false);
        (self.taken, self.searched) = (0, 0);
        self.buffer.clear();
        Ok(())
    }

    /// Lines that are there now.
    fn read_lines(&mut self, most: usize) -> Result<Delivery, LinesError> {
        let mut arrivals = Vec::new();
        let mut bytes = 0;
        let ingested_ms = self.follow.as_ref().map_or(self.started_ms, |clock| clock.now_ms());
        // Right behind the last arrival, not behind blank lines that follow it: who goes on from
        // here counts lines from that arrival's number.
        let mut position = self.position;
        while arrivals.len() < most && bytes < DELIVERY_BYTES_MAX {
            let Some(line) = self.next_line()? else { break };
            let offset = self.line;
            self.line += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            bytes += line.len();
            position = self.position;
            arrivals.push(Arrival {
                offset,
                ingested_ms,
                key: None,
                attributes: None,
                bytes: line,
            });
        }
        Ok(Delivery { arrivals, position })
    }

    /// The next line without its end; `None` when no whole line is there.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, LinesError> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                let mut line = self.buffer[self.taken..end].to_vec();
                self.take(end + 1);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(Some(line));
            }
            let longest = self.taken + LINE_BYTES_MAX;
            if self.buffer.len() > longest {
                self.passed_over += (self.buffer.len() - longest) as u64;
                self.buffer.truncate(longest);
            }
            self.searched = self.buffer.len();
            if !self.fill()? {
                return Ok(self.last_line());
            }
        }
    }

    /// Everything before `end` in the buffer was delivered.
    fn take(&mut self, end: usize) {
        self.position += (end - self.taken) as u64 + std::mem::take(&mut self.passed_over);
        (self.taken, self.searched) = (end, end);
    }

    /// A replayed file may end without a line's end; a followed one is still being written.
    fn last_line(&mut self) -> Option<Vec<u8>> {
        self.ended = self.follow.is_none();
        if self.follow.is_some() || self.taken == self.buffer.len() {
            return None;
        }
        let line = self.buffer[self.taken..].to_vec();
        self.take(self.buffer.len());
        Some(line)
    }

    /// Reads on behind what is left. What was delivered is dropped here and not line by line, which
    /// would move the rest of the buffer for each.
    fn fill(&mut self) -> Result<bool, LinesError> {
        self.buffer.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        let start = self.buffer.len();
        self.buffer.resize(start + CHUNK_BYTES, 0);
        let read = self.file.read(&mut self.buffer[start..]);
        self.buffer.truncate(start + *read.as_ref().unwrap_or(&0));
        read.map(|read| read > 0).map_err(|error| self.io_error("read", error))
    }

    fn io_error(&self, action: &'static str, source: io::Error) -> LinesError {
        LinesError::Io { action, path: self.path.clone(), source }
    }
}

#[async_trait]
impl Source for Lines {
    fn place(&self, detector: &str) -> Place {
        Place {
            detector: detector.to_owned(),
            source: self.identity.clone(),
            partition: "0".to_owned(),
            redelivers: false,
        }
    }

    async fn seek(&mut self, start: Start) -> Result<u64, SourceError> {
        self.seek_to(start.position)?;
        self.line = start.offset.unwrap_or(0);
        Ok(self.line)
    }

    async fn next(&mut self, most: usize) -> Result<Option<Delivery>, SourceError> {
        loop {
            let delivery = self.read_lines(most)?;
            if !delivery.arrivals.is_empty() {
                return Ok(Some(delivery));
            }
            if self.ended {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn release(&mut self, _offset: u64) {}

    fn set_started(&mut self, started_ms: i64) {
        self.started_ms = started_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(source: &mut Lines, most: usize) -> Vec<(u64, String)> {
        let mut lines = Vec::new();
        while let Some(delivery) = source.next(most).await.unwrap() {
            let text = |a: Arrival| (a.offset, String::from_utf8(a.bytes).unwrap());
            lines.extend(delivery.arrivals.into_iter().map(text));
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_numbered_blank_ones_passed_over_and_the_last_needs_no_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        std::fs::write(&path, "a\r\n\nb\nc").unwrap();
        let expected = [(0, "a".to_owned()), (2, "b".to_owned()), (3, "c".to_owned())];
        for most in [1, 2, 100] {
            let mut source = Lines::replay(&path, 0).unwrap();
            assert_eq!(all(&mut source, most).await, expected);
        }
        let mut source = Lines::replay(&path, 0).unwrap();
        let first = source.next(1).await.unwrap().unwrap();
        std::fs::write(&path, "a\n\n").unwrap();
        let mut blank_at_end = Lines::replay(&path, 0).unwrap();
        assert_eq!(
            blank_at_end.next(9).await.unwrap().unwrap().position,
            2,
            "behind the event, not the blank line"
        );
        std::fs::write(&path, "a\r\n\nb\nc").unwrap();
        let mut again = Lines::replay(&path, 0).unwrap();
        again.seek(Start { offset: Some(1), position: first.position, epoch: 1 }).await.unwrap();
        assert_eq!(all(&mut again, 100).await, expected[1..]);
    }

    #[tokio::test]
    async fn a_followed_file_delivers_whole_lines_as_they_come() {
        use std::io::Write;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, "a\nb").unwrap();
        let clock: Arc<dyn Clock> = Arc::new(twinge_platform::ManualClock::new(7));
        let mut source = Lines::follow(&path, &clock).unwrap();
        assert_eq!(source.next(10).await.unwrap().unwrap().arrivals.len(), 1);
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"b\n").unwrap();
        let delivery =
            tokio::time::timeout(Duration::from_secs(10), source.next(10)).await.unwrap();
        assert_eq!(delivery.unwrap().unwrap().arrivals[0].bytes, b"bb");
    }

    #[test]
    fn files_that_cannot_be_read_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none");
        assert!(Lines::replay(&path, 0).unwrap_err().to_string().contains("cannot open"));
        std::fs::write(&path, "").unwrap();
        let clock: Arc<dyn Clock> = Arc::new(twinge_platform::ManualClock::new(7));
        assert!(matches!(Lines::follow(&path, &clock), Err(LinesError::Empty(_))));
    }
}
