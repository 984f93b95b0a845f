//! Guesses a schema from data, for those who come with a CSV and nothing else.
//!
//! Time, entity and label are recognised by name and content; every other column is an input, but
//! for those that say nothing (constant texts, identifiers, free text, second labels), each told in
//! a sentence. The guess is printed as a `detector.toml` to correct and keep.

use crate::read::{CellReader, Format, ReadError, number};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use twinge_contract::schema::Schema;
use twinge_contract::time::TimeFormat;

/// Rows looked at.
const SAMPLE_ROWS: usize = 20_000;

/// Most distinct texts that a categorical column may have.
const CATEGORIES_MAX: usize = 1000;

const TIME_NAMES: [&str; 10] = [
    "time",
    "timestamp",
    "@timestamp",
    "ts",
    "datetime",
    "date",
    "event_time",
    "eventtime",
    "date_time",
    "created_at",
];
const ENTITY_NAMES: [&str; 27] = [
    "entity",
    "entity_id",
    "device",
    "device_id",
    "deviceid",
    "sensor",
    "sensor_id",
    "sensorid",
    "card",
    "card_id",
    "customer",
    "customer_id",
    "account",
    "account_id",
    "user",
    "user_id",
    "machine",
    "machine_id",
    "pump",
    "pump_id",
    "gateway",
    "gateway_id",
    "asset",
    "asset_id",
    "merchant_id",
    "host",
    "source_ip",
];
const LABEL_NAMES: [&str; 18] = [
    "label",
    "is_anomaly",
    "anomaly",
    "is_fraud",
    "fraud",
    "outlier",
    "is_outlier",
    "class",
    "target",
    "attack",
    "is_attack",
    "fault",
    "is_fault",
    "failure",
    "is_failure",
    "malicious",
    "changepoint",
    "scenario",
];

/// A guessed schema and what was noticed.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// The guess.
    pub schema: Schema,
    /// Sentences about columns left out.
    pub notes: Vec<String>,
}

/// Guesses the schema of `input`.
pub fn infer<R: Read>(input: R, format: Format) -> Result<Inferred, ReadError> {
    let columns = sample(input, format)?;
    let mut notes = Vec::new();
    let mut schema = Schema::default();
    let mut rest: Vec<&ColumnSample> = columns.iter().collect();
    if let Some(place) = find_time(&rest) {
        let column = rest.remove(place);
        schema.time_format = column.time_format().unwrap_or_default();
        schema.time = Some(column.name.clone());
    }
    if let Some(place) = find_named(&rest, &LABEL_NAMES, ColumnSample::is_label) {
        schema.label = Some(rest.remove(place).name.clone());
    }
    if let Some(place) = find_named(&rest, &ENTITY_NAMES, ColumnSample::repeats) {
        schema.entity = Some(rest.remove(place).name.clone());
    }
    for column in rest {
        let is_second_label = LABEL_NAMES.contains(&column.lowercase().as_str());
        if is_second_label {
            notes.push(format!("column `{}` looks like a label and is left out", column.name));
        } else if column.is_numeric() {
            schema.numeric.push(column.name.clone());
        } else if column.distinct.len() <= CATEGORIES_MAX && column.repeats() {
            schema.categorical.push(column.name.clone());
        } else {
            notes.push(format!(
                "column `{}` has a different text in almost every row and is left out",
                column.name
            ));
        }
    }
    Ok(Inferred { schema, notes })
}

/// What was seen of a column.
struct ColumnSample {
    name: String,
    cells: Vec<String>,
    distinct: BTreeSet<String>,
}

impl ColumnSample {
    fn lowercase(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    fn present(&self) -> impl Iterator<Item = &str> + Clone {
        self.cells.iter().map(String::as_str).filter(|cell| !cell.is_empty())
    }

    fn is_numeric(&self) -> bool {
        self.cells.iter().all(|cell| number(cell).is_some())
    }

    fn time_format(&self) -> Option<TimeFormat> {
        TimeFormat::infer(&self.present())
    }

    /// Whether values come again: an entity or a category, not an identifier of the row.
    fn repeats(&self) -> bool {
        self.distinct.len() * 2 <= self.cells.len().max(1)
    }

    fn is_label(&self) -> bool {
        self.distinct.len() <= 2 || (self.lowercase() == "label" && self.repeats())
    }
}

fn find_time(columns: &[&ColumnSample]) -> Option<usize> {
    let named = find_named(columns, &TIME_NAMES, |column| column.time_format().is_some());
    named.or_else(|| {
        columns.iter().position(|column| column.time_format() == Some(TimeFormat::Rfc3339))
    })
}

fn find_named(
    columns: &[&ColumnSample],
    names: &[&str],
    fits: impl Fn(&ColumnSample) -> bool,
) -> Option<usize> {
    names.iter().find_map(|name| {
        columns.iter().position(|column| column.lowercase() == *name && fits(column))
    })
}

fn sample<R: Read>(input: R, format: Format) -> Result<Vec<ColumnSample>, ReadError> {
    let mut reader = CellReader::new(input, format)?;
    let mut names: Vec<String> = reader.header().map(<[String]>::to_vec).unwrap_or_default();
    let mut cells: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut rows = 0;
    while rows < SAMPLE_ROWS && reader.advance()? {
        for name in reader.names() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in &names {
            let cell = reader.cell(name, None)?.to_owned();
            let column = cells.entry(name.clone()).or_default();
            column.resize(rows, String::new());
            column.push(cell);
        }
        rows += 1;
    }
    if rows == 0 {
        return Err(ReadError::Empty);
    }
    Ok(names
        .into_iter()
        .map(|name| {
            let cells = cells.remove(&name).unwrap_or_default();
            let distinct = cells.iter().filter(|cell| !cell.is_empty()).cloned().collect();
            ColumnSample { name, cells, distinct }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn roles_are_recognised() {
        let mut csv = "Event_ID,Timestamp,device_id,temp,mode,label,anomaly\n".to_owned();
        for row in 0..60 {
            writeln!(
                csv,
                "e{row},2024-01-01 00:{row:02}:00,d{},{}.5,m{},0,spike{}",
                row % 3,
                row,
                row % 2,
                row % 5
            )
            .unwrap();
        }
        let Inferred { schema, notes } = infer(csv.as_bytes(), Format::Csv).unwrap();
        assert_eq!(schema.time.as_deref(), Some("Timestamp"));
        assert_eq!(schema.entity.as_deref(), Some("device_id"));
        assert_eq!(schema.label.as_deref(), Some("label"));
        assert_eq!(schema.numeric, ["temp"]);
        assert_eq!(schema.categorical, ["mode"]);
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn a_plain_table_has_numbers_only() {
        let csv = "f0,f1,label\n1,2,0\n2,3,1\n3,4,0\n";
        let schema = infer(csv.as_bytes(), Format::Csv).unwrap().schema;
        assert_eq!((schema.time, schema.entity, schema.numeric.len()), (None, None, 2));
    }
}
