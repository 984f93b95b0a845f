//! Parquet: files of the lake and any others.

use twinge_lake::{parquet_to_ndjson, read_rows};

pub(super) const WORDS: &[&[u8]] = &[
    b"PAR1",
    b"twinge.fields",
    b"ARROW:schema",
    b"\x15\x00\x15",
    b"\x19\x1c",
    b"\x15\x80\x80\x80\x80\x10",
    b"\xff\xff\xff\xff\x0f",
    b"\x00\x00\x00\x00",
    b"{\"numeric\":[],\"categorical\":[]}",
];

/// Rows that are read at most.
const ROWS_MAX: usize = 10_000;

pub(super) fn parquet(bytes: &[u8]) {
    if let Ok(rows) = read_rows("the lake", bytes.to_vec()) {
        let (numeric, categorical) = (rows.fields().numeric.len(), rows.fields().categorical.len());
        for row in rows.take(ROWS_MAX) {
            let Ok((_, row)) = row else { break };
            assert_eq!(row.numbers.len(), numeric, "a number for each field");
            assert_eq!(row.categories.len(), categorical, "a category for each field");
        }
    }
    if let Ok(lines) = parquet_to_ndjson("a file", bytes.to_vec()) {
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).take(100) {
            let read = serde_json::from_slice::<serde_json::Value>(line);
            let is_object = read.as_ref().is_ok_and(serde_json::Value::is_object);
            assert!(is_object, "a line is an object: {}: {read:?}", line.escape_ascii());
        }
    }
}
