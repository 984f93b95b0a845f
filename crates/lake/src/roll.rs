//! From batches of a partition to a file for each day and hour.

use crate::columns::{Fields, day_and_hour};
use crate::error::LakeError;
use crate::facts::FileFacts;
use crate::lake::digest;
use crate::listing::Made;
use crate::parquet_file::FileWriter;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use std::collections::BTreeMap;

/// Files in the making, by the number of their run of fields, day and hour.
pub(crate) struct Roll {
    detector: String,
    /// What names of files begin with.
    stem: String,
    fields: Fields,
    run: usize,
    open: BTreeMap<(usize, String, String), Open>,
    /// Rows before this offset are there already.
    next: u64,
}

struct Open {
    writer: FileWriter,
    rows: u64,
    first_ms: i64,
    last_ms: i64,
}

impl Roll {
    /// Files of rows from offset `next` on.
    pub(crate) fn new(detector: &str, stem: String, next: u64) -> Self {
        let (detector, fields) = (detector.to_owned(), Fields::default());
        Self { detector, stem, fields, run: 0, open: BTreeMap::new(), next }
    }

    /// Adds a batch of the partition's rows in the order of their offsets; those that came before
    /// are left out.
    pub(crate) fn add(&mut self, fields: &Fields, batch: &RecordBatch) -> Result<(), LakeError> {
        if *fields != self.fields {
            // A field may have become another type: such rows have files of their own.
            (self.fields, self.run) = (fields.clone(), self.run + 1);
        }
        let columns = TimeColumns::of(batch)
            .ok_or_else(|| LakeError::encode("a staged batch lacks its offsets or times"))?;
        let mut rows: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            let offset = columns.offset(row);
            if offset < self.next {
                continue;
            }
            self.next = offset + 1;
            rows.entry(columns.day_and_hour(row)).or_default().push(row as u32);
        }
        for ((day, hour), rows) in rows {
            self.write(day, hour, batch, rows, &columns)?;
        }
        Ok(())
    }

    fn write(
        &mut self,
        day: String,
        hour: String,
        batch: &RecordBatch,
        rows: Vec<u32>,
        columns: &TimeColumns<'_>,
    ) -> Result<(), LakeError> {
        let key = (self.run, day, hour);
        if !self.open.contains_key(&key) {
            let open = Open {
                writer: FileWriter::new(&self.fields)?,
                rows: 0,
                first_ms: i64::MAX,
                last_ms: i64::MIN,
            };
            self.open.insert(key.clone(), open);
        }
        let Some(open) = self.open.get_mut(&key) else { return Ok(()) };
        for row in &rows {
            let time = columns.time(*row as usize);
            (open.first_ms, open.last_ms) = (open.first_ms.min(time), open.last_ms.max(time));
        }
        open.rows += rows.len() as u64;
        let part = take_record_batch(batch, &UInt32Array::from(rows));
        open.writer.write(&part.map_err(LakeError::encode)?)
    }

    /// The offset after the last row.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The files, whole.
    pub(crate) fn finish(self) -> Result<Vec<Made>, LakeError> {
        let Self { detector, stem, open, .. } = self;
        let made = open.into_iter().map(|((_, day, hour), open)| {
            let bytes = open.writer.finish()?;
            let digest = digest(&bytes);
            // With its digest, a name that is taken is taken by the same bytes.
            let name = format!("{stem}-{}", &digest[..8]);
            let facts = FileFacts {
                path: format!("detector={detector}/date={day}/hour={hour}/{name}.parquet"),
                rows: open.rows,
                bytes: bytes.len() as u64,
                digest,
                first_ms: open.first_ms,
                last_ms: open.last_ms,
            };
            Ok(Made { facts, bytes })
        });
        made.collect()
    }
}

/// The columns by which rows find their file.
struct TimeColumns<'b> {
    offsets: &'b arrow_array::PrimitiveArray<Int64Type>,
    ingested: &'b arrow_array::PrimitiveArray<TimestampMillisecondType>,
    times: &'b arrow_array::PrimitiveArray<TimestampMillisecondType>,
}

impl<'b> TimeColumns<'b> {
    fn of(batch: &'b RecordBatch) -> Option<Self> {
        Some(Self {
            offsets: batch.column_by_name("twinge_offset")?.as_primitive_opt()?,
            ingested: batch.column_by_name("twinge_ingested")?.as_primitive_opt()?,
            times: batch.column_by_name("twinge_time")?.as_primitive_opt()?,
        })
    }

    fn offset(&self, row: usize) -> u64 {
        self.offsets.value(row).cast_unsigned()
    }

    fn event_time(&self, row: usize) -> Option<i64> {
        (!self.times.is_null(row)).then(|| self.times.value(row))
    }

    fn time(&self, row: usize) -> i64 {
        self.event_time(row).unwrap_or_else(|| self.ingested.value(row))
    }

    fn day_and_hour(&self, row: usize) -> (String, String) {
        day_and_hour(self.event_time(row), self.ingested.value(row))
    }
}
