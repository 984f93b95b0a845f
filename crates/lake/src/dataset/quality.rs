//! What is wrong with data, found on the way through it.

use super::statistics::{FieldsOfRows, Numbers, Statistics};
use crate::columns::Row;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use twinge_contract::time::to_rfc3339;
use twinge_contract::verdict::identity_hash;

/// Events whose repetition is noticed: the latest so many.
const REMEMBERED_MAX: usize = 1_000_000;
/// A value is out of range when it lies so many times the middle half's width beyond it.
const FAR: f64 = 10.0;
/// Shares from which on something is told.
const MISSING_TOLD: f64 = 0.2;
const LATE_TOLD: f64 = 0.01;
const OUT_OF_RANGE_TOLD: f64 = 0.001;

const HOUR_MS: i64 = 3_600_000;

/// What is wrong with a dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// The earliest event, milliseconds since 1970.
    pub first_ms: Option<i64>,
    /// The latest.
    pub last_ms: Option<i64>,
    /// Hours between them without any event.
    pub hours_without_events: u64,
    /// Events that were older than the allowed lateness.
    pub late: u64,
    /// Events that are there twice, with equal entity, time and content.
    pub duplicates: u64,
    /// Events that got no verdict, by reason.
    pub dead_letters: BTreeMap<String, u64>,
    /// Values far out of a field's range.
    pub out_of_range: BTreeMap<String, u64>,
    /// Sentences for people.
    pub findings: Vec<String>,
}

/// Looks at rows as they come.
#[derive(Debug, Default)]
pub(super) struct Watch {
    quality: Quality,
    rows: u64,
    hours: BTreeSet<i64>,
    seen: HashSet<[u8; 16]>,
}

impl Watch {
    pub(super) fn add(&mut self, row: &Row) {
        if row.verdict == "dead-letter" {
            let reason = row.reason.clone().unwrap_or_else(|| "unknown".to_owned());
            *self.quality.dead_letters.entry(reason).or_default() += 1;
            return;
        }
        self.rows += 1;
        self.quality.late += u64::from(row.late);
        let time = row.time_ms.unwrap_or(row.ingested_ms);
        let (first, last) = (&mut self.quality.first_ms, &mut self.quality.last_ms);
        *first = Some(first.map_or(time, |first| first.min(time)));
        *last = Some(last.map_or(time, |last| last.max(time)));
        self.hours.insert(time.div_euclid(HOUR_MS));
        // Without a time, equal readings one after the other are the normal case.
        if let (Some(entity), Some(time)) = (&row.entity, row.time_ms) {
            if self.seen.len() >= REMEMBERED_MAX {
                self.seen.clear();
            }
            let parts = [entity.as_bytes(), &time.to_le_bytes()[..], row.event.as_slice()];
            self.quality.duplicates += u64::from(!self.seen.insert(identity_hash(&parts)));
        }
    }

    pub(super) fn finish(
        &self,
        numbers: &BTreeMap<String, Numbers>,
        statistics: &BTreeMap<String, Statistics>,
        fields: &[FieldsOfRows],
    ) -> Quality {
        let mut quality = self.quality.clone();
        if let (Some(first), Some(last)) = (self.hours.first(), self.hours.last()) {
            quality.hours_without_events = (last - first + 1) as u64 - self.hours.len() as u64;
        }
        for (name, field) in numbers {
            if let (Some(low), Some(high)) =
                (field.sketch.quantile(0.25), field.sketch.quantile(0.75))
                && high > low
            {
                let reach = FAR * (high - low);
                let count = field.sketch.count_outside(low - reach, high + reach);
                if count > 0 {
                    quality.out_of_range.insert(name.clone(), count);
                }
            }
        }
        quality.findings = self.findings(&quality, statistics, fields);
        quality
    }

    fn findings(
        &self,
        quality: &Quality,
        statistics: &BTreeMap<String, Statistics>,
        fields: &[FieldsOfRows],
    ) -> Vec<String> {
        let mut findings = Vec::new();
        let share = |count: u64| count as f64 / self.rows.max(1) as f64;
        if self.rows == 0 {
            findings.push("there is no event with a verdict in this span".to_owned());
        }
        for (name, field) in statistics {
            if field.count == 0 {
                findings.push(format!("`{name}` is missing in every event"));
            } else if field.missing_share() >= MISSING_TOLD {
                let share = field.missing_share() * 100.0;
                findings.push(format!("`{name}` is missing in {share:.1} % of the events"));
            }
        }
        for (name, count) in &quality.out_of_range {
            if share(*count) >= OUT_OF_RANGE_TOLD {
                findings.push(format!("`{name}` is far out of its range in {count} events"));
            }
        }
        if share(quality.late) >= LATE_TOLD {
            findings.push(format!("{} events came later than is allowed", quality.late));
        }
        if quality.duplicates > 0 {
            findings.push(format!("{} events are there twice", quality.duplicates));
        }
        for (reason, count) in &quality.dead_letters {
            findings.push(format!("{count} events got no verdict: {reason}"));
        }
        if fields.len() > 1 {
            let rows: Vec<String> = fields.iter().map(|fields| fields.rows.to_string()).collect();
            let rows = rows.join(", ");
            findings.push(format!("the schema changed on the way: rows by schema are {rows}"));
        }
        if quality.hours_without_events > 0
            && let (Some(first), Some(last)) = (quality.first_ms, quality.last_ms)
        {
            let hours = quality.hours_without_events;
            let (first, last) = (to_rfc3339(first), to_rfc3339(last));
            findings.push(format!("{hours} hours between {first} and {last} have no event"));
        }
        findings
    }
}
