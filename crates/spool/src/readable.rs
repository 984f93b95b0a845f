//! A disk whose files can still be read after it has turned read-only. A journal opens its files
//! for appending even to read them, which such a disk refuses.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinge_platform::{Disk, DiskFile, DiskLock};

/// The same disk; where it is read-only, opening a file gives one that can be read, and written
/// once the disk can be.
#[derive(Debug)]
pub(crate) struct Readable(pub(crate) Arc<dyn Disk>);

impl Disk for Readable {
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match self.0.open_append(path) {
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
                let Ok(bytes) = self.0.read(path) else { return Err(error) };
                let (disk, path) = (self.0.clone(), path.to_owned());
                Ok(Box::new(Unwritable { disk, path, len: bytes.len() as u64, file: None }))
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

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.0.lock(path)
    }

    fn may_wait(&self) -> bool {
        self.0.may_wait()
    }
}

#[derive(Debug)]
struct Unwritable {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// How much of the file counts: a torn write is hidden until it can be cut off.
    len: u64,
    /// The file itself, once the disk could be written.
    file: Option<Box<dyn DiskFile>>,
}

impl Unwritable {
    /// The file itself, cut to what counts.
    fn file(&mut self) -> io::Result<&mut dyn DiskFile> {
        if self.file.is_none() {
            let mut file = self.disk.open_append(&self.path)?;
            file.truncate(self.len)?;
            self.file = Some(file);
        }
        Ok(self.file.as_deref_mut().expect("it was opened just now"))
    }
}

impl DiskFile for Unwritable {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.append(bytes)
    }

    /// What is on a read-only disk is durable.
    fn sync(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.sync())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            return file.truncate(len);
        }
        if len > self.len {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.len = len;
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.as_ref().map_or(Ok(self.len), |file| file.len())
    }

    /// Reads the file anew each time: another handle may have cut it and written on.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.file {
            return file.read_at(offset, buffer);
        }
        let bytes = self.disk.read(&self.path)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }
}
