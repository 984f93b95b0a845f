//! The storage contract on a directory, for one machine or a shared POSIX file system.
//!
//! A write goes to a temporary file beside its goal, is synced, and then becomes the goal in one
//! step: by a hard link where the name must be free, by a rename under the store's lock where the
//! old content was compared. A crash leaves at most a temporary file, which nobody lists.
//! Symbolic links inside the directory are not listed.
//!
//! An object without metadata is a plain file, byte for byte, so that modules and channels can be
//! copied in and out by hand. Metadata lies in front of the bytes in the same file (frame.rs), so
//! both change in one step. The tag is the digest of the file and its time of modification, which
//! a replacement always moves on, if need be past the clock.
//!
//! Knows nothing of what the files mean.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use twinge_trust::Digest;

use crate::frame::{self, HEADER_BYTES_MAX};
use crate::store::{check_prefix, check_size};
use crate::{Etag, Metadata, OBJECT_BYTES_MAX, Object, Store, StoreError, StorePath};

/// Names with a leading dot cannot be paths of the store, so they are ours.
const LOCK_NAME: &str = ".lock";
const TEMPORARY_PREFIX: &str = ".temporary";
/// How often a taken name is skipped: a container's process id is 1 again after every crash.
const TEMPORARY_NAMES_MAX: u32 = 10_000;
/// 30 s in all: long enough for a queue of writers that each sync a disk.
const LOCK_TRIES_MAX: u32 = 15_000;
const LOCK_PAUSE: Duration = Duration::from_millis(2);
/// How far past the old time of modification the new one is set where the clock has not got there:
/// as little as the file system can tell apart. The last is for FAT.
const MODIFIED_STEPS: [Duration; 4] = [
    Duration::from_nanos(1),
    Duration::from_micros(1),
    Duration::from_millis(1),
    Duration::from_secs(2),
];

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
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        let path = path.clone();
        self.blocking(move |root| read(root, &path, bytes_max)).await
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        check_size("create", path, bytes.len() as u64, OBJECT_BYTES_MAX)?;
        let (path, file) = (path.clone(), frame::encode(bytes, metadata).into_owned());
        self.blocking(move |root| create(root, &path, &file)).await
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        check_size("replace", path, bytes.len() as u64, OBJECT_BYTES_MAX)?;
        let (path, file) = (path.clone(), frame::encode(bytes, metadata).into_owned());
        let expected = expected.clone();
        self.blocking(move |root| replace(root, &path, &file, &expected)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        let prefix = check_prefix(prefix)?.to_owned();
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

fn read(root: &Path, path: &StorePath, bytes_max: u64) -> Result<Option<Object>, StoreError> {
    let Some((file, modified)) = read_file(root, path, bytes_max)? else { return Ok(None) };
    let etag = etag(&file, modified);
    let Some((bytes, metadata)) = frame::decode(file) else {
        return Err(StoreError::Malformed { path: root.join(path.as_str()).display().to_string() });
    };
    check_size("read", path, bytes.len() as u64, bytes_max)?;
    let modified_ms = nanoseconds(modified).div_euclid(1_000_000) as i64;
    Ok(Some(Object { bytes, metadata, etag, modified_ms }))
}

/// The whole file of an object of up to `bytes_max` bytes, and when it was modified.
fn read_file(
    root: &Path,
    path: &StorePath,
    bytes_max: u64,
) -> Result<Option<(Vec<u8>, SystemTime)>, StoreError> {
    let file_bytes_max = bytes_max.saturating_add(HEADER_BYTES_MAX);
    let file_path = root.join(path.as_str());
    let file = match File::open(&file_path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed("read", &file_path)(error)),
    };
    let facts = file.metadata().map_err(failed("read", &file_path))?;
    if facts.is_dir() {
        return Ok(None);
    }
    let bytes = facts.len();
    let too_large =
        |bytes| StoreError::TooLarge { action: "read", path: path.to_string(), bytes, bytes_max };
    if bytes > file_bytes_max {
        return Err(too_large(bytes));
    }
    let modified = facts.modified().map_err(failed("read", &file_path))?;
    let mut bytes = Vec::with_capacity(bytes as usize);
    // It may grow meanwhile, and what is no plain file does not tell its size.
    let mut bounded = file.take(file_bytes_max.saturating_add(1));
    bounded.read_to_end(&mut bytes).map_err(failed("read", &file_path))?;
    match bytes.len() as u64 {
        read if read > file_bytes_max => Err(too_large(read)),
        _ => Ok(Some((bytes, modified))),
    }
}

fn create(root: &Path, path: &StorePath, file: &[u8]) -> Result<Etag, StoreError> {
    let file_path = root.join(path.as_str());
    let folder = create_folders(root, path)?;
    let (temporary, modified) = write_temporary(&folder, file, None)?;
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
    Ok(etag(file, modified))
}

fn replace(
    root: &Path,
    path: &StorePath,
    file: &[u8],
    expected: &Etag,
) -> Result<Etag, StoreError> {
    let file_path = root.join(path.as_str());
    let _lock = lock(root)?;
    let Some((found, found_modified)) = read_file(root, path, OBJECT_BYTES_MAX)? else {
        return Err(StoreError::NotFound { path: path.to_string() });
    };
    if etag(&found, found_modified) != *expected {
        return Err(StoreError::Changed { path: path.to_string() });
    }
    let folder = folder_of(&file_path);
    let (temporary, modified) = write_temporary(folder, file, Some(found_modified))?;
    if let Err(error) = fs::rename(&temporary, &file_path) {
        remove_temporary(&temporary);
        return Err(failed("replace", &file_path)(error));
    }
    sync_folder(folder)?;
    Ok(etag(file, modified))
}

fn etag(file: &[u8], modified: SystemTime) -> Etag {
    Etag::new(format!("{:x}-{}", nanoseconds(modified), Digest::of(file)))
}

/// Since 1970; a file may be older.
fn nanoseconds(time: SystemTime) -> i128 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos().cast_signed(),
        Err(before) => -before.duration().as_nanos().cast_signed(),
    }
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

/// Writes and syncs a file of a name that nobody uses, in the folder of its goal, modified later
/// than `after`.
fn write_temporary(
    folder: &Path,
    bytes: &[u8],
    after: Option<SystemTime>,
) -> Result<(PathBuf, SystemTime), StoreError> {
    let (mut file, path) = open_temporary(folder)?;
    let written = file.write_all(bytes).and_then(|()| modify_after(&file, after));
    match written.and_then(|modified| file.sync_all().map(|()| modified)) {
        Ok(modified) => Ok((path, modified)),
        Err(error) => {
            remove_temporary(&path);
            Err(failed("write", &path)(error))
        }
    }
}

/// When a file was modified, after it was made to be later than `after`. The clock alone does not
/// do: it ticks every few milliseconds, and it can be set back.
fn modify_after(file: &File, after: Option<SystemTime>) -> io::Result<SystemTime> {
    let modified = file.metadata()?.modified()?;
    let Some(after) = after.filter(|after| modified <= *after) else { return Ok(modified) };
    for step in MODIFIED_STEPS {
        file.set_modified(after + step)?;
        let modified = file.metadata()?.modified()?;
        if modified > after {
            return Ok(modified);
        }
    }
    Err(io::Error::other("the file system does not keep times of modification"))
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
    use crate::contract_suite::{Suite, check_store_contract};

    fn path(text: &str) -> StorePath {
        StorePath::new(text).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_directory_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path().join("registry")).unwrap();
        check_store_contract(Arc::new(store), &Suite::default()).await;
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
    async fn what_a_crash_leaves_is_not_seen() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path()).unwrap();
        let owner = Metadata::new([("ownerid", "a")]).unwrap();
        let etag = store.create_with(&path("a/b"), b"whole", &owner).await.unwrap();
        // Dead before the link or the rename: any part of the new file lies beside the old one.
        let file = frame::encode(b"the next content", &owner).into_owned();
        for end in 0..=file.len() {
            let name = format!("{TEMPORARY_PREFIX}-{}-{end}", std::process::id());
            fs::write(folder.path().join("a").join(name), &file[..end]).unwrap();
        }
        // Dead after the link: the whole file has two names.
        fs::hard_link(folder.path().join("a/b"), folder.path().join("a/.temporary-1-1")).unwrap();
        let object = store.get(&path("a/b")).await.unwrap().unwrap();
        assert_eq!((&object.bytes[..], &object.metadata), (&b"whole"[..], &owner));
        assert_eq!(store.list("").await.unwrap(), [path("a/b")]);
        let etag = store.replace(&path("a/b"), b"next", &etag).await.unwrap();
        assert_eq!(store.get(&path("a/b")).await.unwrap().unwrap().etag, etag);
        store.create(&path("a/c"), b"new").await.unwrap();
        assert_eq!(store.list("a").await.unwrap(), [path("a/b"), path("a/c")]);
    }

    #[tokio::test]
    async fn files_without_metadata_are_plain() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path()).unwrap();
        let file = |name: &str| fs::read(folder.path().join(name)).unwrap();
        store.create(&path("module"), b"\0asm").await.unwrap();
        assert_eq!(file("module"), b"\0asm");
        let owner = Metadata::new([("ownerid", "a")]).unwrap();
        let etag = store.create_with(&path("owned"), b"x", &owner).await.unwrap();
        assert_eq!(file("owned"), b"%twinge object 1\nownerid: a\n\nx");
        store.replace(&path("owned"), b"x", &etag).await.unwrap();
        assert_eq!(file("owned"), b"x");
        fs::write(folder.path().join("by-hand"), b"{}").unwrap();
        assert_eq!(store.get(&path("by-hand")).await.unwrap().unwrap().bytes, b"{}");
        fs::write(folder.path().join("broken"), b"%twinge object 1\nx").unwrap();
        let error = store.get(&path("broken")).await.unwrap_err();
        assert!(matches!(error, StoreError::Malformed { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_file_is_read_as_far_as_it_may_be_large() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path()).unwrap();
        let sparse = File::create(folder.path().join("sparse")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let error = store.get_within(&path("sparse"), 1024).await.unwrap_err();
        for part in ["sparse", "1099511627776", "1024"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // A file that does not tell its size, and has no end.
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/dev/zero", folder.path().join("endless")).unwrap();
            let error = store.get_within(&path("endless"), 1024).await.unwrap_err();
            assert!(matches!(error, StoreError::TooLarge { bytes_max: 1024, .. }), "{error}");
        }
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_does_not_bring_an_old_tag_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Directory::open(folder.path()).unwrap();
        store.create(&path("a"), b"1").await.unwrap();
        let ahead = SystemTime::now() + Duration::from_hours(1);
        let file = OpenOptions::new().write(true).open(folder.path().join("a")).unwrap();
        file.set_modified(ahead).unwrap();
        let before = store.get(&path("a")).await.unwrap().unwrap();
        let etag = store.replace(&path("a"), b"1", &before.etag).await.unwrap();
        assert_ne!(etag, before.etag);
        let after = store.get(&path("a")).await.unwrap().unwrap();
        assert_eq!(after.etag, etag);
        assert!(after.modified_ms >= before.modified_ms);
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
