//! Datasets: what lay in a lake within a span of time, fixed.
//!
//! A [`Dataset`] names files with their digests and says what is in them. It holds nothing of when
//! or where it was made, so the same files give the same bytes; its name is their SHA-256. A file
//! that has changed since is found out when it is read.

mod quality;
mod sample;
mod sketch;

pub use quality::Quality;
pub use sample::{Names, Sample, SampleSettings, Strata};
pub use sketch::Sketch;

use crate::columns::{Fields, Place, Row};
use crate::error::LakeError;
use crate::lake::{FileFacts, Lake, Range, digest};
use quality::Watch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use twinge_contract::time::to_rfc3339;

/// Categories that are counted at most for a field; further ones count as others.
const CATEGORIES_MAX: usize = 1000;
/// Categories that are told of a field.
const CATEGORIES_TOLD: usize = 20;
/// Quantiles that are told of a field.
const QUANTILES: [(&str, f64); 7] = [
    ("p01", 0.01),
    ("p05", 0.05),
    ("p25", 0.25),
    ("p50", 0.5),
    ("p75", 0.75),
    ("p95", 0.95),
    ("p99", 0.99),
];

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

/// Columns of a number of rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldsOfRows {
    /// The columns.
    #[serde(flatten)]
    pub fields: Fields,
    /// The rows.
    pub rows: u64,
}

/// What is known of a field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Rows that have it.
    pub count: u64,
    /// Rows that lack it.
    pub missing: u64,
    /// For a number: its least and largest value, mean, and quantiles to one per cent of the value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, f64>,
    /// For a category: the most frequent ones with their counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub categories: BTreeMap<String, u64>,
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

impl Statistics {
    /// Share of the rows that lack the field.
    pub fn missing_share(&self) -> f64 {
        let all = self.count + self.missing;
        if all == 0 { 0.0 } else { self.missing as f64 / all as f64 }
    }
}

/// Where a dataset lies.
fn path_of(digest: &str) -> String {
    format!("_datasets/{digest}.json")
}

/// What is counted on the way through the rows.
#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    entities: std::collections::BTreeSet<[u8; 16]>,
    fields: Vec<FieldsOfRows>,
    numbers: BTreeMap<String, Numbers>,
    categories: BTreeMap<String, Categories>,
    watch: Watch,
}

/// Values of a number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) sketch: Sketch,
    sum: f64,
    missing: u64,
}

/// Values of a category.
#[derive(Clone, Debug, Default)]
struct Categories {
    counts: BTreeMap<String, u64>,
    others: u64,
    missing: u64,
}

/// Entities that are told apart at most.
const ENTITIES_MAX: usize = 1_000_000;

impl Tally {
    fn add(&mut self, fields: &Fields, row: &Row) {
        self.watch.add(row);
        if row.verdict == "dead-letter" {
            return;
        }
        self.rows += 1;
        if let Some(entity) = &row.entity
            && self.entities.len() < ENTITIES_MAX
        {
            self.entities.insert(twinge_contract::verdict::identity_hash(&[entity.as_bytes()]));
        }
        match self.fields.iter_mut().find(|known| known.fields == *fields) {
            Some(known) => known.rows += 1,
            None => self.fields.push(FieldsOfRows { fields: fields.clone(), rows: 1 }),
        }
        for (name, value) in fields.numeric.iter().zip(&row.numbers) {
            entry(&mut self.numbers, name).add(*value);
        }
        for (name, value) in fields.categorical.iter().zip(&row.categories) {
            entry(&mut self.categories, name).add(value.as_deref());
        }
    }

    fn statistics(&self) -> BTreeMap<String, Statistics> {
        let numbers = self.numbers.iter().map(|(name, field)| (name.clone(), field.statistics()));
        let categories =
            self.categories.iter().map(|(name, field)| (name.clone(), field.statistics()));
        numbers.chain(categories).collect()
    }
}

/// The value of a name, without a copy of the name for each row.
fn entry<'m, V: Default>(map: &'m mut BTreeMap<String, V>, name: &str) -> &'m mut V {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), V::default());
    }
    map.get_mut(name).expect("it was put there")
}

impl Numbers {
    fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.sketch.add(value);
            self.sum += value;
        } else {
            self.missing += 1;
        }
    }

    fn statistics(&self) -> Statistics {
        let count = self.sketch.count();
        let mut numbers = BTreeMap::new();
        if let (Some(least), Some(largest)) = (self.sketch.quantile(0.0), self.sketch.quantile(1.0))
        {
            numbers.insert("min".to_owned(), least);
            numbers.insert("max".to_owned(), largest);
            numbers.insert("mean".to_owned(), self.sum / count as f64);
            for (name, share) in QUANTILES {
                numbers.extend(self.sketch.quantile(share).map(|value| (name.to_owned(), value)));
            }
        }
        Statistics { count, missing: self.missing, numbers, categories: BTreeMap::new() }
    }
}

impl Categories {
    fn add(&mut self, value: Option<&str>) {
        let Some(value) = value else {
            self.missing += 1;
            return;
        };
        if let Some(count) = self.counts.get_mut(value) {
            *count += 1;
        } else if self.counts.len() < CATEGORIES_MAX {
            self.counts.insert(value.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }

    fn statistics(&self) -> Statistics {
        let mut most: Vec<(&String, &u64)> = self.counts.iter().collect();
        most.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
        let categories = most.into_iter().take(CATEGORIES_TOLD);
        Statistics {
            count: self.counts.values().sum::<u64>() + self.others,
            missing: self.missing,
            numbers: BTreeMap::new(),
            categories: categories.map(|(name, count)| (name.clone(), *count)).collect(),
        }
    }
}
