//! What is told of each kind of drift, once, with an end; and what is not.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "seeds for people; a test that cannot go on fails"
)]

mod world;

use twinge_contract::category;
use twinge_contract::manifest::{AnchorReference, Manifest};
use twinge_drift::watch::{DriftState, Subject};
use twinge_drift::{Against, Change, DriftSettings, DriftWatch, Evaluation, Mark, Measure};
use world::{Event, World, manifest};

const ROWS: u64 = 20_000;

fn settings() -> DriftSettings {
    DriftSettings::default()
}

fn watch_of(manifest: &Manifest) -> DriftWatch {
    DriftWatch::new(manifest, settings()).unwrap().unwrap()
}

fn run(
    world: &mut World,
    watch: &mut DriftWatch,
    events: u64,
    mut change: impl FnMut(&mut Event),
) -> Vec<Evaluation> {
    let mut evaluations = Vec::new();
    for _ in 0..events {
        let mut event = world.event();
        change(&mut event);
        evaluations.extend(watch.note(&event.observation()));
    }
    evaluations
}

fn changes(evaluations: &[Evaluation]) -> Vec<Change> {
    evaluations.iter().flat_map(|evaluation| evaluation.changes.clone()).collect()
}

/// A drift made by `change` is told once, as `wanted`, and its end once when it is over.
fn check(seed: u64, change: impl FnMut(&mut Event), wanted: (Subject, &str, Measure)) {
    println!("seed {seed}: {wanted:?}");
    let mut world = World::independent(seed);
    let mut watch = watch_of(&world.clone().manifest(ROWS));
    world.skip(ROWS);
    assert!(changes(&run(&mut world, &mut watch, 5000, |_| {})).is_empty());
    let began = changes(&run(&mut world, &mut watch, 10_000, change));
    let [first] = began.as_slice() else { panic!("one is told: {began:?}") };
    assert_eq!((first.subject, first.field.as_str(), first.measure), wanted);
    assert_eq!((first.begins, first.against, watch.active().len()), (true, Against::Training, 1));
    assert!(first.probability <= settings().probability, "{first:?}");
    assert_eq!(first.since.offset, ROWS + 5000, "{first:?}");
    assert!(first.at.offset < ROWS + 10_000, "{first:?}");
    let ended = changes(&run(&mut world, &mut watch, 15_000, |_| {}));
    let [last] = ended.as_slice() else { panic!("one ends: {ended:?}") };
    assert_eq!((last.begins, last.field.as_str(), watch.active().len()), (false, wanted.1, 0));
}

#[test]
fn each_kind_of_drift_is_told_once_and_ends_once() {
    check(1, |event| event.inputs[5] *= 3.0, (Subject::Input, "x5", Measure::Psi));
    let unseen = category::code("purple");
    let mut turn = 0;
    let mut tenth = || {
        turn += 1;
        turn % 10 == 0
    };
    check(
        2,
        |event| event.inputs[16] = if tenth() { unseen } else { event.inputs[16] },
        (Subject::Input, "colour", Measure::Unseen),
    );
    let mut turn = 0;
    let mut twentieth = || {
        turn += 1;
        turn % 20 == 0
    };
    check(
        3,
        |event| event.inputs[2] = if twentieth() { f64::NAN } else { event.inputs[2] },
        (Subject::Input, "x2", Measure::Missing),
    );
    check(
        4,
        |event| event.score = (event.score + 0.08).min(0.99),
        (Subject::Score, "score", Measure::Psi),
    );
    let mut turn = 0;
    let mut sixth = || {
        turn += 1;
        turn % 12 == 0
    };
    check(
        5,
        |event| event.score = if sixth() { 1.5 } else { event.score },
        (Subject::Verdicts, "verdict", Measure::VerdictRate),
    );
    let mut turn = 0;
    let mut eighth = || {
        turn += 1;
        turn % 8 == 0
    };
    check(6, |event| event.is_late |= eighth(), (Subject::Latency, "latency", Measure::Latency));
}

/// Retrained on each step, a module sees no drift; the anchor does.
#[test]
fn drift_in_small_steps_shows_against_the_anchor() {
    let seed = 8;
    println!("seed {seed}");
    let mut world = World::independent(seed);
    let events = |world: &mut World, shift: f64| -> Vec<Event> {
        let mut event = || {
            let mut event = world.event();
            event.inputs[0] += shift * world::DEVIATION;
            event
        };
        (0..ROWS).map(|_| event()).collect()
    };
    let first = manifest(&events(&mut world, 0.0));
    for step in 1..=6 {
        let shift = 0.15 * f64::from(step);
        let mut retrained = manifest(&events(&mut world, shift));
        let drift = retrained.drift.as_mut().unwrap();
        drift.anchor = Some(AnchorReference {
            version: first.version.clone(),
            data_digest: first.lineage.data_digest.clone(),
            sample: first.drift.clone().unwrap().sample,
            reference: first.reference.clone(),
        });
        let mut watch = watch_of(&Manifest::parse(&retrained.to_json()).unwrap());
        // The next step, which is small.
        let shift = shift + 0.15;
        let evaluations = run(&mut world, &mut watch, 12_000, |event| {
            event.inputs[0] += shift * world::DEVIATION;
        });
        let told = changes(&evaluations);
        assert!(told.iter().all(|change| change.against == Against::Anchor), "{told:?}");
        // Half a deviation is three steps and more.
        if step >= 3 {
            assert!(matches!(told.as_slice(), [change] if change.field == "x0" && change.begins));
        }
    }
}

#[test]
fn a_module_without_what_it_takes_is_measured_and_not_judged() {
    let mut world = World::independent(9);
    let mut old = world.clone().manifest(ROWS);
    old.drift = None;
    for field in &mut old.reference {
        (field.spread, field.missing_spread) = (Vec::new(), Vec::new());
    }
    let json = String::from_utf8(old.to_json()).unwrap();
    assert!(!json.contains("spread") && !json.contains("drift"), "{json}");
    let mut watch = watch_of(&Manifest::parse(json.as_bytes()).unwrap());
    let evaluations = run(&mut world, &mut watch, 5000, |event| {
        event.inputs[3] += 9.0;
        event.is_late = false;
    });
    assert!(changes(&evaluations).is_empty());
    let (_, _, measures) = &evaluations[4].measures[3];
    assert!(measures.field == "x3" && measures.psi > 1.0 && measures.ks.unwrap() > 0.8);
    old.reference.clear();
    assert!(DriftWatch::new(&old, settings()).unwrap().is_none());
}

#[test]
fn a_restart_goes_on_where_it_was_and_takes_no_event_twice() {
    let mut world = World::independent(10);
    let manifest = world.clone().manifest(ROWS);
    world.skip(ROWS);
    let events: Vec<Event> = (0..8000)
        .map(|_| {
            let mut event = world.event();
            event.inputs[1] += 2.0;
            event
        })
        .collect();
    let feed = |watch: &mut DriftWatch, events: &[Event]| -> Vec<Evaluation> {
        events.iter().filter_map(|event| watch.note(&event.observation())).collect()
    };
    let mut undisturbed = watch_of(&manifest);
    let wanted = feed(&mut undisturbed, &events);
    let mut before = watch_of(&manifest);
    let mut got = feed(&mut before, &events[..1700]);
    let kept = serde_json::to_string(before.state()).unwrap();
    let mut after = watch_of(&manifest);
    assert!(after.resume(serde_json::from_str::<DriftState>(&kept).unwrap()));
    // Some come again.
    got.extend(feed(&mut after, &events[1500..]));
    assert_eq!(got, wanted);
    assert_eq!(after.state(), undisturbed.state());
    assert!(matches!(after.active().as_slice(), [one] if one.field == "x1" && one.value > 0.1));
    let ended = after.close(Mark { offset: 7, ingested_ms: 8 });
    assert!(matches!(ended.as_slice(), [end] if !end.begins && end.field == "x1"));
    assert!(after.active().is_empty());
    // What another module's watch knew is of no use.
    let mut other = manifest.clone();
    other.reference.truncate(4);
    assert!(!watch_of(&other).resume(undisturbed.state().clone()));
}

#[test]
fn sketches_of_partitions_add_up() {
    let mut world = World::daily(11);
    let manifest = world.clone().manifest(3 * world::DAY_EVENTS);
    let (mut left, mut right, mut all) =
        (watch_of(&manifest), watch_of(&manifest), watch_of(&manifest));
    for _ in 0..900 {
        let event = world.event();
        let here = if event.number < 3 { &mut left } else { &mut right };
        assert!(here.note(&event.observation()).is_none());
        all.note(&event.observation());
    }
    let mut sum = left.sketches()[0].clone();
    sum.merge(&right.sketches()[0]).unwrap();
    let wanted = &all.sketches()[0];
    let baseline = twinge_drift::Baseline::of_inputs(&manifest).unwrap().unwrap();
    assert_eq!(sum.weight(), wanted.weight());
    for (here, there) in baseline.compare(&sum).iter().zip(baseline.compare(wanted)) {
        assert!((here.psi - there.psi).abs() < 1e-9 && here.unseen == there.unseen);
    }
    assert!((sum.entities() - 8.0).abs() < 0.5, "{}", sum.entities());
    assert!(sum.merge(&all.sketches()[1]).is_err());
}

type Spoil = fn(&mut Manifest);

#[test]
fn references_that_make_no_sense_are_refused() {
    let sound = World::independent(12).manifest(ROWS);
    let cases: [(&str, Spoil); 7] = [
        ("bounds are not ascending", |m| m.reference[0].bounds.swap(0, 1)),
        ("not one share for each bin", |m| m.reference[1].shares.push(0.0)),
        ("do not sum to 1", |m| m.reference[2].shares[0] = 0.9),
        ("do not sum to 1", |m| m.reference[2].missing = f64::NAN),
        ("phases are not readable", |m| m.reference[3].phases = "no base64!".into()),
        ("spread is out of range", |m| m.reference[4].spread[0] = f64::INFINITY),
        ("are none", |m| m.drift.as_mut().unwrap().sample.entities = -1.0),
    ];
    for (message, spoil) in cases {
        let mut spoilt = sound.clone();
        spoil(&mut spoilt);
        let error = DriftWatch::new(&spoilt, settings()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn references_of_awkward_data_can_be_used() {
    let mut world = World::independent(13);
    for rows in [0, 1, 2, 70, 600] {
        let mut events: Vec<Event> = (0..rows).map(|_| world.event()).collect();
        for event in &mut events {
            event.inputs[0] = 7.0;
            event.inputs[1] = f64::NAN;
            event.inputs[2] = 1e300 * event.inputs[2].signum();
            event.inputs[3] = 1_700_000_000.0 + event.inputs[3] * 1e-3;
        }
        let manifest = Manifest::parse(&manifest(&events).to_json()).unwrap();
        let bounds = &manifest.reference[3].bounds;
        assert!(rows < 600 || bounds.len() == 15, "small differences count: {bounds:?}");
        let mut watch = watch_of(&manifest);
        run(&mut world, &mut watch, 3000, |_| {});
    }
}
