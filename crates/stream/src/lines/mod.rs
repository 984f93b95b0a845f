//! Files of one event a line: replayed from beginning to end, or followed as they grow and are
//! rotated, like `tail -F`.
//!
//! A replayed file is known by the digest of its content, so that a checkpoint is never applied to
//! another file. A followed one has a name of its own, in a ledger in the directory of state, that
//! tells also which files stood at its path:
//!
//! ```text
//! app.log.2   generation 3, read to its end        position = generation << 40 | byte
//! app.log.1   generation 4, being read             offset   = lines since the first generation
//! app.log     generation 5, to be begun
//! ```
//! A file that was renamed is read to its end before the next is begun, and that only when something
//! was written to it; one that was copied and cut goes on in the copy. After a restart the file of
//! the checkpoint is looked for under its new name. One that is gone by then is told and counted.

mod error;
mod ledger;
mod reader;
mod rotation;
mod tail;
#[cfg(test)]
mod tests;

pub use self::error::LinesError;
use self::reader::{Next, Reader};
use self::tail::Tail;
use crate::source::{Delivery, Source, SourceError, Start};
use async_trait::async_trait;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use twinge_platform::{Clock, Disk};
use twinge_runner::{Arrival, Place};

const CHUNK_BYTES: usize = 256 << 10;

/// How often a followed file is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Bytes of arrivals in one delivery.
const DELIVERY_BYTES_MAX: usize = 8 << 20;

/// A file as a source.
#[derive(Debug)]
pub struct Lines {
    identity: String,
    input: Input,
    started_ms: i64,
    /// Number of the next line.
    line: u64,
}

#[derive(Debug)]
enum Input {
    Replay {
        reader: Reader,
        ended: bool,
    },
    Follow {
        tail: Box<Tail>,
        /// Events come in as they are read.
        clock: Arc<dyn Clock>,
    },
}

impl Lines {
    /// Opens a file to be read once, from beginning to end.
    pub fn replay(path: &Path, started_ms: i64) -> Result<Self, LinesError> {
        let mut reader = Reader::open(path)?;
        let identity = format!("file-{}", digest_of_content(&mut reader)?);
        reader.seek_to(0)?;
        let input = Input::Replay { reader, ended: false };
        Ok(Self { identity, input, started_ms, line: 0 })
    }

    /// Follows a file as it grows and is rotated. It may come later; its ledger is kept in the
    /// directory `state`.
    pub fn follow(
        path: &Path,
        state: &Path,
        disk: &Arc<dyn Disk>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, LinesError> {
        let tail = Box::new(Tail::open(path, state, disk)?);
        let identity = tail.name().to_owned();
        let input = Input::Follow { tail, clock: Arc::clone(clock) };
        Ok(Self { identity, input, started_ms: clock.now_ms(), line: 0 })
    }

    /// Files of a followed path that were gone or cut before they were read to their end, since its
    /// ledger was begun.
    pub fn lost(&self) -> u64 {
        match &self.input {
            Input::Replay { .. } => 0,
            Input::Follow { tail, .. } => tail.lost(),
        }
    }

    /// Lines that are there now.
    fn read_lines(&mut self, most: usize) -> Result<Delivery, LinesError> {
        let mut arrivals = Vec::new();
        let mut bytes = 0;
        let ingested_ms = match &self.input {
            Input::Replay { .. } => self.started_ms,
            Input::Follow { clock, .. } => clock.now_ms(),
        };
        // Right behind the last arrival, not behind blank lines that follow it: who goes on from
        // here counts lines from that arrival's number.
        let mut position = self.input.position()?;
        while arrivals.len() < most && bytes < DELIVERY_BYTES_MAX {
            let Some(line) = self.input.next_line()? else { break };
            let offset = self.line;
            self.line += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            bytes += line.len();
            position = self.input.position()?;
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
}

impl Input {
    /// The next line without its end; `None` when no whole line is there.
    fn next_line(&mut self) -> Result<Option<Vec<u8>>, LinesError> {
        let (reader, ended) = match self {
            Self::Follow { tail, .. } => return tail.next_line(),
            Self::Replay { reader, ended } => (reader, ended),
        };
        match reader.next_line()? {
            Next::Line(line) => Ok(Some(line)),
            // A replayed file may end without a line's end.
            Next::Nothing | Next::Cut => {
                *ended = true;
                Ok(reader.last_line())
            }
        }
    }

    /// Behind the lines that were taken.
    fn position(&self) -> Result<u64, LinesError> {
        match self {
            Self::Replay { reader, .. } => Ok(reader.position()),
            Self::Follow { tail, .. } => tail.position(),
        }
    }
}

fn digest_of_content(reader: &mut Reader) -> Result<String, LinesError> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = reader.file().read(&mut chunk);
        let read = read.map_err(|error| reader.io_error("read", error))?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&chunk[..read]);
    }
}

#[async_trait]
impl Source for Lines {
    fn place(&self, detector: &str) -> Place {
        Place {
            detector: detector.to_owned(),
            source: self.identity.as_str().into(),
            partition: "0".into(),
            redelivers: false,
        }
    }

    fn keeps_times(&self) -> bool {
        // A replayed file came when its reading began, all of it.
        !matches!(self.input, Input::Replay { .. })
    }

    async fn seek(&mut self, start: Start) -> Result<u64, SourceError> {
        match &mut self.input {
            Input::Replay { reader, ended } => {
                reader.seek_to(start.position)?;
                *ended = false;
            }
            Input::Follow { tail, .. } => tail.seek(start)?,
        }
        self.line = start.offset.unwrap_or(0);
        Ok(self.line)
    }

    async fn next(&mut self, most: usize) -> Result<Option<Delivery>, SourceError> {
        loop {
            let delivery = self.read_lines(most)?;
            if !delivery.arrivals.is_empty() {
                return Ok(Some(delivery));
            }
            if matches!(self.input, Input::Replay { ended: true, .. }) {
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
