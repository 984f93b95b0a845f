//! What this user has seen of channels: without it, whoever can write to the storage could put an
//! old document back and have it signed anew.

use crate::keys;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use twinge_registry::{Channel, Name};

/// What was seen, by registry and channel.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen(BTreeMap<String, BTreeMap<String, Known>>);

/// What is known of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub(crate) struct Known {
    /// The newest serial written here.
    pub(crate) serial: u64,
    /// The newest document that a promoter signed here. A serial alone would not do: whoever has a
    /// retrainer's key makes a document of a greater one that repeats an older choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) promoted: Option<Channel>,
}

/// The same as files have it: a bare serial in those of earlier trainers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Serial(u64),
    Known { serial: u64, promoted: Option<Box<Channel>> },
}

impl From<Written> for Known {
    fn from(written: Written) -> Self {
        match written {
            Written::Serial(serial) => Self { serial, promoted: None },
            Written::Known { serial, promoted } => {
                Self { serial, promoted: promoted.map(|promoted| *promoted) }
            }
        }
    }
}

impl Known {
    /// What is known after a document was written here. Its serial may be a lower one: a registry
    /// that was made anew begins at one, and whoever restates a channel knows why. Then a promoter's
    /// earlier word is of another registry.
    fn after(earlier: Option<&Self>, channel: &Channel, is_promoters: bool) -> Self {
        let serial = channel.serial;
        if is_promoters {
            return Self { serial, promoted: Some(channel.clone()) };
        }
        let promoted = earlier.and_then(|earlier| earlier.promoted.clone());
        Self { serial, promoted: promoted.filter(|promoted| promoted.serial <= serial) }
    }
}

/// Makes sure that what was seen can be read: who goes on without it may sign an old document anew.
pub(crate) fn check() -> Result<()> {
    path().map_or(Ok(()), |path| read(&path).map(drop))
}

/// What is known of a channel in the registry at `location`.
pub(crate) fn known(location: &str, detector: &Name, channel: &Name) -> Option<Known> {
    let seen = read(&path()?).ok()?;
    seen.0.get(&place(location)).and_then(|all| all.get(&key(detector, channel))).cloned()
}

/// Remembers a document that was written here, and whether a promoter signed it. Where there is no
/// home directory to remember it in, nothing is.
pub(crate) fn note(location: &str, channel: &Channel, is_promoters: bool) {
    let Some(path) = path() else { return };
    let mut seen = read(&path).unwrap_or_default();
    let all = seen.0.entry(place(location)).or_default();
    let key = key(&channel.detector, &channel.channel);
    let known = Known::after(all.get(&key), channel, is_promoters);
    if all.get(&key) == Some(&known) {
        return;
    }
    all.insert(key, known);
    let json = serde_json::to_vec_pretty(&seen).expect("texts and numbers");
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    // A file of its own first: two trainers at a time must not leave half of one.
    let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
    let written = written
        .and_then(|()| std::fs::write(&unfinished, json))
        .and_then(|()| std::fs::rename(&unfinished, &path));
    if let Err(error) = written {
        crate::output::tell(&format!("note: {} cannot be written: {error}", path.display()));
    }
}

fn read(path: &Path) -> Result<Seen> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Seen::default()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    serde_json::from_slice(&bytes).with_context(|| {
        format!(
            "{} does not hold what was seen of channels: put a copy back, or remove it and look \
             closely at what lies in the registry before the next signature",
            path.display()
        )
    })
}

fn path() -> Option<PathBuf> {
    keys::home().map(|home| home.join("seen.json"))
}

/// A directory by its full path, so that it is the same from everywhere.
fn place(location: &str) -> String {
    let full = std::path::absolute(location).ok().filter(|_| !location.contains("://"));
    full.map_or_else(|| location.to_owned(), |full| full.display().to_string())
}

fn key(detector: &Name, channel: &Name) -> String {
    format!("{detector}/{channel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(serial: u64) -> Channel {
        let name = |text: &str| text.parse().unwrap();
        Channel { serial, ..Channel::new(name("pump"), name("stable")) }
    }

    #[test]
    fn what_earlier_trainers_remembered_is_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        std::fs::write(&path, r#"{"/models": {"pump/stable": 7}}"#).unwrap();
        let mut seen = read(&path).unwrap();
        let all = seen.0.get_mut("/models").unwrap();
        assert_eq!(all["pump/stable"], Known { serial: 7, promoted: None });
        let known = Known::after(all.get("pump/stable"), &document(8), true);
        all.insert("pump/stable".to_owned(), known.clone());
        std::fs::write(&path, serde_json::to_vec(&seen).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap().0["/models"]["pump/stable"], known);
    }

    #[test]
    fn a_memory_that_is_none_is_told_and_not_taken_for_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seen.json");
        assert!(read(&path).unwrap().0.is_empty());
        for broken in ["", "[]", r#"{"/models": {"pump/stable": "seven"}}"#] {
            std::fs::write(&path, broken).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains("seen.json") && error.contains("put a copy back"), "{error}");
        }
    }

    #[test]
    fn the_promoters_word_outlives_those_of_retrainers_and_no_new_registry() {
        let promoted = Known::after(None, &document(8), true);
        let later = Known::after(Some(&promoted), &document(9), false);
        assert_eq!((later.serial, later.promoted.as_ref().unwrap().serial), (9, 8));
        let anew = Known::after(Some(&later), &document(1), false);
        assert_eq!(anew, Known { serial: 1, promoted: None });
    }
}
