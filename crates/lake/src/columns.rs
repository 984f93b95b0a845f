//! What a row of the lake looks like, as a value and as columns.
//!
//! The fields of a detector's schema are columns under their own names, numbers as doubles and
//! categories as text; what Twinge adds begins with `twinge_`. A field whose name is taken by a
//! partition of the lake (`detector`, `date`, `hour`) gets `field_` in front of it.

use crate::error::LakeError;
use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder,
    StringDictionaryBuilder, TimestampMillisecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema as ArrowSchema, TimeUnit};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use twinge_contract::event::Attributes;
use twinge_contract::schema::Schema;

/// The columns that a detector's schema gives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// Fields that hold numbers.
    pub numeric: Vec<String>,
    /// Fields that hold categories.
    pub categorical: Vec<String>,
}

impl From<&Schema> for Fields {
    fn from(schema: &Schema) -> Self {
        Self { numeric: schema.numeric.clone(), categorical: schema.categorical.clone() }
    }
}

/// One event and what came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Its place in the partition.
    pub offset: u64,
    /// When it came in, milliseconds since 1970.
    pub ingested_ms: i64,
    /// Event time, milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// The entity; none for a dead letter.
    pub entity: Option<String>,
    /// The id of the verdict or dead letter.
    pub id: String,
    /// `normal`, `anomalous`, `warming-up`, `invalid` or `dead-letter`.
    pub verdict: String,
    /// The score; none for a dead letter.
    pub score: Option<f64>,
    /// `none`, `low`, `medium` or `high`.
    pub severity: Option<String>,
    /// Older than the allowed lateness.
    pub late: bool,
    /// Shares of the score by field, a JSON object; only for anomalies.
    pub attribution: Option<String>,
    /// SHA-256 of the module.
    pub module: Option<String>,
    /// The detector's version.
    pub version: Option<String>,
    /// Why there is no verdict, for a dead letter.
    pub reason: Option<String>,
    /// The partition key that it was sent with.
    pub key: Option<String>,
    /// `CloudEvents` attributes that came beside the event, as JSON.
    pub attributes: Option<String>,
    /// The event as it came.
    pub event: Vec<u8>,
    /// Numbers by [`Fields::numeric`]; NaN is missing.
    pub numbers: Vec<f64>,
    /// Categories by [`Fields::categorical`].
    pub categories: Vec<Option<String>>,
}

impl Row {
    /// The attributes that came beside the event.
    pub fn attributes(&self) -> Option<Attributes> {
        serde_json::from_str(self.attributes.as_deref()?).ok()
    }
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The source.
    pub source: String,
    /// Its partition.
    pub partition: String,
}

/// Columns before those of the fields.
const COLUMNS: [(&str, Kind, bool); 18] = [
    ("twinge_source", Kind::Word, false),
    ("twinge_partition", Kind::Word, false),
    ("twinge_offset", Kind::Whole, false),
    ("twinge_ingested", Kind::Time, false),
    ("twinge_time", Kind::Time, true),
    ("twinge_entity", Kind::Text, true),
    ("twinge_id", Kind::Text, false),
    ("twinge_verdict", Kind::Word, false),
    ("twinge_score", Kind::Number, true),
    ("twinge_severity", Kind::Word, true),
    ("twinge_late", Kind::Flag, false),
    ("twinge_attribution", Kind::Text, true),
    ("twinge_module", Kind::Word, true),
    ("twinge_version", Kind::Word, true),
    ("twinge_reason", Kind::Word, true),
    ("twinge_key", Kind::Text, true),
    ("twinge_attributes", Kind::Text, true),
    // Text where it is, bytes where it is not, so that tools show what there is to see.
    ("twinge_event", Kind::Text, true),
];
const EVENT_BYTES: &str = "twinge_event_bytes";

#[derive(Clone, Copy)]
enum Kind {
    Word,
    Text,
    Whole,
    Number,
    Flag,
    Time,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Word => word(),
            Self::Text => DataType::Utf8,
            Self::Whole => DataType::Int64,
            Self::Number => DataType::Float64,
            Self::Flag => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        }
    }
}

/// Text of few different values.
fn word() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// The column of a field.
pub fn column_of(field: &str) -> String {
    let is_taken = ["detector", "date", "hour"].contains(&field) || field.starts_with("twinge_");
    if is_taken { format!("field_{field}") } else { field.to_owned() }
}

/// Columns of all rows with these fields.
pub fn arrow_schema(fields: &Fields) -> Arc<ArrowSchema> {
    let own = COLUMNS.iter().map(|(name, kind, null)| Field::new(*name, kind.data_type(), *null));
    let bytes = Field::new(EVENT_BYTES, DataType::Binary, true);
    let numeric =
        fields.numeric.iter().map(|name| Field::new(column_of(name), DataType::Float64, true));
    let categorical =
        fields.categorical.iter().map(|name| Field::new(column_of(name), word(), true));
    let all: Vec<Field> = own.chain([bytes]).chain(numeric).chain(categorical).collect();
    Arc::new(ArrowSchema::new(all))
}

/// Rows of one partition as columns.
pub fn encode(fields: &Fields, place: &Place, rows: &[Row]) -> Result<RecordBatch, LakeError> {
    let text = |of: fn(&Row) -> Option<&str>| texts(rows.iter().map(of));
    let word = |of: fn(&Row) -> Option<&str>| words(rows.iter().map(of));
    let all = |word: &str| words(rows.iter().map(|_| Some(word)));
    let mut bytes = BinaryBuilder::new();
    for row in rows {
        let is_text = str::from_utf8(&row.event).is_ok();
        bytes.append_option((!is_text).then_some(&row.event));
    }
    let mut columns: Vec<ArrayRef> = vec![
        all(&place.source),
        all(&place.partition),
        whole(rows.iter().map(|row| row.offset.cast_signed())),
        times(rows.iter().map(|row| Some(row.ingested_ms))),
        times(rows.iter().map(|row| row.time_ms)),
        text(|row| row.entity.as_deref()),
        text(|row| Some(&row.id)),
        word(|row| Some(&row.verdict)),
        numbers(rows.iter().map(|row| row.score)),
        word(|row| row.severity.as_deref()),
        flags(rows.iter().map(|row| row.late)),
        text(|row| row.attribution.as_deref()),
        word(|row| row.module.as_deref()),
        word(|row| row.version.as_deref()),
        word(|row| row.reason.as_deref()),
        text(|row| row.key.as_deref()),
        text(|row| row.attributes.as_deref()),
        text(|row| str::from_utf8(&row.event).ok()),
        Arc::new(bytes.finish()),
    ];
    for index in 0..fields.numeric.len() {
        let value = |row: &Row| row.numbers.get(index).copied().filter(|value| !value.is_nan());
        columns.push(numbers(rows.iter().map(value)));
    }
    for index in 0..fields.categorical.len() {
        columns.push(words(rows.iter().map(|row| row.categories.get(index)?.as_deref())));
    }
    RecordBatch::try_new(arrow_schema(fields), columns).map_err(LakeError::encode)
}

fn texts<'r>(values: impl Iterator<Item = Option<&'r str>>) -> ArrayRef {
    let mut builder = StringBuilder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn words<'r>(values: impl Iterator<Item = Option<&'r str>>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn numbers(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    let mut builder = Float64Builder::new();
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

fn whole(values: impl Iterator<Item = i64>) -> ArrayRef {
    let mut builder = Int64Builder::new();
    values.for_each(|value| builder.append_value(value));
    Arc::new(builder.finish())
}

fn flags(values: impl Iterator<Item = bool>) -> ArrayRef {
    let mut builder = BooleanBuilder::new();
    values.for_each(|value| builder.append_value(value));
    Arc::new(builder.finish())
}

fn times(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let mut builder = TimestampMillisecondBuilder::new().with_timezone("UTC");
    values.for_each(|value| builder.append_option(value));
    Arc::new(builder.finish())
}

/// The rows of a batch that [`encode`] made, with where they come from.
pub fn decode(fields: &Fields, batch: &RecordBatch) -> Option<Vec<(Place, Row)>> {
    let columns = Columns::of(batch);
    let numeric: Vec<String> = fields.numeric.iter().map(|name| column_of(name)).collect();
    let categorical: Vec<String> = fields.categorical.iter().map(|name| column_of(name)).collect();
    (0..batch.num_rows())
        .map(|row| {
            let place = Place {
                source: columns.text("twinge_source", row)??,
                partition: columns.text("twinge_partition", row)??,
            };
            let number = |name: &String| Some(columns.number(name, row)?.unwrap_or(f64::NAN));
            let decoded = Row {
                offset: columns.whole("twinge_offset", row)?.try_into().ok()?,
                ingested_ms: columns.time("twinge_ingested", row)??,
                time_ms: columns.time("twinge_time", row)?,
                entity: columns.text("twinge_entity", row)?,
                id: columns.text("twinge_id", row)??,
                verdict: columns.text("twinge_verdict", row)??,
                score: columns.number("twinge_score", row)?,
                severity: columns.text("twinge_severity", row)?,
                late: columns.flag("twinge_late", row)?,
                attribution: columns.text("twinge_attribution", row)?,
                module: columns.text("twinge_module", row)?,
                version: columns.text("twinge_version", row)?,
                reason: columns.text("twinge_reason", row)?,
                key: columns.text("twinge_key", row)?,
                attributes: columns.text("twinge_attributes", row)?,
                event: match columns.text("twinge_event", row)? {
                    Some(text) => text.into_bytes(),
                    None => columns.bytes(EVENT_BYTES, row)?,
                },
                numbers: numeric.iter().map(number).collect::<Option<_>>()?,
                categories: categorical
                    .iter()
                    .map(|name| columns.text(name, row))
                    .collect::<Option<_>>()?,
            };
            Some((place, decoded))
        })
        .collect()
}

/// Values by column name; the outer option is none where the column is missing or of another type.
struct Columns<'b>(&'b RecordBatch);

#[expect(clippy::option_option, reason = "a column may be missing, and so may a value")]
impl<'b> Columns<'b> {
    fn of(batch: &'b RecordBatch) -> Self {
        Self(batch)
    }

    fn text(&self, name: &str, row: usize) -> Option<Option<String>> {
        let column = self.0.column_by_name(name)?;
        if column.is_null(row) {
            return Some(None);
        }
        let text = match column.data_type() {
            DataType::Dictionary(_, _) => {
                let dictionary = column.as_dictionary_opt::<Int32Type>()?;
                let key = usize::try_from(dictionary.keys().value(row)).ok()?;
                dictionary.values().as_string_opt::<i32>()?.value(key).to_owned()
            }
            _ => column.as_string_opt::<i32>()?.value(row).to_owned(),
        };
        Some(Some(text))
    }

    fn number(&self, name: &str, row: usize) -> Option<Option<f64>> {
        let column = self.0.column_by_name(name)?.as_primitive_opt::<Float64Type>()?;
        Some((!column.is_null(row)).then(|| column.value(row)))
    }

    fn whole(&self, name: &str, row: usize) -> Option<i64> {
        Some(self.0.column_by_name(name)?.as_primitive_opt::<Int64Type>()?.value(row))
    }

    fn time(&self, name: &str, row: usize) -> Option<Option<i64>> {
        let column = self.0.column_by_name(name)?.as_primitive_opt::<TimestampMillisecondType>()?;
        Some((!column.is_null(row)).then(|| column.value(row)))
    }

    fn flag(&self, name: &str, row: usize) -> Option<bool> {
        Some(self.0.column_by_name(name)?.as_boolean_opt()?.value(row))
    }

    fn bytes(&self, name: &str, row: usize) -> Option<Vec<u8>> {
        Some(self.0.column_by_name(name)?.as_binary_opt::<i32>()?.value(row).to_vec())
    }
}

/// The day and hour that a row lies under: of its event time, or of when it came in where it has
/// none.
pub fn day_and_hour(time_ms: Option<i64>, ingested_ms: i64) -> (String, String) {
    let split = |milliseconds| {
        let text = twinge_contract::time::to_rfc3339(milliseconds);
        let (date, hour) = (text.get(..10)?, text.get(11..13)?);
        (text.as_bytes().get(10) == Some(&b'T')).then(|| (date.to_owned(), hour.to_owned()))
    };
    // A time beyond the calendar is as good as none.
    time_ms
        .and_then(split)
        .or_else(|| split(ingested_ms))
        .unwrap_or_else(|| ("1970-01-01".to_owned(), "00".to_owned()))
}
