//! The storage contract on a directory, for one machine or a shared POSIX file system.
//!
//! A write goes to a temporary file beside its goal, is synced, and then becomes the goal in one
//! step: by a hard link where the name must be free, by a rename under the store's lock where the
//! old content was compared. A crash leaves at most a temporary file, which nobody lists.
//! Symbolic links inside the directory are not listed.
//!
//! Knows nothing of what the files mean.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;

use crate::memory::content_etag;
use crate::store::check_size;
use crate::{Etag, OBJECT_BYTES_MAX, Object, Store, StoreError, StorePath};

/// Names with a leading dot cannot be paths of the store, so they are ours.
const LOCK_NAME: &str = ".lock";
const TEMPORARY_PREFIX: &str = ".temporary";
/// How often a taken name is skipped: a container's process id is 1 again after every crash.
const TEMPORARY_NAMES_MAX: u32 = 10_000;
/// 30 s in all: long enough for a queue of writers that each sync a disk.
const LOCK_TRIES_MAX: u32 = 15_000;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// A [`Store`] in a directory.
#[derive(Clone, Debug)]
pub struct Directory {
    root: Arc<Path>,
}

impl Directory {
    /// Opens a directory, and makes it if it is not there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        if !root.is_dir() {
            fs::create_dir_all(&root).map_err(failed("create folder", &root))?;
        }
        Ok(Self { root: root.into() })
    }

    /// Where the store lies.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Runs file work where it may block. It is not cut short when the caller goes away: a write
    /// that has begun is finished.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let root = self.root.clone();
        let path = root.display().to_string();
        tokio::task::spawn_blocking(move || work(&root)).await.unwrap_or_else(|error| {
            let source = io::Error::other(error);
            Err(StoreError::Io { action: "finish work in", path, source })
        })
    }
}

#[async_trait]
impl Store for Directory {
    async fn get(&self, path: &StorePath) -> Result<Option<Object>, StoreError> {
        let path = path.clone();
        self.blocking(move |root| read(root, &path)).await
    }

    async fn create(&self, path: &StorePath, bytes: &[u8]) -> Result<Etag, StoreError> {
        let (path, bytes) = (path.clone(), bytes.to_vec());
        self.blocking(move |root| create(root, &path, &bytes)).await
    }

    async fn replace(
        &self,
        path: &StorePath,
        bytes: &[u8],
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        let (path, bytes, expected) = (path.clone(), bytes.to_vec(), expected.clone());
        self.blocking(move |root| replace(root, &path, &bytes, &expected)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        let prefix = prefix.trim_end_matches('/').to_owned();
        if !prefix.is_empty() {
            StorePath::new(&prefix)?;
        }
        self.blocking(move |root| {
            let mut paths = Vec::new();
            collect(root, &prefix, &mut paths)?;
            paths.sort();
            Ok(paths)
        })
        .await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        let path = path.clone();
        self.blocking(move |root| delete(root, &path)).await
    }
}

fn read(root: &Path, path: &StorePath) -> Result<Option<Object>, StoreError> {
    let file_path = root.join(path.as_str());
    let file = match File::open(&file_path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed("read", &file_path)(error)),
    };
    let metadata = file.metadata().map_err(failed("read", &file_path))?;
    if metadata.is_dir() {
        return Ok(None);
    }
    check_size("read", path, metadata.len())?;
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(OBJECT_BYTES_MAX).read_to_end(&mut bytes).map_err(failed("read", &file_path))?;
    Ok(Some(Object { etag: content_etag(&bytes), bytes }))
}

fn create(root: &Path, path: &StorePath, bytes: &[u8]) -> Result<Etag, StoreError> {
    check_size("create", path, bytes.len() as u64)?;
    let file_path = root.join(path.as_str());
    let folder = create_folders(root, path)?;
    let temporary = write_temporary(&folder, bytes)?;
    let linked = fs::hard_link(&temporary, &file_path);
    remove_temporary(&temporary);
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Whoever made it may have crashed before the name was durable, and the caller is
            // about to rely on it.
            sync_folder(&folder)?;
            return Err(StoreError::AlreadyExists { path: path.to_string() });
        }
        Err(error) => return Err(failed("create", &file_path)(error)),
    }
    sync_folder(&folder)?;
    Ok(content_etag(bytes))
}

fn replace(
    root: &Path,
    path: &StorePath,
    bytes: &[u8],
    expected: &Etag,
) -> Result<Etag, StoreError> {
    check_size("replace", path, bytes.len() as u64)?;
    let file_path = root.join(path.as_str());
    let _lock = lock(root)?;
    match read(root, path)? {
        None => return Err(StoreError::NotFound { path: path.to_string() }),
        Some(found) if found.etag != *expected => {
            return Err(StoreError::Changed { path: path.to_string() });
        }
        Some(_) => {}
    }
    let folder = folder_of(&file_path);
    let temporary = write_temporary(folder, bytes)?;
    if let Err(error) = fs::rename(&temporary, &file_path) {
        remove_temporary(&temporary);
        return Err(failed("replace", &file_path)(error));
    }
    sync_folder(folder)?;
    Ok(content_etag(bytes))
}

/// Under the lock too: a replacer that has compared must not bring a deleted object back.
fn delete(root: &Path, path: &StorePath) -> Result<(), StoreError> {
    let file_path = root.join(path.as_str());
    let _lock = lock(root)?;
    match fs::remove_file(&file_path) {
        Ok(()) => sync_folder(folder_of(&file_path)),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(failed("delete", &file_path)(error)),
    }
}

/// Adds the files below the folder `prefix`. Its depth is bounded by that of valid paths; what
/// disappears on the way was deleted, which is no error.
fn collect(root: &Path, prefix: &str, paths: &mut Vec<StorePath>) -> Result<(), StoreError> {
    let folder = root.join(prefix);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(()),
        Err(error) => return Err(failed("list", &folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed("list", &folder))?;
        let name = entry.file_name();
        let joined = name.to_str().map(|name| match prefix {
            "" => name.to_owned(),
            _ => format!("{prefix}/{name}"),
        });
        let Some(path) = joined.and_then(|text| StorePath::new(&text).ok()) else {
            continue;
        };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(root, path.as_str(), paths)?,
            Ok(kind) if kind.is_file() => paths.push(path),
            Ok(_) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(failed("list", &folder)(error)),
        }
    }
    Ok(())
}

/// Makes the folders of an object, each durable before anything is put into it.
fn create_folders(root: &Path, path: &StorePath) -> Result<PathBuf, StoreError> {
    let mut folder = root.to_owned();
    let depth = path.segments().count() - 1;
    for segment in path.segments().take(depth) {
        let parent = folder.clone();
        folder.push(segment);
        match fs::create_dir(&folder) {
            Ok(()) => sync_folder(&parent)?,
            Err(_) if folder.is_dir() => {}
            Err(error) => return Err(failed("create folder", &folder)(error)),
        }
    }
    Ok(folder)
}

/// Writes and syncs a file of a name that nobody uses, in the folder of its goal.
fn write_temporary(folder: &Path, bytes: &[u8]) -> Result<PathBuf, StoreError> {
    let (mut file, path) = open_temporary(folder)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        remove_temporary(&path);
        return Err(failed("write", &path)(error));
    }
    Ok(path)
}

fn open_temporary(folder: &Path) -> Result<(File, PathBuf), StoreError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut tries = 0;
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("{TEMPORARY_PREFIX}-{}-{number}", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && tries < TEMPORARY_NAMES_MAX =>
            {
                tries += 1;
            }
            Err(error) => return Err(failed("write", &path)(error)),
        }
    }
}

/// One that stays behind harms nobody, so a failure here must not hide the outcome of the write.
fn remove_temporary(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "temporary file stays behind");
    }
}

/// The store's lock; it is let go when the file is dropped, also by a crash.
fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join(LOCK_NAME);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(failed("lock", &path))?;
    for _ in 0..LOCK_TRIES_MAX {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
        }
    }
    Err(StoreError::Locked { path: path.display().to_string() })
}

/// Makes names in a folder durable. Elsewhere than on Unix a folder cannot be opened for that,
/// and the file system's own journal has to do.
fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed("sync folder", folder))?;
    }
    Ok(())
}

fn folder_of(file_path: &Path) -> &Path {
    file_path.parent().expect("the root was joined with at least one segment")
}

/// Not there, or below something that is a file.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::Io { action, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract_suite::check_store_contract;

    fn path(text: &str) -> StorePath {
        StorePath::new(text).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_directory_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path().join("registry")).unwrap();
        check_store_contract(Arc::new(store)).await;
    }

    #[tokio::test]
    async fn two_processes_share_a_directory() {
        let folder = tempfile::tempdir().unwrap();
        let one = Directory::open(folder.path()).unwrap();
        let other = Directory::open(folder.path()).unwrap();
        let etag = one.create(&path("a/b"), b"1").await.unwrap();
        other.replace(&path("a/b"), b"2", &etag).await.unwrap();
        let refused = one.replace(&path("a/b"), b"3", &etag).await.unwrap_err();
        assert!(matches!(refused, StoreError::Changed { .. }), "{refused}");
    }

    #[tokio::test]
    async fn leftovers_and_strange_files_are_not_listed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path()).unwrap();
        store.create(&path("a/b"), b"1").await.unwrap();
        let names = [".temporary-1-0", "with space", "ü"];
        for name in names {
            fs::write(folder.path().join("a").join(name), b"half").unwrap();
        }
        assert_eq!(store.list("").await.unwrap(), [path("a/b")]);
        let files = fs::read_dir(folder.path().join("a")).unwrap().count();
        assert_eq!(files, 1 + names.len(), "a finished write leaves no temporary file");
    }

    #[tokio::test]
    async fn a_failure_names_the_path_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path()).unwrap();
        store.create(&path("a"), b"1").await.unwrap();
        // Stands for every refusal of the system: root ignores permissions, so a file where a
        // folder is needed has to do.
        let error = store.create(&path("a/b"), b"2").await.unwrap_err();
        let StoreError::Io { path: told, source, .. } = error else { panic!("{error}") };
        assert!(told.starts_with(folder.path().to_str().unwrap()), "{told}");
        assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(store.list("").await.unwrap(), [path("a")]);
        assert!(store.get(&path("a/b")).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_full_disk_comes_through() {
        let full = Path::new("/dev/full");
        let Ok(mut file) = OpenOptions::new().write(true).open(full) else { return };
        let error = failed("write", full)(file.write_all(b"1").unwrap_err());
        assert!(error.to_string().starts_with("write /dev/full"), "{error}");
        let source = std::error::Error::source(&error).unwrap().downcast_ref::<io::Error>();
        assert_eq!(source.unwrap().kind(), io::ErrorKind::StorageFull);
    }
}
