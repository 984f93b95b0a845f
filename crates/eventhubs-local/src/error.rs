//! What can go wrong with a broker, and the way out.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use twinge_journal::JournalError;

use crate::bounds::PARTITIONS_MAX;

/// Why a broker cannot serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The address is not a loopback one.
    #[error(
        "listen on {address}: the broker has no TLS, so it serves this machine alone; use \
         127.0.0.1 or [::1]"
    )]
    Listen {
        /// The address from the settings.
        address: SocketAddr,
    },

    /// The address cannot be bound.
    #[error("listen on {address}: free the port or use port 0 for one that is free")]
    Bind {
        /// The address from the settings.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },

    /// The retention is too small.
    #[error("keep {bytes} bytes a partition: it must be at least {bytes_min}")]
    Retention {
        /// The retention from the settings.
        bytes: u64,
        /// The least that works.
        bytes_min: u64,
    },

    /// The key's name is empty or holds something else than letters and digits.
    #[error("use the key name {name:?}: it must be ASCII letters and digits")]
    KeyName {
        /// The name from the settings.
        name: String,
    },

    /// A hub has a name that cannot be one.
    #[error(
        "serve a hub named {name:?}: a name begins with a letter or digit and has letters, digits, \
         '.', '-' and '_', at most 256 of them"
    )]
    HubName {
        /// The name from the settings.
        name: String,
    },

    /// A hub has no partitions or too many.
    #[error("serve the hub {name} with {partitions} partitions: 1 to {PARTITIONS_MAX} are allowed")]
    Partitions {
        /// The hub.
        name: String,
        /// The number from the settings.
        partitions: u16,
    },

    /// A hub is kept with another number of partitions: keys would move to other partitions.
    #[error(
        "serve the hub {name} with {wanted} partitions: {directory} has it with {kept}; ask for \
         {kept}, use another name, or use another directory"
    )]
    PartitionsChanged {
        /// The hub.
        name: String,
        /// The number from the settings.
        wanted: u16,
        /// The number it was made with.
        kept: u16,
        /// The broker's directory.
        directory: PathBuf,
    },

    /// Another broker has the directory.
    #[error("use {directory}: another broker has it open; stop that one or use another directory")]
    Locked {
        /// The broker's directory.
        directory: PathBuf,
    },

    /// A file of the broker's directory cannot be read or written.
    #[error("{action} {path}: check the disk and who may write there")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// A file of the broker's directory is not what this version writes.
    #[error("read {path}: it is damaged or a newer version wrote it; move the directory away")]
    Content {
        /// The file.
        path: PathBuf,
    },

    /// The log of a partition cannot be opened.
    #[error("open partition {partition} of the hub {hub}")]
    Partition {
        /// The hub.
        hub: String,
        /// The partition.
        partition: u16,
        /// What the journal said.
        source: JournalError,
    },

    /// The newest event of a partition has a layout that this version does not know.
    #[error(
        "open partition {partition} of the hub {hub}: a newer version wrote it; use that one or \
         another directory"
    )]
    Version {
        /// The hub.
        hub: String,
        /// The partition.
        partition: u16,
    },

    /// The system gives no random numbers for a key.
    #[error("make a random key")]
    Random(#[source] getrandom::Error),

    /// The system gives no threads or takes no connections.
    #[error("{action}: check the limits of processes and open files")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
}
