//! The machine's own disk, by `std::fs`. Does not know what is kept there.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{Disk, DiskFile, DiskLock};

/// The machine's own disk.
///
/// [`create_new`](Disk::create_new) needs a file system with hard links: the only way in std to
/// publish a whole file under a name that must be free.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        make_directory(parent(path))?;
        // Not O_APPEND: on Windows such a handle cannot be truncated.
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = match options.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let file = options.create(true).truncate(false).open(path)?;
                sync_directory(parent(path))?;
                file
            }
            opened => opened?,
        };
        Ok(Box::new(RealFile { file }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let unfinished = write_unfinished(path, bytes, Readers::Usual)?;
        fs::rename(&unfinished, path).inspect_err(|_| discard(&unfinished))?;
        sync_directory(parent(path))
    }

    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        publish_new(path, bytes, Readers::Usual)
    }

    fn create_private(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        publish_new(path, bytes, Readers::Owner)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.is_file() && !is_unfinished(&path) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| sync_directory(parent(path))),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        sync_directory(parent(to))?;
        if parent(from) == parent(to) { Ok(()) } else { sync_directory(parent(from)) }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        make_directory(parent(path))?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The system lets go of the file's lock when the file is closed, however the process ends.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DiskLock for RealLock {}

#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if len > self.len()? {
            return Err(ErrorKind::InvalidInput.into());
        }
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.seek(SeekFrom::Start(offset))?;
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

/// Who may read a new file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Usual,
    Owner,
}

impl Readers {
    #[cfg(unix)]
    fn limit(self, options: &mut OpenOptions) {
        use std::os::unix::fs::OpenOptionsExt;
        if self == Self::Owner {
            options.mode(0o600);
        }
    }

    /// Elsewhere a file has the rights of its directory.
    #[cfg(not(unix))]
    fn limit(self, _options: &mut OpenOptions) {}
}

fn publish_new(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let unfinished = write_unfinished(path, bytes, readers)?;
    let linked = fs::hard_link(&unfinished, path);
    discard(&unfinished);
    linked?;
    sync_directory(parent(path))
}

/// Writes and syncs a file beside `path` under a name no one else has, and returns that name.
fn write_unfinished(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<PathBuf> {
    make_directory(parent(path))?;
    let mut options = OpenOptions::new();
    readers.limit(options.write(true).create_new(true));
    let (unfinished, mut file) = loop {
        let candidate = unfinished_name(path)?;
        match options.open(&candidate) {
            // Containers that share a volume can share process ids too.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            opened => break (candidate, opened?),
        }
    };
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .inspect_err(|_| discard(&unfinished))
        .map(|()| unfinished)
}

fn unfinished_name(path: &Path) -> io::Result<PathBuf> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let mut unfinished = OsString::from(".");
    unfinished.push(name);
    unfinished.push(format!(".{}-{serial}.unfinished", std::process::id()));
    Ok(path.with_file_name(unfinished))
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b".") && name.ends_with(b".unfinished")
}

/// An unfinished file that cannot be removed is invisible to `list` and does no harm but to the
/// space it takes; the error that led here, if any, is the one worth telling.
fn discard(unfinished: &Path) {
    fs::remove_file(unfinished).ok();
}

/// A new directory's entry is as volatile as a file's: every level made is synced.
fn make_directory(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if dir.parent().is_some() {
        make_directory(parent(dir))?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made.and_then(|()| sync_directory(parent(dir))),
    }
}

/// The directory that holds `path`; "." for a bare name, the root itself for a root.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(unix)]
fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Elsewhere a directory cannot be opened as a file; NTFS journals its entries by itself.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as on Unix")]
fn sync_directory(_dir: &Path) -> io::Result<()> {
    Ok(())
}
