//! Two slots: a bad module is left for the other one, a good one is not, and none of it depends on
//! how the stream was cut or where it crashed.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::time::Duration;
use twinge_contract::abi::Outcome;
use twinge_engine::{Engine, Limits, Module};
use twinge_registry::{MemoryStore, Store};
use twinge_rollout::{Gate, Part};
use twinge_runner::{
    Arrival, Assigned, Checkpoints, Directive, Layout, Place, Progress, Record, Runner,
};
use twinge_testkit::{Kind, MadeModule};
use twinge_trust::VerifiedModule;

/// From here on the events have a negative input, on which a bad module goes wrong.
const BAD_FROM: u64 = 900;
const EVENTS: u64 = 2000;
/// As the promise is: so many events after the first bad verdict, the other module acts again.
const RETURN_EVENTS_MAX: u64 = 200;

fn module(kind: Kind, version: &str) -> Module {
    let bytes = MadeModule::new(kind, version).bytes();
    let deadline = Duration::from_millis(if kind == Kind::NeverEnds { 50 } else { 1000 });
    let engine = Engine::new(Limits { deadline, ..Limits::default() }).unwrap();
    engine.load(&VerifiedModule::allow_unsigned(bytes)).unwrap()
}

fn place() -> Place {
    let (detector, source, partition) = ("test".into(), "s".into(), "0".into());
    Place { detector, source, partition, redelivers: false }
}

fn arrivals(input: impl Fn(u64) -> f64) -> Vec<Arrival> {
    let arrival = |offset| Arrival {
        offset,
        ingested_ms: 0,
        key: None,
        attributes: None,
        bytes: format!("{{\"entity\":\"e{}\",\"x\":{}}}", offset % 7, input(offset)).into_bytes(),
    };
    (0..EVENTS).map(arrival).collect()
}

/// An alarm now and then, and from an offset on what a bad module cannot stand.
fn turning_bad() -> Vec<Arrival> {
    arrivals(|offset| match offset {
        BAD_FROM.. => -1.0,
        _ if offset % 100 == 0 => 1.5,
        _ => 0.25,
    })
}

fn directive(act: &Module, since: u64) -> Directive {
    let act = Assigned { module: act.clone(), since };
    Directive { act, ..Directive::only(&module(Kind::Good, "unused")) }
}

/// Runs the good module, directs to another at once, and processes in pieces of `size`.
fn run(other: &Module, arrivals: &[Arrival], size: usize) -> (Runner, Vec<Record>) {
    let mut runner = Runner::new(place(), &module(Kind::Good, "1"), None);
    runner.direct(&directive(other, 1));
    let records = arrivals.chunks(size).flat_map(|chunk| runner.process(chunk)).collect();
    (runner, records)
}

fn version(record: &Record) -> Option<&str> {
    match record {
        Record::Verdict(verdict) => Some(&verdict.data.version),
        _ => None,
    }
}

#[test]
fn a_bad_module_is_left_within_200_events_and_no_event_is_lost() {
    for kind in [Kind::Alarms, Kind::Traps, Kind::NeverEnds] {
        let bad = module(kind, "2");
        let (mut runner, records) = run(&bad, &turning_bad(), 64);
        // A missed deadline gives up all of its batch, also events before the first bad one.
        assert_eq!(version(&records[BAD_FROM as usize - 64]), Some("2"), "{kind:?} acted before");
        let left = records.iter().skip(BAD_FROM as usize).position(|r| version(r) == Some("1"));
        let left = left.unwrap_or_else(|| panic!("{kind:?} was not left")) as u64;
        assert!(left <= RETURN_EVENTS_MAX, "{kind:?}: left after {left} events");
        let from = (BAD_FROM + left) as usize;
        assert!(records[from..].iter().all(|r| version(r) == Some("1")), "{kind:?} came back");
        assert!(!records.iter().any(|r| matches!(r, Record::DeadLetter(_))), "{kind:?}");
        let status = runner.status();
        assert_eq!((status.version.as_str(), status.candidate), ("1", None), "{kind:?}");
        let condemned = &status.condemned[0];
        assert_eq!((condemned.digest, condemned.since), (bad.digest(), 1), "{kind:?}");
        assert_eq!(status.counts.returns, 1, "{kind:?}");

        // The channel goes on asking for it, and is asked in vain until it was published anew.
        assert!(runner.follows(&directive(&bad, 1)), "{kind:?}");
        assert!(!runner.follows(&directive(&bad, 2)), "{kind:?}");
        runner.direct(&directive(&bad, 2));
        assert_eq!(runner.status().part, Some(Part::WarmingUp), "{kind:?}");
    }
}

#[test]
fn an_incident_that_both_see_rolls_nothing_back() {
    let incident = arrivals(|offset| if offset >= BAD_FROM { 7.0 } else { 0.25 });
    for kind in [Kind::Good, Kind::Alarms, Kind::Traps] {
        let (runner, records) = run(&module(kind, "2"), &incident, 100);
        let status = runner.status();
        assert_eq!((status.version.as_str(), status.part), ("2", Some(Part::Fallback)), "{kind:?}");
        let comparison = status.comparison.unwrap();
        assert!(comparison.acting.anomalies >= EVENTS - BAD_FROM);
        assert_eq!((comparison.acting.alone, comparison.other.alone), (0, 0));
        assert_eq!(version(&records[EVENTS as usize - 1]), Some("2"));
    }
}

#[test]
fn what_happens_does_not_depend_on_batches() {
    for kind in [Kind::Alarms, Kind::Traps] {
        let bad = module(kind, "2");
        let (_, expected) = run(&bad, &turning_bad(), 1);
        for size in [7, 32, 256, 2000] {
            assert!(run(&bad, &turning_bad(), size).1 == expected, "{kind:?} in pieces of {size}");
        }
    }
}

#[test]
fn a_crash_at_any_checkpoint_around_swap_and_return_changes_no_record() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for kind in [Kind::Alarms, Kind::Traps] {
        let (good, bad) = (module(Kind::Good, "1"), module(kind, "2"));
        let arrivals = turning_bad();
        let (_, expected) = run(&bad, &arrivals, 50);
        for save_at in [1, 255, 256, 257, 512, 600, 900, 911, 931, 940, 1000, 1500] {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
            let layout = Layout::of("s", "0");
            let mut runner = Runner::new(place(), &good, None);
            runner.direct(&directive(&bad, 1));
            let mut records = runner.process(&arrivals[..save_at]);
            let restored = runtime.block_on(async {
                let mut checkpoints = Checkpoints::open(Arc::clone(&store), layout.clone()).await?;
                checkpoints.save(&mut [&mut runner], &Progress::default()).await?;
                let checkpoints = Checkpoints::open(store, layout).await?;
                let pointer = checkpoints.latest().unwrap().detectors[0].clone();
                let of = |digest| if digest == good.digest() { &good } else { &bad };
                let beside = pointer.beside.map(of);
                checkpoints.restore(&place(), of(pointer.acting), beside, None).await
            });
            let mut restored = restored.unwrap().unwrap();
            assert!(restored.follows(&directive(&bad, 1)), "{kind:?} {save_at}");
            records.extend(restored.process(&arrivals[save_at..]));
            assert!(records == expected, "{kind:?} saved at {save_at}");
        }
    }
}

#[test]
fn a_shadow_is_compared_and_never_acted_on_and_takes_over_at_once_when_told() {
    let (good, other) = (module(Kind::Good, "1"), module(Kind::Alarms, "2"));
    let assigned = |module: &Module| Assigned { module: module.clone(), since: 1 };
    let shadow =
        Directive { beside: Some((assigned(&other), Part::Shadow)), ..directive(&good, 0) };
    let mut runner = Runner::begin_at(place(), &shadow, None, 0);
    let arrivals = turning_bad();
    let records = runner.process(&arrivals[..1000]);
    assert!(records.iter().all(|record| version(record) == Some("1")));
    let status = runner.status();
    let comparison = status.comparison.unwrap();
    assert_eq!((comparison.compared, comparison.other.alone), (1000, 1000 - BAD_FROM));
    assert!(status.is_warm);
    assert!(comparison.other.events == 1000 && comparison.other.busy_us > 0);

    let act = Directive { beside: Some((assigned(&good), Part::Fallback)), ..directive(&other, 1) };
    runner.direct(&act);
    assert!(runner.follows(&act));
    let status = runner.status();
    assert_eq!((status.version.as_str(), status.part), ("2", Some(Part::Fallback)));
    assert_eq!(status.comparison.unwrap().compared, 0, "what was compared in shadow is past");

    // The rollout is withdrawn: back at once, with nothing condemned.
    runner.direct(&directive(&good, 0));
    assert_eq!(runner.status().version, "1");
    assert!(runner.status().condemned.is_empty());
}

#[test]
fn a_shadow_that_fails_costs_the_champion_nothing_and_goes() {
    for kind in [Kind::Traps, Kind::NeverEnds] {
        let (good, bad) = (module(Kind::Good, "1"), module(kind, "2"));
        let beside = Assigned { module: bad.clone(), since: 4 };
        let shadow = Directive { beside: Some((beside, Part::Shadow)), ..directive(&good, 0) };
        let mut runner = Runner::begin_at(place(), &shadow, None, 0);
        let records = runner.process(&turning_bad());
        let (_, alone) = run(&good, &turning_bad(), 2000);
        let ids = |records: &[Record]| -> Vec<_> {
            records.iter().map(version).map(|v| v.is_some()).collect()
        };
        assert_eq!(ids(&records), ids(&alone));
        assert!(records.iter().all(|record| version(record) == Some("1")), "{kind:?}");
        let status = runner.status();
        assert_eq!(status.candidate, None, "{kind:?}");
        assert_eq!(status.condemned[0].digest, bad.digest(), "{kind:?}");
        assert!(runner.follows(&shadow), "{kind:?}: it is not tried again");
    }
}

#[test]
fn a_fallback_goes_when_its_window_is_over() {
    let mut runner = Runner::new(place(), &module(Kind::Good, "1"), None);
    let gate = Gate { window_events: 500, ..Gate::default() };
    runner.direct(&Directive { gate, ..directive(&module(Kind::Good, "2"), 1) });
    let arrivals = turning_bad();
    runner.process(&arrivals[..600]);
    assert_eq!(runner.status().part, Some(Part::Fallback));
    runner.process(&arrivals[600..900]);
    assert_eq!((runner.status().part, runner.status().version.as_str()), (None, "2"));
}

#[test]
fn a_sensitivity_shifts_the_threshold_and_no_score() {
    let good = module(Kind::Good, "1");
    let inputs = arrivals(|offset| if offset % 2 == 0 { 0.6 } else { 0.4 });
    let mut runner = Runner::new(place(), &good, None);
    let plain = runner.process(&inputs[..100]);
    runner.direct(&Directive { sensitivity: 2.0, ..directive(&good, 0) });
    let keen = runner.process(&inputs[100..200]);
    for (plain, keen) in plain.iter().zip(&keen) {
        let (Record::Verdict(plain), Record::Verdict(keen)) = (plain, keen) else {
            panic!("every event has a verdict")
        };
        assert_eq!(plain.data.score.to_bits(), keen.data.score.to_bits());
        assert_eq!((plain.data.verdict, plain.data.sensitivity), (Outcome::Normal, None));
        let expected = if keen.data.score > 0.5 { Outcome::Anomalous } else { Outcome::Normal };
        assert_eq!((keen.data.verdict, keen.data.sensitivity), (expected, Some(2.0)));
    }
}

/// What a runner left is not what it stays away from when everything else was withdrawn.
#[test]
fn a_withdrawn_module_makes_room_even_for_one_that_was_left() {
    let (first, bad) = (module(Kind::Good, "1"), module(Kind::Alarms, "2"));
    let third = module(Kind::Good, "3");
    let mut runner = Runner::new(place(), &first, None);
    runner.direct(&directive(&bad, 1));
    let arrivals = turning_bad();
    runner.process(&arrivals[..1100]);
    assert_eq!(runner.status().version, "1", "the champion was left");
    let champion = Assigned { module: bad.clone(), since: 1 };
    let canary = Directive { beside: Some((champion, Part::Fallback)), ..directive(&third, 2) };
    runner.direct(&canary);
    runner.process(&arrivals[1100..1800]);
    assert_eq!(runner.status().version, "3", "the challenger acts");
    // Stopped: the challenger acts nowhere, whatever this runner thinks of the champion.
    let stopped = directive(&bad, 1);
    runner.direct(&stopped);
    runner.process(&arrivals[1800..]);
    assert_eq!(runner.status().part, Some(Part::WarmingUp));
    assert_eq!(runner.digests().1, Some(bad.digest()), "the champion is on its way");
}

#[test]
fn a_slow_fallback_is_not_given_up() {
    let (champion, challenger) = (module(Kind::NeverEnds, "1"), module(Kind::Good, "2"));
    let beside = Assigned { module: champion.clone(), since: 0 };
    let act = Directive { beside: Some((beside, Part::Fallback)), ..directive(&challenger, 1) };
    let mut runner = Runner::begin_at(place(), &act, None, 0);
    runner.process(&turning_bad()[..1100]);
    let status = runner.status();
    assert_eq!((status.version.as_str(), status.part), ("2", Some(Part::Fallback)));
    assert!(status.condemned.is_empty() && status.counts.missed_deadlines > 3);
    runner.direct(&directive(&champion, 0));
    assert_eq!(runner.digests(), (champion.digest(), None), "a stop leads back to it, at once");
}
