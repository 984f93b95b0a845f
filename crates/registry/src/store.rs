//! The storage contract: a few named objects with conditional writes.
//!
//! It is as much as a directory and an object store (ADLS Gen2) can both promise, and as little
//! as the registry needs. It knows nothing of modules, channels or signatures.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::Metadata;

/// Largest object that a backend reads or writes, in bytes.
pub const OBJECT_BYTES_MAX: u64 = 256 * 1024 * 1024;

const PATH_BYTES_MAX: usize = 512;
const SEGMENT_BYTES_MAX: usize = 128;

/// A place for named objects. Every write is whole or not at all, also through a crash, and is
/// durable when it returns.
///
/// An error leaves open whether a write took effect only where [`StoreError::is_ambiguous`] says
/// so; [`Retrying`](crate::Retrying) finds out.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The object at `path`, or nothing; [`StoreError::TooLarge`] where it has more than
    /// `bytes_max` bytes, of which no more than so many are ever held.
    ///
    /// Whoever reads what others can write says how much that may be: nothing in storage is
    /// believed before its signature was looked at, and for that all of it has to be here.
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError>;

    /// [`get_within`](Self::get_within) [`OBJECT_BYTES_MAX`].
    async fn get(&self, path: &StorePath) -> Result<Option<Object>, StoreError> {
        self.get_within(path, OBJECT_BYTES_MAX).await
    }

    /// Writes an object that is not there yet; of concurrent creators one wins, the others get
    /// [`StoreError::AlreadyExists`].
    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError>;

    /// Writes bytes and metadata over the object that has the tag `expected`; else
    /// [`StoreError::Changed`], or [`StoreError::NotFound`] where there is none. Of concurrent
    /// replacers with the same tag one wins.
    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError>;

    /// [`create_with`](Self::create_with) no metadata.
    async fn create(&self, path: &StorePath, bytes: &[u8]) -> Result<Etag, StoreError> {
        self.create_with(path, bytes, &Metadata::default()).await
    }

    /// [`replace_with`](Self::replace_with) no metadata: what was there goes.
    async fn replace(
        &self,
        path: &StorePath,
        bytes: &[u8],
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        self.replace_with(path, bytes, &Metadata::default(), expected).await
    }

    /// The paths below the folder `prefix`, through all levels, sorted; everything for the empty
    /// prefix. Only whole segments count: `channels/pu` does not find `channels/pump`.
    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError>;

    /// Removes an object; fine if it is not there.
    async fn delete(&self, path: &StorePath) -> Result<(), StoreError>;
}

#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        (**self).get_within(path, bytes_max).await
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        (**self).create_with(path, bytes, metadata).await
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        (**self).replace_with(path, bytes, metadata, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        (**self).list(prefix).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        (**self).delete(path).await
    }
}

/// An object as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The content.
    pub bytes: Vec<u8>,
    /// The facts beside it.
    pub metadata: Metadata,
    /// Names this version, for [`Store::replace`].
    pub etag: Etag,
    /// When it was last written, by the clock of the store, in milliseconds since 1970.
    ///
    /// No replacement makes it earlier, and a later one, also with the same bytes, makes it later
    /// as soon as the clock has ticked; remote storage counts whole seconds. Two of the same store
    /// can be compared with each other; that store's clock need not agree with one's own.
    pub modified_ms: i64,
}

/// An opaque tag that changes with every write of an object, also of the same bytes and metadata.
///
/// So a tag that was read before somebody wrote something else and then the old content again does
/// not fit any more, and an owner that renews its claim keeps out whoever saw it before. Only an
/// object that was deleted and created again with equal content within one tick of a file system's
/// clock may come back to its old tag in a [`Directory`](crate::Directory).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etag(String);

impl Etag {
    /// The tag that a backend gives.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The tag as its backend gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where an object lies: relative, segments of `[A-Za-z0-9._=$-]` joined by `/`.
///
/// A segment does not begin with a dot: that rules out `..`, and leaves such names to backends
/// for their own files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(String);

impl StorePath {
    /// Checks a path.
    pub fn new(text: &str) -> Result<Self, StoreError> {
        let problem = if text.len() > PATH_BYTES_MAX {
            Some("it is longer than 512 bytes")
        } else {
            text.split('/').find_map(segment_problem)
        };
        match problem {
            None => Ok(Self(text.to_owned())),
            Some(reason) => {
                let path = text.chars().take(80).collect();
                Err(StoreError::InvalidPath { path, reason })
            }
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, outermost first.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether the path lies below the folder `prefix`, as [`Store::list`] means it.
    pub fn is_below(&self, prefix: &str) -> bool {
        let prefix = prefix.trim_end_matches('/');
        let rest = self.0.strip_prefix(prefix);
        prefix.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for StorePath {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        Self::new(text)
    }
}

fn segment_problem(segment: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._=$-".contains(&byte);
    match segment {
        "" => Some("it has an empty segment"),
        _ if segment.starts_with('.') => Some("a segment begins with a dot"),
        _ if segment.len() > SEGMENT_BYTES_MAX => Some("a segment is longer than 128 bytes"),
        _ if !segment.bytes().all(allowed) => {
            Some("a segment may hold only letters, digits and . _ = $ -")
        }
        _ => None,
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// [`Store::create`] found an object.
    #[error("create {path}: it exists already; read it and replace it")]
    AlreadyExists {
        /// The object.
        path: String,
    },
    /// [`Store::replace`] found no object.
    #[error("replace {path}: it does not exist; create it")]
    NotFound {
        /// The object.
        path: String,
    },
    /// [`Store::replace`] found other content than expected.
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
    /// An object is larger than what its reader or writer takes, at most [`OBJECT_BYTES_MAX`].
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

/// A folder as [`Store::list`] takes it, without the slash at its end.
pub(crate) fn check_prefix(prefix: &str) -> Result<&str, StoreError> {
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() {
        StorePath::new(prefix)?;
    }
    Ok(prefix)
}

pub(crate) fn check_size(
    action: &'static str,
    path: &StorePath,
    bytes: u64,
    bytes_max: u64,
) -> Result<(), StoreError> {
    if bytes > bytes_max {
        return Err(StoreError::TooLarge { action, path: path.to_string(), bytes, bytes_max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Azure's event processors name it.
    const OWNERSHIP: &str = "ns.servicebus.windows.net/events/$default/ownership/0";

    #[test]
    fn a_path_cannot_leave_its_root() {
        for good in ["a", "modules/0a.wasm", "fleet/pump/Device_7=x.json", OWNERSHIP] {
            assert_eq!(StorePath::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(129);
        let deep = "a/".repeat(300) + "a";
        let wrong = ["", "/a", "a/", "a//b", "..", "a/../b", ".lock", "a\\b", "a b", "ä", "a\0"];
        for wrong in wrong.into_iter().chain([&long[..], &deep]) {
            assert!(StorePath::new(wrong).is_err(), "{wrong:?}");
        }
    }
}
