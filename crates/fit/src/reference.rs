//! What inputs looked like in training, for drift to be measured against.

use crate::scale::quantile;
use crate::table::{CategoryColumn, Table};
use twinge_contract::manifest::ReferenceHistogram;

/// Bins of a number; of many inputs each has fewer, so that the manifest stays small.
const BINS: usize = 16;
const BINS_OF_MANY: usize = 8;
const MANY_INPUTS: usize = 64;
const CATEGORIES: usize = 31;

/// A histogram of each input over the rows given.
pub fn histograms(table: &Table, rows: &[u32]) -> Vec<ReferenceHistogram> {
    let numbers = table.schema.numeric.iter().zip(&table.numeric).map(|(name, column)| {
        let mut values: Vec<f64> =
            rows.iter().map(|row| column[*row as usize]).filter(|v| !v.is_nan()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let bins = if table.schema.width() > MANY_INPUTS { BINS_OF_MANY } else { BINS };
        number_histogram(name, &values, rows.len(), bins)
    });
    let categories = table.schema.categorical.iter().zip(&table.categorical);
    numbers.chain(categories.map(|(name, column)| category_histogram(name, column, rows))).collect()
}

/// A part of the rows to six places: more would be digits without meaning in every manifest.
fn share(part: usize, rows: usize) -> f64 {
    libm::round(part as f64 / rows.max(1) as f64 * 1e6) / 1e6
}

fn number_histogram(name: &str, sorted: &[f64], rows: usize, bins: usize) -> ReferenceHistogram {
    let mut bounds: Vec<f64> = Vec::new();
    if !sorted.is_empty() {
        bounds.extend((1..bins).map(|bin| quantile(sorted, bin as f64 / bins as f64)));
        bounds.dedup();
    }
    let mut below = 0;
    let mut shares = Vec::new();
    for upper in bounds
        .iter()
        .map(|bound| sorted.partition_point(|value| value <= bound))
        .chain([sorted.len()])
    {
        shares.push(share(upper - below, rows));
        below = upper;
    }
    let missing = share(rows - sorted.len(), rows);
    ReferenceHistogram {
        field: name.to_owned(),
        bounds,
        shares,
        missing,
        ..ReferenceHistogram::default()
    }
}

fn category_histogram(name: &str, column: &CategoryColumn, rows: &[u32]) -> ReferenceHistogram {
    let counts = category_counts(column, rows);
    let share = |count: usize| share(count, rows.len());
    let known: usize = counts.iter().map(|(_, count)| count).sum();
    let (listed, others) = counts.split_at(counts.len().min(CATEGORIES));
    ReferenceHistogram {
        field: name.to_owned(),
        bounds: Vec::new(),
        categories: listed.iter().map(|(name, _)| (*name).to_owned()).collect(),
        shares: listed
            .iter()
            .map(|(_, count)| share(*count))
            .chain([share(others.iter().map(|(_, count)| count).sum())])
            .collect(),
        missing: share(rows.len() - known),
        ..ReferenceHistogram::default()
    }
}

/// Categories with their number of rows, most frequent first, equal ones by text.
pub fn category_counts<'a>(column: &'a CategoryColumn, rows: &[u32]) -> Vec<(&'a str, usize)> {
    let mut counts = vec![0usize; column.names.len()];
    for category in rows.iter().filter_map(|row| column.rows[*row as usize]) {
        counts[category as usize] += 1;
    }
    let mut named: Vec<_> = column
        .names
        .iter()
        .map(String::as_str)
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .collect();
    named.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    named
}
