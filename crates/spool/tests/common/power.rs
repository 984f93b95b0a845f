//! A disk whose power goes in the middle of whatever a program is doing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use twinge_platform::{Disk, DiskFile, SimulatedDisk};

/// Passes everything on until its operations are used up; then everything fails.
#[derive(Debug, Clone)]
pub(crate) struct Powered {
    disk: SimulatedDisk,
    left: Arc<AtomicU64>,
}

impl Powered {
    pub(crate) fn new(disk: SimulatedDisk) -> Self {
        Self { disk, left: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    pub(crate) fn cut_after(&self, operations: u64) {
        self.left.store(operations, Ordering::SeqCst);
    }

    pub(crate) fn restore(&self) {
        self.cut_after(u64::MAX);
    }

    fn spend(&self) -> io::Result<()> {
        let spent = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            if left == u64::MAX { Some(left) } else { left.checked_sub(1) }
        });
        spent.map(drop).map_err(|_none_left| io::Error::other("the power is gone"))
    }
}

impl Disk for Powered {
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.spend()?;
        let file = self.disk.open_append(path)?;
        Ok(Box::new(PoweredFile { file, power: self.clone() }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.spend()?;
        self.disk.read(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.spend()?;
        self.disk.replace(path, bytes)
    }

    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.spend()?;
        self.disk.create_new(path, bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.spend()?;
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
}

#[derive(Debug)]
struct PoweredFile {
    file: Box<dyn DiskFile>,
    power: Powered,
}

impl DiskFile for PoweredFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.power.spend()?;
        self.file.append(bytes)
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
        self.power.spend()?;
        self.file.read_at(offset, buffer)
    }
}
