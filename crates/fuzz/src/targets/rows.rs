//! Training data: CSV and NDJSON, by a schema and without one.

use std::sync::OnceLock;
use twinge_contract::event::ENTITY_BYTES_MAX;
use twinge_contract::schema::Schema;
use twinge_fit::read::{Format, RowReader};
use twinge_fit::{Table, infer};

pub(super) const WORDS: &[&[u8]] = &[
    b"card,",
    b"time,",
    b"amount",
    b"country",
    b"label",
    b"\n",
    b"\r\n",
    b"\"",
    b"\"\"",
    b";",
    b"\t",
    b"NaN",
    b"1e400",
    b"inf",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\0",
    b"1970-01-01",
    b"{\"card\":\"c\",\"amount\":1}\n",
    b"null",
    b"[[[[[[",
];

pub(super) fn csv(bytes: &[u8]) {
    read(bytes, Format::Csv);
}

pub(super) fn ndjson(bytes: &[u8]) {
    read(bytes, Format::Ndjson);
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema {
        entity: Some("card".to_owned()),
        time: Some("time".to_owned()),
        numeric: vec!["amount".to_owned()],
        categorical: vec!["country".to_owned()],
        label: Some("label".to_owned()),
        ..Schema::default()
    })
}

fn read(bytes: &[u8], format: Format) {
    let guessed = infer::infer(bytes, format).map(|inferred| inferred.schema);
    for schema in [Some(schema()), guessed.as_ref().ok()].into_iter().flatten() {
        let Ok(rows) = count(bytes, format, schema) else { continue };
        let Ok(reader) = RowReader::new(bytes, format, schema) else { continue };
        if let Ok(table) = Table::read(reader, |_| {}) {
            assert_eq!(table.rows(), rows, "a table has each row");
        }
    }
}

fn count(bytes: &[u8], format: Format, schema: &Schema) -> anyhow::Result<usize> {
    let mut reader = RowReader::new(bytes, format, schema)?;
    let mut rows = 0;
    while let Some(row) = reader.next_row()? {
        assert_eq!(row.numeric.len(), schema.numeric.len(), "a number for each column");
        assert_eq!(row.categorical.len(), schema.categorical.len(), "a text for each column");
        assert!(row.entity.len() <= ENTITY_BYTES_MAX, "an entity is short");
        assert!(row.numeric.iter().all(|number| !number.is_infinite()), "{:?}", row.numeric);
        rows += 1;
    }
    Ok(rows)
}
