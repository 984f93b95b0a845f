//! The part of a dataset that a training starts from, in bounded memory.
//!
//! Rows are taken by a hash of what they are, not by chance, so the order in which they come does
//! not matter and the same seed takes the same rows. Where entities have a past, whole entities are
//! taken; else so many rows of each hour.

use crate::columns::{Place, Row, day_and_hour};
use std::collections::BTreeMap;
use twinge_contract::verdict::identity_hash;

/// How much is taken.
#[derive(Clone, Debug)]
pub struct SampleSettings {
    /// Rows at most.
    pub rows_max: usize,
    /// Another seed takes other rows.
    pub seed: u64,
    /// What is taken as a whole.
    pub strata: Strata,
    /// Whether flagged and confirmed anomalies are taken too: for judging, not for learning.
    pub anomalies: bool,
    /// What people said of verdicts, by id: whether it was an anomaly.
    pub labels: BTreeMap<String, bool>,
}

/// What a sample is drawn by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strata {
    /// All rows of an entity, or none.
    Entities,
    /// Of so many hours, an equal number of rows of each.
    Hours(usize),
}

/// A sample in the making.
#[derive(Debug)]
pub struct Sample {
    settings: SampleSettings,
    /// Entities with a larger hash are left out.
    bound: u64,
    /// Rows by stratum and hash.
    kept: BTreeMap<(String, u64), Vec<Kept>>,
    count: usize,
    by_stratum: BTreeMap<String, usize>,
    /// Rows that were flagged or confirmed to be anomalies.
    pub anomalies: u64,
}

#[derive(Debug)]
struct Kept {
    order: (i64, Place, u64),
    event: Vec<u8>,
}

impl Sample {
    /// An empty sample.
    pub fn new(settings: SampleSettings) -> Self {
        Self {
            settings,
            bound: u64::MAX,
            kept: BTreeMap::new(),
            count: 0,
            by_stratum: BTreeMap::new(),
            anomalies: 0,
        }
    }

    /// Looks at a row. One without a verdict teaches nothing, and neither does an anomaly: one that
    /// was flagged with some certainty, or confirmed; a false alarm does.
    pub fn add(&mut self, place: Place, row: Row) {
        if row.verdict == "dead-letter" || row.verdict == "invalid" {
            return;
        }
        let flagged = matches!(row.severity.as_deref(), Some("medium" | "high"));
        if self.settings.labels.get(&row.id).copied().unwrap_or(flagged) {
            self.anomalies += 1;
            if !self.settings.anomalies {
                return;
            }
        }
        let seed = self.settings.seed.to_le_bytes();
        let (stratum, hash) = match self.settings.strata {
            Strata::Entities => {
                let entity = row.entity.clone().unwrap_or_default();
                let hash = short(&[&seed, entity.as_bytes()]);
                (entity, hash)
            }
            Strata::Hours(_) => {
                let (day, hour) = day_and_hour(row.time_ms, row.ingested_ms);
                let offset = row.offset.to_le_bytes();
                let parts = [&seed, place.source.as_bytes(), place.partition.as_bytes(), &offset];
                (format!("{day} {hour}"), short(&parts))
            }
        };
        let time = row.time_ms.unwrap_or(row.ingested_ms);
        let kept = Kept { order: (time, place, row.offset), event: row.event };
        match self.settings.strata {
            Strata::Entities => self.add_of_entity(stratum, hash, kept),
            Strata::Hours(hours) => self.add_of_hour(stratum, hash, kept, hours),
        }
    }

    fn add_of_entity(&mut self, entity: String, hash: u64, row: Kept) {
        if hash > self.bound {
            return;
        }
        self.kept.entry((entity, hash)).or_default().push(row);
        self.count += 1;
        while self.count > self.settings.rows_max && self.kept.len() > 1 {
            self.bound /= 2;
            let bound = self.bound;
            self.kept.retain(|(_, hash), _| *hash <= bound);
            self.count = self.kept.values().map(Vec::len).sum();
        }
    }

    fn add_of_hour(&mut self, hour: String, hash: u64, row: Kept, hours: usize) {
        let most = (self.settings.rows_max / hours.max(1)).max(1);
        let count = self.by_stratum.entry(hour.clone()).or_default();
        *count += 1;
        self.kept.entry((hour.clone(), hash)).or_default().push(row);
        if *count > most {
            // The largest hash of the hour makes room.
            let last = self.kept.range((hour.clone(), 0)..=(hour, u64::MAX)).next_back();
            if let Some(key) = last.map(|(key, _)| key.clone()) {
                let gone = self.kept.remove(&key).map_or(0, |rows| rows.len());
                *count -= gone;
            }
        }
    }

    /// Rows that were taken.
    pub fn rows(&self) -> usize {
        self.kept.values().map(Vec::len).sum()
    }

    /// The events that were taken as NDJSON, in the order of their times.
    pub fn into_ndjson(self) -> Vec<u8> {
        let mut rows: Vec<Kept> = self.kept.into_values().flatten().collect();
        rows.sort_by(|a, b| a.order.cmp(&b.order));
        let mut text = Vec::new();
        for row in rows {
            // A line each: what an event has of line ends between its fields is nothing but space.
            let payload = twinge_contract::event::payload(&row.event);
            text.extend(payload.iter().map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                byte => *byte,
            }));
            text.push(b'\n');
        }
        text
    }
}

fn short(parts: &[&[u8]]) -> u64 {
    let hash = identity_hash(parts);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first)
}
