//! Training from files: determinism, notes, errors, and what is inside a module.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

use std::fmt::Write;
use twinge_contract::abi::MANIFEST_SECTION;
use twinge_contract::manifest::Manifest;
use twinge_contract::schema::Schema;
use twinge_fit::config::DetectorSettings;
use twinge_fit::link::{RUNTIME, model_of};
use twinge_fit::read::{Format, RowReader};
use twinge_fit::{Config, Table, TrainError, Trained, train, train_after};

fn table(csv: &str, schema: &Schema) -> Table {
    Table::read(RowReader::new(csv.as_bytes(), Format::Csv, schema).unwrap(), |_| {}).unwrap()
}

fn numbers(names: &[&str]) -> Schema {
    Schema { numeric: names.iter().map(|name| (*name).to_owned()).collect(), ..Schema::default() }
}

fn train_csv(csv: &str, schema: &Schema, seed: u64) -> Result<Trained, TrainError> {
    let config = Config {
        name: "test".into(),
        version: "1".into(),
        schema: schema.clone(),
        ..Config::default()
    };
    train(&table(csv, schema), &config.check().unwrap(), seed, &mut |_| true)
}

fn noisy_csv(rows: u32) -> String {
    let mut csv = "a,b,c\n".to_owned();
    for row in 0..rows {
        let noise = f64::from(row.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
        writeln!(csv, "{},{},7", noise, noise * noise + f64::from(row % 7)).unwrap();
    }
    csv
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let schema = numbers(&["a", "b", "c"]);
    let csv = noisy_csv(500);
    let first = train_csv(&csv, &schema, 1).unwrap();
    assert_eq!(first.module, train_csv(&csv, &schema, 1).unwrap().module);
    assert_ne!(first.module, train_csv(&csv, &schema, 2).unwrap().module);
    assert!(
        first.manifest.notes.iter().any(|note| note.contains("`c` is constant")),
        "{:?}",
        first.manifest.notes
    );
}

#[test]
fn a_module_is_valid_has_no_imports_and_holds_its_manifest() {
    let trained = train_csv(&noisy_csv(500), &numbers(&["a", "b"]), 1).unwrap();
    wasmparser::validate(&trained.module).unwrap();
    let mut manifest = None;
    for payload in wasmparser::Parser::new(0).parse_all(&trained.module) {
        match payload.unwrap() {
            wasmparser::Payload::ImportSection(_) => panic!("a module imports nothing"),
            wasmparser::Payload::CustomSection(section) => {
                assert_eq!(section.name(), MANIFEST_SECTION);
                manifest = Some(Manifest::parse(section.data()).unwrap());
            }
            _ => {}
        }
    }
    assert_eq!(manifest.as_ref(), Some(&trained.manifest));
    assert_eq!(model_of(&trained.module).as_ref(), Some(&trained.model));
    let overhead = RUNTIME.len();
    // Every detector and channel is in it, used or not.
    assert!(overhead < 96 * 1024, "the runtime has grown to {overhead} bytes");
    assert!(
        trained.module.len() < 256 * 1024,
        "a default module has {} bytes",
        trained.module.len()
    );
}

#[test]
fn the_widest_table_fits_into_256_kilobytes() {
    let names: Vec<String> = (0..250).map(|column| format!("column_{column}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut random = twinge_fit::random::Random::new(11, 0);
    let mut csv = names.join(",") + "\n";
    for _ in 0..600 {
        let row: Vec<String> = names.iter().map(|_| format!("{:.5}", random.normal())).collect();
        csv += &(row.join(",") + "\n");
    }
    let schema = numbers(&names);
    for clean in [true, false] {
        let detector = DetectorSettings { clean: Some(clean), ..DetectorSettings::default() };
        let config = Config {
            name: "wide".into(),
            version: "1".into(),
            schema: schema.clone(),
            detector,
            ..Config::default()
        };
        let config = config.check().unwrap();
        let trained = train(&table(&csv, &schema), &config, 1, &mut |_| true).unwrap();
        let bytes = trained.module.len();
        assert!(bytes < 256 * 1024, "clean: {clean}: {bytes} bytes");
    }
}

#[test]
fn data_that_cannot_be_learned_from_is_refused_in_a_sentence() {
    let schema = numbers(&["a"]);
    let alike = "a\n".to_owned() + &"1\n".repeat(100);
    let missing = "a\n".to_owned() + &"NA\n".repeat(100);
    let few = "a\n".to_owned() + &"1\n".repeat(10);
    let cases =
        [(alike, "all rows are alike"), (missing, "all rows are alike"), (few, "32 are needed")];
    for (csv, part) in cases {
        let error = train_csv(&csv, &schema, 1).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn extreme_columns_train() {
    let mut csv = "a,b\n".to_owned();
    for row in 0..200 {
        writeln!(csv, "{}e298,{}e-300", row % 17, row % 13).unwrap();
    }
    let trained = train_csv(&csv, &numbers(&["a", "b"]), 1).unwrap();
    assert!(trained.manifest.threshold.raw_score.is_finite());
}

#[test]
fn a_cancelled_training_stops() {
    let schema = numbers(&["a", "b"]);
    let config = Config {
        name: "test".into(),
        version: "1".into(),
        schema: schema.clone(),
        ..Config::default()
    };
    let result =
        train(&table(&noisy_csv(500), &schema), &config.check().unwrap(), 1, &mut |_| false);
    assert!(matches!(result, Err(TrainError::Cancelled)));
}

/// A sensor of three entities for three days, with a wave of a day.
fn daily_csv() -> (String, Schema) {
    let mut random = twinge_fit::random::Random::new(12, 0);
    let mut csv = "sensor,time,a,b\n".to_owned();
    for minute in 0..3 * 1440 {
        for sensor in 0..3 {
            let wave = libm::sin(f64::from(minute) / 1440.0 * std::f64::consts::TAU);
            let (a, b) = (20.0 + 5.0 * wave + random.normal(), random.normal());
            writeln!(csv, "s{sensor},{},{a:.3},{b:.3}", minute * 60).unwrap();
        }
    }
    let schema = Schema {
        entity: Some("sensor".into()),
        time: Some("time".into()),
        time_format: twinge_contract::time::TimeFormat::EpochS,
        ..numbers(&["a", "b"])
    };
    (csv, schema)
}

#[test]
fn a_module_tells_what_drift_is_measured_against_and_carries_the_first_of_its_line_along() {
    let (csv, schema) = daily_csv();
    let first = train_csv(&csv, &schema, 1).unwrap();
    let drift = first.manifest.drift.clone().unwrap();
    assert_eq!((drift.sample.phase_rows.len(), drift.anchor.clone()), (12, None));
    let fields: Vec<&str> = first.manifest.reference.iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["a", "b"]);
    assert!(first.manifest.reference.iter().all(|one| !one.phases.is_empty()));
    let scores = drift.scores.unwrap();
    let told = first.manifest.metrics["held_back_alarm_share"];
    assert!((scores.verdicts.shares[0] - told).abs() < 1e-6, "{scores:?}, {told}");
    // Everything can be read by a watch.
    let settings = twinge_drift::DriftSettings::default();
    twinge_drift::DriftWatch::new(&first.manifest, settings).unwrap().unwrap();

    let config = Config {
        version: "2".into(),
        name: "test".into(),
        schema: schema.clone(),
        ..Config::default()
    };
    let config = config.check().unwrap();
    let again = |former: &Manifest| {
        train_after(Some(former), &table(&csv, &schema), &config, 2, &mut |_| true).unwrap()
    };
    let second = again(&first.manifest);
    let third = again(&second.manifest);
    let anchor = |trained: &Trained| trained.manifest.drift.clone().unwrap().anchor.unwrap();
    assert_eq!(anchor(&second).reference, first.manifest.reference);
    assert_eq!(anchor(&second).version, "1");
    assert_eq!(anchor(&third), anchor(&second));
    assert_eq!(third.module, again(&second.manifest).module, "the same again");
    twinge_drift::DriftWatch::new(&third.manifest, settings).unwrap().unwrap();
}

#[test]
fn labelled_anomalies_are_not_in_the_reference() {
    let mut csv = noisy_csv(600).replace("a,b,c\n", "a,b,label\n").replace(",7\n", ",0\n");
    for _ in 0..200 {
        csv += "99,99,1\n";
    }
    let schema = Schema { label: Some("label".into()), ..numbers(&["a", "b"]) };
    let manifest = train_csv(&csv, &schema, 1).unwrap().manifest;
    assert!(manifest.reference[0].bounds.iter().all(|bound| *bound < 1.5), "{manifest:?}");
    assert_eq!(manifest.drift.unwrap().sample.rows, 600);
}
