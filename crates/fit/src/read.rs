//! Reads CSV and NDJSON row by row, by a schema.
//!
//! A cell is missing when it is empty or, for a number, one of NA, N/A, NaN, null, none. Whatever else cannot be
//! read is an error that names line and column: training on rows that were silently mended would
//! teach the mending.

use csv::{ReaderBuilder, StringRecord};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read};
use thiserror::Error;
use twinge_contract::event::ENTITY_BYTES_MAX;
use twinge_contract::schema::{SINGLE_ENTITY, Schema};

/// Longest line of NDJSON, in bytes.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// File formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A header and rows, separated by comma, semicolon or tab.
    Csv,
    /// A JSON object a line.
    Ndjson,
}

/// One row by its schema.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// Line in the file, from 1.
    pub line: u64,
    /// The entity it belongs to.
    pub entity: String,
    /// Event time in milliseconds.
    pub time_ms: Option<i64>,
    /// Numbers; NaN is missing.
    pub numeric: Vec<f64>,
    /// Categories; an empty text is missing.
    pub categorical: Vec<String>,
    /// The label, when the row has one. Once any row of a file has, those without are normal.
    pub anomalous: Option<bool>,
}

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The reader failed.
    #[error("data cannot be read")]
    Io(#[source] std::io::Error),
    /// No header or no row.
    #[error("data is empty: it needs a header and rows, or a JSON object a line")]
    Empty,
    /// A column of the schema is not in the file.
    #[error("data has no column `{column}`: it has {there}; correct the name under [schema]")]
    NoColumn {
        /// Column asked for.
        column: String,
        /// Columns that are there.
        there: String,
    },
    /// A column of the schema stands twice.
    #[error("data has two columns `{0}`, and which is meant nobody knows: rename or remove one")]
    TwoColumns(String),
    /// A row with more or fewer cells than the header.
    #[error(
        "line {line} has {found} cells where the header has {expected}: mend or remove the line"
    )]
    Ragged {
        /// Line in the file.
        line: u64,
        /// Cells found.
        found: u64,
        /// Cells of the header.
        expected: u64,
    },
    /// A line that is not what its format says.
    #[error("line {line} is not readable: mend or remove it: {reason}")]
    Line {
        /// Line in the file.
        line: u64,
        /// Why.
        reason: String,
    },
    /// A cell that does not hold what its column must.
    #[error("line {line}, column `{column}`: `{found}` {problem}")]
    Cell {
        /// Line in the file.
        line: u64,
        /// The column.
        column: String,
        /// What stands there, shortened.
        found: String,
        /// What is wrong with it and what to do.
        problem: &'static str,
    },
}

/// Guesses the format from a file's name and first bytes.
pub fn format_of(name: &str, start: &[u8]) -> Format {
    let name = name.to_ascii_lowercase();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension {
        "csv" | "tsv" | "txt" => Format::Csv,
        "ndjson" | "jsonl" | "json" => Format::Ndjson,
        _ if start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') => Format::Ndjson,
        _ => Format::Csv,
    }
}

/// Reads rows by a schema.
#[derive(Debug)]
pub struct RowReader<R: Read> {
    schema: Schema,
    cells: CellReader<R>,
    columns: Vec<Column>,
    row: Row,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    role: Role,
    /// Place in a CSV row.
    place: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Entity,
    Time,
    Number(usize),
    Category(usize),
    Label,
}

impl<R: Read> RowReader<R> {
    /// A reader of `input`. Every column of the schema must be there, but for the label.
    pub fn new(input: R, format: Format, schema: &Schema) -> Result<Self, ReadError> {
        let cells = CellReader::new(input, format)?;
        let columns = columns(schema, cells.header())?;
        let row = Row {
            entity: SINGLE_ENTITY.to_owned(),
            numeric: vec![f64::NAN; schema.numeric.len()],
            categorical: vec![String::new(); schema.categorical.len()],
            ..Row::default()
        };
        Ok(Self { schema: schema.clone(), cells, columns, row })
    }

    /// The schema that is read by.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The next row, or `None` at the end.
    pub fn next_row(&mut self) -> Result<Option<&Row>, ReadError> {
        if !self.cells.advance()? {
            return Ok(None);
        }
        self.row.line = self.cells.line();
        self.row.anomalous = None;
        for column in &self.columns {
            if matches!(column.role, Role::Label) && !self.cells.has(&column.name) {
                continue;
            }
            let cell = self.cells.cell(&column.name, column.place)?;
            set(&mut self.row, column, cell, &self.schema)?;
        }
        Ok(Some(&self.row))
    }

    /// SHA-256 of all bytes read so far: of the whole file once the last row has been read.
    pub fn digest(self) -> String {
        hex::encode(self.cells.into_hash().finalize())
    }
}

fn columns(schema: &Schema, header: Option<&[String]>) -> Result<Vec<Column>, ReadError> {
    let mut columns = Vec::new();
    let mut add = |name: &String, role: Role| {
        let place = header.and_then(|header| header.iter().position(|other| other == name));
        match (header, place, role) {
            (Some(_), None, Role::Label) => {}
            (Some(header), Some(first), _) if header[first + 1..].contains(name) => {
                return Err(ReadError::TwoColumns(name.clone()));
            }
            (Some(header), None, _) => {
                return Err(ReadError::NoColumn { column: name.clone(), there: header.join(", ") });
            }
            _ => columns.push(Column { name: name.clone(), role, place }),
        }
        Ok(())
    };
    if let Some(entity) = &schema.entity {
        add(entity, Role::Entity)?;
    }
    if let Some(time) = &schema.time {
        add(time, Role::Time)?;
    }
    for (index, name) in schema.numeric.iter().enumerate() {
        add(name, Role::Number(index))?;
    }
    for (index, name) in schema.categorical.iter().enumerate() {
        add(name, Role::Category(index))?;
    }
    if let Some(label) = &schema.label {
        add(label, Role::Label)?;
    }
    Ok(columns)
}

fn set(row: &mut Row, column: &Column, cell: &str, schema: &Schema) -> Result<(), ReadError> {
    let problem = |problem: &'static str| ReadError::Cell {
        line: row.line,
        column: column.name.clone(),
        found: cell.lines().next().unwrap_or_default().chars().take(40).collect(),
        problem,
    };
    match column.role {
        Role::Entity if cell.is_empty() => {
            return Err(problem("is empty: every row needs its entity"));
        }
        Role::Entity if cell.len() > ENTITY_BYTES_MAX => {
            return Err(problem("is too long: an entity has at most 256 bytes"));
        }
        Role::Entity => cell.clone_into(&mut row.entity),
        Role::Time => {
            let time = schema.time_format.read_text(cell);
            row.time_ms = Some(time.ok_or_else(|| {
                problem("cannot be read as a time: use RFC 3339, or set schema.time_format to epoch-s or epoch-ms")
            })?);
        }
        Role::Number(index) => {
            row.numeric[index] = match number(cell) {
                Some(value) if value.is_infinite() => {
                    return Err(problem(
                        "is infinite: mend the row, or leave the cell empty when the value is missing",
                    ));
                }
                Some(value) => value,
                None if cell.contains('\n') => {
                    return Err(problem("goes on in the next lines: close the quote before it"));
                }
                None => {
                    return Err(problem(
                        "is not a number: mend the cell, or list the column under schema.categorical",
                    ));
                }
            };
        }
        Role::Category(index) => cell.clone_into(&mut row.categorical[index]),
        Role::Label => row.anomalous = Some(is_anomalous(cell)),
    }
    Ok(())
}

/// A number's text: NaN for a missing one, `None` for no number.
pub(crate) fn number(cell: &str) -> Option<f64> {
    let cell = cell.trim();
    if let Ok(value) = cell.parse() {
        return Some(value);
    }
    let is = |word: &str| cell.eq_ignore_ascii_case(word);
    if cell.is_empty() || ["na", "n/a", "null", "none"].into_iter().any(is) {
        return Some(f64::NAN);
    }
    if is("true") {
        return Some(1.0);
    }
    is("false").then_some(0.0)
}

fn is_anomalous(label: &str) -> bool {
    let label = label.trim();
    let normal = ["", "0", "false", "no", "normal", "benign", "null", "none"];
    !(normal.into_iter().any(|word| label.eq_ignore_ascii_case(word)) || label.parse() == Ok(0.0))
}

/// Reads cells as texts, whatever the format; a missing cell is an empty text.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and it is never moved on")]
pub(crate) enum CellReader<R: Read> {
    Csv {
        reader: Box<csv::Reader<Hashing<R>>>,
        header: Vec<String>,
        record: StringRecord,
    },
    Ndjson {
        reader: BufReader<Hashing<R>>,
        line: u64,
        buffer: Vec<u8>,
        object: serde_json::Map<String, Value>,
        cell: String,
    },
}

impl<R: Read> CellReader<R> {
    pub(crate) fn new(input: R, format: Format) -> Result<Self, ReadError> {
        let mut input = Hashing { inner: input, hash: Sha256::new(), ahead: Vec::new() };
        match format {
            Format::Ndjson => Ok(Self::Ndjson {
                reader: BufReader::with_capacity(1 << 16, input),
                line: 0,
                buffer: Vec::new(),
                object: serde_json::Map::new(),
                cell: String::new(),
            }),
            Format::Csv => {
                let delimiter = sniff_delimiter(input.peek().map_err(ReadError::Io)?);
                let mut reader = ReaderBuilder::new()
                    .delimiter(delimiter)
                    .buffer_capacity(1 << 16)
                    .from_reader(input);
                let header = reader.headers().map_err(csv_error)?;
                let strip = |name: &str| name.trim_start_matches('\u{feff}').trim().to_owned();
                let header: Vec<String> = header.iter().map(strip).collect();
                if header.is_empty() || header.iter().all(String::is_empty) {
                    return Err(ReadError::Empty);
                }
                Ok(Self::Csv { reader: Box::new(reader), header, record: StringRecord::new() })
            }
        }
    }

    /// Column names, where the format has a header.
    pub(crate) fn header(&self) -> Option<&[String]> {
        match self {
            Self::Csv { header, .. } => Some(header),
            Self::Ndjson { .. } => None,
        }
    }

    /// Goes to the next row; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool, ReadError> {
        match self {
            Self::Csv { reader, record, .. } => reader.read_record(record).map_err(csv_error),
            Self::Ndjson { reader, line, buffer, object, .. } => loop {
                *line += 1;
                buffer.clear();
                let read =
                    reader.take(LINE_BYTES_MAX).read_until(b'\n', buffer).map_err(ReadError::Io)?;
                if read == 0 {
                    return Ok(false);
                }
                if buffer.trim_ascii().is_empty() {
                    continue;
                }
                if read as u64 == LINE_BYTES_MAX {
                    return Err(ReadError::Line {
                        line: *line,
                        reason: "it is longer than 16 MiB".into(),
                    });
                }
                *object = event_object(buffer)
                    .map_err(|reason| ReadError::Line { line: *line, reason })?;
                return Ok(true);
            },
        }
    }

    pub(crate) fn line(&self) -> u64 {
        match self {
            Self::Csv { record, .. } => record.position().map_or(0, csv::Position::line),
            Self::Ndjson { line, .. } => *line,
        }
    }

    /// Names of the fields of the current row.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::Csv { header, .. } => header.clone(),
            Self::Ndjson { object, .. } => object.keys().cloned().collect(),
        }
    }

    /// Whether the current row has a cell of this name, be it an empty one.
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Csv { header, .. } => header.iter().any(|column| column == name),
            Self::Ndjson { object, .. } => object.contains_key(name),
        }
    }

    /// The cell of a column in the current row.
    pub(crate) fn cell(&mut self, name: &str, place: Option<usize>) -> Result<&str, ReadError> {
        match self {
            Self::Csv { record, header, .. } => {
                let place = place.or_else(|| header.iter().position(|other| other == name));
                Ok(place.and_then(|place| record.get(place)).unwrap_or(""))
            }
            Self::Ndjson { object, cell, line, .. } => match object.get(name) {
                None | Some(Value::Null) => Ok(""),
                Some(Value::String(text)) => Ok(text),
                Some(Value::Array(_) | Value::Object(_)) => Err(ReadError::Cell {
                    line: *line,
                    column: name.to_owned(),
                    found: "a list or an object".into(),
                    problem: "stands where a single value belongs",
                }),
                Some(Value::Number(number)) if number.is_f64() => {
                    // As the event reader writes it, or a category would have another code there.
                    *cell = number.as_f64().unwrap_or(f64::NAN).to_string();
                    Ok(cell)
                }
                Some(value) => {
                    *cell = value.to_string();
                    Ok(cell)
                }
            },
        }
    }

    fn into_hash(self) -> Sha256 {
        match self {
            Self::Csv { reader, .. } => reader.into_inner().hash,
            Self::Ndjson { reader, .. } => reader.into_inner().hash,
        }
    }
}

/// The object of fields in a line, bare or in a CloudEvent.
fn event_object(line: &[u8]) -> Result<serde_json::Map<String, Value>, String> {
    match serde_json::from_slice(line).map_err(|error| error.to_string())? {
        Value::Object(mut object) => {
            match (object.contains_key("specversion"), object.remove("data")) {
                (true, Some(Value::Object(data))) => Ok(data),
                (_, Some(data)) => {
                    object.insert("data".into(), data);
                    Ok(object)
                }
                _ => Ok(object),
            }
        }
        _ => Err("it is not a JSON object".into()),
    }
}

fn sniff_delimiter(start: &[u8]) -> u8 {
    let first_line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    #[expect(clippy::naive_bytecount, reason = "a header is short")]
    let count = |delimiter: u8| first_line.iter().filter(|byte| **byte == delimiter).count();
    // Comma wins ties: it is listed last and `max_by_key` keeps the last.
    [b'\t', b';', b','].into_iter().max_by_key(|delimiter| count(*delimiter)).unwrap_or(b',')
}

fn csv_error(error: csv::Error) -> ReadError {
    let line = error.position().map_or(0, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ReadError::Io(error),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            ReadError::Ragged { line, found: len, expected: expected_len }
        }
        csv::ErrorKind::Utf8 { .. } => {
            ReadError::Line { line, reason: "it is not UTF-8: convert the file".into() }
        }
        other => ReadError::Line { line, reason: format!("{other:?}") },
    }
}

/// Hashes what passes through, and can look at the start first.
#[derive(Debug)]
pub(crate) struct Hashing<R> {
    inner: R,
    hash: Sha256,
    ahead: Vec<u8>,
}

impl<R: Read> Hashing<R> {
    fn peek(&mut self) -> std::io::Result<&[u8]> {
        let mut start = Vec::new();
        self.inner.by_ref().take(1 << 16).read_to_end(&mut start)?;
        self.ahead = start;
        Ok(&self.ahead)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = if self.ahead.is_empty() {
            self.inner.read(buffer)?
        } else {
            let read = self.ahead.len().min(buffer.len());
            buffer[..read].copy_from_slice(&self.ahead[..read]);
            self.ahead.drain(..read);
            read
        };
        self.hash.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        Schema {
            entity: Some("id".into()),
            time: Some("at".into()),
            numeric: vec!["x".into()],
            categorical: vec!["c".into()],
            label: Some("y".into()),
            ..Schema::default()
        }
    }

    fn read(text: &str, format: Format) -> Result<Vec<Row>, ReadError> {
        let mut reader = RowReader::new(text.as_bytes(), format, &schema())?;
        let mut rows = Vec::new();
        while let Some(row) = reader.next_row()? {
            rows.push(row.clone());
        }
        Ok(rows)
    }

    #[test]
    fn rows_without_a_label_are_not_taken_for_normal_ones() {
        let labels = |text: &str, format| {
            let rows = read(text, format).unwrap();
            let reader = RowReader::new(text.as_bytes(), format, &schema()).unwrap();
            let table = crate::Table::read(reader, |_| {}).unwrap();
            (rows.iter().map(|row| row.anomalous).collect::<Vec<_>>(), table.labels)
        };
        let row = r#"{"id":"a","at":"2020-01-01T00:00:00Z","x":1,"c":"red""#;
        let none = labels(&format!("{row}}}\n{row}}}\n"), Format::Ndjson);
        assert_eq!(none, (vec![None, None], None));
        let csv = labels("id,at,x,c\na,2020-01-01T00:00:00Z,1,red\n", Format::Csv);
        assert_eq!(csv, (vec![None], None));
        let some = labels(&format!("{row}}}\n{row},\"y\":1}}\n"), Format::Ndjson);
        assert_eq!(some, (vec![None, Some(true)], Some(vec![false, true])));
    }

    #[test]
    fn csv_and_ndjson_give_the_same_rows() {
        let csv = "id;at;x;c;y\na;2020-01-01 00:00:00;1.5;red;0\nb;2020-01-01 00:00:01;NA;;1\n";
        let json = r#"{"id":"a","at":"2020-01-01T00:00:00Z","x":1.5,"c":"red","y":0}
{"specversion":"1.0","data":{"id":"b","at":"2020-01-01T00:00:01Z","x":null,"y":"fraud"}}
"#;
        let (csv, json) = (read(csv, Format::Csv).unwrap(), read(json, Format::Ndjson).unwrap());
        assert_eq!(csv.len(), 2);
        for (mut a, b) in csv.into_iter().zip(json) {
            a.line = b.line;
            assert_eq!(format!("{a:?}"), format!("{b:?}"));
        }
    }

    #[test]
    fn bad_files_are_told_by_line_and_column() {
        let cases = [
            ("", "empty"),
            ("id,at,x\n", "no column `c`"),
            ("id,at,x,c,x\n", "two columns `x`"),
            ("c,id,at,x\nr,a,2020-01-01,\"1\nr,b,2020-01-02,2\n", "close the quote"),
            ("id,at,x,c\na,2020-01-01,1\n", "line 2 has 3 cells"),
            ("id,at,x,c\na,2020-01-01,one,r\n", "line 2, column `x`: `one`"),
            ("id,at,x,c\na,2020-01-01,inf,r\n", "infinite"),
            ("id,at,x,c\na,yesterday,1,r\n", "column `at`"),
            ("id,at,x,c\n,2020-01-01,1,r\n", "every row needs its entity"),
        ];
        for (text, part) in cases {
            let error = read(text, Format::Csv).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        assert!(read("{\"id\": \n", Format::Ndjson).unwrap_err().to_string().contains("line 1"));
    }
}
