//! A disk in memory that fills up, goes read-only, fails on cue and loses power. Deterministic:
//! the same seed and calls give the same bytes. Does not model time, permissions or empty
//! directories.

mod content;
mod random;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::content::Content;
use self::random::below;
use self::state::{State, Trouble};
use crate::disk::{Disk, DiskFile, DiskLock};

/// A disk in memory for tests. Clones are handles to the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

impl SimulatedDisk {
    /// An empty disk without a limit; `seed` decides what a crash or a failed append leaves.
    pub fn new(seed: u64) -> Self {
        let state = State {
            names: BTreeMap::new(),
            contents: BTreeMap::new(),
            next_id: 0,
            capacity_bytes: u64::MAX,
            read_only: false,
            operations: 0,
            fail_at: None,
            cut_at: None,
            locked: BTreeSet::new(),
            crashes: 0,
            random: seed,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Limits the sum of all files' lengths, in bytes. An append beyond it writes what fits and
    /// fails with `StorageFull`. A limit below what is stored removes nothing.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock_state().capacity_bytes = bytes;
    }

    /// Makes every operation but reading and listing fail with `ReadOnlyFilesystem`, or ends that.
    pub fn set_read_only(&self, read_only: bool) {
        self.lock_state().read_only = read_only;
    }

    /// Lets `operations` more operations pass and fails the one after, once. Every call of
    /// [`Disk`] and [`DiskFile`] but `len` and `lock` is one operation. A failed append leaves a
    /// random prefix of its bytes. A failed sync may lose what it was for, though all of it can be
    /// read until the power goes and later syncs succeed. Any other failed operation leaves nothing
    /// changed.
    pub fn fail_after(&self, operations: u64) {
        let mut state = self.lock_state();
        state.fail_at = Some(state.operations + operations);
    }

    /// Lets `operations` more operations pass and cuts the power in the middle of the one after:
    /// by chance that one takes effect, but it fails, as all do until [`crash`](Self::crash) turns
    /// the power on again.
    pub fn cut_power_after(&self, operations: u64) {
        let mut state = self.lock_state();
        state.cut_at = Some(state.operations + operations);
    }

    /// Takes back what [`fail_after`](Self::fail_after), [`cut_power_after`](Self::cut_power_after)
    /// and the limits said that has not happened yet.
    pub fn mend(&self) {
        let mut state = self.lock_state();
        (state.capacity_bytes, state.read_only, state.fail_at) = (u64::MAX, false, None);
        if state.cut_at.is_some_and(|at| at >= state.operations) {
            state.cut_at = None;
        }
    }

    /// Whether the power was cut and is not on again.
    pub fn is_dead(&self) -> bool {
        let state = self.lock_state();
        state.cut_at.is_some_and(|at| state.operations > at)
    }

    /// Cuts the power and turns it on again. Of bytes appended since the last sync a random
    /// prefix survives, a truncation since then may be undone, and handles opened before fail.
    /// Files created, replaced, renamed or removed stay so; locks are free.
    pub fn crash(&self) {
        let mut state = self.lock_state();
        let State { contents, random, .. } = &mut *state;
        for content in contents.values_mut() {
            content.lose_power(random);
        }
        state.crashes += 1;
        (state.fail_at, state.cut_at) = (None, None);
        state.locked.clear();
    }

    /// The sum of all files' lengths, in bytes.
    pub fn used_bytes(&self) -> u64 {
        self.lock_state().used_bytes()
    }

    /// How many operations were asked for so far, failed ones included: the range for
    /// [`fail_after`](Self::fail_after) when a test fails each in turn.
    pub fn operations(&self) -> u64 {
        self.lock_state().operations
    }

    /// The sum of the lengths of all files below `dir`, through all levels, in bytes.
    pub fn used_bytes_below(&self, dir: &Path) -> u64 {
        let state = self.lock_state();
        let below = state.names.iter().filter(|(path, _)| path.starts_with(dir));
        below.map(|(_, id)| state.contents[id].bytes.len() as u64).sum()
    }

    /// The files below `dir`, through all levels, as full paths in order. Not an operation: it looks
    /// at the disk from outside.
    pub fn files_below(&self, dir: &Path) -> Vec<PathBuf> {
        let state = self.lock_state();
        state.names.keys().filter(|path| path.starts_with(dir)).cloned().collect()
    }

    /// What a file holds, seen from outside: no operation, and not kept away by faults.
    pub fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock_state();
        let id = state.names.get(path)?;
        Some(state.contents[id].bytes.clone())
    }

    /// A number that no other content of any file has or had: it changes when a file is replaced,
    /// also by the same bytes.
    pub fn version(&self, path: &Path) -> Option<u64> {
        self.lock_state().names.get(path).copied()
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_read(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock_state();
        state.count().map_err(Trouble::error)?;
        Ok(state)
    }

    /// A change of the disk, which the power may be cut in the middle of.
    fn write<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.lock_state();
        if let Err(trouble) = state.count() {
            if matches!(trouble, Trouble::Cut) && below(&mut state.random, 1) == 0 {
                // Nobody is told what became of it.
                drop(change(&mut state));
            }
            return Err(trouble.error());
        }
        state.writable()?;
        change(&mut state)
    }
}

impl Disk for SimulatedDisk {
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.write(|state| {
            let id = match state.names.get(path) {
                Some(id) => *id,
                None => state.put(path, &[]),
            };
            let file = SimulatedFile { disk: self.clone(), id, crashes: state.crashes };
            Ok(Box::new(file) as Box<dyn DiskFile>)
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.begin_read()?;
        let id = state.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(state.contents[id].bytes.clone())
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write(|state| {
            state.fits(bytes.len())?;
            state.put(path, bytes);
            Ok(())
        })
    }

    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.write(|state| {
            if state.names.contains_key(path) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.fits(bytes.len())?;
            state.put(path, bytes);
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.begin_read()?;
        Ok(state.names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.write(|state| {
            state.forget(path);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.write(|state| {
            let id = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
            state.forget(to);
            state.names.insert(to.to_owned(), id);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.lock_state();
        if !state.locked.insert(path.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let crashes = state.crashes;
        drop(state);
        Ok(Box::new(SimulatedLock { disk: self.clone(), path: path.to_owned(), crashes }))
    }

    fn may_wait(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct SimulatedLock {
    disk: SimulatedDisk,
    path: PathBuf,
    crashes: u64,
}

impl DiskLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut state = self.disk.lock_state();
        // After a crash somebody else may have it by now.
        if state.crashes == self.crashes {
            state.locked.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    id: u64,
    crashes: u64,
}

impl SimulatedFile {
    fn content<'a>(&self, state: &'a mut State) -> io::Result<&'a mut Content> {
        if state.crashes != self.crashes {
            return Err(io::Error::other("this handle was opened before the simulated crash"));
        }
        state.contents.get_mut(&self.id).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl DiskFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock_state();
        let counted = state.count();
        if matches!(counted, Err(Trouble::Off)) {
            return counted.map_err(Trouble::error);
        }
        state.writable()?;
        let room = usize::try_from(state.room()).unwrap_or(usize::MAX);
        let mut written = bytes.len().min(room);
        if counted.is_err() {
            written = below(&mut state.random, written);
        }
        self.content(&mut state)?.bytes.extend_from_slice(&bytes[..written]);
        counted.map_err(Trouble::error)?;
        if written < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let synced = self.disk.write(|state| {
            self.content(state)?.sync();
            Ok(())
        });
        // One that a read-only disk refuses has not been tried.
        if synced.as_ref().is_err_and(|error| error.kind() == ErrorKind::Other) {
            let mut state = self.disk.lock_state();
            if !state.read_only
                && below(&mut state.random, 1) == 0
                && let Ok(content) = self.content(&mut state)
            {
                content.lose_unsynced();
            }
        }
        synced
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.disk.write(|state| {
            let content = self.content(state)?;
            match usize::try_from(len) {
                Ok(len) if len <= content.bytes.len() => content.truncate(len),
                _ => return Err(ErrorKind::InvalidInput.into()),
            }
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.lock_state();
        Ok(self.content(&mut state)?.bytes.len() as u64)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.begin_read()?;
        let bytes = &self.content(&mut state)?.bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/data/log";

    fn written(disk: &SimulatedDisk, synced: &[u8], unsynced: &[u8]) -> Box<dyn DiskFile> {
        let mut file = disk.open_append(Path::new(PATH)).expect("opens");
        file.append(synced).expect("appends");
        file.sync().expect("syncs");
        file.append(unsynced).expect("appends");
        file
    }

    #[test]
    fn a_crash_keeps_synced_bytes_and_a_prefix_of_the_others() {
        let mut lengths = BTreeSet::new();
        for seed in 0..100 {
            let disk = SimulatedDisk::new(seed);
            let mut file = written(&disk, b"synced", b"tail");
            disk.crash();
            assert!(file.append(b"x").is_err(), "seed {seed}: the handle outlived the crash");
            let bytes = disk.read(Path::new(PATH)).unwrap();
            assert!(bytes.starts_with(b"synced") && b"syncedtail".starts_with(&bytes), "{seed}");
            lengths.insert(bytes.len());
        }
        assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [6, 7, 8, 9, 10]);
    }

    #[test]
    fn a_crash_can_undo_a_truncation_that_was_not_synced() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let disk = SimulatedDisk::new(seed);
            let mut file = written(&disk, b"synced", b"tail");
            file.truncate(4).unwrap();
            file.truncate(2).unwrap();
            disk.crash();
            seen.insert(disk.read(Path::new(PATH)).unwrap());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [b"sy".to_vec(), b"synced".to_vec()]);
    }

    #[test]
    fn a_full_disk_tears_the_append_and_refuses_whole_files() {
        let disk = SimulatedDisk::new(0);
        let mut file = written(&disk, b"12345678", b"");
        disk.set_capacity(10);
        assert_eq!(file.append(b"abcd").unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(disk.read(Path::new(PATH)).unwrap(), b"12345678ab");
        let replaced = disk.replace(Path::new(PATH), b"x");
        assert_eq!(replaced.unwrap_err().kind(), ErrorKind::StorageFull);
        file.truncate(8).unwrap();
        file.append(b"ab").unwrap();
        assert_eq!(disk.used_bytes(), 10);
    }

    #[test]
    fn a_read_only_disk_can_be_read() {
        let disk = SimulatedDisk::new(0);
        let mut file = written(&disk, b"data", b"");
        disk.set_read_only(true);
        for refused in [file.append(b"x"), file.sync(), disk.remove(Path::new(PATH))] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
        }
        assert_eq!(disk.read(Path::new(PATH)).unwrap(), b"data");
    }

    #[test]
    fn the_chosen_operation_fails_once() {
        let disk = SimulatedDisk::new(3);
        let mut file = written(&disk, b"data", b"");
        disk.fail_after(1);
        file.sync().unwrap();
        assert!(file.append(b"more").is_err());
        assert!(b"datamore".starts_with(&disk.read(Path::new(PATH)).unwrap()));
        file.append(b"again").unwrap();
    }

    #[test]
    fn what_a_failed_sync_was_for_may_be_lost_though_a_later_one_succeeds() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let disk = SimulatedDisk::new(seed);
            let mut file = written(&disk, b"one ", b"two ");
            disk.fail_after(0);
            file.sync().unwrap_err();
            file.append(b"three").unwrap();
            file.sync().unwrap();
            assert_eq!(disk.read(Path::new(PATH)).unwrap(), b"one two three", "seed {seed}");
            disk.crash();
            seen.insert(disk.read(Path::new(PATH)).unwrap());
        }
        let kept = [b"one \0\0\0\0three".to_vec(), b"one two three".to_vec()];
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), kept);
    }

    #[test]
    fn a_power_cut_lets_nothing_pass_until_the_crash() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let disk = SimulatedDisk::new(seed);
            let lock = disk.lock(Path::new("/data/lock")).unwrap();
            let busy = disk.lock(Path::new("/data/lock")).unwrap_err();
            assert_eq!(busy.kind(), ErrorKind::WouldBlock);
            disk.cut_power_after(1);
            disk.replace(Path::new(PATH), b"one").unwrap();
            assert!(!disk.is_dead());
            assert!(disk.replace(Path::new(PATH), b"two").is_err());
            assert!(disk.is_dead() && disk.read(Path::new(PATH)).is_err(), "seed {seed}");
            disk.crash();
            seen.insert(disk.read(Path::new(PATH)).unwrap());
            let next = disk.lock(Path::new("/data/lock")).unwrap();
            drop(lock);
            assert!(disk.lock(Path::new("/data/lock")).is_err(), "the dead let go of nothing");
            drop(next);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [b"one".to_vec(), b"two".to_vec()]);
    }
}
