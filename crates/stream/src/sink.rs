//! Where records go: a file or standard output, a line each.

use std::fmt::Debug;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use twinge_platform::{Disk, DiskFile};

/// A place for lines. What was written is kept until it is committed, so a failed commit can be
/// tried again and loses nothing.
pub trait Sink: Send + Debug {
    /// Adds a line.
    fn write(&mut self, line: &[u8]);
    /// Hands over everything added; on an error all of it stays.
    fn commit(&mut self) -> Result<(), SinkError>;
    /// Makes everything committed durable.
    fn sync(&mut self) -> Result<(), SinkError>;
}

/// Why lines cannot be handed over.
#[derive(Debug, Error)]
#[error("cannot write to {place}: make room or mend the permissions")]
pub struct SinkError {
    /// The sink.
    pub place: String,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Lines appended to a file.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Bytes of whole lines in the file.
    committed: u64,
    pending: Vec<u8>,
}

impl FileSink {
    /// Opens a file to append to. A last line without an end was torn by a crash before anyone was
    /// told about it; it is cut off, and comes again.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self, SinkError> {
        let error = |source| SinkError { place: path.display().to_string(), source };
        let mut file = disk.open_append(path).map_err(error)?;
        let length = file.len().map_err(error)?;
        let committed = end_of_last_line(file.as_mut(), length).map_err(error)?;
        if committed < length {
            file.truncate(committed).map_err(error)?;
        }
        Ok(Self { path: path.to_owned(), file, committed, pending: Vec::new() })
    }

    fn error(&self, source: io::Error) -> SinkError {
        SinkError { place: self.path.display().to_string(), source }
    }
}

impl Sink for FileSink {
    fn write(&mut self, line: &[u8]) {
        self.pending.extend_from_slice(line);
        self.pending.push(b'\n');
    }

    fn commit(&mut self) -> Result<(), SinkError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        // A try before may have left part of a line.
        if self.file.len().map_err(|error| self.error(error))? > self.committed {
            self.file.truncate(self.committed).map_err(|error| self.error(error))?;
        }
        self.file.append(&self.pending).map_err(|error| self.error(error))?;
        self.committed += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        match self.file.sync() {
            // Pipes and devices take lines and cannot be synced.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            synced => synced.map_err(|error| self.error(error)),
        }
    }
}

fn end_of_last_line(file: &mut dyn DiskFile, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut chunk = vec![0; 64 << 10];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let mut filled = 0;
        let wanted = (end - start) as usize;
        while filled < wanted {
            match file.read_at(start + filled as u64, &mut chunk[filled..wanted])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        if let Some(place) = chunk[..wanted].iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Lines on standard output.
#[derive(Debug, Default)]
pub struct StdoutSink {
    pending: Vec<u8>,
}

impl Sink for StdoutSink {
    fn write(&mut self, line: &[u8]) {
        self.pending.extend_from_slice(line);
        self.pending.push(b'\n');
    }

    fn commit(&mut self) -> Result<(), SinkError> {
        let mut out = io::stdout().lock();
        out.write_all(&self.pending)
            .and_then(|()| out.flush())
            .map_err(|source| SinkError { place: "standard output".into(), source })?;
        self.pending.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// The sink that a setting names: `-` is standard output.
pub fn open(disk: &dyn Disk, name: &str) -> Result<Box<dyn Sink>, SinkError> {
    if name == "-" {
        return Ok(Box::new(StdoutSink::default()));
    }
    Ok(Box::new(FileSink::open(disk, Path::new(name))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinge_platform::SimulatedDisk;

    #[test]
    fn a_torn_line_is_cut_and_a_full_disk_loses_nothing() {
        let disk = SimulatedDisk::new(5);
        let path = Path::new("/out/verdicts.ndjson");
        let mut file = disk.open_append(path).unwrap();
        file.append(b"one\ntw").unwrap();
        file.sync().unwrap();
        let mut sink = FileSink::open(&disk, path).unwrap();
        sink.write(b"two");
        sink.commit().unwrap();
        disk.set_capacity(disk.used_bytes() + 3);
        sink.write(b"three");
        assert!(sink.commit().is_err());
        sink.write(b"four");
        assert!(sink.commit().is_err());
        disk.set_capacity(u64::MAX);
        sink.commit().unwrap();
        sink.sync().unwrap();
        assert_eq!(disk.read(path).unwrap(), b"one\ntwo\nthree\nfour\n");
    }
}
