//! A disk that gives up in the middle of whatever a program is doing, and that remembers how full
//! it was at the worst.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use twinge_platform::{Disk, DiskFile, DiskLock, SimulatedDisk};

/// Passes everything on until its writing operations are used up; then it is a disk that has turned
/// read-only. With a crash after it, that is a power cut.
#[derive(Debug, Clone)]
pub(crate) struct Powered {
    disk: SimulatedDisk,
    left: Arc<AtomicU64>,
    peak_bytes: Arc<AtomicU64>,
}

impl Powered {
    pub(crate) fn new(disk: SimulatedDisk) -> Self {
        Self { disk, left: Arc::new(AtomicU64::new(u64::MAX)), peak_bytes: Arc::default() }
    }

    pub(crate) fn cut_after(&self, operations: u64) {
        self.left.store(operations, Ordering::SeqCst);
    }

    pub(crate) fn restore(&self) {
        self.cut_after(u64::MAX);
    }

    /// The most bytes that all files took together after any operation.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Ordering::SeqCst)
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        self.peak_bytes.fetch_max(self.disk.used_bytes(), Ordering::SeqCst);
        result
    }

    fn spend(&self) -> io::Result<()> {
        let spent = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            if left == u64::MAX { Some(left) } else { left.checked_sub(1) }
        });
        spent.map(drop).map_err(|_none_left| ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl Disk for Powered {
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.spend()?;
        let file = self.disk.open_append(path)?;
        Ok(Box::new(PoweredFile { file, power: self.clone() }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.spend()?;
        self.note(self.disk.replace(path, bytes))
    }

    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.spend()?;
        self.note(self.disk.create_new(path, bytes))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.spend()?;
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend()?;
        self.disk.rename(from, to)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

#[derive(Debug)]
struct PoweredFile {
    file: Box<dyn DiskFile>,
    power: Powered,
}

impl DiskFile for PoweredFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.power.spend()?;
        let appended = self.file.append(bytes);
        self.power.note(appended)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.power.spend()?;
        self.file.sync()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.power.spend()?;
        self.file.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }
}
