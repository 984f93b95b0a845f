//! Trained modules, compiled and interpreted, against the same detector run natively: the same bits
//! for any events, however the stream is cut, saved and restored, and for the wildest inputs.
#![cfg(any(feature = "compiler", feature = "interpreter"))]
#![expect(
    clippy::unwrap_used,
    reason = "these are tests, made by a macro of functions that are none"
)]

mod common;

use std::collections::BTreeMap;

use common::{
    FALSE_ALARM_RATE, Row, STRATEGIES, Scored, States, TRAINING_ROWS, TRAINING_SEED, TrainedWorld,
    WORLDS, all_detectors, assert_same, score_in_batches, score_natively, stream,
    test_each_strategy,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::strategy::Strategy as Generated;
use proptest::test_runner::RngSeed;
use twinge_contract::abi::Outcome;
use twinge_engine::{Budget, Scorer, Strategy};
use twinge_generator::AnomalyKind;

/// A fixed seed: the same cases every time, on every machine.
fn twelve_cases() -> ProptestConfig {
    ProptestConfig {
        cases: 12,
        max_shrink_iters: 64,
        rng_seed: RngSeed::Fixed(0x7477_696e_6765),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn rows_of(world: &TrainedWorld, seed: u64, missing_share: f64, count: usize) -> Vec<Row> {
    world.rows(&mut stream(world.world, seed, missing_share), count)
}

/// Values at the edges of what an `f64` can hold, and ordinary ones to go on with.
fn wild() -> impl Generated<Value = f64> {
    let edges = vec![
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
        1e308,
        -1e308,
        f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
        1e-310,
        0.0,
        -0.0,
    ];
    prop_oneof![2 => select(edges), 1 => -100.0..100.0f64, 1 => any::<f64>()]
}

/// Of so many rows, as many as take about as long either way.
fn share(strategy: Strategy, count: usize) -> usize {
    match strategy {
        Strategy::Compile => count,
        Strategy::Interpret => count / 16,
    }
}

/// A first strategy and a second one, in all ways.
fn pairs() -> impl Iterator<Item = (Strategy, Strategy)> {
    STRATEGIES.iter().flat_map(|first| STRATEGIES.iter().map(|second| (*first, *second)))
}

proptest! {
    #![proptest_config(twelve_cases())]

    #[test]
    fn batches_of_any_size_give_the_bits_of_the_native_detector(
        seed in any::<u32>(),
        missing_share in 0.0..0.3f64,
        explain_all in any::<bool>(),
        cuts in proptest::collection::vec(1usize..300, 1..20),
    ) {
        for world in all_detectors() {
            // Explaining every row is slow, and slices of one row in it cover the same code.
            let count = if explain_all { 800 } else { 4200 };
            for strategy in STRATEGIES {
                let rows = rows_of(world, seed.into(), missing_share, share(*strategy, count));
                let (native, native_states) = score_natively(&world.detector(), &rows, explain_all);
                for sizes in [&[1][..], &[7], &[64], &[4096], &cuts] {
                    let what =
                        format!("{}, {strategy:?}, seed {seed}, batches of {sizes:?}", world.world);
                    let mut scorer = Scorer::new(world.module(*strategy));
                    let mut states = States::new();
                    let scored =
                        score_in_batches(&mut scorer, &rows, sizes, explain_all, &mut states);
                    assert_same(&what, &rows, &native, &scored);
                    prop_assert!(states == native_states, "{}: final states differ", what);
                }
            }
        }
    }

    #[test]
    fn a_state_saved_and_restored_elsewhere_goes_on_with_the_same_bits(
        seed in any::<u32>(),
        place in any::<Index>(),
    ) {
        for world in all_detectors() {
            for (here, there) in pairs() {
                let count = share(here, 1500).min(share(there, 1500));
                let rows = rows_of(world, seed.into(), 0.05, count);
                let cut = place.index(count);
                let what = format!(
                    "{}, seed {seed}, cut at {cut}, {here:?} and then {there:?}", world.world
                );
                let (native, native_states) = score_natively(&world.detector(), &rows, false);
                let (before, after) = rows.split_at(cut);
                let (mut scorer, mut states) = (Scorer::new(world.module(here)), States::new());
                let mut scored = score_in_batches(&mut scorer, before, &[64], false, &mut states);
                let mut restored = states.clone();
                drop(states);
                let mut elsewhere = Scorer::new(world.module(there));
                scored.extend(score_in_batches(&mut elsewhere, after, &[17], false, &mut restored));
                assert_same(&what, &rows, &native, &scored);
                prop_assert!(restored == native_states, "{}: final states differ", what);
            }
        }
    }

    #[test]
    fn wild_inputs_never_give_a_score_that_is_no_number(
        seed in any::<u32>(),
        places in proptest::collection::vec((any::<Index>(), any::<Index>(), wild()), 300),
        times in proptest::collection::vec((any::<Index>(), wild()), 0..30),
    ) {
        for world in all_detectors() {
            let mut rows = rows_of(world, seed.into(), 0.05, 1500);
            for (row, input, value) in &places {
                let inputs = &mut row.get_mut(&mut rows).inputs;
                *input.get_mut(inputs) = *value;
            }
            for (row, value) in &times {
                row.get_mut(&mut rows).time_ms = *value;
            }
            // New entities at both zeros, between which not every maximum knows a larger one.
            for (index, row) in rows[..100].iter_mut().enumerate() {
                row.time_ms = [0.0, -0.0][index % 2];
            }
            for strategy in STRATEGIES {
                let what = format!("{}, {strategy:?}, seed {seed}", world.world);
                let rows = &rows[..share(*strategy, rows.len())];
                let (native, native_states) = score_natively(&world.detector(), rows, true);
                let mut scorer = Scorer::new(world.module(*strategy));
                let mut states = States::new();
                let scored = score_in_batches(&mut scorer, rows, &[128, 5], true, &mut states);
                assert_same(&what, rows, &native, &scored);
                prop_assert!(states == native_states, "{}: final states differ", what);
                for (index, scored) in scored.iter().enumerate() {
                    prop_assert!(is_finite(scored), "{what}: row {index} {:?} gives {scored:?}", rows[index]);
                }
                let words = states.values().flat_map(|state| state.as_chunks::<8>().0);
                prop_assert!(words.copied().map(f64::from_le_bytes).all(f64::is_finite), "{}", what);
            }
        }
    }

    #[test]
    fn a_garbled_state_never_gives_a_score_that_is_no_number(
        seed in any::<u32>(),
        words in proptest::collection::vec(wild(), 64..256),
    ) {
        for world in all_detectors() {
            let rows = rows_of(world, seed.into(), 0.05, 400);
            let mut words = words.iter().flat_map(|word| word.to_le_bytes()).cycle();
            let length = world.trained.manifest.state_bytes as usize;
            let garbled: States = rows
                .iter()
                .map(|row| (row.entity.clone(), words.by_ref().take(length).collect()))
                .collect();
            for strategy in STRATEGIES {
                let rows = &rows[..share(*strategy, rows.len())];
                let score = |strategy| {
                    let mut scorer = Scorer::new(world.module(strategy));
                    let mut states = garbled.clone();
                    (score_in_batches(&mut scorer, rows, &[64], true, &mut states), states)
                };
                let what = format!("{}, {strategy:?}, seed {seed}", world.world);
                let (scored, states) = score(*strategy);
                prop_assert!(scored.iter().all(is_finite), "{}", what);
                let (by_default, states_by_default) = score(Strategy::default());
                assert_same(&what, rows, &by_default, &scored);
                prop_assert!(
                    one_nan(states) == one_nan(states_by_default),
                    "{}: final states differ",
                    what
                );
            }
        }
    }
}

/// States with one NaN for all. A garbled state may make some, whose bits WebAssembly leaves open;
/// those that a module has made hold none, as the test above says.
fn one_nan(states: States) -> BTreeMap<String, Vec<u64>> {
    let bits = |bytes: &[u8; 8]| match f64::from_le_bytes(*bytes) {
        word if word.is_nan() => f64::NAN.to_bits(),
        word => word.to_bits(),
    };
    let words = |state: Vec<u8>| state.as_chunks::<8>().0.iter().map(bits).collect();
    states.into_iter().map(|(entity, state)| (entity, words(state))).collect()
}

fn is_finite(scored: &Scored) -> bool {
    scored.score().is_finite() && scored.attribution().all(f32::is_finite)
}

/// What came of the events that follow those of training.
#[derive(Debug, Default)]
struct Figures {
    normal: usize,
    false_alarms: usize,
    kinds: BTreeMap<&'static str, KindFigures>,
}

/// Rows of one kind of anomaly: all, those detected, and those of them whose largest attribution
/// names the planted field.
#[derive(Debug, Default)]
struct KindFigures {
    rows: usize,
    detected: usize,
    named_first: usize,
}

impl Figures {
    fn of(world: &TrainedWorld, rows: &[Row], scored: &[Scored]) -> Self {
        let fields: Vec<&str> = world.trained.manifest.schema.fields().collect();
        let mut figures = Self::default();
        for (row, scored) in rows.iter().zip(scored) {
            let detected = match scored.outcome() {
                Outcome::Normal => false,
                Outcome::Anomalous => true,
                Outcome::WarmingUp | Outcome::Invalid => continue,
            };
            let Some(label) = row.label else {
                figures.normal += 1;
                figures.false_alarms += usize::from(detected);
                continue;
            };
            let kind = figures.kinds.entry(label.kind.name()).or_default();
            kind.rows += 1;
            kind.detected += usize::from(detected);
            let first = fields.get(largest(scored)) == Some(&label.field);
            kind.named_first += usize::from(detected && first);
        }
        figures
    }
}

fn largest(scored: &Scored) -> usize {
    let shares: Vec<f32> = scored.attribution().collect();
    (0..shares.len()).max_by(|a, b| shares[*a].total_cmp(&shares[*b])).expect("there is a field")
}

/// The next 20,000 events of the stream that the world's detector was trained on.
fn later_rows(world: &TrainedWorld) -> Vec<Row> {
    let mut stream = stream(world.world, TRAINING_SEED, 0.03);
    world.rows(&mut stream, TRAINING_ROWS);
    world.rows(&mut stream, 20_000)
}

#[test]
fn attributions_sum_to_the_score_and_name_the_planted_field() {
    // Of the detected rows, the share in which the planted field must come first. An exfiltration
    // plants packets and duration along with its bytes, and in one row of five they come first.
    let kinds = [
        (AnomalyKind::AmountSpike, 0.8),
        (AnomalyKind::PortScan, 0.8),
        (AnomalyKind::Exfiltration, 0.7),
    ];
    for world in all_detectors() {
        let rows = later_rows(world);
        let mut scorer = Scorer::new(world.module(Strategy::default()));
        let scored = score_in_batches(&mut scorer, &rows, &[512], false, &mut States::new());
        for (row, scored) in rows.iter().zip(&scored) {
            let sum: f64 = scored.attribution().map(f64::from).sum();
            let score = if scored.outcome() == Outcome::Anomalous { scored.score() } else { 0.0 };
            assert!((sum - score).abs() <= 1e-4 * score, "{row:?}: {sum} of {score}");
            assert!(scored.attribution().all(|share| share >= 0.0), "{row:?}: {scored:?}");
        }
        // Chosen for a test, the other detectors need not fit their world.
        if !WORLDS.iter().any(|chosen| std::ptr::eq(chosen, world)) {
            continue;
        }
        let figures = Figures::of(world, &rows, &scored);
        // Twice the rate that training was asked for.
        let share = figures.false_alarms as f64 / figures.normal as f64;
        assert!(share < 2.0 * FALSE_ALARM_RATE, "{}: {figures:?}", world.world);
        for (kind, least) in kinds.iter().filter(|(kind, _)| kind.world() == world.world) {
            let of_kind = &figures.kinds[kind.name()];
            let named = of_kind.named_first as f64 / of_kind.detected as f64;
            assert!(of_kind.detected >= 20 && named >= *least, "{kind}: {figures:?}");
        }
    }
}

test_each_strategy! {
    a_batch_scored_in_parts_gives_the_bits_of_the_whole
}

fn a_batch_scored_in_parts_gives_the_bits_of_the_whole(strategy: Strategy) {
    const STATES: usize = 8;
    for world in all_detectors() {
        let rows = rows_of(world, 5, 0.0, 64);
        let mut scorer = Scorer::new(world.module(strategy));
        let mut at_once = scorer.batch();
        let places = [(); STATES].map(|()| at_once.push_state(None));
        for (index, row) in rows.iter().enumerate() {
            at_once.push(row.time_ms, places[index % STATES], &row.inputs);
        }
        let mut in_parts = at_once.clone();
        scorer.score(&mut at_once, true, Budget::Retry).unwrap();
        for row in 0..rows.len() {
            // A part brings the states of all rows, here to an instance that has no room yet.
            let mut part = in_parts.part(row..row + 1);
            let result = Scorer::new(world.module(strategy)).score(&mut part, true, Budget::Retry);
            assert_eq!(result, Ok(()), "{}: row {row}", world.world);
            in_parts.take_part(&part, row);
        }
        for (row, place) in places.into_iter().cycle().take(rows.len()).enumerate() {
            assert_eq!(in_parts.score(row).to_bits(), at_once.score(row).to_bits());
            assert_eq!(in_parts.attribution(row), at_once.attribution(row));
            assert_eq!(in_parts.state(place), at_once.state(place), "{}", world.world);
        }
    }
}
