//! The storage contract: a few named objects with conditional writes.
//!
//! It is as much as a directory and an object store (ADLS Gen2) can both promise, and as little
//! as the registry needs. It knows nothing of modules, channels or signatures.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::{Metadata, StoreError};

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
