//! The writer of one partition: stages rows, and rolls them into files.

use crate::columns::{Fields, Place, Row, encode};
use crate::error::LakeError;
use crate::lake::{Lake, digest, manifest};
use crate::listing::{Entry, FORMAT, Intent, Made};
use crate::parquet_file::{FileReader, FileWriter};
use crate::roll::Roll;
use std::sync::Arc;

/// When staged rows are rolled into files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Staged rows from which on they are rolled.
    pub roll_rows: u64,
    /// Staged bytes from which on they are rolled.
    pub roll_bytes: u64,
    /// Milliseconds after which what was staged is rolled, however little it is.
    pub roll_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { roll_rows: 1_000_000, roll_bytes: 64 << 20, roll_ms: 300_000 }
    }
}

/// Writes the rows of a partition, each once.
#[derive(Debug)]
pub struct Writer {
    lake: Lake,
    settings: Settings,
    detector: String,
    place: Place,
    /// What stands for the partition in paths.
    key: String,
    /// Everything before this offset is listed.
    listed: u64,
    /// Everything before this offset is listed or staged.
    staged_to: u64,
    staged: Vec<Staged>,
    staged_since_ms: Option<i64>,
    pending: Vec<(Arc<Fields>, Vec<Row>)>,
}

/// A staged object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Staged {
    path: String,
    first: u64,
    next: u64,
    rows: u64,
    bytes: u64,
}

impl Writer {
    /// Finds out what is in the lake of this partition, and mends what a crash left half done.
    pub async fn open(
        lake: Lake,
        settings: Settings,
        detector: &str,
        place: Place,
    ) -> Result<Self, LakeError> {
        let key = key_of(&place);
        let mut writer = Self {
            lake,
            settings,
            detector: detector.to_owned(),
            place,
            key,
            listed: 0,
            staged_to: 0,
            staged: Vec::new(),
            staged_since_ms: None,
            pending: Vec::new(),
        };
        writer.look().await?;
        Ok(writer)
    }

    /// Adds a row; its offset is larger than those before it.
    pub fn push(&mut self, fields: &Arc<Fields>, row: Row) {
        if row.offset < self.staged_to {
            return;
        }
        match self.pending.last_mut() {
            Some((last, rows)) if last == fields => rows.push(row),
            _ => self.pending.push((Arc::clone(fields), vec![row])),
        }
    }

    /// Stages what was added: when this returns, it outlives a crash. On an error all of it stays.
    pub async fn stage(&mut self, now_ms: i64) -> Result<(), LakeError> {
        while let Some((fields, rows)) = self.pending.first() {
            let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
                self.pending.remove(0);
                continue;
            };
            let (first, next, count) = (first.offset, last.offset + 1, rows.len() as u64);
            let mut file = FileWriter::new(fields)?;
            file.write(&encode(fields, &self.place, rows)?)?;
            let bytes = file.finish()?;
            let path = format!("{}/{first:020}-{next:020}.parquet", self.staging());
            // If it is there, a crash came between it and the checkpoint, and the same events gave
            // the same rows.
            self.lake.create(&path, &bytes).await?;
            self.pending.remove(0);
            let bytes = bytes.len() as u64;
            self.staged.push(Staged { path, first, next, rows: count, bytes });
            self.staged_to = next;
            self.staged_since_ms.get_or_insert(now_ms);
        }
        Ok(())
    }

    /// Whether what is staged has waited for long enough to be rolled.
    pub fn is_due(&self, now_ms: i64) -> bool {
        let has_waited = |since: i64| now_ms.saturating_sub(since) >= self.settings.roll_ms;
        !self.staged.is_empty() && self.staged_since_ms.is_none_or(has_waited)
    }

    /// Rolls what is staged into files if there is enough of it, or it has waited for long enough.
    pub async fn roll_if_due(&mut self, now_ms: i64) -> Result<(), LakeError> {
        let rows: u64 = self.staged.iter().map(|staged| staged.rows).sum();
        let bytes: u64 = self.staged.iter().map(|staged| staged.bytes).sum();
        let since = *self.staged_since_ms.get_or_insert(now_ms);
        let is_due = rows >= self.settings.roll_rows
            || bytes >= self.settings.roll_bytes
            || now_ms.saturating_sub(since) >= self.settings.roll_ms;
        if is_due { self.roll().await } else { Ok(()) }
    }

    /// Rolls what is staged into files.
    pub async fn roll(&mut self) -> Result<(), LakeError> {
        self.staged_since_ms = None;
        if self.staged.is_empty() {
            return Ok(());
        }
        let (made, next) = match self.make().await {
            // Whoever took it away has listed its rows, or this finds them missing once more.
            Err(LakeError::Gone(_)) => {
                self.look().await?;
                if self.staged.is_empty() {
                    return Ok(());
                }
                self.make().await?
            }
            made => made?,
        };
        let files: Vec<String> = made.iter().map(|made| made.facts.path.clone()).collect();
        let name = &digest(files.join("\n").as_bytes())[..8];
        let intent = format!("{}/roll-{:020}-{name}.json", self.staging(), self.listed);
        self.lake.create_document(&intent, &Intent { files }).await?;
        for made in &made {
            self.lake.create(&made.facts.path, &made.bytes).await?;
        }
        let entry = Entry {
            format: FORMAT,
            detector: self.detector.clone(),
            place: self.place.clone(),
            first_offset: self.listed,
            next_offset: next,
            files: made.into_iter().map(|made| made.facts).collect(),
        };
        if self.lake.create_document(&self.entry(self.listed), &entry).await? {
            self.listed = next;
        } else {
            tracing::warn!(
                detector = self.detector,
                partition = self.place.partition,
                offset = self.listed,
                "somebody else has listed these events: this program is not the only one that writes this partition into the lake"
            );
        }
        self.look().await
    }

    /// The files of what is staged, and the offset after it.
    async fn make(&self) -> Result<(Vec<Made>, u64), LakeError> {
        let end = self.staged.iter().map(|staged| staged.next).max().unwrap_or(self.listed);
        let stem = format!("{}-{:020}-{end:020}", self.key, self.listed);
        let mut roll = Roll::new(&self.detector, stem, self.listed);
        for staged in &self.staged {
            let bytes = self.lake.get(&staged.path).await?;
            let bytes = bytes.ok_or_else(|| LakeError::Gone(staged.path.clone()))?;
            let reader = FileReader::open(&staged.path, bytes)?;
            let fields = reader.fields.clone();
            for batch in reader {
                roll.add(&fields, &batch?)?;
            }
        }
        let next = roll.next();
        Ok((roll.finish()?, next))
    }

    /// Looks what is listed and staged; removes what was listed from the staging, and files of a
    /// roll that never came to be listed.
    async fn look(&mut self) -> Result<(), LakeError> {
        self.listed = match self.lake.list(&self.entries()).await?.last() {
            None => 0,
            Some(path) => {
                let entry: Option<Entry> = self.lake.document(path).await?;
                entry.ok_or_else(|| LakeError::Gone(path.clone()))?.next_offset
            }
        };
        self.staged.clear();
        for path in self.lake.list(&self.staging()).await? {
            let name = path.rsplit('/').next().unwrap_or_default();
            if let Some(first) = first_of_roll(name) {
                // One that begins where nothing is listed yet may still come to be listed, by
                // whoever is at it: its files are let be until somebody has listed that place.
                if first < self.listed {
                    self.clean_up(&path, first).await?;
                }
            } else if let Some((first, next)) = offsets_of(name) {
                if next <= self.listed {
                    self.lake.delete(&path).await?;
                } else {
                    self.adopt(path, first, next).await?;
                }
            }
        }
        self.staged.sort_by_key(|staged| (staged.first, staged.next));
        let ends = self.staged.iter().map(|staged| staged.next);
        self.staged_to = ends.fold(self.listed, u64::max);
        Ok(())
    }

    async fn adopt(&mut self, path: String, first: u64, next: u64) -> Result<(), LakeError> {
        let bytes = self.lake.get(&path).await?.ok_or_else(|| LakeError::Gone(path.clone()))?;
        // As many as offsets at most; what counts is that it does not wait for ever.
        self.staged.push(Staged {
            path,
            first,
            next,
            rows: next - first,
            bytes: bytes.len() as u64,
        });
        Ok(())
    }

    /// Files of a roll that began at `first`, where one is listed by now: those that are not the
    /// listed one's are removed.
    async fn clean_up(&self, intent: &str, first: u64) -> Result<(), LakeError> {
        let Some(made) = self.lake.document::<Intent>(intent).await? else { return Ok(()) };
        let entry: Option<Entry> = self.lake.document(&self.entry(first)).await?;
        let listed = entry.map(|entry| entry.files).unwrap_or_default();
        for file in made.files {
            if !listed.iter().any(|facts| facts.path == file) {
                self.lake.delete(&file).await?;
            }
        }
        self.lake.delete(intent).await
    }

    fn entry(&self, first: u64) -> String {
        format!("{}/{first:020}.json", self.entries())
    }

    fn entries(&self) -> String {
        format!("{}/{}", manifest(&self.detector), self.key)
    }

    fn staging(&self) -> String {
        format!("_staging/{}/{}", self.detector, self.key)
    }
}

/// What stands for a partition in paths: a few digits of its digest, since sources have names that
/// are no paths.
pub(crate) fn key_of(place: &Place) -> String {
    let name = format!("{}\n{}", place.source, place.partition);
    digest(name.as_bytes())[..12].to_owned()
}

fn first_of_roll(name: &str) -> Option<u64> {
    name.strip_prefix("roll-")?.split('-').next()?.parse().ok()
}

fn offsets_of(name: &str) -> Option<(u64, u64)> {
    let (first, next) = name.strip_suffix(".parquet")?.split_once('-')?;
    Some((first.parse().ok()?, next.parse().ok()?))
}
