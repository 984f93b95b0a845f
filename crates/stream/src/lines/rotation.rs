//! What log rotation leaves in a directory: where a file went, and which files came after it.
//!
//! Rotation renames (`app.log` becomes `app.log.1`, and what was that becomes `app.log.2`) or copies
//! and cuts (`copytruncate`); names get a count or a date: `app.log.1`, `app.log-20260101`,
//! `app-20260101.log`. Compressed files are not looked into.

use super::ledger::{FileId, Generation, Ledger, modified_ms};
use std::cmp::Reverse;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Rotated names with fewer digits count rotations, and the highest is the oldest; longer ones are
/// dates, and the highest is the youngest.
const COUNT_DIGITS_MAX: usize = 5;

/// A file in the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sibling {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    bytes: u64,
    modified_ms: u64,
}

/// Where reading stands when the next file is looked for.
#[derive(Clone, Debug)]
pub(super) enum Before {
    /// Nothing was read, or it was cut in place.
    Nothing,
    /// This file was read to its end.
    File(FileId),
    /// This one was, or should have been, and is not there any more.
    Gone(Generation),
}

/// How a rotated file's name is made: what stands before and behind its count or date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Style<'a> {
    before: &'a str,
    behind: &'a str,
}

/// Finds `generation` under whatever name, of at least `bytes`.
///
/// A copy is taken where the file itself is not there any more: `copytruncate` makes one, and so
/// does whoever moves logs to another disk.
pub(super) fn find(
    path: &Path,
    generation: &Generation,
    bytes: u64,
) -> io::Result<Option<(PathBuf, File)>> {
    let mut candidates = siblings(path)?;
    candidates.retain(|file| file.bytes >= bytes);
    candidates.sort_by_cached_key(|file| {
        let count = name_of(&file.path).and_then(|name| stamp_of(path, name)).and_then(count_of);
        let copy = (file.path != path, Reverse(file.modified_ms), count);
        (file.id != generation.id, copy)
    });
    for candidate in candidates {
        // One that vanished or may not be read is not it.
        let Ok(mut file) = File::open(&candidate.path) else { continue };
        if generation.head.is_of(&mut file)? {
            return Ok(Some((candidate.path, file)));
        }
    }
    Ok(None)
}

/// The first file with anything in it that came after what was read.
pub(super) fn successor(
    path: &Path,
    before: &Before,
    ledger: &Ledger,
) -> io::Result<Option<Sibling>> {
    // Most often nothing was rotated: then this is all.
    let now = std::fs::metadata(path).ok().map(|metadata| FileId::of(&metadata));
    if let Before::File(id) = before
        && now == Some(*id)
    {
        return Ok(None);
    }
    let mut files = siblings(path)?;
    files.retain(|file| file.bytes > 0);
    let now = files.iter().position(|file| file.path == path).map(|index| files.remove(index));
    let rotated = match before {
        Before::Nothing => None,
        Before::File(id) if now.as_ref().is_some_and(|now| now.id == *id) => return Ok(None),
        Before::File(id) => after(path, *id, &files),
        Before::Gone(generation) => after_gone(path, generation, files, ledger)?,
    };
    Ok(rotated.or(now))
}

/// The next younger one among files that are named like that one.
fn after(path: &Path, id: FileId, files: &[Sibling]) -> Option<Sibling> {
    let read = files.iter().find(|file| file.id == id)?;
    let (style, _) = style_of(path, name_of(&read.path)?)?;
    let in_order = in_order(path, style, files);
    let index = in_order.iter().position(|file| file.id == id)?;
    in_order.get(index + 1).map(|file| (*file).clone())
}

/// The oldest one that is not known and was written to after the lost one was begun.
fn after_gone(
    path: &Path,
    gone: &Generation,
    files: Vec<Sibling>,
    ledger: &Ledger,
) -> io::Result<Option<Sibling>> {
    let mut unknown = Vec::new();
    for file in files.into_iter().filter(|file| file.modified_ms >= gone.modified_ms) {
        let Ok(mut open) = File::open(&file.path) else { continue };
        if !ledger.knows(file.id, &mut open)? {
            unknown.push(file);
        }
    }
    let style = |file: &Sibling| {
        let (style, _) = style_of(path, name_of(&file.path)?)?;
        in_order(path, style, &unknown).first().map(|file| (*file).clone())
    };
    // Whoever rotates names all files alike, so the first one's style is everybody's.
    Ok(unknown.iter().find_map(style))
}

/// The files of a style, the oldest first.
fn in_order<'a>(path: &Path, style: Style<'_>, files: &'a [Sibling]) -> Vec<&'a Sibling> {
    let stamped = files.iter().filter_map(|file| {
        let (its_style, stamp) = style_of(path, name_of(&file.path)?)?;
        (its_style == style).then_some((stamp, file))
    });
    let mut stamped: Vec<(&str, &Sibling)> = stamped.collect();
    if stamped.iter().all(|(stamp, _)| count_of(stamp).is_some()) {
        stamped.sort_by_key(|(stamp, _)| Reverse(count_of(stamp)));
    } else {
        stamped.sort_by_key(|(stamp, _)| *stamp);
    }
    stamped.into_iter().map(|(_, file)| file).collect()
}

/// The files in the directory of `path`, itself among them.
fn siblings(path: &Path) -> io::Result<Vec<Sibling>> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        // A file can vanish between being listed and being looked at.
        let place = directory.join(&name);
        let Ok(metadata) = std::fs::metadata(&place) else { continue };
        if metadata.is_file() {
            // The path as it was said, so that it can be compared with.
            let is_it = path.file_name() == Some(&name);
            files.push(Sibling {
                path: if is_it { path.to_owned() } else { place },
                id: FileId::of(&metadata),
                bytes: metadata.len(),
                modified_ms: modified_ms(&metadata),
            });
        }
    }
    Ok(files)
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// How the name of a rotated file of `path` is made, and its count or date.
fn style_of<'a>(path: &Path, name: &'a str) -> Option<(Style<'a>, &'a str)> {
    let stem_and_end = |stem: &str, end: &str| {
        let middle = name.strip_prefix(stem)?.strip_suffix(end)?;
        let stamp = middle.strip_prefix(['.', '-', '_'])?;
        let is_stamp = stamp.starts_with(|first: char| first.is_ascii_digit())
            && stamp.chars().all(|c| c.is_ascii_digit() || "-_.:+TZ".contains(c));
        let before = name.get(..=stem.len())?;
        let behind = name.get(name.len() - end.len()..)?;
        is_stamp.then_some((Style { before, behind }, stamp))
    };
    let whole = name_of(path)?;
    stem_and_end(whole, "").or_else(|| {
        let (stem, _) = whole.rsplit_once('.')?;
        stem_and_end(stem, &whole[stem.len()..])
    })
}

fn stamp_of<'a>(path: &Path, name: &'a str) -> Option<&'a str> {
    style_of(path, name).map(|(_, stamp)| stamp)
}

/// How often a file was rotated, where that is what its stamp says.
fn count_of(stamp: &str) -> Option<u32> {
    if stamp.len() > COUNT_DIGITS_MAX { None } else { stamp.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_names_are_told_from_others() {
        let path = Path::new("/var/log/app.log");
        let stamp = |name| stamp_of(path, name);
        assert_eq!(stamp("app.log.1"), Some("1"));
        assert_eq!(stamp("app.log-20260101"), Some("20260101"));
        assert_eq!(stamp("app-2026-01-01T00:00:00Z.log"), Some("2026-01-01T00:00:00Z"));
        assert_eq!(stamp("app.3.log"), Some("3"));
        let others = [
            "app.log",
            "app.log.1.gz",
            "app.log.lock",
            "app.log.old",
            "apples.log",
            "app.log1",
            "app.",
            "app.log.",
            "äpp.log.1",
            "app-.log",
        ];
        for other in others {
            assert_eq!(stamp(other), None, "{other}");
        }
    }

    #[test]
    fn counts_grow_with_age_and_dates_with_youth() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.log");
        let names = |style: &str, given: &[&str]| -> Vec<String> {
            for name in given {
                std::fs::write(directory.path().join(name), "x").unwrap();
            }
            let files = siblings(&path).unwrap();
            let (style, _) = style_of(&path, style).unwrap();
            let named = |file: &&Sibling| name_of(&file.path).unwrap().to_owned();
            in_order(&path, style, &files).iter().map(named).collect()
        };
        let counted = ["app.log.2", "app.log.10", "app.log.1", "app.log"];
        assert_eq!(names("app.log.1", &counted), ["app.log.10", "app.log.2", "app.log.1"]);
        let dated = ["app.log-20260102", "app.log-20251231"];
        assert_eq!(names("app.log-20260102", &dated), ["app.log-20251231", "app.log-20260102"]);
    }
}
