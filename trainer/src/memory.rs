//! What this user has seen of channels: without it, whoever can write to the storage could put an
//! old document back and have it signed anew.

use crate::keys;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use twinge_registry::{Channel, KnownSerial, Name};

/// The newest serial seen, by registry and channel.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen(BTreeMap<String, BTreeMap<String, u64>>);

/// What is known of a channel in the registry at `location`.
pub(crate) fn known(location: &str, detector: &Name, channel: &Name) -> KnownSerial {
    let seen = read();
    let serial = seen.0.get(&place(location)).and_then(|all| all.get(&key(detector, channel)));
    serial.map_or(KnownSerial::Nothing, |serial| KnownSerial::AtLeast(*serial))
}

/// Remembers a document that was written here. Where there is no home directory to remember it in,
/// nothing is.
pub(crate) fn note(location: &str, channel: &Channel) {
    let Some(path) = path() else { return };
    let mut seen = read();
    let serials = seen.0.entry(place(location)).or_default();
    let key = key(&channel.detector, &channel.channel);
    // A registry that was made anew begins at one, and whoever restates a channel knows why.
    if serials.insert(key, channel.serial) == Some(channel.serial) {
        return;
    }
    let json = serde_json::to_vec_pretty(&seen).expect("texts and numbers");
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    // A file of its own first: two trainers at a time must not leave half of one.
    let unfinished = path.with_extension(format!("{}.unfinished", std::process::id()));
    let written = written
        .and_then(|()| std::fs::write(&unfinished, json))
        .and_then(|()| std::fs::rename(&unfinished, &path));
    if let Err(error) = written {
        crate::tell(&format!("note: {} cannot be written: {error}", path.display()));
    }
}

fn read() -> Seen {
    let bytes = path().and_then(|path| std::fs::read(path).ok());
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
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
