//! Trained modules in wasmtime against the same detector run natively: the same bits for any
//! events, however the stream is cut, saved and restored, and for the wildest inputs.

mod common;

use std::collections::BTreeMap;

use common::{
    Row, States, TRAINING_ROWS, TRAINING_SEED, TrainedWorld, WORLDS, assert_same,
    score_in_batches, score_natively, stream,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;
use twinge_contract::abi::Outcome;
use twinge_engine::Scorer;
use twinge_generator::AnomalyKind;

/// A fixed seed: the same cases every time, on every machine.
fn twelve_cases() -> ProptestConfig {
    ProptestConfig {
        cases: 12,
        max_shrink_iters: 64,
        rng_seed: RngSeed::Fixed(0x0074_7769_6e67_65),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn rows_of(world: &TrainedWorld, seed: u64, missing_share: f64, count: usize) -> Vec<Row> {
    world.rows(&mut stream(world.world, seed, missing_share), count)
}

/// Values at the edges of what an `f64` can hold, and ordinary ones to go on with.
fn wild() -> impl Strategy<Value = f64> {
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

proptest! {
    #![proptest_config(twelve_cases())]

    #[test]
    fn batches_of_any_size_give_the_bits_of_the_native_detector(
        seed in any::<u32>(),
        missing_share in 0.0..0.3f64,
        explain_all in any::<bool>(),
        cuts in proptest::collection::vec(1usize..300, 1..20),
    ) {
        for world in WORLDS.iter() {
            let rows = rows_of(world, seed.into(), missing_share, 4200);
            let (native, native_states) = score_natively(&world.detector(), &rows, explain_all);
            for sizes in [&[1][..], &[7], &[64], &[4096], &cuts] {
                let what = format!("{}, seed {seed}, batches of {sizes:?}", world.world);
                let (mut scorer, mut states) = (Scorer::new(&world.module), States::new());
                let scored = score_in_batches(&mut scorer, &rows, sizes, explain_all, &mut states);
                assert_same(&what, &rows, &native, &scored);
                prop_assert!(states == native_states, "{}: final states differ", what);
            }
        }
    }

    #[test]
    fn a_state_saved_and_restored_elsewhere_goes_on_with_the_same_bits(
        seed in any::<u32>(),
        place in any::<Index>(),
    ) {
        for world in WORLDS.iter() {
            let rows = rows_of(world, seed.into(), 0.05, 1500);
            let what = format!("{}, seed {seed}, cut at {}", world.world, place.index(rows.len()));
            let (native, native_states) = score_natively(&world.detector(), &rows, false);
            let (before, after) = rows.split_at(place.index(rows.len()));
            let mut states = States::new();
            let mut scored =
                score_in_batches(&mut Scorer::new(&world.module), before, &[64], false, &mut states);
            let mut restored = states.clone();
            drop(states);
            let mut elsewhere = Scorer::new(&world.module);
            scored.extend(score_in_batches(&mut elsewhere, after, &[17], false, &mut restored));
            assert_same(&what, &rows, &native, &scored);
            prop_assert!(restored == native_states, "{}: final states differ", what);
        }
    }

    #[test]
    fn wild_inputs_never_give_a_score_that_is_no_number(
        seed in any::<u32>(),
        places in proptest::collection::vec((any::<Index>(), any::<Index>(), wild()), 300),
        times in proptest::collection::vec((any::<Index>(), wild()), 0..30),
    ) {
        for world in WORLDS.iter() {
            let mut rows = rows_of(world, seed.into(), 0.05, 1500);
            for (row, input, value) in &places {
                let inputs = &mut row.get_mut(&mut rows).inputs;
                *input.get_mut(inputs) = *value;
            }
            for (row, value) in &times {
                row.get_mut(&mut rows).time_ms = *value;
            }
            let what = format!("{}, seed {seed}", world.world);
            let (native, native_states) = score_natively(&world.detector(), &rows, true);
            let (mut scorer, mut states) = (Scorer::new(&world.module), States::new());
            let scored = score_in_batches(&mut scorer, &rows, &[128, 5], true, &mut states);
            assert_same(&what, &rows, &native, &scored);
            prop_assert!(states == native_states, "{}: final states differ", what);
            for (index, scored) in scored.iter().enumerate() {
                let finite = scored.score().is_finite() && scored.attribution().all(f32::is_finite);
                prop_assert!(finite, "{what}: row {index} {:?} gives {scored:?}", rows[index]);
            }
            let words = states.values().flat_map(|state| state.as_chunks::<8>().0);
            prop_assert!(words.copied().map(f64::from_le_bytes).all(f64::is_finite), "{}", what);
        }
    }
}

#[test]
fn scratch_figures() {
    for world in WORLDS.iter() {
        println!("== {} features {:?}\n notes {:?}\n metrics {:?}\n stream {:?} threshold {:?} module {}", world.world, world.trained.manifest.detector.features, world.trained.manifest.notes, world.trained.manifest.metrics, world.trained.manifest.stream, world.trained.manifest.threshold, world.trained.module.len());
        let mut stream = stream(world.world, TRAINING_SEED, 0.03);
        world.rows(&mut stream, TRAINING_ROWS);
        let rows = world.rows(&mut stream, 20_000);
        let (scored, _) = score_natively(&world.detector(), &rows, false);
        let names: Vec<&str> = world.trained.manifest.schema.fields().collect();
        let (mut normal, mut alarms, mut warming) = (0, 0, 0);
        let mut kinds: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
        let mut firsts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for (row, scored) in rows.iter().zip(&scored) {
            if scored.outcome() == Outcome::WarmingUp { warming += 1; continue; }
            let hit = scored.outcome() == Outcome::Anomalous;
            let Some(label) = row.label else { normal += 1; alarms += usize::from(hit); continue };
            let kind = kinds.entry(label.kind.name()).or_default();
            kind[0] += 1;
            if !hit { continue; }
            kind[1] += 1;
            let attribution: Vec<f32> = scored.attribution().collect();
            let first = (0..attribution.len()).max_by(|a, b| attribution[*a].total_cmp(&attribution[*b])).unwrap();
            let name = names.get(first).copied().unwrap_or("time");
            kind[2] += usize::from(name == label.field);
            *firsts.entry((label.kind.name(), name)).or_default() += 1;
        }
        println!("normal {normal} false alarms {alarms} = {:.5}, warming {warming}", alarms as f64 / normal as f64);
        for (kind, [all, hit, named]) in kinds { println!("  {kind}: {hit}/{all} recall {:.3}, named {named}/{hit} {:.3}", hit as f64 / all as f64, named as f64 / hit as f64); }
        println!("  {firsts:?}");
        let zeros = scored.iter().filter(|s| s.score == (-0.0f64).to_bits()).count();
        println!("  negative zero scores {zeros}");
    }
}
