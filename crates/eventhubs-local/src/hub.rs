//! The hubs with their partitions, and who receives from them. Does not know how clients speak.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use twinge_platform::{Clock, Disk};

use crate::directory::{self, KeptHub};
use crate::error::BrokerError;
use crate::log::{Log, OpenError, Retention};
use crate::partition_key::partition_of;

/// How many receivers without an epoch a consumer group may have on one partition.
pub(crate) const READERS_MAX: usize = 5;

/// All hubs of a broker by their names in lower case.
pub(crate) struct Hubs(BTreeMap<String, Hub>);

pub(crate) struct Hub {
    pub(crate) name: String,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) created_ms: i64,
    pub(crate) partitions: Vec<Arc<Partition>>,
    next: AtomicU16,
}

pub(crate) struct Partition {
    pub(crate) log: Log,
    readers: Mutex<Readers>,
}

impl Hubs {
    pub(crate) fn open(kept: Vec<KeptHub>, storage: &Storage) -> Result<Self, BrokerError> {
        let mut hubs = BTreeMap::new();
        for KeptHub { name, partitions, created_ms } in kept {
            let partitions = (0..partitions)
                .map(|partition| {
                    let log = storage.open_log(&name, partition);
                    let log = log.map_err(|error| partition_error(&name, partition, error))?;
                    Ok(Arc::new(Partition { log, readers: Mutex::default() }))
                })
                .collect::<Result<_, _>>()?;
            let key = name.to_lowercase();
            hubs.insert(key, Hub { name, created_ms, partitions, next: AtomicU16::new(0) });
        }
        Ok(Self(hubs))
    }

    /// A hub by its name in lower case.
    pub(crate) fn hub(&self, name: &str) -> Option<&Hub> {
        self.0.get(name)
    }
}

/// What the logs of all partitions have in common.
pub(crate) struct Storage {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) directory: PathBuf,
    pub(crate) retention: Retention,
}

impl Storage {
    fn open_log(&self, hub: &str, partition: u16) -> Result<Log, OpenError> {
        let path = directory::partition(&self.directory, hub, partition);
        let (disk, clock) = (Arc::clone(&self.disk), Arc::clone(&self.clock));
        Log::open(&format!("{hub}/{partition}"), disk, clock, &path, self.retention)
    }
}

fn partition_error(hub: &str, partition: u16, error: OpenError) -> BrokerError {
    let hub = hub.to_owned();
    match error {
        OpenError::Journal(source) => BrokerError::Partition { hub, partition, source },
        OpenError::Thread(source) => {
            BrokerError::System { action: "start a thread for a partition", source }
        }
        OpenError::Version => BrokerError::Version { hub, partition },
    }
}

impl Hub {
    /// A partition by its number.
    pub(crate) fn partition(&self, number: &str) -> Option<&Arc<Partition>> {
        // Only the number as it is announced: not `+1` and not `01`.
        let number = number.parse::<u16>().ok().filter(|parsed| parsed.to_string() == number)?;
        self.partitions.get(usize::from(number))
    }

    /// The partition for events with this key; without one they take turns.
    pub(crate) fn partition_for(&self, key: Option<&str>) -> &Arc<Partition> {
        let count = self.partitions.len() as u16;
        let number = match key {
            Some(key) => partition_of(key, count),
            None => self.next.fetch_add(1, Ordering::Relaxed) % count,
        };
        &self.partitions[usize::from(number)]
    }
}

/// The receivers of a partition by their consumer group's name in lower case.
#[derive(Default)]
struct Readers(BTreeMap<String, Vec<Reader>>);

struct Reader {
    id: u64,
    epoch: Option<i64>,
    displace: Box<dyn FnOnce() + Send>,
}

/// Why a receiver may not attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error("a receiver with epoch {epoch} exists: use a higher one, or the same")]
    Epoch { epoch: i64 },
    #[error(
        "{READERS_MAX} receivers without an epoch are attached to this partition for this consumer \
         group: no more are allowed"
    )]
    Full,
}

/// A receiver's place; dropping it gives it back.
pub(crate) struct Claim {
    partition: Arc<Partition>,
    group: String,
    id: u64,
    bell: Arc<Notify>,
}

impl Claim {
    /// Takes a place among the receivers of a group. One with an epoch displaces all others whose
    /// epoch is not higher; `displace` is called when that happens to this one.
    pub(crate) fn take(
        partition: &Arc<Partition>,
        group: &str,
        epoch: Option<i64>,
        bell: &Arc<Notify>,
        displace: impl FnOnce() + Send + 'static,
    ) -> Result<Self, ClaimError> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let reader = Reader { id, epoch, displace: Box::new(displace) };
        let mut groups = partition.readers();
        let readers = groups.0.entry(group.to_owned()).or_default();
        let displaced = admit(readers, reader)?;
        drop(groups);
        for reader in displaced {
            (reader.displace)();
        }
        partition.log.listen(bell);
        let (partition, bell) = (Arc::clone(partition), Arc::clone(bell));
        Ok(Self { partition, group: group.to_owned(), id, bell })
    }

    pub(crate) fn log(&self) -> &Log {
        &self.partition.log
    }

    pub(crate) fn partition(&self) -> &Arc<Partition> {
        &self.partition
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.partition.log.unlisten(&self.bell);
        let mut groups = self.partition.readers();
        if let Some(readers) = groups.0.get_mut(&self.group) {
            readers.retain(|reader| reader.id != self.id);
            if readers.is_empty() {
                groups.0.remove(&self.group);
            }
        }
    }
}

/// Lets a receiver in and returns those that it displaces.
fn admit(readers: &mut Vec<Reader>, reader: Reader) -> Result<Vec<Reader>, ClaimError> {
    let highest = readers.iter().filter_map(|reader| reader.epoch).max();
    let displaced = match (reader.epoch, highest) {
        (own, Some(epoch)) if own.is_none_or(|own| own < epoch) => {
            return Err(ClaimError::Epoch { epoch });
        }
        (None, _) if readers.len() >= READERS_MAX => return Err(ClaimError::Full),
        (None, _) => Vec::new(),
        (Some(_), _) => std::mem::take(readers),
    };
    readers.push(reader);
    Ok(displaced)
}

impl Partition {
    fn readers(&self) -> MutexGuard<'_, Readers> {
        // The list is consistent between calls, whatever happened to the thread that held it.
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(id: u64, epoch: Option<i64>) -> Reader {
        Reader { id, epoch, displace: Box::new(|| {}) }
    }

    fn admit_ids(
        readers: &mut Vec<Reader>,
        id: u64,
        epoch: Option<i64>,
    ) -> Result<Vec<u64>, ClaimError> {
        let displaced = admit(readers, reader(id, epoch))?;
        Ok(displaced.into_iter().map(|reader| reader.id).collect())
    }

    #[test]
    fn a_higher_or_equal_epoch_displaces() {
        let mut readers = Vec::new();
        assert_eq!(admit_ids(&mut readers, 1, None), Ok(vec![]));
        assert_eq!(admit_ids(&mut readers, 2, None), Ok(vec![]));
        assert_eq!(admit_ids(&mut readers, 3, Some(5)), Ok(vec![1, 2]));
        assert_eq!(admit_ids(&mut readers, 4, Some(5)), Ok(vec![3]));
        assert_eq!(admit_ids(&mut readers, 5, Some(4)), Err(ClaimError::Epoch { epoch: 5 }));
        assert_eq!(admit_ids(&mut readers, 6, None), Err(ClaimError::Epoch { epoch: 5 }));
        assert_eq!(admit_ids(&mut readers, 7, Some(6)), Ok(vec![4]));
    }

    #[test]
    fn receivers_without_an_epoch_are_limited() {
        let mut readers = Vec::new();
        for id in 0..READERS_MAX as u64 {
            assert_eq!(admit_ids(&mut readers, id, None), Ok(vec![]));
        }
        assert_eq!(admit_ids(&mut readers, 9, None), Err(ClaimError::Full));
        assert_eq!(admit_ids(&mut readers, 9, Some(0)).map(|displaced| displaced.len()), Ok(5));
    }
}
