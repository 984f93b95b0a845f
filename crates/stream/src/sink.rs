//! What a place for records promises, and a file that keeps the promise. Which places there are is
//! not known here.

use async_trait::async_trait;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
use twinge_platform::{Disk, DiskFile, settle};

/// A place for records. What was written is kept until it is committed, so a failed commit can be
/// tried again and loses nothing.
#[async_trait]
pub trait Sink: Send + Debug {
    /// Adds a record: one JSON object. Records of one key keep their order.
    fn write(&mut self, key: Option<&str>, record: &[u8]);
    /// Hands over everything added; on an error all of it stays.
    async fn commit(&mut self) -> Result<(), SinkError>;
    /// Returns when everything committed is durable.
    async fn sync(&mut self) -> Result<(), SinkError>;
}

/// Why records cannot be handed over.
#[derive(Debug, Error)]
#[error("cannot write to {place}: make room, mend the permissions or the connection")]
pub struct SinkError {
    /// The sink.
    pub place: String,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Opens sinks by their names.
pub trait Outputs: Send + Sync {
    /// The sink that a setting names.
    fn open(&self, name: &str) -> Result<Box<dyn Sink>, SinkError>;
}

/// What a name of an output begins with that is a hub's.
pub const HUB_PREFIX: &str = "hub:";

/// The name of an output that keeps nothing.
pub const NOWHERE: &str = "none";

/// A file of whole lines: what a crash or a failed write left of a line is cut off.
#[derive(Debug)]
pub struct LineFile {
    pub(crate) path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Bytes of whole lines in the file, and how many of them are durable.
    committed: u64,
    synced: u64,
    /// A sync failed: what it was for can be read, and may never come to the disk.
    is_unsure: bool,
    /// Lines that were in the file after `committed` and are to be written again.
    again: Vec<u8>,
}

impl LineFile {
    /// Opens a file to append to. A last line without an end was torn by a crash before anyone was
    /// told about it; it is cut off, and comes again. What remains is durable: a program that was
    /// killed may have left lines that can be read and are not on the disk yet.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, SinkError> {
        let error = |source| file_error(path, source);
        let mut file = disk.open_append(path).map_err(error)?;
        let length = file.len().map_err(error)?;
        let committed = end_of_last_line(file.as_mut(), length).map_err(error)?;
        if committed < length {
            file.truncate(committed).map_err(error)?;
        }
        if length > 0 {
            file = settle(disk, path, file, committed).map_err(error)?;
        }
        let (path, again) = (path.to_owned(), Vec::new());
        Ok(Self { path, file, committed, synced: committed, is_unsure: false, again })
    }

    /// Bytes of whole lines in the file.
    pub fn bytes(&self) -> u64 {
        self.committed + self.again.len() as u64
    }

    /// Adds lines; on an error none of them is there.
    pub fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        self.write_again()?;
        self.put(lines)
    }

    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        // A try before may have left part of a line.
        if self.file.len()? > self.committed {
            self.file.truncate(self.committed)?;
        }
        self.file.append(lines)?;
        self.committed += lines.len() as u64;
        Ok(())
    }

    /// Returns when every line is durable. After an error they are written again by the next call:
    /// what a failed fsync was for is lost though a later one succeeds
    /// (<https://lwn.net/Articles/752063/>).
    pub fn sync(&mut self) -> io::Result<()> {
        self.write_again()?;
        match self.file.sync() {
            Ok(()) => self.synced = self.committed,
            // Pipes and devices take lines and cannot be synced.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => {
                self.is_unsure = true;
                // At once, as far as it goes: whoever opens the file after this program died would
                // take what can be read for what is on the disk.
                drop(self.take_back());
                return Err(error);
            }
        }
        Ok(())
    }

    /// Cuts off what a failed sync was for, and remembers it.
    fn take_back(&mut self) -> io::Result<()> {
        let mut lines = vec![0; (self.committed - self.synced) as usize];
        read_exact_at(self.file.as_mut(), self.synced, &mut lines)?;
        (self.again, self.committed, self.is_unsure) = (lines, self.synced, false);
        self.file.truncate(self.synced)
    }

    fn write_again(&mut self) -> io::Result<()> {
        if self.is_unsure {
            self.take_back()?;
        }
        if !self.again.is_empty() {
            let lines = std::mem::take(&mut self.again);
            if let Err(error) = self.put(&lines) {
                self.again = lines;
                return Err(error);
            }
        }
        Ok(())
    }
}

pub(crate) fn file_error(path: &Path, source: io::Error) -> SinkError {
    SinkError { place: path.display().to_string(), source: source.into() }
}

fn end_of_last_line(file: &mut dyn DiskFile, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut chunk = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let wanted = (end - start) as usize;
        read_exact_at(file, start, &mut chunk[..wanted])?;
        if let Some(place) = chunk[..wanted].iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn read_exact_at(file: &mut dyn DiskFile, start: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(start + filled as u64, &mut buffer[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinge_platform::SimulatedDisk;

    #[test]
    fn what_a_failed_sync_was_for_is_not_there_for_whoever_opens_the_file_next() {
        for seed in 0..50 {
            let (disk, path) = (SimulatedDisk::new(seed), Path::new("/out/verdicts.ndjson"));
            let mut file = LineFile::open(&disk, path).unwrap();
            file.append(b"one\n").unwrap();
            file.sync().unwrap();
            file.append(b"two\n").unwrap();
            disk.fail_after(0);
            file.sync().unwrap_err();
            drop(file);
            let mut file = LineFile::open(&disk, path).unwrap();
            file.append(b"three\n").unwrap();
            file.sync().unwrap();
            disk.crash();
            assert_eq!(disk.read(path).unwrap(), b"one\nthree\n", "seed {seed}");
        }
    }

    #[test]
    fn lines_that_a_killed_program_left_unsynced_are_durable_once_the_file_is_open() {
        for seed in 0..50 {
            let (disk, path) = (SimulatedDisk::new(seed), Path::new("/out/verdicts.ndjson"));
            let mut file = LineFile::open(&disk, path).unwrap();
            file.append(b"one\n").unwrap();
            file.sync().unwrap();
            file.append(b"two\n").unwrap();
            drop(file);
            let mut file = LineFile::open(&disk, path).unwrap();
            file.append(b"three\n").unwrap();
            // What is taken back are the lines of this program, and not more was lost.
            disk.fail_after(0);
            file.sync().unwrap_err();
            file.sync().unwrap();
            disk.crash();
            assert_eq!(disk.read(path).unwrap(), b"one\ntwo\nthree\n", "seed {seed}");
        }
    }

    #[test]
    fn a_file_whose_sync_fails_when_it_is_opened_is_written_anew() {
        for seed in 0..50 {
            let (disk, path) = (SimulatedDisk::new(seed), Path::new("/out/verdicts.ndjson"));
            let mut file = LineFile::open(&disk, path).unwrap();
            file.append(b"one\n").unwrap();
            file.sync().unwrap();
            file.append(b"two\nth").unwrap();
            drop(file);
            // Opened, read, cut, in no doubt before and in doubt now, and then the sync.
            disk.fail_after(5);
            let mut file = LineFile::open(&disk, path).unwrap();
            file.append(b"four\n").unwrap();
            file.sync().unwrap();
            disk.crash();
            assert_eq!(disk.read(path).unwrap(), b"one\ntwo\nfour\n", "seed {seed}");
            assert_eq!(disk.files_below(Path::new("/")), [path], "the copy has its place");
        }
    }
}
