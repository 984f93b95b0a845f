//! Calls of modules by kind of detector and batch, in wasmtime as a host calls them, and the same
//! detector natively: `cargo bench -p twinge-engine`.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]
#![allow(missing_docs, reason = "criterion's macros write functions without")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::fmt::Write as _;
use std::hint::black_box;
use twinge_contract::schema::Schema;
use twinge_detector::{Batch, Detector};
use twinge_engine::{Budget, Engine, Limits, Scorer};
use twinge_fit::config::{DetectorKind, DetectorSettings, Kinds};
use twinge_fit::read::{Format, RowReader};
use twinge_fit::train::{Trained, as_bytes};
use twinge_fit::{Config, Table, train};
use twinge_trust::VerifiedModule;

const FIELDS: usize = 16;
const ROWS: usize = 2048;
const BATCHES: [usize; 3] = [1, 64, 1024];
const KINDS: [DetectorKind; 8] = [
    DetectorKind::IsolationForest,
    DetectorKind::ExtendedForest,
    DetectorKind::Neighbours,
    DetectorKind::Mixture,
    DetectorKind::Mahalanobis,
    DetectorKind::Components,
    DetectorKind::Histogram,
    DetectorKind::Tails,
];

/// Rows that are the same each time: waves that do not repeat.
fn rows() -> Vec<Vec<f64>> {
    let value = |row: usize, field: usize| {
        ((row * (2 * field + 3)) as f64 * 0.618).sin() + (row as f64 * 0.01 * field as f64).cos()
    };
    (0..ROWS).map(|row| (0..FIELDS).map(|field| value(row, field)).collect()).collect()
}

fn trained(kind: DetectorKind, rows: &[Vec<f64>]) -> Trained {
    let names: Vec<String> = (0..FIELDS).map(|field| format!("x{field}")).collect();
    let mut csv = names.join(",");
    for row in rows {
        let cells: Vec<String> = row.iter().map(f64::to_string).collect();
        write!(csv, "\n{}", cells.join(",")).unwrap();
    }
    let schema = Schema { numeric: names, ..Schema::default() };
    let detector = DetectorSettings {
        kind: Kinds::Given(vec![kind]),
        clean: Some(true),
        ..DetectorSettings::default()
    };
    let config = Config { name: "bench".into(), schema, detector, ..Config::default() };
    let config = config.check().unwrap();
    let reader = RowReader::new(csv.as_bytes(), Format::Csv, &config.written.schema).unwrap();
    let table = Table::read(reader, |_| {}).unwrap();
    train(&table, &config, 1, &mut |_| true).unwrap()
}

fn calls(criterion: &mut Criterion) {
    let rows = rows();
    for kind in KINDS {
        let trained = trained(kind, &rows);
        let mut group = criterion.benchmark_group(kind.as_str());
        let engine = Engine::new(Limits::default()).unwrap();
        let module = VerifiedModule::allow_unsigned(trained.module.clone());
        let mut scorer = Scorer::new(&engine.load(&module).unwrap());
        let mut batch = scorer.batch();
        let native = Detector::parse(as_bytes(&trained.model)).unwrap();
        for count in BATCHES {
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new("wasmtime", count), |bencher| {
                bencher.iter(|| {
                    batch.clear();
                    let state = batch.push_state(None);
                    for row in &rows[..count] {
                        batch.push(0.0, state, row);
                    }
                    scorer.score(&mut batch, false, Budget::Usual).unwrap();
                    black_box(batch.score(0))
                });
            });
            let mut natively = Native::new(&native, &rows[..count]);
            group.bench_function(BenchmarkId::new("native", count), |bencher| {
                bencher.iter(|| black_box(natively.score(&native)));
            });
        }
        group.finish();
    }
}

/// The arrays of a native call.
struct Native {
    inputs: Vec<f64>,
    times: Vec<f64>,
    entities: Vec<u32>,
    states: Vec<f64>,
    scores: Vec<f64>,
    verdicts: Vec<u32>,
    attributions: Vec<f32>,
    scratch: Vec<f32>,
}

impl Native {
    fn new(detector: &Detector<'_>, rows: &[Vec<f64>]) -> Self {
        let count = rows.len();
        Self {
            inputs: rows.concat(),
            times: vec![0.0; count],
            entities: vec![0; count],
            states: vec![0.0; detector.state_words()],
            scores: vec![0.0; count],
            verdicts: vec![0; count],
            attributions: vec![0.0; count * (detector.fields() + 1)],
            scratch: vec![0.0; detector.scratch_len()],
        }
    }

    fn score(&mut self, detector: &Detector<'_>) -> f64 {
        self.states.fill(0.0);
        let mut batch = Batch {
            times: &self.times,
            entities: &self.entities,
            inputs: &self.inputs,
            states: &mut self.states,
            scores: &mut self.scores,
            verdicts: &mut self.verdicts,
            attributions: &mut self.attributions,
        };
        detector.score(&mut batch, false, &mut self.scratch).unwrap();
        self.scores[0]
    }
}

criterion_group!(benches, calls);
criterion_main!(benches);
