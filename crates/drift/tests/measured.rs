//! How often drift is told where nothing drifts, and how soon where something does. docs/drift.md
//! shows the figures.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "figures for people; a test that cannot go on fails"
)]

mod world;

use twinge_contract::manifest::Manifest;
use twinge_drift::{Change, DriftSettings, DriftWatch};
use world::{Event, World};

const WINDOWS: u64 = 1000;

fn watch_of(world: &World, rows: u64) -> DriftWatch {
    DriftWatch::new(&world.clone().manifest(rows), DriftSettings::default()).unwrap().unwrap()
}

/// Feeds `events` of a world to a watch, each changed by `change`, and answers with what was told.
fn run(
    world: &mut World,
    watch: &mut DriftWatch,
    events: u64,
    mut change: impl FnMut(&mut Event),
) -> Vec<Change> {
    let mut changes = Vec::new();
    for _ in 0..events {
        let mut event = world.event();
        change(&mut event);
        if let Some(evaluation) = watch.note(&event.observation()) {
            changes.extend(evaluation.changes);
        }
    }
    changes
}

fn begun(changes: &[Change]) -> Vec<String> {
    let begun = changes.iter().filter(|change| change.begins);
    begun.map(|c| format!("{} {} {:.3} at {}", c.field, c.measure, c.value, c.at.offset)).collect()
}

/// False alarms in 1,000 windows of each of some worlds.
fn quiet(name: &str, worlds: impl Iterator<Item = World>, rows: u64) {
    for (seed, mut world) in worlds.enumerate() {
        let mut watch = watch_of(&world, rows);
        world.skip(rows);
        let window = u64::from(DriftSettings::default().window_events);
        let changes = run(&mut world, &mut watch, WINDOWS * window, |_| {});
        let begun = begun(&changes);
        println!(
            "{name}, seed {seed}: {} false alarms in {WINDOWS} windows {begun:?}",
            begun.len()
        );
        assert!(begun.len() <= 1, "{name}, seed {seed}: {begun:?}");
    }
}

fn bytes(manifest: &Manifest) -> usize {
    serde_json::to_vec(&manifest.reference).unwrap().len()
        + serde_json::to_vec(&manifest.drift).unwrap().len()
}

#[test]
fn independent_values_do_not_cry_wolf() {
    let bytes = bytes(&World::independent(0).manifest(20_000));
    println!("without phases the reference takes {bytes} bytes");
    assert!(bytes < 8000, "{bytes} bytes");
    quiet("independent", (0..1).map(World::independent), 20_000);
}

#[test]
fn a_daily_autocorrelated_stream_does_not_cry_wolf() {
    quiet("daily", (0..2).map(World::daily), 6 * world::DAY_EVENTS);
}

/// A partition has some of the entities that the module was trained on, each with levels of its own.
#[test]
fn half_of_the_entities_do_not_cry_wolf() {
    let mut world = World::daily(7);
    let rows = 6 * world::DAY_EVENTS;
    let mut watch = watch_of(&world, rows);
    world.skip(rows);
    let mut changes = Vec::new();
    for _ in 0..200_000 {
        let event = world.event();
        let is_here = event.number < 4;
        changes
            .extend(is_here.then(|| watch.note(&event.observation())).flatten().map(|e| e.changes));
    }
    let begun = begun(&changes.concat());
    println!("half of the entities, seed 7: {} false alarms in 100 windows {begun:?}", begun.len());
    assert!(begun.len() <= 1, "{begun:?}");
}

/// What dependence costs: the more a value is like the one before, the fewer independent ones a
/// window has.
#[test]
fn half_a_deviation_of_a_daily_autocorrelated_number_is_seen_later() {
    let rows = 6 * world::DAY_EVENTS;
    let world = World::daily(3);
    let manifest = world.clone().manifest(rows);
    for (number, shift, events_max) in [(0, 0.5, 5000), (8, 0.5, 5000), (15, 1.0, 10_000)] {
        let mut watch = DriftWatch::new(&manifest, DriftSettings::default()).unwrap().unwrap();
        let mut world = world.clone();
        world.skip(rows);
        let shift_by = |event: &mut Event| event.inputs[number] += shift * world::DEVIATION;
        let changes = run(&mut world, &mut watch, events_max, shift_by);
        let first = changes.iter().find(|change| change.begins).expect("it is told");
        assert_eq!(first.field, format!("x{number}"));
        println!(
            "{} moved by {shift} deviations: told after {} events",
            first.field,
            first.at.offset - rows + 1
        );
    }
}

#[test]
fn half_a_deviation_in_one_of_sixteen_is_seen_within_five_thousand_events() {
    let mut slowest = 0;
    for seed in 100..150 {
        let mut world = World::independent(seed);
        let mut watch = watch_of(&world, 20_000);
        world.skip(20_000);
        // Drift does not wait for the end of a window.
        let calm = 4000 + seed * 37 % 1000;
        assert!(begun(&run(&mut world, &mut watch, calm, |_| {})).is_empty(), "seed {seed}");
        let feature = (seed % 16) as usize;
        let changes = run(&mut world, &mut watch, 5000, |event| {
            event.inputs[feature] += 0.5 * world::DEVIATION;
        });
        let first = changes.iter().find(|change| change.begins).expect("it is told");
        assert_eq!((first.field.as_str(), begun(&changes).len()), (&*format!("x{feature}"), 1));
        let after = first.at.offset - (20_000 + calm) + 1;
        slowest = slowest.max(after);
    }
    println!("half a deviation: told in 50 of 50 seeds, after {slowest} events at the latest");
    assert!(slowest <= 5000, "{slowest}");
}

/// The control: the same stream, judged as if rows were independent, or as if the hour made no
/// difference, does cry wolf, so it is not for want of power that the other is quiet.
#[test]
fn without_variation_of_blocks_or_phases_the_same_stream_cries_wolf() {
    let world = World::daily(0);
    let rows = 6 * world::DAY_EVENTS;
    let manifest = world.clone().manifest(rows);
    let bytes = bytes(&manifest);
    println!("the reference takes {bytes} bytes");
    assert!(bytes < 12_000, "{bytes} bytes");
    assert_eq!(manifest.drift.as_ref().unwrap().sample.phase_rows.len(), 12);
    let mut blind = manifest.clone();
    for field in &mut blind.reference {
        field.spread.iter_mut().for_each(|spread| *spread = 1.0);
    }
    let mut timeless = blind.clone();
    timeless.drift.as_mut().unwrap().sample.phase_rows.clear();
    timeless.reference.iter_mut().for_each(|field| field.phases.clear());
    for (name, manifest, windows) in [("independent rows", blind, 300), ("no phases", timeless, 50)]
    {
        let mut watch = DriftWatch::new(&manifest, DriftSettings::default()).unwrap().unwrap();
        let mut world = world.clone();
        world.skip(rows);
        let begun = begun(&run(&mut world, &mut watch, windows * 1000, |_| {})).len();
        println!("{name}: {begun} false alarms in {windows} windows");
        assert!(begun > 1, "{name}: {begun}");
    }
}
