//! What a program may ask of a disk, and what it can rely on after a power cut. Does not know
//! what the bytes mean, nor which of the disks behind it is real.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

/// A file system reduced to what a crash-safe program needs.
///
/// Directories are made as needed. Creating, replacing, renaming and removing a file are durable
/// when the call returns; appended and truncated bytes are durable only after
/// [`DiskFile::sync`].
pub trait Disk: Send + Sync + Debug {
    /// Opens the file for appending and reading; creates it and its parents when missing.
    ///
    /// # Errors
    /// Whatever the file system says; `ReadOnlyFilesystem` also for a file that exists.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Reads a whole file.
    ///
    /// # Errors
    /// `NotFound` when there is no such file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Makes `bytes` the file's content: after a crash it is the old content or the new, whole.
    ///
    /// # Errors
    /// `StorageFull` when the new content does not fit beside the old; the old is left as it was.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Creates a file that must not exist yet: after a crash it is absent or whole.
    ///
    /// # Errors
    /// `AlreadyExists` when another was first, `StorageFull` when it does not fit.
    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// The same, for a file that holds a secret: only its owner can read it, where the system can
    /// keep others away.
    ///
    /// # Errors
    /// Those of [`create_new`](Self::create_new).
    fn create_private(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.create_new(path, bytes)
    }

    /// The files directly in `dir`, as full paths in order; none when there is no such directory.
    /// Left out are what a crash inside `replace` or `create_new` left unfinished.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Removes a file; one that is missing already is fine. Open handles of it are void.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, in place of whatever had that name. The target's directory
    /// must exist.
    ///
    /// # Errors
    /// `NotFound` when there is no file `from`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes the file for this process alone until what is returned is dropped, or the process
    /// ends. Creates it and its parents when missing; what it holds plays no part.
    ///
    /// # Errors
    /// `WouldBlock` when somebody has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// Whether a call may take as long as a disk does, so that a program that must not wait makes
    /// it on a thread that may. A disk in memory answers at once, and whoever simulates one wants
    /// every call in its place.
    fn may_wait(&self) -> bool {
        true
    }
}

/// A file that is taken, for as long as this lives.
pub trait DiskLock: Send + Sync + Debug {}

/// An open file that grows at its end.
pub trait DiskFile: Send + Debug {
    /// Appends the bytes. On an error some prefix of them may have been written: callers that
    /// care cut the file back with [`truncate`](Self::truncate).
    ///
    /// # Errors
    /// `StorageFull` when the disk has no room for all of them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended or truncated so far survive a power cut.
    ///
    /// # Errors
    /// After an error, what was written since the last success may be lost even if a later
    /// `sync` succeeds: <https://lwn.net/Articles/752063/>.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// `InvalidInput` when the file is shorter than that.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// As [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads from byte `offset` on and returns how many bytes it read: fewer than the buffer
    /// holds is not the end, only zero is.
    ///
    /// # Errors
    /// Whatever the file system says.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}
