//! Labels: what people say of verdicts, on disk before they are thanked.
//!
//! One file of lines, appended to and synced. A person's later word about the same thing replaces the
//! earlier one for whoever reads the file; the same word said twice is written once.

use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use twinge_contract::label::{Label, LabelError, LabelKey};
use twinge_contract::time::to_rfc3339;
use twinge_contract::verdict::identity_hash;
use twinge_platform::{Clock, Disk, DiskFile};

/// Labels of one request at most.
pub const LABELS_OF_A_REQUEST_MAX: usize = 10_000;
/// Labels of one file at most: their keys are held in memory.
const LABELS_MAX: usize = 1_000_000;
/// Bytes of one file at most, which a label that is changed to and fro fills too. That is room for the
/// labels above: one takes 100 to 250. The file is not compacted, for the lake has copied it by its
/// bytes, and later words would count as known there.
const BYTES_MAX: u64 = 256 << 20;

/// The way in for labels; cheap to clone.
#[derive(Clone, Debug)]
pub struct Labels(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    /// Bytes of whole lines.
    committed: u64,
    bytes_max: u64,
    /// The hash of the latest word about each thing by each person.
    known: BTreeMap<[u8; 16], [u8; 16]>,
    clock: Arc<dyn Clock>,
}

/// A label as it stands in the file.
#[derive(Debug, Serialize)]
struct Line<'a> {
    received: String,
    #[serde(flatten)]
    label: &'a Label,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Labels that are in the file now.
    pub accepted: usize,
    /// Labels that were there already.
    pub known: usize,
}

/// Why labels are not taken.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is said by its message")]
pub enum LabelsError {
    #[error("there is no label: send a JSON object, an array of them, or one a line")]
    None,
    #[error(
        "there are {0} labels, and one request may bring {LABELS_OF_A_REQUEST_MAX}: send them in parts"
    )]
    TooMany(usize),
    #[error("label number {number} is not readable: {source}")]
    Unreadable { number: usize, source: serde_json::Error },
    #[error("label number {number} is not usable: {source}")]
    Unusable { number: usize, source: LabelError },
    #[error(
        "the file of labels, {path}, is full: a million labels or {} MiB are too many; stop the program, move the file away, and start it again",
        BYTES_MAX >> 20
    )]
    Full { path: PathBuf },
    #[error("labels cannot be written to {path}: make room, or mend the permissions")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("line {line} of the labels in {path} is not readable: mend or remove it")]
    Line {
        path: PathBuf,
        line: usize,
        #[source]
        source: serde_json::Error,
    },
}

impl Labels {
    /// Opens a file of labels. A last line without an end was torn by a crash before anyone was
    /// thanked, and is cut off.
    pub fn open(disk: &dyn Disk, clock: Arc<dyn Clock>, path: &Path) -> Result<Self, LabelsError> {
        Self::open_within(BYTES_MAX, disk, clock, path)
    }

    /// The same, with another bound on the file's bytes.
    pub(crate) fn open_within(
        bytes_max: u64,
        disk: &dyn Disk,
        clock: Arc<dyn Clock>,
        path: &Path,
    ) -> Result<Self, LabelsError> {
        let error = |source| LabelsError::Write { path: path.to_owned(), source };
        let mut file = disk.open_append(path).map_err(error)?;
        let bytes = disk.read(path).map_err(error)?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        if end < bytes.len() {
            file.truncate(end as u64).map_err(error)?;
        }
        let mut known = BTreeMap::new();
        for (line, text) in bytes[..end].split(|byte| *byte == b'\n').enumerate() {
            if text.trim_ascii().is_empty() {
                continue;
            }
            let label = read_line(text).map_err(|source| LabelsError::Line {
                path: path.to_owned(),
                line: line + 1,
                source,
            })?;
            known.insert(hash_of_key(&label.key()), hash_of_word(&label));
        }
        let (path, committed) = (path.to_owned(), end as u64);
        let book = Book { path, file, committed, bytes_max, known, clock };
        Ok(Self(Arc::new(Mutex::new(book))))
    }

    /// Takes labels, all of them or none; returns when they are on disk.
    pub fn take(&self, labels: &[Label]) -> Result<Noted, LabelsError> {
        // Each try leaves the book as it was, or with all of the labels.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(labels)
    }
}

impl Labels {
    /// Where labels are kept, and how many bytes of it are whole and stay as they are.
    pub fn committed(&self) -> (PathBuf, u64) {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (book.path.clone(), book.committed)
    }
}

impl Book {
    fn take(&mut self, labels: &[Label]) -> Result<Noted, LabelsError> {
        let received = to_rfc3339(self.clock.now_ms());
        let (mut lines, mut new) = (Vec::new(), BTreeMap::new());
        let mut accepted = 0;
        for label in labels {
            let (key, word) = (hash_of_key(&label.key()), hash_of_word(label));
            if new.get(&key).or_else(|| self.known.get(&key)) == Some(&word) {
                continue;
            }
            new.insert(key, word);
            accepted += 1;
            let line = Line { received: received.clone(), label };
            lines.extend(serde_json::to_vec(&line).expect("a label is texts only"));
            lines.push(b'\n');
        }
        let bytes = self.committed + lines.len() as u64;
        // What is known already is thanked for also where there is no room.
        if accepted > 0 && (bytes > self.bytes_max || self.known.len() + new.len() > LABELS_MAX) {
            return Err(LabelsError::Full { path: self.path.clone() });
        }
        if accepted > 0 {
            let written = self.write(&lines);
            written.map_err(|source| LabelsError::Write { path: self.path.clone(), source })?;
        }
        self.known.extend(new);
        Ok(Noted { accepted, known: labels.len() - accepted })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        // A try before may have left lines that nobody was thanked for.
        if self.file.len()? > self.committed {
            self.file.truncate(self.committed)?;
        }
        self.file.append(lines)?;
        self.file.sync()?;
        self.committed += lines.len() as u64;
        Ok(())
    }
}

/// The labels of a request: an object, an array of objects, or one a line.
pub fn read(body: &[u8]) -> Result<Vec<Label>, LabelsError> {
    let unreadable = |number| move |source| LabelsError::Unreadable { number, source };
    let first = body.trim_ascii_start().first();
    let labels: Vec<Label> = if first == Some(&b'[') {
        serde_json::from_slice(body).map_err(unreadable(1))?
    } else if let Ok(label) = serde_json::from_slice(body) {
        vec![label]
    } else {
        let lines = body.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.trim_ascii().is_empty()).zip(1..);
        let read =
            lines.map(|(line, number)| serde_json::from_slice(line).map_err(unreadable(number)));
        read.collect::<Result<_, _>>()?
    };
    if labels.is_empty() {
        return Err(LabelsError::None);
    }
    if labels.len() > LABELS_OF_A_REQUEST_MAX {
        return Err(LabelsError::TooMany(labels.len()));
    }
    for (label, number) in labels.iter().zip(1..) {
        label.check().map_err(|source| LabelsError::Unusable { number, source })?;
    }
    Ok(labels)
}

fn read_line(text: &[u8]) -> Result<Label, serde_json::Error> {
    let mut line: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text)?;
    line.remove("received");
    serde_json::from_value(line.into())
}

fn hash_of_key(key: &LabelKey) -> [u8; 16] {
    identity_hash(&[format!("{key:?}").as_bytes()])
}

fn hash_of_word(label: &Label) -> [u8; 16] {
    identity_hash(&[&serde_json::to_vec(label).expect("a label is texts only")])
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinge_platform::{ManualClock, SimulatedDisk};

    const PATH: &str = "/state/labels.ndjson";

    fn open(disk: &SimulatedDisk) -> Labels {
        Labels::open(disk, Arc::new(ManualClock::new(0)), Path::new(PATH)).unwrap()
    }

    fn lines(disk: &SimulatedDisk) -> usize {
        String::from_utf8(disk.read(Path::new(PATH)).unwrap()).unwrap().lines().count()
    }

    #[test]
    fn a_word_is_written_once_and_a_second_one_replaces_it() {
        let disk = SimulatedDisk::new(7);
        let labels = open(&disk);
        let one = read(br#"{"verdict_id":"a","label":"false-alarm","by":"ann"}"#).unwrap();
        let other = read(br#"{"verdict_id":"a","label":"anomaly","by":"ann"}"#).unwrap();
        assert_eq!(labels.take(&one).unwrap(), Noted { accepted: 1, known: 0 });
        assert_eq!(labels.take(&one).unwrap(), Noted { accepted: 0, known: 1 });
        assert_eq!(labels.take(&other).unwrap(), Noted { accepted: 1, known: 0 });
        drop(labels);
        let labels = open(&disk);
        assert_eq!(labels.take(&other).unwrap(), Noted { accepted: 0, known: 1 });
        assert_eq!(lines(&disk), 2);
    }

    #[test]
    fn a_torn_line_is_cut_and_a_full_disk_thanks_nobody() {
        let disk = SimulatedDisk::new(8);
        let one = read(br#"{"verdict_id":"a","label":"normal","by":"ann"}"#).unwrap();
        let two = read(br#"{"verdict_id":"b","label":"normal","by":"ann"}"#).unwrap();
        open(&disk).take(&one).unwrap();
        let mut file = disk.open_append(Path::new(PATH)).unwrap();
        file.append(b"{\"verdict_id\":\"c").unwrap();
        file.sync().unwrap();
        let labels = open(&disk);
        disk.set_capacity(disk.used_bytes() + 3);
        assert!(matches!(labels.take(&two), Err(LabelsError::Write { .. })));
        disk.set_capacity(u64::MAX);
        assert_eq!(labels.take(&two).unwrap().accepted, 1);
        assert_eq!(lines(&disk), 2);
        assert_eq!(open(&disk).take(&two).unwrap().known, 1);
    }

    #[test]
    fn a_label_that_is_changed_to_and_fro_fills_a_file_and_no_disk() {
        const BYTES_MAX: u64 = 2000;
        let disk = SimulatedDisk::new(9);
        let open = || {
            let clock = Arc::new(ManualClock::new(0));
            Labels::open_within(BYTES_MAX, &disk, clock, Path::new(PATH)).unwrap()
        };
        let words = ["anomaly", "normal"].map(|word| {
            read(format!(r#"{{"verdict_id":"a","label":"{word}","by":"ann"}}"#).as_bytes()).unwrap()
        });
        let labels = open();
        let mut taken = 0;
        let refused = loop {
            match labels.take(&words[taken % 2]) {
                Ok(noted) => taken += noted.accepted,
                Err(error) => break error,
            }
            assert!(taken < 1000, "nothing stops it");
        };
        assert!(taken > 10 && matches!(refused, LabelsError::Full { .. }), "{taken}: {refused}");
        assert!(disk.used_bytes() <= BYTES_MAX && lines(&disk) == taken);
        // The last word counts, and is known also after a start.
        for labels in [labels, open()] {
            assert_eq!(labels.take(&words[(taken - 1) % 2]).unwrap().known, 1);
            assert!(labels.take(&words[taken % 2]).is_err());
        }
        disk.rename(Path::new(PATH), Path::new("/state/old.ndjson")).unwrap();
        assert_eq!(open().take(&words[taken % 2]).unwrap().accepted, 1);
    }

    #[test]
    fn bodies_are_read_whole_or_refused_with_the_place() {
        let good = r#"{"verdict_id":"a","label":"normal","by":"ann"}"#;
        assert_eq!(read(format!("[{good},{good}]").as_bytes()).unwrap().len(), 2);
        assert_eq!(read(format!("{good}\n\n{good}\n").as_bytes()).unwrap().len(), 2);
        for (body, word) in [
            (String::new(), "no label"),
            ("[]".into(), "no label"),
            (format!("{good}\n{{oops"), "number 2"),
            (format!("{good}\n{{\"label\":\"normal\",\"by\":\"x\"}}"), "number 2"),
            (r#"{"verdict_id":"a","label":"maybe","by":"ann"}"#.into(), "maybe"),
            (r#"{"verdict_id":"a","label":"normal","by":"ann","x":1}"#.into(), "`x`"),
        ] {
            let error = read(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{body}: {error}");
        }
    }
}
