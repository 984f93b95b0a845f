//! What is known of each field, counted in bounded memory. Whether it is right is not known here.

use super::sketch::Sketch;
use crate::columns::Fields;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

impl Statistics {
    /// Share of the rows that lack the field.
    pub fn missing_share(&self) -> f64 {
        let all = self.count + self.missing;
        if all == 0 { 0.0 } else { self.missing as f64 / all as f64 }
    }
}

/// Values of a number.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub(super) sketch: Sketch,
    sum: f64,
    missing: u64,
}

/// Values of a category.
#[derive(Clone, Debug, Default)]
pub(super) struct Categories {
    counts: BTreeMap<String, u64>,
    others: u64,
    missing: u64,
}

impl Numbers {
    pub(super) fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.sketch.add(value);
            self.sum += value;
        } else {
            self.missing += 1;
        }
    }

    pub(super) fn statistics(&self) -> Statistics {
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
    pub(super) fn add(&mut self, value: Option<&str>) {
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

    pub(super) fn statistics(&self) -> Statistics {
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
