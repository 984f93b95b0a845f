//! The small facts that lie beside the bytes of an object, as remote storage keeps them.
//!
//! Azure's event processors keep all of ownership and checkpoint there (`ownerid`, `offset`,
//! `sequencenumber`), beside no bytes at all. The rules are what survives every backend: remote
//! storage sends metadata as HTTP headers, which lose the case of names and the spaces at the
//! ends, and whose signatures fold runs of spaces.

use std::collections::BTreeMap;

use crate::StoreError;

/// Largest metadata of an object, in bytes of keys and values.
pub const METADATA_BYTES_MAX: usize = 8 * 1024 - 1;

/// Most keys of an object: HTTP clients read at most a hundred headers.
pub const METADATA_KEYS_MAX: usize = 32;

/// Checked metadata of an object.
///
/// ```
/// use twinge_registry::Metadata;
/// let owner = Metadata::new([("ownerid", "a1"), ("epoch", "7")]).unwrap();
/// assert_eq!(owner.value("ownerid"), Some("a1"));
/// assert!(Metadata::new([("Owner-Id", "a1")]).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// Checks keys and values.
    ///
    /// A key is a letter and then letters, digits and `_`, all lowercase. A value is printable
    /// ASCII, with no space at its ends and no two in a row; it may be empty. Of equal keys the
    /// last counts.
    pub fn new<Key: Into<String>, Value: Into<String>>(
        entries: impl IntoIterator<Item = (Key, Value)>,
    ) -> Result<Self, StoreError> {
        let mut checked = Self::default();
        for (key, value) in entries {
            let (key, value) = (key.into(), value.into());
            match key_problem(&key).or_else(|| value_problem(&value)) {
                None => drop(checked.0.insert(key, value)),
                Some(reason) => return Err(invalid(&key, reason)),
            }
            if checked.0.len() > METADATA_KEYS_MAX {
                return Err(invalid("", "there are more than 32 keys"));
            }
        }
        let bytes: usize = checked.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(invalid("", "all together is 8 KiB or more"));
        }
        Ok(checked)
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Keys and values, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn key_problem(key: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let starts_well = key.starts_with(|first: char| first.is_ascii_lowercase());
    (!starts_well || !key.bytes().all(allowed))
        .then_some("a key is a lowercase letter and then lowercase letters, digits and _")
}

fn value_problem(value: &str) -> Option<&'static str> {
    if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Some("a value may hold only printable ASCII");
    }
    let folds = value.starts_with(' ') || value.ends_with(' ') || value.contains("  ");
    folds.then_some("a value may not have spaces at its ends, nor two in a row")
}

/// The value is not repeated: it may be long, or not meant for a log.
fn invalid(key: &str, reason: &'static str) -> StoreError {
    StoreError::InvalidMetadata { key: key.chars().take(80).collect(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_backend_keeps_is_metadata() {
        for key in ["", "A", "1a", "_a", "a-b", "a b", "ä", "a\n"] {
            assert!(Metadata::new([(key, "x")]).is_err(), "{key:?}");
        }
        for value in [" a", "a ", "a  b", "a\nb", "ä", "\0", "\x7f"] {
            assert!(Metadata::new([("a", value)]).is_err(), "{value:?}");
        }
        for value in ["", "a b", "a:b=c", "~!@#$%^&*()"] {
            assert_eq!(Metadata::new([("a_1", value)]).unwrap().value("a_1"), Some(value));
        }
    }

    #[test]
    fn it_is_bounded() {
        let keys = |count: usize| (0..count).map(|number| (format!("k{number}"), "x"));
        assert!(Metadata::new(keys(METADATA_KEYS_MAX)).is_ok());
        assert!(Metadata::new(keys(METADATA_KEYS_MAX + 1)).is_err());
        let full = "x".repeat(METADATA_BYTES_MAX - 1);
        assert!(Metadata::new([("k", full.clone())]).is_ok());
        assert!(Metadata::new([("kk", full)]).is_err());
    }
}
