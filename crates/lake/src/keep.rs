//! Keeping a lake: many small files become few, and old days go.

use crate::columns::Fields;
use crate::error::LakeError;
use crate::facts::FileFacts;
use crate::lake::{Lake, digest, manifest};
use crate::listing::{Compaction, Expired, FORMAT};
use crate::parquet_file::{FileReader, FileWriter};
use std::collections::BTreeMap;

/// Largest file that compaction makes, in bytes.
pub const FILE_BYTES_MAX: u64 = 128 << 20;

/// What keeping a lake has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Files that were there.
    pub files_before: usize,
    /// Files that are there now.
    pub files_after: usize,
    /// Rows in files that were touched.
    pub rows: u64,
}

impl Lake {
    /// Puts the files of each hour together that lies before `before_ms`, up to [`FILE_BYTES_MAX`].
    ///
    /// The new file is listed in place of the old ones in one step, and these are removed after it.
    /// Who reads by the manifest sees each row once at every moment; who reads the folder may see
    /// an hour's rows twice while it is being put together.
    pub async fn compact(&self, detector: &str, before_ms: i64) -> Result<Kept, LakeError> {
        self.remove_replaced(detector).await?;
        let files = self.listed(detector).await?;
        let mut kept = Kept { files_before: files.len(), ..Kept::default() };
        let mut hours: BTreeMap<(String, String), Vec<FileFacts>> = BTreeMap::new();
        for file in files {
            let hour = (file.date().to_owned(), file.hour().to_owned());
            hours.entry(hour).or_default().push(file);
        }
        for files in hours.into_values() {
            if files.iter().all(|file| file.last_ms < before_ms) {
                for group in groups(files) {
                    kept.rows += self.put_together(detector, group).await?;
                }
            }
        }
        self.remove_replaced(detector).await?;
        kept.files_after = self.listed(detector).await?.len();
        Ok(kept)
    }

    /// Makes one file of several of one hour, for each set of fields among them.
    async fn put_together(&self, detector: &str, files: Vec<FileFacts>) -> Result<u64, LakeError> {
        let mut by_fields: Vec<(Fields, Vec<Read>)> = Vec::new();
        for file in files {
            let bytes = self.bytes(&file).await?;
            let fields = FileReader::open(&file.path, bytes.clone())?.fields;
            match by_fields.iter_mut().find(|(known, _)| *known == fields) {
                Some((_, files)) => files.push((file, bytes)),
                None => by_fields.push((fields, vec![(file, bytes)])),
            }
        }
        let mut rows = 0;
        for (fields, files) in by_fields.into_iter().filter(|(_, files)| files.len() > 1) {
            let mut writer = FileWriter::new(&fields)?;
            for (file, bytes) in &files {
                for batch in FileReader::open(&file.path, bytes.clone())? {
                    writer.write(&batch?)?;
                }
            }
            let bytes = writer.finish()?;
            let files: Vec<FileFacts> = files.into_iter().map(|(file, _)| file).collect();
            rows += self.replace(detector, &files, &bytes).await?;
        }
        Ok(rows)
    }

    async fn replace(
        &self,
        detector: &str,
        files: &[FileFacts],
        bytes: &[u8],
    ) -> Result<u64, LakeError> {
        let (digest, rows) = (digest(bytes), files.iter().map(|file| file.rows).sum());
        let Some(folder) = files.first().and_then(|file| file.path.rsplit_once('/')) else {
            return Ok(0);
        };
        let file = FileFacts {
            path: format!("{}/compacted-{}.parquet", folder.0, &digest[..24]),
            rows,
            bytes: bytes.len() as u64,
            first_ms: files.iter().map(|file| file.first_ms).min().unwrap_or_default(),
            last_ms: files.iter().map(|file| file.last_ms).max().unwrap_or_default(),
            digest,
        };
        let replaces = files.iter().map(|file| file.path.clone()).collect();
        let listing = format!("{}/compacted/{}.json", manifest(detector), &file.digest[..24]);
        self.create(&file.path, bytes).await?;
        self.create_document(&listing, &Compaction { format: FORMAT, file, replaces }).await?;
        Ok(rows)
    }

    /// Removes files that others stand in place of.
    async fn remove_replaced(&self, detector: &str) -> Result<(), LakeError> {
        for compaction in self.compactions(detector).await? {
            for path in compaction.replaces {
                self.delete(&path).await?;
            }
        }
        Ok(())
    }

    /// Removes all days before `date` (as 2026-01-31), and says so before it does.
    pub async fn expire(&self, detector: &str, date: &str) -> Result<Kept, LakeError> {
        if !is_date(date) {
            return Err(LakeError::Date(date.to_owned()));
        }
        let files = self.listed(detector).await?;
        let old: Vec<&FileFacts> = files.iter().filter(|file| file.date() < date).collect();
        let known = self.expired(detector).await?;
        if known.before.as_str() < date {
            let expired = Expired { format: FORMAT, before: date.to_owned() };
            self.put_document(&format!("{}/expired.json", manifest(detector)), &expired).await?;
        }
        // A crash before may have left files that are not listed any more.
        for path in self.list(&format!("detector={detector}")).await? {
            let day = path.split('/').find_map(|part| part.strip_prefix("date="));
            if day.is_some_and(|day| day < date) {
                self.delete(&path).await?;
            }
        }
        Ok(Kept {
            files_before: files.len(),
            files_after: files.len() - old.len(),
            rows: old.iter().map(|file| file.rows).sum(),
        })
    }
}

/// A file and its bytes.
type Read = (FileFacts, Vec<u8>);

/// Neighbours that together stay within [`FILE_BYTES_MAX`]; a file alone is left as it is.
fn groups(files: Vec<FileFacts>) -> Vec<Vec<FileFacts>> {
    let (mut groups, mut bytes): (Vec<Vec<FileFacts>>, u64) = (Vec::new(), 0);
    for file in files {
        match groups.last_mut() {
            Some(group) if bytes + file.bytes <= FILE_BYTES_MAX => {
                bytes += file.bytes;
                group.push(file);
            }
            _ => {
                bytes = file.bytes;
                groups.push(vec![file]);
            }
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

fn is_date(text: &str) -> bool {
    twinge_contract::time::TimeFormat::Rfc3339.read_text(text).is_some() && text.len() == 10
}
