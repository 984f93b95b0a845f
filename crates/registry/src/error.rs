//! Why a store did not do what it was asked.

use std::io;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// [`Store::create`](crate::Store::create) found an object.
    #[error("create {path}: it exists already; read it and replace it")]
    AlreadyExists {
        /// The object.
        path: String,
    },
    /// [`Store::replace`](crate::Store::replace) found no object.
    #[error("replace {path}: it does not exist; create it")]
    NotFound {
        /// The object.
        path: String,
    },
    /// [`Store::replace`](crate::Store::replace) found other content than expected.
    #[error("replace {path}: somebody else changed it; read it again")]
    Changed {
        /// The object.
        path: String,
    },
    /// A text is not a path.
    #[error("use path {path:?}: {reason}")]
    InvalidPath {
        /// The text, cut short.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key or a value cannot be metadata.
    #[error("use metadata {key:?}: {reason}")]
    InvalidMetadata {
        /// The key, cut short; empty if it is about all of them.
        key: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file has the first line of a header and is none.
    #[error("read {path}: its header is broken; restore the file, or delete it")]
    Malformed {
        /// The file.
        path: String,
    },
    /// An object is larger than what its reader or writer takes, at most [`OBJECT_BYTES_MAX`](crate::OBJECT_BYTES_MAX).
    #[error(
        "{action} {path}: {bytes} bytes are more than the {bytes_max} that are allowed; find out \
         who made it so large, and remove what lies there if it does not belong there"
    )]
    TooLarge {
        /// What was being done.
        action: &'static str,
        /// The object.
        path: String,
        /// How large it is, as far as that was looked at.
        bytes: u64,
        /// How large it may be.
        bytes_max: u64,
    },
    /// Somebody holds the lock of a directory and does not let go.
    #[error("lock {path}: another process held it too long; look for one that hangs")]
    Locked {
        /// The lock file.
        path: String,
    },
    /// The operating system refused: full disk, no permission, a read-only or a broken file
    /// system.
    #[error("{action} {path}; check permissions, free space and whether it is writable")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file or folder.
        path: String,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A remote backend said no, and would again.
    #[error("{action} {path}: remote storage refused; check credentials, roles and settings")]
    Backend {
        /// What was being done.
        action: &'static str,
        /// The object.
        path: String,
        /// What the backend says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A remote backend was busy, or no answer came: what was asked may have been done or not.
    #[error("{action} {path}: no answer from remote storage; check the network, then try again")]
    Unanswered {
        /// What was being done.
        action: &'static str,
        /// The object.
        path: String,
        /// What came instead of an answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether it is open if the operation took effect. It is worth trying again.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Unanswered { .. })
    }
}
