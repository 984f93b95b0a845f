//! What the engine's tests share: a guest written by hand, worlds trained from generated events,
//! and two ways to score their rows: natively in one go, and by a module in batches of any size.
#![allow(dead_code, unused_imports, unused_macros, reason = "each test file uses some of it")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::Duration;

use twinge_contract::abi::{self, MANIFEST_SECTION, Outcome, VERDICT_CONTINUES, VERDICT_LATE};
use twinge_contract::event::EventReader;
use twinge_contract::manifest::{DetectorInfo, Lineage, Manifest, StreamRules, ThresholdInfo};
use twinge_contract::schema::Schema;
use twinge_detector::Detector;
use twinge_engine::{Budget, Engine, Limits, LoadError, Module, Scorer, Strategy};
use twinge_fit::config::{DetectorKind, DetectorSettings, Kinds, ThresholdSettings};
use twinge_fit::read::{Format, RowReader};
use twinge_fit::train::as_bytes;
use twinge_fit::{Config, Table, Trained, train};
use twinge_generator::{Anomaly, Params, Stream, World, csv_header};
use twinge_trust::VerifiedModule;

/// The ways to run modules that are built in.
pub(crate) const STRATEGIES: &[Strategy] = &[
    #[cfg(feature = "compiler")]
    Strategy::Compile,
    #[cfg(feature = "interpreter")]
    Strategy::Interpret,
];

/// Each function as a test of its own for each of [`STRATEGIES`].
macro_rules! test_each_strategy {
    ($($test:ident)*) => {
        #[cfg(feature = "compiler")]
        mod compiled {
            $(#[test] fn $test() { super::$test(twinge_engine::Strategy::Compile); })*
        }
        #[cfg(feature = "interpreter")]
        mod interpreted {
            $(#[test] fn $test() { super::$test(twinge_engine::Strategy::Interpret); })*
        }
    };
}
pub(crate) use test_each_strategy;

pub(crate) fn engine(strategy: Strategy, deadline: Duration) -> Engine {
    let limits = Limits { deadline, memory_bytes_max: 64 << 20, ..Limits::default() };
    Engine::with_strategy(limits, strategy).expect("the engine starts")
}

pub(crate) fn load(engine: &Engine, module: Vec<u8>) -> Result<Module, LoadError> {
    engine.load(&VerifiedModule::allow_unsigned(module))
}

/// The counting guest of `counter.wat` with pieces of its text replaced.
pub(crate) fn counter(replacements: &[(&str, &str)]) -> Vec<u8> {
    let mut text = include_str!("counter.wat").to_owned();
    for (from, to) in replacements {
        assert!(text.contains(from), "counter.wat has no `{from}` to replace");
        text = text.replace(from, to);
    }
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{replacements:?}: {error}"))
}

/// The manifest of the counting guest.
pub(crate) fn counter_manifest() -> Manifest {
    let text = String::new;
    Manifest {
        abi: abi::VERSION,
        name: "counter".into(),
        version: "1".into(),
        schema: Schema { numeric: vec!["x".into()], ..Schema::default() },
        state_bytes: 8,
        stream: StreamRules::default(),
        detector: DetectorInfo {
            kind: text(),
            settings: BTreeMap::new(),
            features: vec![],
            why: vec![],
        },
        threshold: ThresholdInfo { false_alarm_rate: 0.1, calibration_rows: 0, raw_score: 1.0 },
        metrics: BTreeMap::new(),
        lineage: Lineage {
            data_digest: text(),
            rows: 0,
            config_digest: text(),
            seed: 0,
            runtime_digest: text(),
        },
        reference: vec![],
        drift: None,
        notes: vec![],
    }
}

/// `module` with one more custom section `twinge.manifest`.
pub(crate) fn with_manifest(mut module: Vec<u8>, manifest: &[u8]) -> Vec<u8> {
    let mut section = vec![MANIFEST_SECTION.len() as u8];
    section.extend(MANIFEST_SECTION.as_bytes());
    section.extend(manifest);
    module.push(0);
    module.extend(leb128(section.len()));
    module.extend(section);
    module
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = vec![];
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

/// One event as a module sees it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) entity: String,
    pub(crate) time_ms: f64,
    pub(crate) inputs: Vec<f64>,
    pub(crate) label: Option<Anomaly>,
}

/// A world's detector, trained on the first [`TRAINING_ROWS`] events of its stream.
#[derive(Debug)]
pub(crate) struct TrainedWorld {
    pub(crate) world: World,
    pub(crate) trained: Trained,
    modules: Vec<Module>,
    reader: EventReader,
}

/// Time that no call of a trained module takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const TRAINING_ROWS: usize = 4000;
pub(crate) const TRAINING_SEED: u64 = 20_260_101;

/// What 1200 held-back rows can promise; at the default rate of 0.001 their largest score would be
/// the threshold.
pub(crate) const FALSE_ALARM_RATE: f64 = 0.01;

/// All three worlds with the detectors that their data chooses; a test program trains them once.
pub(crate) static WORLDS: LazyLock<Vec<TrainedWorld>> = LazyLock::new(|| {
    World::ALL.into_iter().map(|world| TrainedWorld::new(world, Kinds::Auto)).collect()
});

/// Every other kind of detector, on one world or another.
pub(crate) static KINDS: LazyLock<Vec<TrainedWorld>> = LazyLock::new(|| {
    use DetectorKind::{
        Components, ExtendedForest, Histogram, Mahalanobis, Mixture, Neighbours, Series,
        TrustedNeighbours, Wander,
    };
    let cases = [
        (World::Cards, vec![Neighbours, Mixture]),
        (World::Flows, vec![ExtendedForest, Mahalanobis, Components, Histogram]),
        (World::Cards, vec![TrustedNeighbours]),
        (World::Sensors, vec![Series]),
        (World::Sensors, vec![Wander]),
    ];
    cases.map(|(world, kinds)| TrainedWorld::new(world, Kinds::Given(kinds))).into()
});

/// Both of the above.
pub(crate) fn all_detectors() -> impl Iterator<Item = &'static TrainedWorld> {
    WORLDS.iter().chain(KINDS.iter())
}

/// A stream of few entities over several days, with missing values and anomalies.
pub(crate) fn stream(world: World, seed: u64, missing_share: f64) -> Stream {
    let params = Params {
        entities: 40,
        events_per_second: 0.02,
        anomaly_share: 0.02,
        missing_share,
        ..Params::new(world, seed)
    };
    params.check().expect("the parameters are usable").stream()
}

impl TrainedWorld {
    fn new(world: World, kind: Kinds) -> Self {
        let mut csv = csv_header(world, true) + "\n";
        for event in stream(world, TRAINING_SEED, 0.03).take(TRAINING_ROWS) {
            writeln!(csv, "{}", event.to_csv(true)).expect("a string takes all");
        }
        let schema = twinge_fit::infer::infer(csv.as_bytes(), Format::Csv)
            .expect("the CSV has a schema")
            .schema;
        assert!(
            schema.entity.is_some() && schema.time.is_some() && !schema.categorical.is_empty(),
            "{schema:?}"
        );
        let rows =
            RowReader::new(csv.as_bytes(), Format::Csv, &schema).expect("the CSV has the columns");
        let table = Table::read(rows, |_| {}).expect("the CSV has readable rows");
        let reader = EventReader::new(&schema);
        let threshold = ThresholdSettings {
            false_alarm_rate: FALSE_ALARM_RATE,
            ..ThresholdSettings::default()
        };
        let detector = DetectorSettings { kind, ..DetectorSettings::default() };
        let name = world.name().into();
        let config = Config { name, schema, threshold, detector, ..Config::default() };
        let config = config.check().expect("the configuration is usable");
        let trained = train(&table, &config, 1, &mut |_| true).expect("the events train");
        let load = |strategy: &Strategy| {
            load(&engine(*strategy, PATIENCE), trained.module.clone()).expect("it loads")
        };
        let modules = STRATEGIES.iter().map(load).collect();
        Self { world, trained, modules, reader }
    }

    /// Its module in an engine with that strategy.
    pub(crate) fn module(&self, strategy: Strategy) -> &Module {
        let place = STRATEGIES.iter().position(|one| *one == strategy).expect("it is built in");
        &self.modules[place]
    }

    /// The next `count` events of `stream` as rows, read as a program would read them.
    pub(crate) fn rows(&self, stream: &mut Stream, count: usize) -> Vec<Row> {
        let row = |event: twinge_generator::Event| {
            let json = event.to_json(self.world, true);
            let read = self.reader.read(json.as_bytes()).expect("the event is readable");
            let time_ms = read.time_ms.expect("events have a time") as f64;
            Row { entity: read.entity, time_ms, inputs: read.inputs, label: event.label }
        };
        stream.take(count).map(row).collect()
    }

    /// The detector inside the module, run natively.
    pub(crate) fn detector(&self) -> Detector<'_> {
        Detector::parse(as_bytes(&self.trained.model)).expect("the model is readable")
    }
}

/// What became of a row, as bits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scored {
    pub(crate) score: u64,
    pub(crate) verdict: u32,
    pub(crate) attribution: Vec<u32>,
}

impl Scored {
    pub(crate) fn score(&self) -> f64 {
        f64::from_bits(self.score)
    }

    pub(crate) fn outcome(&self) -> Outcome {
        Outcome::from_code(self.verdict).expect("the verdict is one")
    }

    pub(crate) fn attribution(&self) -> impl Iterator<Item = f32> {
        self.attribution.iter().map(|bits| f32::from_bits(*bits))
    }
}

/// States by entity.
pub(crate) type States = BTreeMap<String, Vec<u8>>;

/// Scores `rows` with the module in batches of `sizes`, taken in turn. Each batch holds the states
/// of its own entities only.
pub(crate) fn score_in_batches(
    scorer: &mut Scorer,
    rows: &[Row],
    sizes: &[usize],
    explain_all: bool,
    states: &mut States,
) -> Vec<Scored> {
    let (mut scored, mut batch, mut rest) = (vec![], scorer.batch(), rows);
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(rest.len().min(*size));
        rest = later;
        batch.clear();
        let mut places = BTreeMap::new();
        for row in now {
            let place = *places
                .entry(row.entity.as_str())
                .or_insert_with(|| batch.push_state(states.get(&row.entity).map(Vec::as_slice)));
            batch.push(row.time_ms, place, &row.inputs);
        }
        scorer.score(&mut batch, explain_all, Budget::Retry).expect("the batch is scored");
        for (entity, place) in places {
            states.insert(entity.to_owned(), batch.state(place).to_vec());
        }
        scored.extend((0..now.len()).map(|row| Scored {
            score: batch.score(row).to_bits(),
            verdict: batch.outcome(row).code()
                | if batch.is_late(row) { VERDICT_LATE } else { 0 }
                | if batch.continues(row) { VERDICT_CONTINUES } else { 0 },
            attribution: batch.attribution(row).iter().map(|share| share.to_bits()).collect(),
        }));
    }
    scored
}

/// Scores `rows` natively as one batch, from new states.
pub(crate) fn score_natively(
    detector: &Detector<'_>,
    rows: &[Row],
    explain_all: bool,
) -> (Vec<Scored>, States) {
    let names: Vec<&str> = {
        let mut names: Vec<&str> = rows.iter().map(|row| row.entity.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let place = |row: &Row| names.partition_point(|name| *name < row.entity.as_str()) as u32;
    let (words, width) = (detector.state_words(), detector.fields() + 1);
    let mut states = vec![0.0; names.len() * words];
    let mut scores = vec![0.0; rows.len()];
    let mut verdicts = vec![0; rows.len()];
    let mut attributions = vec![0.0; rows.len() * width];
    let mut batch = twinge_detector::Batch {
        times: &rows.iter().map(|row| row.time_ms).collect::<Vec<_>>(),
        entities: &rows.iter().map(place).collect::<Vec<_>>(),
        inputs: &rows.iter().flat_map(|row| row.inputs.clone()).collect::<Vec<_>>(),
        states: &mut states,
        scores: &mut scores,
        verdicts: &mut verdicts,
        attributions: &mut attributions,
    };
    let mut scratch = vec![0.0; detector.scratch_len()];
    detector.score(&mut batch, explain_all, &mut scratch).expect("the arrays agree");
    let scored = (0..rows.len()).map(|row| Scored {
        score: scores[row].to_bits(),
        verdict: verdicts[row],
        attribution: attributions[row * width..(row + 1) * width]
            .iter()
            .map(|share| share.to_bits())
            .collect(),
    });
    let bytes = |words: &[f64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let states = names
        .iter()
        .zip(states.chunks_exact(words))
        .map(|(name, words)| ((*name).to_owned(), bytes(words)))
        .collect();
    (scored.collect(), states)
}

/// Fails at the first row that differs, with the row.
pub(crate) fn assert_same(what: &str, rows: &[Row], left: &[Scored], right: &[Scored]) {
    assert_eq!((left.len(), right.len()), (rows.len(), rows.len()), "{what}: number of rows");
    for (index, row) in rows.iter().enumerate() {
        assert!(
            left[index] == right[index],
            "{what}: row {index} {row:?}\n gives {:?}\n  and  {:?}",
            left[index],
            right[index]
        );
    }
}
