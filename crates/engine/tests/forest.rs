//! A forest's walk by vectors, in modules, against its walk by level, run natively: the same bits
//! at every width that has code of its own, at the usual depth and others, on values that tie with
//! thresholds and on the wildest ones.
#![cfg(any(feature = "compiler", feature = "interpreter"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use common::{
    PATIENCE, Row, STRATEGIES, Scored, States, assert_same, engine, load, score_in_batches,
    score_natively,
};
use twinge_contract::schema::Schema;
use twinge_detector::Detector;
use twinge_engine::Scorer;
use twinge_fit::config::{DetectorKind, DetectorSettings, Kinds};
use twinge_fit::read::{Format, RowReader};
use twinge_fit::train::as_bytes;
use twinge_fit::{Config, Table, train};

const SEED: u64 = 0x666f_7265_7374;

/// Whole numbers of 32 bits, one after the other (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", OOPSLA 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
    }

    /// Coarse values, so that many are equal to each other and some to a threshold.
    fn value(&mut self) -> f64 {
        f64::from(self.next() % 64) / 8.0 - 4.0
    }

    fn wild(&mut self) -> f64 {
        match self.next() % 8 {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => -f64::MAX,
            3 => -0.0,
            4 => 5e-324,
            _ => self.value(),
        }
    }
}

fn columns(fields: usize) -> Vec<String> {
    (0..fields).map(|field| format!("x{field}")).collect()
}

fn table(numbers: &mut Numbers, fields: usize, schema: &Schema) -> Table {
    let mut csv = columns(fields).join(",");
    for _ in 0..700 {
        let values: Vec<String> = (0..fields).map(|_| numbers.value().to_string()).collect();
        csv = csv + "\n" + &values.join(",");
    }
    let rows = RowReader::new(csv.as_bytes(), Format::Csv, schema).unwrap();
    Table::read(rows, |_| {}).unwrap()
}

fn rows(numbers: &mut Numbers, fields: usize, count: usize) -> Vec<Row> {
    let row = |index: usize| Row {
        entity: String::new(),
        time_ms: 0.0,
        inputs: (0..fields)
            .map(|_| if index.is_multiple_of(4) { numbers.wild() } else { numbers.value() })
            .collect(),
        label: None,
    };
    (0..count).map(row).collect()
}

#[test]
fn walks_give_the_same_bits_at_every_width_and_depth() {
    let mut numbers = Numbers(SEED);
    for (fields, sample_rows) in [
        (1, 256),
        (16, 256),
        (17, 256),
        (32, 200),
        (33, 256),
        (64, 256),
        (65, 256),
        (200, 256),
        (7, 512),
        (40, 600),
    ] {
        let schema = Schema { numeric: columns(fields), ..Schema::default() };
        let detector = DetectorSettings {
            kind: Kinds::Given(vec![DetectorKind::IsolationForest]),
            trees: 20,
            sample_rows,
            ..DetectorSettings::default()
        };
        let config = Config { name: "walks".into(), schema, detector, ..Config::default() };
        let config = config.check().unwrap();
        let table = table(&mut numbers, fields, &config.written.schema);
        let trained = train(&table, &config, 1, &mut |_| true).unwrap();
        let rows = rows(&mut numbers, fields, 150);
        let native = Detector::parse(as_bytes(&trained.model)).unwrap();
        let (expected, _) = score_natively(&native, &rows, true);
        for strategy in STRATEGIES {
            let module = load(&engine(*strategy, PATIENCE), trained.module.clone()).unwrap();
            let scored: Vec<Scored> = score_in_batches(
                &mut Scorer::new(&module),
                &rows,
                &[64, 1, 9],
                true,
                &mut States::new(),
            );
            let what =
                format!("{fields} fields, samples of {sample_rows}, {strategy:?}, seed {SEED}");
            assert_same(&what, &rows, &expected, &scored);
        }
    }
}
