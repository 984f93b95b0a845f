//! Datasets: what lay in a lake within a span of time, fixed.
//!
//! A [`Dataset`] names files with their digests and says what is in them. It holds nothing of when
//! or where it was made, so the same files give the same bytes; its name is their SHA-256. A file
//! that has changed since is found out when it is read.

mod quality;
mod sample;
mod sketch;
mod statistics;
mod tally;

pub use quality::Quality;
pub use sample::{Names, Sample, SampleSettings, Strata};
pub use sketch::Sketch;
pub use statistics::{FieldsOfRows, Statistics};

use crate::columns::{Fields, Place, Row};
use crate::error::LakeError;
use crate::facts::FileFacts;
use crate::lake::{Lake, Range, digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tally::Tally;
use twinge_contract::time::to_rfc3339;

/// A fixed part of a lake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// 1.
    pub format: u32,
    /// The detector whose events these are.
    pub detector: String,
    /// From when on, milliseconds since 1970; nothing for the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<i64>,
    /// Until when, not included; nothing for the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// The files that hold it, with rows beyond the span where a file reaches out of it.
    pub files: Vec<FileFacts>,
    /// Rows with a verdict within the span.
    pub rows: u64,
    /// Different entities, a million at most.
    pub entities: u64,
    /// The columns, and how many rows have them: more than one entry is a change of schema.
    pub fields: Vec<FieldsOfRows>,
    /// What is known of each field.
    pub statistics: BTreeMap<String, Statistics>,
    /// What is wrong with it.
    pub quality: Quality,
}

impl Dataset {
    /// Looks at everything of `detector` within `range`, in bounded memory.
    pub async fn create(lake: &Lake, detector: &str, range: Range) -> Result<Self, LakeError> {
        let files = lake.files(detector, range).await?;
        let mut tally = Tally::default();
        for file in &files {
            let rows = lake.rows(file).await?;
            let fields = rows.fields().clone();
            for row in rows {
                let (_, row) = row?;
                if range.holds(row.time_ms.unwrap_or(row.ingested_ms)) {
                    tally.add(&fields, &row);
                }
            }
        }
        let bound = |bound: i64, open: i64| (bound != open).then_some(bound);
        let statistics = tally.statistics();
        Ok(Self {
            format: 1,
            detector: detector.to_owned(),
            from_ms: bound(range.from_ms, i64::MIN),
            until_ms: bound(range.until_ms, i64::MAX),
            quality: tally.watch.finish(&tally.numbers, &statistics, &tally.fields),
            files,
            rows: tally.rows,
            entities: tally.entities.len() as u64,
            fields: tally.fields,
            statistics,
        })
    }

    /// Its bytes, and the SHA-256 that names it.
    pub fn encode(&self) -> Result<(Vec<u8>, String), LakeError> {
        let bytes = serde_json::to_vec_pretty(self).map_err(LakeError::encode)?;
        let digest = digest(&bytes);
        Ok((bytes, digest))
    }

    /// Keeps it in the lake; gives its digest.
    pub async fn keep(&self, lake: &Lake) -> Result<String, LakeError> {
        let (bytes, digest) = self.encode()?;
        // Whoever made it before made the same bytes.
        lake.create(&path_of(&digest), &bytes).await?;
        Ok(digest)
    }

    /// The dataset of that digest.
    pub async fn read(lake: &Lake, name: &str) -> Result<Self, LakeError> {
        let path = path_of(name);
        let bytes = lake.get(&path).await?.ok_or_else(|| LakeError::Gone(path.clone()))?;
        let found = digest(&bytes);
        if found != name {
            return Err(LakeError::Altered { path, listed: name.to_owned(), found });
        }
        serde_json::from_slice(&bytes).map_err(|error| LakeError::file(&path, error))
    }

    /// The span that it covers.
    pub fn range(&self) -> Range {
        Range {
            from_ms: self.from_ms.unwrap_or(i64::MIN),
            until_ms: self.until_ms.unwrap_or(i64::MAX),
        }
    }

    /// Gives every row within the span to `take`, in the order of the files.
    pub async fn each_row(
        &self,
        lake: &Lake,
        mut take: impl FnMut(&Fields, Place, Row),
    ) -> Result<(), LakeError> {
        let range = self.range();
        for file in &self.files {
            let rows = lake.rows(file).await?;
            let fields = rows.fields().clone();
            for row in rows {
                let (place, row) = row?;
                if range.holds(row.time_ms.unwrap_or(row.ingested_ms)) {
                    take(&fields, place, row);
                }
            }
        }
        Ok(())
    }

    /// The whole as text for people.
    pub fn describe(&self) -> String {
        let span = match (self.quality.first_ms, self.quality.last_ms) {
            (Some(first), Some(last)) => format!("{} to {}", to_rfc3339(first), to_rfc3339(last)),
            _ => "no time".to_owned(),
        };
        let mut text = format!(
            "{} rows of {} entities in {} files, {span}\n",
            self.rows,
            self.entities,
            self.files.len()
        );
        let fields = self.statistics.iter().map(|(field, statistics)| {
            let what = match statistics.numbers.get("p50") {
                Some(median) => format!(
                    "{median:.4} in the middle, {:.4} to {:.4}",
                    statistics.numbers["min"], statistics.numbers["max"]
                ),
                None => {
                    statistics.categories.keys().take(5).cloned().collect::<Vec<_>>().join(", ")
                }
            };
            let missing = statistics.missing_share() * 100.0;
            format!("  {field:24} {missing:>5.1} % missing   {what}\n")
        });
        let findings = self.quality.findings.iter().map(|finding| format!("  ! {finding}\n"));
        text.extend(fields.chain(findings));
        text
    }
}

/// Where a dataset lies.
fn path_of(digest: &str) -> String {
    format!("_datasets/{digest}.json")
}
