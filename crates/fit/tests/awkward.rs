//! Data that is hard to learn from: a documented result or a clear error, never a score that is no
//! number. The detectors are run natively here; the engine's tests show that modules do the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write;
use twinge_contract::schema::Schema;
use twinge_detector::{Batch, Detector};
use twinge_fit::config::{DetectorKind, DetectorSettings, Kinds};
use twinge_fit::read::{Format, RowReader};
use twinge_fit::train::as_bytes;
use twinge_fit::{Config, Table, TrainError, Trained, train};

/// Tables by what is wrong with them; each has a column `a` that varies.
fn awkward_tables() -> Vec<(&'static str, String)> {
    let noise = |row: u32| f64::from(row.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
    let table = |rows: u32, cells: &dyn Fn(u32) -> String| {
        (0..rows).fold("a,b,c\n".to_owned(), |mut csv, row| {
            writeln!(csv, "{},{}", noise(row), cells(row)).unwrap();
            csv
        })
    };
    vec![
        ("constant columns", table(200, &|_| "7,0".into())),
        ("duplicate columns", table(200, &|row| format!("{0},{0}", noise(row)))),
        ("rows of two kinds only", "a,b,c\n".to_owned() + &"1,2,3\n4,5,6\n".repeat(100)),
        (
            "columns with one value and nothing else",
            table(200, &|row| {
                if row == 9 { "5,3".into() } else { ",".into() }
            }),
        ),
        ("columns that are missing", table(200, &|_| ",NA".into())),
        (
            "columns at the edges of floats",
            table(200, &|row| format!("{}e299,{}e-300", row % 17, row % 13)),
        ),
        (
            "one huge value",
            table(200, &|row| {
                if row == 50 { "1e300,-1e300".into() } else { format!("{},{}", row % 5, row % 3) }
            }),
        ),
        ("hardly any rows", table(33, &|row| format!("{},{}", row % 3, row % 2))),
    ]
}

fn train_as(csv: &str, kind: Kinds, clean: bool) -> Result<Trained, TrainError> {
    let schema =
        Schema { numeric: ["a", "b", "c"].map(str::to_owned).to_vec(), ..Schema::default() };
    let reader = RowReader::new(csv.as_bytes(), Format::Csv, &schema).unwrap();
    let table = Table::read(reader, |_| {}).unwrap();
    let detector = DetectorSettings { kind, clean: Some(clean), ..DetectorSettings::default() };
    let config = Config { name: "test".into(), schema, detector, ..Config::default() };
    train(&table, &config.check().unwrap(), 1, &mut |_| true)
}

/// Scores of ordinary, extreme and missing values, one after the other.
fn assert_scores_are_numbers(what: &str, trained: &Trained) {
    let detector = Detector::parse(as_bytes(&trained.model)).unwrap();
    let values = [0.0, 0.5, 1e300, -1e300, f64::MAX, 1e-300, f64::NAN, f64::INFINITY];
    let inputs: Vec<f64> =
        (0..512usize).map(|place| values[place * place % 11 % values.len()]).collect();
    let rows = inputs.len() / 4;
    let inputs: Vec<f64> = inputs.chunks(4).flat_map(|chunk| chunk[..3].to_vec()).collect();
    let mut states = vec![0.0; detector.state_words()];
    let (mut scores, mut verdicts) = (vec![0.0; rows], vec![0; rows]);
    let mut attributions = vec![0.0; rows * 4];
    let mut batch = Batch {
        times: &vec![0.0; rows],
        entities: &vec![0; rows],
        inputs: &inputs,
        states: &mut states,
        scores: &mut scores,
        verdicts: &mut verdicts,
        attributions: &mut attributions,
    };
    detector.score(&mut batch, true, &mut vec![0.0; detector.scratch_len()]).unwrap();
    assert!(scores.iter().all(|score| score.is_finite()), "{what}: {scores:?}");
    assert!(attributions.iter().all(|share| share.is_finite()), "{what}");
    assert!(states.iter().all(|word| word.is_finite()), "{what}");
}

#[test]
fn every_detector_takes_awkward_tables_or_says_why_not() {
    for (name, csv) in awkward_tables() {
        let given = DetectorKind::ALL.map(|kind| (Kinds::Given(vec![kind]), true));
        let chosen = [(Kinds::Auto, true), (Kinds::Auto, false)];
        for (kind, clean) in given.into_iter().chain(chosen) {
            let what = format!("{name}, {kind:?}, clean: {clean}");
            match train_as(&csv, kind, clean) {
                Ok(trained) => assert_scores_are_numbers(&what, &trained),
                Err(TrainError::AllAlike | TrainError::TooFewRows { .. }) => {}
                Err(error) => panic!("{what}: {error:?}"),
            }
        }
    }
}
