//! The part of a dataset that a training starts from, in bounded memory.
//!
//! Rows are taken by a hash of what they are, not by chance, so the order in which they come does
//! not matter and the same seed takes the same rows. Where entities have a past, whole entities are
//! taken; else so many rows of each hour.

use crate::columns::{Place, Row, day_and_hour};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use twinge_contract::schema::Schema;
use twinge_contract::time::{TimeFormat, to_rfc3339};
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
    /// Fields that are filled in where an event has them beside its fields.
    pub names: Names,
}

/// The fields of entity and time. A CloudEvent may have both as attributes and not among its data.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The entity's field.
    pub entity: Option<String>,
    /// The time's field, and how it is written.
    pub time: Option<(String, TimeFormat)>,
}

impl From<&Schema> for Names {
    fn from(schema: &Schema) -> Self {
        let time = schema.time.clone().map(|name| (name, schema.time_format));
        Self { entity: schema.entity.clone(), time }
    }
}

impl Names {
    /// The event of a row as one line of JSON.
    fn line(&self, row: Kept) -> Vec<u8> {
        // What an event has of line ends between its fields is nothing but space.
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let mut line = twinge_contract::event::payload(&row.event).into_owned();
        line.iter_mut().filter(|byte| is_end(byte)).for_each(|byte| *byte = b' ');
        let object: BTreeMap<Cow<'_, str>, &RawValue> =
            serde_json::from_slice(&line).unwrap_or_default();
        let mut added: Vec<String> = Vec::new();
        let mut add = |name: &str, value: serde_json::Value| {
            if !object.contains_key(name) {
                added.push(format!("{}:{value}", serde_json::Value::from(name)));
            }
        };
        if let (Some(name), Some(entity)) = (&self.entity, row.entity) {
            add(name, entity.into());
        }
        if let (Some((name, format)), Some(time_ms)) = (&self.time, row.time_ms) {
            add(
                name,
                match format {
                    TimeFormat::Rfc3339 => to_rfc3339(time_ms).into(),
                    TimeFormat::EpochS => (time_ms as f64 / 1000.0).into(),
                    TimeFormat::EpochMs => time_ms.into(),
                },
            );
        }
        if !object.is_empty() && !added.is_empty() {
            added.push(String::new());
        }
        let added = added.join(",");
        let begin = line.iter().position(|byte| *byte == b'{').map_or(0, |place| place + 1);
        line.splice(begin..begin, added.into_bytes());
        line
    }
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
    entity: Option<String>,
    time_ms: Option<i64>,
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
        let order = (time, place, row.offset);
        let kept = Kept { order, entity: row.entity, time_ms: row.time_ms, event: row.event };
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
            text.extend(self.settings.names.line(row));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_and_time_that_stand_beside_an_event_are_filled_in() {
        let names =
            |format| Names { entity: Some("card".into()), time: Some(("at".into(), format)) };
        let row = |event: &str| Kept {
            order: (0, Place { source: String::new(), partition: String::new() }, 0),
            entity: Some("c\"1".into()),
            time_ms: Some(1500),
            event: event.as_bytes().to_vec(),
        };
        let line = |event: &str, format| String::from_utf8(names(format).line(row(event))).unwrap();
        for (event, format, expected) in [
            (
                r#"{"specversion":"1.0","data":{"x":1}}"#,
                TimeFormat::Rfc3339,
                r#"{"card":"c\"1","at":"1970-01-01T00:00:01.5Z","x":1}"#,
            ),
            (
                r#" {"card":"other","x":1}"#,
                TimeFormat::EpochMs,
                r#" {"at":1500,"card":"other","x":1}"#,
            ),
            ("{}", TimeFormat::EpochS, r#"{"card":"c\"1","at":1.5}"#),
            (r#"{"at":1,"card":"c"}"#, TimeFormat::EpochMs, r#"{"at":1,"card":"c"}"#),
        ] {
            assert_eq!(line(event, format), expected);
        }
    }
}
