//! The broker's directory but for the events: its lock, its key and its list of hubs. Does not
//! know what a hub does.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use twinge_platform::Disk;

use crate::error::BrokerError;
use crate::settings::HubSettings;

const LOCK: &str = "lock";
const KEY: &str = "key";
const HUBS: &str = "hubs";
/// The first line of the list of hubs: its version.
const HUBS_HEADER: &str = "eventhubs-local hubs 1";
const KEY_BYTES: usize = 32;

/// Keeps other brokers out of a directory for as long as it lives. The system takes the lock back
/// when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the directory, and makes it first when there is none. The lock is on the machine's own
/// file system, whatever disk the events are on.
pub(crate) fn lock(directory: &Path) -> Result<Lock, BrokerError> {
    let path = directory.join(LOCK);
    let failed = |action| move |source| BrokerError::File { action, path: path.clone(), source };
    std::fs::create_dir_all(directory).map_err(failed.clone()("make the directory of"))?;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false);
    let file = file.open(directory.join(LOCK)).map_err(failed.clone()("open"))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => {
            Err(BrokerError::Locked { directory: directory.to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(failed("lock")(source)),
    }
}

/// The secret key; made at the first start. Only the owner may read its file.
pub(crate) fn key(directory: &Path) -> Result<String, BrokerError> {
    let path = directory.join(KEY);
    match std::fs::read_to_string(&path) {
        Ok(key) if STANDARD.decode(key.trim()).is_ok_and(|key| key.len() >= KEY_BYTES) => {
            Ok(key.trim().to_owned())
        }
        Ok(_) => Err(BrokerError::Content { path }),
        Err(error) if error.kind() == ErrorKind::NotFound => make_key(&path),
        Err(source) => Err(BrokerError::File { action: "read", path, source }),
    }
}

fn make_key(path: &Path) -> Result<String, BrokerError> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(BrokerError::Random)?;
    let key = STANDARD.encode(bytes);
    let unfinished = path.with_extension("unfinished");
    let written = write_private(&unfinished, key.as_bytes())
        .and_then(|()| std::fs::rename(&unfinished, path));
    match written {
        Ok(()) => Ok(key),
        Err(source) => Err(BrokerError::File { action: "write", path: path.to_owned(), source }),
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // One that a crash left could have other permissions.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A hub as the directory remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptHub {
    pub(crate) name: String,
    pub(crate) partitions: u16,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) created_ms: i64,
}

/// All hubs that the directory has and those that are wanted, which it remembers from now on.
pub(crate) fn hubs(
    disk: &dyn Disk,
    directory: &Path,
    wanted: &[HubSettings],
    now_ms: i64,
) -> Result<Vec<KeptHub>, BrokerError> {
    let path = directory.join(HUBS);
    let mut hubs = read_hubs(disk, &path)?;
    let known = hubs.len();
    for HubSettings { name, partitions } in wanted {
        match hubs.iter().find(|hub| hub.name.eq_ignore_ascii_case(name)) {
            Some(hub) if hub.partitions == *partitions => {}
            Some(hub) => {
                return Err(BrokerError::PartitionsChanged {
                    name: name.clone(),
                    wanted: *partitions,
                    kept: hub.partitions,
                    directory: directory.to_owned(),
                });
            }
            None => hubs.push(KeptHub {
                name: name.clone(),
                partitions: *partitions,
                created_ms: now_ms,
            }),
        }
    }
    if hubs.len() > known {
        let written = disk.replace(&path, write_hubs(&hubs).as_bytes());
        written.map_err(|source| BrokerError::File { action: "write", path, source })?;
    }
    Ok(hubs)
}

fn read_hubs(disk: &dyn Disk, path: &Path) -> Result<Vec<KeptHub>, BrokerError> {
    let content = || BrokerError::Content { path: path.to_owned() };
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(BrokerError::File { action: "read", path: path.to_owned(), source });
        }
    };
    let text = String::from_utf8(bytes).or(Err(content()))?;
    let mut lines = text.lines();
    if lines.next() != Some(HUBS_HEADER) {
        return Err(content());
    }
    lines.map(|line| parse_hub(line).ok_or_else(content)).collect()
}

fn parse_hub(line: &str) -> Option<KeptHub> {
    let mut words = line.split(' ');
    let hub = KeptHub {
        name: words.next()?.to_owned(),
        partitions: words.next()?.parse().ok()?,
        created_ms: words.next()?.parse().ok()?,
    };
    let settings = HubSettings { name: hub.name.clone(), partitions: hub.partitions };
    (words.next().is_none() && settings.check().is_ok()).then_some(hub)
}

fn write_hubs(hubs: &[KeptHub]) -> String {
    let mut text = format!("{HUBS_HEADER}\n");
    for KeptHub { name, partitions, created_ms } in hubs {
        writeln!(text, "{name} {partitions} {created_ms}").expect("a String takes everything");
    }
    text
}

/// Where a partition's journal is. A name in lower case is the same on every file system.
pub(crate) fn partition(directory: &Path, hub: &str, partition: u16) -> PathBuf {
    directory.join("events").join(hub.to_lowercase()).join(partition.to_string())
}

#[cfg(test)]
mod tests {
    use twinge_platform::SimulatedDisk;

    use super::*;

    fn wanted(name: &str, partitions: u16) -> HubSettings {
        HubSettings { name: name.to_owned(), partitions }
    }

    #[test]
    fn hubs_are_remembered() {
        let disk = SimulatedDisk::new(1);
        let dir = Path::new("/broker");
        let first = hubs(&disk, dir, &[wanted("events", 4)], 10).unwrap();
        let second = hubs(&disk, dir, &[wanted("More", 2), wanted("EVENTS", 4)], 20).unwrap();
        assert_eq!(second[0], first[0]);
        assert_eq!((second[1].name.as_str(), second[1].created_ms), ("More", 20));
        assert_eq!(hubs(&disk, dir, &[], 30).unwrap(), second);
        let error = hubs(&disk, dir, &[wanted("events", 8)], 40).unwrap_err().to_string();
        assert!(error.contains("ask for 4"), "{error}");
    }

    #[test]
    fn a_damaged_list_is_told() {
        let disk = SimulatedDisk::new(1);
        for text in ["", "eventhubs-local hubs 2\n", "eventhubs-local hubs 1\n../up 4 5\n"] {
            disk.replace(Path::new("/broker/hubs"), text.as_bytes()).unwrap();
            let read = hubs(&disk, Path::new("/broker"), &[], 0);
            assert!(matches!(read, Err(BrokerError::Content { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let first = key(directory.path()).unwrap();
        assert_eq!(key(directory.path()).unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = std::fs::metadata(directory.path().join(KEY)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(directory.path().join(KEY), "short").unwrap();
        assert!(key(directory.path()).is_err());
    }

    #[test]
    fn a_directory_has_one_broker() {
        let directory = tempfile::tempdir().unwrap();
        let held = lock(directory.path()).unwrap();
        assert!(matches!(lock(directory.path()), Err(BrokerError::Locked { .. })));
        drop(held);
        lock(directory.path()).unwrap();
    }
}
