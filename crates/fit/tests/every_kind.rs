//! Models with all kinds of detectors in them, kept as files: the guest's own tests have no trainer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write;
use std::path::Path;
use twinge_contract::schema::Schema;
use twinge_contract::time::TimeFormat;
use twinge_fit::config::{DetectorKind, DetectorSettings, Kinds};
use twinge_fit::read::{Format, RowReader};
use twinge_fit::train::as_bytes;
use twinge_fit::{Config, Table, train};

/// What the guest's tests are given (detector-wasm/src/tests.rs): as many kinds in each as a model has.
const KEPT: [&str; 3] =
    ["fixtures/guest/one.model", "fixtures/guest/two.model", "fixtures/guest/three.model"];

/// Two machines that report each minute, with a category, and now and then nothing in a column.
fn events() -> String {
    let noise = |row: u32| f64::from(row.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
    let mut csv = "machine,at,a,b,mode\n".to_owned();
    for row in 0..300_u32 {
        let (machine, minute, a) = (row % 2, row / 2, noise(row) + f64::from(row % 48) / 24.0);
        let b = if row % 37 == 0 { String::new() } else { (a * noise(row + 9)).to_string() };
        let mode = ["run", "idle", "wash"][(row / 40 % 3) as usize];
        writeln!(csv, "m{machine},{},{a},{b},{mode}", u64::from(minute) * 60_000).unwrap();
    }
    csv
}

#[test]
fn the_model_that_the_guest_is_tested_with_is_what_training_makes() {
    let schema = Schema {
        entity: Some("machine".into()),
        time: Some("at".into()),
        time_format: TimeFormat::EpochMs,
        numeric: vec!["a".into(), "b".into()],
        categorical: vec!["mode".into()],
        ..Schema::default()
    };
    let csv = events();
    for (kinds, kept) in DetectorKind::ALL.chunks(DetectorKind::ALL.len() / KEPT.len()).zip(KEPT) {
        // Small, since each access to memory is looked at where they are run.
        let detector = DetectorSettings {
            kind: Kinds::Given(kinds.to_vec()),
            trees: 8,
            sample_rows: 32,
            ..DetectorSettings::default()
        };
        let (schema, version) = (schema.clone(), "1".into());
        let config =
            Config { name: "every-kind".into(), version, schema, detector, ..Config::default() };
        let reader = RowReader::new(csv.as_bytes(), Format::Csv, &config.schema).unwrap();
        let table = Table::read(reader, |_| {}).unwrap();
        let trained = train(&table, &config.check().unwrap(), 1, &mut |_| true).unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(kept);
        if std::env::var_os("TWINGE_WRITE_FIXTURES").is_some() {
            std::fs::write(&file, as_bytes(&trained.model)).unwrap();
        }
        assert!(
            std::fs::read(&file).unwrap() == as_bytes(&trained.model),
            "{kept} is not what training makes: TWINGE_WRITE_FIXTURES=1 cargo test -p twinge-fit --test every_kind"
        );
    }
}
