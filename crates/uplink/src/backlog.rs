//! What is waiting to be sent, as the drain sees it. Does not know where it is kept.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Records in the order they came in, kept until they are released. Its calls may wait for a disk:
/// the drain makes them on threads that may block.
pub trait Backlog: Send + Sync + Debug {
    /// The oldest records: at most so many, of at most so many bytes together, but always one if
    /// there is one.
    fn peek(&self, entries_max: usize, bytes_max: usize) -> Result<Vec<Waiting>, BacklogError>;

    /// Forgets the records up to this sequence number. Records that are gone already do not matter.
    fn release(&self, through: u64) -> Result<(), BacklogError>;

    /// Whether its calls, and those of [`Refusals`], may wait for a disk. Where they do not, they are
    /// made in their place.
    fn may_wait(&self) -> bool {
        true
    }
}

/// A record that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its place; grows from record to record, with gaps where some were dropped.
    pub sequence: u64,
    /// It tells an anomaly: it is sent at once when the cloud is there.
    pub is_urgent: bool,
    /// The entity, if there is one.
    pub key: Option<String>,
    /// The event.
    pub bytes: Vec<u8>,
}

/// Why the backlog cannot be used.
pub type BacklogError = Box<dyn Error + Send + Sync>;

/// Where records go that the cloud will never take.
pub trait Refusals: Send + Sync + Debug {
    /// Keeps the record for people. It is released when this returns, so it must be safe by then;
    /// on an error it stays and is tried again. May wait for a disk.
    fn keep(&self, record: &Waiting, reason: &str) -> Result<(), BacklogError>;
}

/// Tells the drain of new records; clones ring the same. Whoever adds a record to the backlog rings
/// once for it, after it is there.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<Rings>);

#[derive(Debug, Default)]
struct Rings {
    count: AtomicU64,
    is_urgent: AtomicBool,
    notify: Notify,
}

impl Bell {
    /// One more record waits.
    pub fn ring(&self, is_urgent: bool) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        if is_urgent {
            self.0.is_urgent.store(true, Ordering::Release);
        }
        self.0.notify.notify_one();
    }

    /// How often it rang.
    pub(crate) fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Whether it rang for something urgent since this was asked last.
    pub(crate) fn take_urgent(&self) -> bool {
        self.0.is_urgent.swap(false, Ordering::Acquire)
    }

    /// Returns when it rang since this was waited for last.
    pub(crate) async fn rang(&self) {
        self.0.notify.notified().await;
    }
}
