//! Parquet files in memory: written from batches, and read back in order.

use crate::columns::{Fields, Place, Row, arrow_schema, decode};
use crate::error::LakeError;
use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

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
    batches: ParquetRecordBatchReader,
}

impl FileReader {
    pub(crate) fn open(path: &str, bytes: Vec<u8>) -> Result<Self, LakeError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes))
            .map_err(|error| LakeError::file(path, error))?;
        let pairs = builder.metadata().file_metadata().key_value_metadata();
        let described = pairs
            .and_then(|pairs| pairs.iter().find(|pair| pair.key == FIELDS_KEY))
            .and_then(|pair| pair.value.as_deref())
            .ok_or_else(|| LakeError::file(path, "it does not say which columns are fields"))?;
        let fields =
            serde_json::from_str(described).map_err(|error| LakeError::file(path, error))?;
        let batches = builder
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| LakeError::file(path, error))?;
        Ok(Self { fields, path: path.to_owned(), batches })
    }
}

impl Iterator for FileReader {
    type Item = Result<RecordBatch, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        Some(batch.map_err(|error| LakeError::file(&self.path, error)))
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
    let error = |error: parquet::errors::ParquetError| LakeError::file(path, error);
    let builder = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).map_err(error)?;
    let batches = builder.with_batch_size(BATCH_ROWS).build().map_err(error)?;
    let mut writer = arrow_json::LineDelimitedWriter::new(Vec::new());
    for batch in batches {
        let batch = batch.map_err(|error| LakeError::file(path, error))?;
        writer.write(&batch).map_err(|error| LakeError::file(path, error))?;
    }
    writer.finish().map_err(|error| LakeError::file(path, error))?;
    Ok(writer.into_inner())
}
