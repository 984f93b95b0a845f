//! Dictionaries that make short, alike messages compress well: samples of what was written
//! before. Does not know what is compressed with them, nor when a record that needs one is gone.
//!
//! A dictionary is made from the first entries written, once more when there were few of them,
//! and anew whenever compression has become much worse than it was at first.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twinge_platform::Disk;

use crate::error::SpoolError;
use crate::record::{self, Packing};
use crate::sealed;

const MAGIC_AND_VERSION: [u8; 8] = *b"TWINGED\x01";
const SAMPLES_MAX: usize = 16;
const SAMPLE_BYTES_MAX: usize = 1 << 10;
/// Compression is judged over this many entries.
const WINDOW_ENTRIES: u64 = 128;
/// Worse than at first by this factor means that the messages have changed.
const WORSE: f64 = 1.3;

/// The dictionaries of one importance.
#[derive(Debug)]
pub(crate) struct Dictionaries {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    bytes_max: usize,
    total_bytes_max: u64,
    /// Sizes of the files, by number.
    files: BTreeMap<u32, u64>,
    /// Contents that were needed so far; `None` for a damaged or missing one.
    loaded: BTreeMap<u32, Option<Arc<[u8]>>>,
    /// With which new records are packed.
    current: Option<(u32, Arc<[u8]>)>,
    next: u32,
    samples: VecDeque<Vec<u8>>,
    window: Window,
    /// Share of its length that a packed body had in the current dictionary's first window.
    ratio_at_first: Option<f64>,
    /// The current dictionary was made from few samples.
    is_sparse: bool,
}

#[derive(Debug, Default)]
struct Window {
    entries: u64,
    body_bytes: u64,
    packed_bytes: u64,
}

impl Window {
    fn ratio(&self) -> f64 {
        self.packed_bytes as f64 / self.body_bytes.max(1) as f64
    }
}

impl Dictionaries {
    /// Finds the dictionaries in a directory. The next one made has at least the number `next`.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        directory: &Path,
        (bytes_max, total_bytes_max): (usize, u64),
        next: u32,
    ) -> Result<Self, SpoolError> {
        let listed = disk.list(directory).map_err(|source| SpoolError::Disk {
            action: "list",
            path: directory.to_owned(),
            source,
        })?;
        let numbers = listed.iter().filter_map(|path| parse_name(path));
        // Sizes matter for the sum only: one that is not read counts as the largest.
        let files: BTreeMap<_, _> = numbers.map(|number| (number, bytes_max as u64)).collect();
        let after = files.last_key_value().map_or(0, |(number, _)| number.saturating_add(1));
        let mut dictionaries = Self {
            disk,
            directory: directory.to_owned(),
            bytes_max,
            total_bytes_max,
            next: next.max(after).max(1),
            files,
            loaded: BTreeMap::new(),
            current: None,
            samples: VecDeque::new(),
            window: Window::default(),
            ratio_at_first: None,
            is_sparse: false,
        };
        if let Some((&newest, _)) = dictionaries.files.last_key_value()
            && let Ok(Some(bytes)) = dictionaries.content(newest)
        {
            dictionaries.is_sparse = bytes.len() < bytes_max / 2;
            dictionaries.current = Some((newest, bytes));
        }
        Ok(dictionaries)
    }

    /// The number that no record names yet.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// A record names this dictionary: no other may get its number.
    pub(crate) fn note_used(&mut self, number: u32) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// The content of a dictionary; `None` when it is damaged or missing.
    ///
    /// # Errors
    /// `Disk` when it cannot be read just now.
    pub(crate) fn content(&mut self, number: u32) -> Result<Option<Arc<[u8]>>, SpoolError> {
        if let Some(content) = self.loaded.get(&number) {
            return Ok(content.clone());
        }
        let path = self.path(number);
        let content = match self.disk.read(&path) {
            Ok(file) => sealed::unseal(MAGIC_AND_VERSION, &file).map(Arc::from),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => return Err(SpoolError::Disk { action: "read", path, source }),
        };
        self.loaded.insert(number, content.clone());
        Ok(content)
    }

    /// Counts a dictionary that cannot be read as damaged.
    pub(crate) fn give_up(&mut self, number: u32) {
        self.loaded.insert(number, None);
    }

    /// Makes a dictionary if it is time for one. `bodies` are those about to be packed.
    ///
    /// # Errors
    /// `Disk`: things go on with the one before, or without one.
    pub(crate) fn prepare(
        &mut self,
        bodies: impl Iterator<Item = Vec<u8>>,
    ) -> Result<(), SpoolError> {
        if self.current.is_none() {
            bodies.take(SAMPLES_MAX).for_each(|body| self.sample(&body));
        }
        if self.is_due() && !self.samples.is_empty() {
            self.make()?;
        }
        Ok(())
    }

    /// Packs a body with the current dictionary, and learns from it.
    pub(crate) fn pack(&mut self, body: &[u8]) -> (Packing, Vec<u8>) {
        let current = self.current.as_ref().map(|(number, bytes)| (*number, &**bytes));
        let (packing, packed) = record::pack(body, current);
        self.window.entries += 1;
        self.window.body_bytes += body.len() as u64;
        self.window.packed_bytes += packed.len() as u64;
        if self.window.entries.is_multiple_of(WINDOW_ENTRIES / SAMPLES_MAX as u64) {
            self.sample(body);
        }
        (packing, packed)
    }

    /// Removes the dictionaries that only records before the one with this number needed.
    ///
    /// # Errors
    /// `Disk`: some may still be there; the next call tries again.
    pub(crate) fn remove_below(&mut self, number: u32) -> Result<(), SpoolError> {
        while let Some((&oldest, _)) = self.files.first_key_value()
            && oldest < number
        {
            let path = self.path(oldest);
            match self.disk.remove(&path) {
                Ok(()) => self.files.remove(&oldest),
                Err(source) => return Err(SpoolError::Disk { action: "remove", path, source }),
            };
            self.loaded.remove(&oldest);
        }
        Ok(())
    }

    /// Removes all but the current one: no record is left.
    ///
    /// # Errors
    /// As [`remove_below`](Self::remove_below).
    pub(crate) fn remove_unused(&mut self) -> Result<(), SpoolError> {
        let current = self.current.as_ref().map(|(number, _)| *number);
        current.map_or(Ok(()), |number| self.remove_below(number))
    }

    /// What the files take, in bytes; those of an earlier run count as the largest.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().sum()
    }

    fn sample(&mut self, body: &[u8]) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(body[..body.len().min(SAMPLE_BYTES_MAX)].to_vec());
    }

    fn is_due(&mut self) -> bool {
        if self.current.is_none() {
            return true;
        }
        if self.window.entries < WINDOW_ENTRIES {
            return false;
        }
        let ratio = std::mem::take(&mut self.window).ratio();
        let ratio_at_first = *self.ratio_at_first.get_or_insert(ratio);
        std::mem::take(&mut self.is_sparse) || ratio > ratio_at_first * WORSE
    }

    fn make(&mut self) -> Result<(), SpoolError> {
        let content = self.content_of_samples();
        let file = sealed::seal(MAGIC_AND_VERSION, &content);
        if self.bytes() + file.len() as u64 > self.total_bytes_max {
            return Ok(());
        }
        let (number, path) = (self.next, self.path(self.next));
        if let Err(source) = self.disk.create_new(&path, &file) {
            return Err(SpoolError::Disk { action: "create", path, source });
        }
        self.next = self.next.saturating_add(1);
        self.files.insert(number, file.len() as u64);
        self.is_sparse = self.current.is_none() && content.len() < self.bytes_max / 2;
        let content: Arc<[u8]> = content.into();
        self.loaded.insert(number, Some(content.clone()));
        self.current = Some((number, content));
        self.ratio_at_first = None;
        self.window = Window::default();
        Ok(())
    }

    /// The newest samples that fit, the newest last: LZ4 finds the nearest best.
    fn content_of_samples(&self) -> Vec<u8> {
        let mut room = self.bytes_max - sealed::SEAL_BYTES;
        let mut chosen: Vec<&[u8]> = Vec::new();
        for sample in self.samples.iter().rev() {
            let taken = sample.len().min(room);
            room -= taken;
            chosen.push(&sample[..taken]);
        }
        chosen.reverse();
        chosen.concat()
    }

    fn path(&self, number: u32) -> PathBuf {
        self.directory.join(format!("{number:010}.dictionary"))
    }
}

fn parse_name(path: &Path) -> Option<u32> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".dictionary")?;
    let all_digits = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { digits.parse().ok() } else { None }
}
