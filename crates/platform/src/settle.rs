//! Makes durable what a file holds that was not written by this run. Does not know what the bytes mean.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile};

/// Memory for copying, in bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Makes the first `length` bytes of a file that was just opened durable; there are no others in it.
///
/// A program that was killed may have left bytes that can be read and are not on the disk. If the
/// sync for them fails, they may be lost though a later one succeeds, and nobody knows where they
/// begin: the file is written anew. That may fail as well, or the program may die before. So a file
/// beside it tells from before the sync on that its bytes are in doubt, and whoever opens it next
/// does not take them for durable.
///
/// # Errors
/// Whatever the file system says: the bytes are as they were, and not to be relied on.
pub fn settle(
    disk: &dyn Disk,
    path: &Path,
    mut file: Box<dyn DiskFile>,
    length: u64,
) -> io::Result<Box<dyn DiskFile>> {
    let doubt = beside(path, ".unsynced");
    let is_in_doubt = match disk.read(&doubt) {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if is_in_doubt {
        file = write_anew(disk, path, file, length)?;
    } else {
        match disk.create_new(&doubt, &[]) {
            Ok(()) => {}
            // Such a disk loses nothing by a sync.
            Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => {
                file.sync()?;
                return Ok(file);
            }
            Err(error) => return Err(error),
        }
        match file.sync() {
            Ok(()) => {}
            // Pipes and devices cannot be synced.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            Err(error) => {
                file = write_anew(disk, path, file, length).map_err(|_later| error)?;
            }
        }
    }
    // One that stays costs another copy.
    drop(disk.remove(&doubt));
    Ok(file)
}

/// Puts a durable copy of a file's first bytes in its place, and opens that.
fn write_anew(
    disk: &dyn Disk,
    path: &Path,
    mut file: Box<dyn DiskFile>,
    length: u64,
) -> io::Result<Box<dyn DiskFile>> {
    let anew = beside(path, ".new");
    disk.remove(&anew)?;
    let copied = disk.open_append(&anew).and_then(|mut copy| {
        let (mut copied, mut chunk) = (0, vec![0; CHUNK_BYTES]);
        while copied < length {
            let wanted = (length - copied).min(CHUNK_BYTES as u64) as usize;
            match file.read_at(copied, &mut chunk[..wanted])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => {
                    copy.append(&chunk[..read])?;
                    copied += read as u64;
                }
            }
        }
        copy.sync()
    });
    if let Err(error) = copied.and_then(|()| disk.rename(&anew, path)) {
        drop(disk.remove(&anew));
        return Err(error);
    }
    disk.open_append(path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::SimulatedDisk;

    const PATH: &str = "/data/log";

    /// Opens the file as a program does that starts.
    fn open(disk: &SimulatedDisk) -> io::Result<Box<dyn DiskFile>> {
        let path = Path::new(PATH);
        let file = disk.open_append(path)?;
        let length = file.len()?;
        settle(disk, path, file, length)
    }

    /// Two bytes are not on the disk. An operation fails while the file is opened, on a disk that may
    /// be full; then it is opened again, grows, and the power goes.
    #[test]
    fn what_could_be_read_is_durable_once_a_file_is_open_whatever_failed_before() {
        let mut failed = 0;
        for seed in 0..200 {
            let (disk, path) = (SimulatedDisk::new(seed), Path::new(PATH));
            let mut file = disk.open_append(path).unwrap();
            file.append(b"synced").unwrap();
            file.sync().unwrap();
            file.append(b"..").unwrap();
            drop(file);
            let is_full = seed % 2 == 0;
            if is_full {
                disk.set_capacity(disk.used_bytes() + 3);
            }
            disk.fail_after(seed / 2 % 8);
            failed += u64::from(open(&disk).is_err());
            if is_full {
                drop(open(&disk));
                disk.set_capacity(u64::MAX);
            }
            let mut file = open(&disk).or_else(|_| open(&disk)).unwrap();
            file.append(b"more").unwrap();
            file.sync().unwrap();
            disk.crash();
            assert_eq!(disk.read(path).unwrap(), b"synced..more", "seed {seed}");
            open(&disk).unwrap();
            assert_eq!(disk.files_below(Path::new("/")), [path], "seed {seed}");
        }
        assert!(failed > 20, "{failed} failures");
    }

    /// The power goes at each operation: what was synced before stays.
    #[test]
    fn a_power_cut_while_a_file_is_written_anew_loses_nothing_that_was_durable() {
        for seed in 0..200 {
            let (disk, path) = (SimulatedDisk::new(seed), Path::new(PATH));
            let mut file = disk.open_append(path).unwrap();
            file.append(b"synced").unwrap();
            file.sync().unwrap();
            disk.create_new(&beside(path, ".unsynced"), &[]).unwrap();
            drop(file);
            disk.cut_power_after(seed % 12);
            drop(open(&disk));
            disk.crash();
            open(&disk).unwrap();
            assert_eq!(disk.read(path).unwrap(), b"synced", "seed {seed}");
            assert_eq!(disk.files_below(Path::new("/")), [path], "seed {seed}");
        }
    }
}
