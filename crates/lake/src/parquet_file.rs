//! Parquet files in memory: written from batches, and read back in order.

use crate::columns::{Fields, Place, Row, arrow_schema, decode};
use crate::error::LakeError;
use crate::pages;
use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde::de::IgnoredAny;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Rows of a row group: what a reader that looks at a part of a file has to take at least.
const ROW_GROUP_ROWS: usize = 131_072;
/// Rows that are decoded at once.
const BATCH_ROWS: usize = 8192;
/// Under this name a file says which columns are fields of the schema.
const FIELDS_KEY: &str = "twinge.fields";

/// A file that grows in memory.
pub(crate) struct FileWriter {
    writer: ArrowWriter<Vec<u8>>,
}

impl FileWriter {
    pub(crate) fn new(fields: &Fields) -> Result<Self, LakeError> {
        let described = serde_json::to_string(fields).map_err(LakeError::encode)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_created_by("twinge".to_owned())
            .set_key_value_metadata(Some(vec![KeyValue::new(FIELDS_KEY.to_owned(), described)]))
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), arrow_schema(fields), Some(properties));
        Ok(Self { writer: writer.map_err(LakeError::encode)? })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        self.writer.write(batch).map_err(LakeError::encode)
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>, LakeError> {
        self.writer.into_inner().map_err(LakeError::encode)
    }
}

/// A file of ours, batch by batch.
pub(crate) struct FileReader {
    pub(crate) fields: Fields,
    path: String,
    /// Nothing once it failed.
    batches: Option<ParquetRecordBatchReader>,
}

impl FileReader {
    pub(crate) fn open(path: &str, bytes: Vec<u8>) -> Result<Self, LakeError> {
        let builder = opened(path, bytes)?;
        let pairs = builder.metadata().file_metadata().key_value_metadata();
        let described = pairs
            .and_then(|pairs| pairs.iter().find(|pair| pair.key == FIELDS_KEY))
            .and_then(|pair| pair.value.as_deref())
            .ok_or_else(|| LakeError::file(path, "it does not say which columns are fields"))?;
        let fields =
            serde_json::from_str(described).map_err(|error| LakeError::file(path, error))?;
        Ok(Self { fields, path: path.to_owned(), batches: Some(batches(path, builder)?) })
    }
}

/// The decoder of Parquet panics on some files that no writer makes: a hostile one is an error like
/// any other, and whatever was decoding it is not used again.
fn guarded<T>(path: &str, decode: impl FnOnce() -> Result<T, LakeError>) -> Result<T, LakeError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_told_by_the_hook| {
        Err(LakeError::file(path, "its decoder gave up: the file is damaged or was made to harm"))
    })
}

type Builder = ParquetRecordBatchReaderBuilder<Bytes>;

fn opened(path: &str, bytes: Vec<u8>) -> Result<Builder, LakeError> {
    guarded(path, || {
        let bytes = Bytes::from(bytes);
        let opened =
            Builder::try_new(bytes.clone()).map_err(|error| LakeError::file(path, error))?;
        match pages::lie(&bytes, opened.metadata()) {
            Some(lie) => Err(LakeError::file(path, lie)),
            None => Ok(opened),
        }
    })
}

fn batches(path: &str, builder: Builder) -> Result<ParquetRecordBatchReader, LakeError> {
    let builder = builder.with_batch_size(BATCH_ROWS);
    guarded(path, || builder.build().map_err(|error| LakeError::file(path, error)))
}

/// The next batch; after an error there is none.
fn next_batch(
    path: &str,
    batches: &mut Option<ParquetRecordBatchReader>,
) -> Option<Result<RecordBatch, LakeError>> {
    let reader = batches.as_mut()?;
    let next =
        guarded(path, || reader.next().transpose().map_err(|error| LakeError::file(path, error)));
    if next.is_err() {
        *batches = None;
    }
    next.transpose()
}

impl Iterator for FileReader {
    type Item = Result<RecordBatch, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        next_batch(&self.path, &mut self.batches)
    }
}

/// The rows of a file of the lake, decoded a few thousand at a time.
pub struct Rows {
    reader: FileReader,
    decoded: std::vec::IntoIter<(Place, Row)>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Rows").field("path", &self.reader.path).finish_non_exhaustive()
    }
}

/// Reads the rows of a file of the lake that lies at `path`.
pub fn read_rows(path: &str, bytes: Vec<u8>) -> Result<Rows, LakeError> {
    Ok(Rows { reader: FileReader::open(path, bytes)?, decoded: Vec::new().into_iter() })
}

impl Rows {
    /// The columns of the schema that it was written under.
    pub fn fields(&self) -> &Fields {
        &self.reader.fields
    }
}

impl Iterator for Rows {
    type Item = Result<(Place, Row), LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.decoded.next() {
                return Some(Ok(row));
            }
            let batch = match self.reader.next()? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            };
            let Some(rows) = decode(&self.reader.fields, &batch) else {
                let error = "a column is missing or of another type";
                return Some(Err(LakeError::file(&self.reader.path, error)));
            };
            self.decoded = rows.into_iter();
        }
    }
}

/// Whether these are the first bytes of a Parquet file.
pub fn is_parquet(start: &[u8]) -> bool {
    start.starts_with(b"PAR1")
}

/// Any Parquet file, not only of a lake, as NDJSON: a JSON object a row, with nulls left out.
pub fn parquet_to_ndjson(path: &str, bytes: Vec<u8>) -> Result<Vec<u8>, LakeError> {
    let mut batches = Some(batches(path, opened(path, bytes)?)?);
    let mut writer = arrow_json::LineDelimitedWriter::new(Vec::new());
    while let Some(batch) = next_batch(path, &mut batches) {
        let batch = batch?;
        guarded(path, || writer.write(&batch).map_err(|error| LakeError::file(path, error)))?;
    }
    writer.finish().map_err(|error| LakeError::file(path, error))?;
    let lines = writer.into_inner();
    // What the writer cannot write it tells in place of the value, and with quotes as they are.
    let mut values = serde_json::Deserializer::from_slice(&lines).into_iter::<IgnoredAny>();
    if let Some(Err(error)) = values.find(Result::is_err) {
        let row = error.line();
        let why = format!("row {row} holds what JSON cannot say, such as a time in no calendar");
        return Err(LakeError::file(path, why));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
    use std::sync::Arc;

    /// A file of one column, as others write them.
    fn file(column: ArrayRef) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter([("column", column)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    }

    #[test]
    fn columns_that_compress_well_tell_no_lie() {
        let texts = StringArray::from_iter_values((0..20_000).map(|row| "x".repeat(row % 2 * 50)));
        let numbers = Float64Array::from_iter_values((0..20_000).map(|_| 0.0));
        for column in [Arc::new(texts) as ArrayRef, Arc::new(numbers)] {
            let lines = parquet_to_ndjson("a file", file(column)).unwrap();
            assert_eq!(lines.split(|byte| *byte == b'\n').count(), 20_001);
        }
    }

    #[test]
    fn a_time_in_no_calendar_is_an_error_and_no_text() {
        let told = |times: TimestampMillisecondArray| {
            let read = parquet_to_ndjson("a file", file(Arc::new(times.with_timezone("UTC"))));
            read.map_err(|error| std::error::Error::source(&error).unwrap().to_string())
        };
        assert!(told(TimestampMillisecondArray::from(vec![0, 1])).is_ok());
        let error = told(TimestampMillisecondArray::from(vec![0, i64::MAX])).unwrap_err();
        assert!(error.contains("row 2") && error.contains("calendar"), "{error}");
    }

    #[test]
    fn no_changed_byte_makes_more_of_a_file_than_an_error() {
        let whole = file(Arc::new(StringArray::from(vec!["a", "b", "a"])));
        for place in 0..whole.len() {
            for change in [1, 0x40, 0x80] {
                let mut changed = whole.clone();
                changed[place] ^= change;
                drop(parquet_to_ndjson("a file", changed));
            }
        }
    }
}
