//! A disk whose files can still be read after it has turned read-only. A journal opens its files
//! for appending even to read them, which such a disk refuses.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinge_platform::{Disk, DiskFile};

/// The same disk; on a read-only one, opening gives a copy in memory that refuses to grow.
#[derive(Debug)]
pub(crate) struct Readable(pub(crate) Arc<dyn Disk>);

impl Disk for Readable {
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match self.0.open_append(path) {
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
                match self.0.read(path) {
                    Ok(bytes) => Ok(Box::new(Copied { bytes })),
                    Err(_unread) => Err(error),
                }
            }
            opened => opened,
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.replace(path, bytes)
    }

    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.0.create_new(path, bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
}

#[derive(Debug)]
struct Copied {
    bytes: Vec<u8>,
}

impl DiskFile for Copied {
    fn append(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    /// What is on a read-only disk is durable.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// A torn write is hidden until the disk can be written again.
    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if len > self.bytes.len() as u64 {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.bytes.truncate(len as usize);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let count = buffer.len().min(self.bytes.len() - start);
        buffer[..count].copy_from_slice(&self.bytes[start..start + count]);
        Ok(count)
    }
}
