//! What inputs, scores and verdicts looked like in training, for drift to be measured against.

use crate::assess::Scored;
use crate::table::Table;
use twinge_contract::manifest::{AnchorReference, DriftReference, Manifest, ReferenceHistogram};
use twinge_drift::training::{Column, Row, reference, scores};

/// The reference of the inputs over `rows`, and what else drift is measured against: scores of rows
/// that were not fitted, and the inputs of the line's first module, if there was one `former`ly.
pub fn references(
    table: &Table,
    rows: &[u32],
    scored: &Scored,
    former: Option<&Manifest>,
) -> (Vec<ReferenceHistogram>, DriftReference) {
    let places = places(table);
    let row = |row: &u32| Row {
        row: *row,
        place: places[*row as usize],
        time_ms: time_ms(table, *row as usize),
        entity: table.entities[*row as usize],
    };
    let own: Vec<Row> = rows.iter().map(row).collect();
    let scored_rows: Vec<Row> = scored.rows.iter().map(row).collect();
    let (sample, histograms) = reference(&columns(table), &own);
    let has_scores = !scored.rows.is_empty();
    let drift = DriftReference {
        sample,
        scores: has_scores.then(|| scores(&scored.scores, &scored_rows)),
        anchor: former.and_then(anchor),
    };
    (histograms, drift)
}

/// The first module of a line: that of the former one, or the former one itself; nothing where it
/// tells too little to be compared with.
pub fn anchor(former: &Manifest) -> Option<AnchorReference> {
    let drift = former.drift.as_ref()?;
    Some(drift.anchor.clone().unwrap_or_else(|| AnchorReference {
        version: former.version.clone(),
        data_digest: former.lineage.data_digest.clone(),
        sample: drift.sample.clone(),
        reference: former.reference.clone(),
    }))
}

fn columns(table: &Table) -> Vec<Column<'_>> {
    let schema = &table.schema;
    let numbers = schema.numeric.iter().zip(&table.numeric);
    let numbers = numbers.map(|(field, values)| Column::Numbers { field, values });
    let categories = schema.categorical.iter().zip(&table.categorical);
    let categories = categories.map(|(field, column)| Column::Categories {
        field,
        rows: &column.rows,
        names: &column.names,
    });
    numbers.chain(categories).collect()
}

/// The place of each row in time, equal times in the order of rows; without times, its number.
fn places(table: &Table) -> Vec<u32> {
    let mut order: Vec<u32> = (0..table.rows() as u32).collect();
    order.sort_by(|a, b| {
        table.times_ms[*a as usize].total_cmp(&table.times_ms[*b as usize]).then(a.cmp(b))
    });
    let mut places = vec![0; order.len()];
    for (place, row) in (0..).zip(order) {
        places[row as usize] = place;
    }
    places
}

fn time_ms(table: &Table, row: usize) -> f64 {
    if table.schema.time.is_some() { table.times_ms[row] } else { f64::NAN }
}
