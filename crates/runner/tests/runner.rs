//! A runner's promises: cuts, crashes, traps and swaps change no record.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

use async_trait::async_trait;
use proptest::prelude::*;
use std::sync::{Arc, OnceLock};
use twinge_contract::abi::Outcome;
use twinge_engine::{Engine, Limits, Module};
use twinge_fit::config::StreamSettings;
use twinge_fit::read::{Format, RowReader};
use twinge_fit::{Config, Table, infer, train};
use twinge_generator::{Params, World, csv_header};
use twinge_registry::{Etag, MemoryStore, Metadata, Object, Store, StoreError, StorePath};
use twinge_runner::{
    Arrival, CheckpointError, Checkpoints, Directive, Layout, Place, Progress, Record, Runner,
};
use twinge_trust::VerifiedModule;

const EVENTS: usize = 3000;
const ENTITIES_MAX: Option<u32> = Some(24);

struct Fixture {
    module: Module,
    other: Module,
    arrivals: Vec<Arrival>,
}

/// Two modules for generated sensors, and events of more entities than are remembered.
fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let params = |seed| Params {
            entities: 30,
            missing_share: 0.05,
            ..Params::new(World::Sensors, seed)
        };
        let mut csv = csv_header(World::Sensors, true) + "\n";
        for event in params(1).check().unwrap().stream().take(3000) {
            csv += &(event.to_csv(true) + "\n");
        }
        let schema = infer::infer(csv.as_bytes(), Format::Csv).unwrap().schema;
        let engine = Engine::new(Limits::default()).unwrap();
        let module = |seed| {
            let config = Config {
                name: "sensors".into(),
                version: "1".into(),
                schema: schema.clone(),
                stream: Some(StreamSettings {
                    warm_up_events: Some(5),
                    ..StreamSettings::default()
                }),
                ..Config::default()
            };
            let rows = RowReader::new(csv.as_bytes(), Format::Csv, &schema).unwrap();
            let table = Table::read(rows, |_| {}).unwrap();
            let trained = train(&table, &config.check().unwrap(), seed, &mut |_| true).unwrap();
            engine.load(&VerifiedModule::allow_unsigned(trained.module)).unwrap()
        };
        let mut arrivals: Vec<Arrival> = params(2)
            .check()
            .unwrap()
            .stream()
            .take(EVENTS)
            .zip(0..)
            .map(|(event, offset)| arrival(offset, event.to_json(World::Sensors, false)))
            .collect();
        arrivals[40].bytes = b"{oops".to_vec();
        let again = arrivals[39].bytes.clone();
        arrivals[41].bytes = again;
        Fixture { module: module(1), other: module(2), arrivals }
    })
}

fn arrival(offset: u64, json: String) -> Arrival {
    Arrival {
        offset,
        ingested_ms: i64::MAX / 2,
        key: None,
        attributes: None,
        bytes: json.into_bytes(),
    }
}

fn place(redelivers: bool) -> Place {
    Place { detector: "sensors".into(), source: "s".into(), partition: "0".into(), redelivers }
}

fn undisturbed() -> &'static Vec<Record> {
    static RECORDS: OnceLock<Vec<Record>> = OnceLock::new();
    RECORDS.get_or_init(|| {
        let fixture = fixture();
        let mut runner = Runner::new(place(true), &fixture.module, ENTITIES_MAX);
        fixture
            .arrivals
            .iter()
            .flat_map(|arrival| runner.process(std::slice::from_ref(arrival)))
            .collect()
    })
}

#[test]
fn what_the_fixture_must_hold_is_there() {
    let records = undisturbed();
    let verdicts = records.iter().filter(|record| matches!(record, Record::Verdict(_))).count();
    assert_eq!(verdicts, EVENTS - 2);
    assert!(matches!(&records[40], Record::DeadLetter(_)));
    assert_eq!(records[41], Record::Duplicate, "the same event under another offset");
    let mut runner = Runner::new(place(true), &fixture().module, ENTITIES_MAX);
    runner.process(&fixture().arrivals);
    assert!(runner.status().evicted > 100, "entities come and go: {}", runner.status().evicted);
}

#[test]
fn batches_of_1_7_64_and_4096_give_the_same_records() {
    for size in [1, 7, 64, 4096] {
        let mut runner = Runner::new(place(true), &fixture().module, ENTITIES_MAX);
        let records: Vec<Record> =
            fixture().arrivals.chunks(size).flat_map(|chunk| runner.process(chunk)).collect();
        assert!(&records == undisturbed(), "batches of {size}");
    }
}

/// Where every event is a batch of its own, the state before it is in the table; in larger batches
/// it has to be found again.
#[test]
fn audits_hold_the_same_prior_state_whatever_the_batch() {
    let audits = |size: usize| {
        let mut runner = Runner::new(place(true), &fixture().module, ENTITIES_MAX);
        runner.keep_audits();
        let records: Vec<Record> =
            fixture().arrivals.chunks(size).flat_map(|chunk| runner.process(chunk)).collect();
        assert!(&records == undisturbed(), "audits change no record");
        runner.take_audits()
    };
    let singly = audits(1);
    let anomalous = |record: &&Record| match record {
        Record::Verdict(verdict) => verdict.data.verdict == Outcome::Anomalous,
        _ => false,
    };
    assert_eq!(singly.len(), undisturbed().iter().filter(anomalous).count());
    assert!(singly.iter().any(|audit| audit.data.prior_state.iter().any(|byte| *byte != 0)));
    assert!(singly.len() > 10, "{} anomalies", singly.len());
    for size in [7, 512, 4096] {
        assert!(audits(size) == singly, "batches of {size}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]
    #[test]
    fn any_cuts_give_the_same_records(sizes in proptest::collection::vec(1usize..600, 1..40)) {
        let mut runner = Runner::new(place(true), &fixture().module, ENTITIES_MAX);
        let mut records = Vec::new();
        let mut rest = fixture().arrivals.as_slice();
        for size in sizes.into_iter().chain([EVENTS]) {
            let (part, later) = rest.split_at(size.min(rest.len()));
            records.extend(runner.process(part));
            rest = later;
        }
        prop_assert!(&records == undisturbed());
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

/// Processes everything with an offer of the other module at offset 1000, checkpoints after every
/// `save_after` events, and forgets everything but the checkpoint after every `crash_after`.
fn with_crashes(save_after: usize, crash_after: usize) -> Vec<Record> {
    let fixture = fixture();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let mut records: Vec<Option<Record>> = vec![None; EVENTS];
    let (mut done, mut offered) = (0, false);
    while done < EVENTS {
        let (mut runner, mut checkpoints) = block_on(open(&store));
        done = runner.next_offset() as usize;
        let until = EVENTS.min(done + crash_after);
        let mut unsaved = 0;
        while done < until {
            if done >= 1000 && !offered {
                runner.direct(&Directive::only(&fixture.other));
                block_on(save(&mut checkpoints, &mut runner)).unwrap();
                offered = true;
            }
            let end =
                until.min(done + save_after).min(if offered { EVENTS } else { 1000.max(done + 1) });
            for (place, record) in (done..).zip(runner.process(&fixture.arrivals[done..end])) {
                let before = records[place].replace(record.clone());
                assert!(
                    before.is_none_or(|before| before == record),
                    "offset {place} got another record"
                );
            }
            unsaved += end - done;
            done = end;
            if unsaved >= save_after || end == EVENTS {
                block_on(save(&mut checkpoints, &mut runner)).unwrap();
                unsaved = 0;
            }
        }
    }
    records.into_iter().map(|record| record.expect("every arrival has a record")).collect()
}

async fn save(checkpoints: &mut Checkpoints, runner: &mut Runner) -> Result<(), CheckpointError> {
    checkpoints.save(&mut [runner], &Progress::default()).await
}

async fn open(store: &Arc<dyn Store>) -> (Runner, Checkpoints) {
    let fixture = fixture();
    let checkpoints = Checkpoints::open(Arc::clone(store), Layout::of("s", "0")).await.unwrap();
    let Some(latest) = checkpoints.latest() else {
        return (Runner::new(place(true), &fixture.module, ENTITIES_MAX), checkpoints);
    };
    let module =
        |digest| if digest == fixture.module.digest() { &fixture.module } else { &fixture.other };
    let detector = &latest.detectors[0];
    let beside = detector.beside.map(module);
    let runner = checkpoints
        .restore(&place(true), module(detector.acting), beside, ENTITIES_MAX)
        .await
        .unwrap()
        .unwrap();
    (runner, checkpoints)
}

#[test]
fn crashes_and_a_swap_between_them_change_no_record() {
    let whole = with_crashes(EVENTS, EVENTS);
    let modules = |records: &[Record]| {
        let module = |record: &Record| match record {
            Record::Verdict(verdict) => Some(verdict.data.module.clone()),
            _ => None,
        };
        records.iter().filter_map(module).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(modules(&whole), 2, "the other module took over");
    for (save_after, crash_after) in [(1, 1000), (100, 250), (333, 700), (50, 1999)] {
        assert!(
            with_crashes(save_after, crash_after) == whole,
            "saved after {save_after}, crashed after {crash_after}"
        );
    }
}

#[test]
fn a_displaced_owner_cannot_overwrite_its_successor() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (mut first, mut first_checkpoints) = open(&store).await;
        save(&mut first_checkpoints, &mut first).await.unwrap();
        let (mut second, mut second_checkpoints) = open(&store).await;
        second.process(&fixture().arrivals[..10]);
        save(&mut second_checkpoints, &mut second).await.unwrap();
        first.process(&fixture().arrivals[..5]);
        let error = save(&mut first_checkpoints, &mut first).await.unwrap_err();
        assert!(matches!(error, CheckpointError::Displaced(_)), "{error}");
        assert_eq!(open(&store).await.0.next_offset(), 10);
    });
}

#[test]
fn an_owner_is_locked_out_as_soon_as_another_opens_the_checkpoint() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (mut first, mut first_checkpoints) = open(&store).await;
        save(&mut first_checkpoints, &mut first).await.unwrap();
        let (_, second_checkpoints) = open(&store).await;
        assert!(second_checkpoints.epoch() > first_checkpoints.epoch());
        first.process(&fixture().arrivals[..5]);
        let error = save(&mut first_checkpoints, &mut first).await.unwrap_err();
        assert!(matches!(error, CheckpointError::Displaced(_)), "{error}");
        let states = |paths: Vec<StorePath>| {
            paths.iter().filter(|path| path.as_str().contains("state-")).count()
        };
        assert_eq!(states(store.list("").await.unwrap()), 2, "the state that came too late");
        open(&store).await;
        assert_eq!(states(store.list("").await.unwrap()), 1, "is collected by the next owner");
    });
}

/// A store so slow that another owner opens the checkpoint, goes on, and saves, before what lies there
/// is listed.
#[derive(Debug)]
struct Overtaken(Arc<dyn Store>);

#[async_trait]
impl Store for Overtaken {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        self.0.get_within(path, bytes_max).await
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        self.0.create_with(path, bytes, metadata).await
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        self.0.replace_with(path, bytes, metadata, expected).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        let (mut runner, mut checkpoints) = open(&self.0).await;
        runner.process(&fixture().arrivals[..20]);
        save(&mut checkpoints, &mut runner).await.unwrap();
        self.0.list(prefix).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.0.delete(path).await
    }
}

#[test]
fn an_owner_that_is_overtaken_while_it_opens_removes_nothing_and_hears_that_it_was() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (mut first, mut checkpoints) = open(&store).await;
        first.process(&fixture().arrivals[..10]);
        save(&mut checkpoints, &mut first).await.unwrap();
        let slow = Arc::new(Overtaken(Arc::clone(&store)));
        let overtaken = Checkpoints::open(slow, Layout::of("s", "0")).await.unwrap();
        assert_eq!(open(&store).await.0.next_offset(), 20, "the successor's state is there");
        let restored = overtaken.restore(&place(true), &fixture().module, None, ENTITIES_MAX).await;
        // A full state took the place of the one that it wants; to call that missing would ask a
        // person for help where somebody else goes on.
        match restored {
            Ok(runner) => assert_eq!(runner.unwrap().next_offset(), 10),
            Err(error) => assert!(matches!(error, CheckpointError::Displaced(_)), "{error}"),
        }
        for path in store.list("checkpoints").await.unwrap() {
            if path.as_str().contains("state-") {
                store.delete(&path).await.unwrap();
            }
        }
        let restored = overtaken.restore(&place(true), &fixture().module, None, ENTITIES_MAX).await;
        let error = restored.unwrap_err();
        assert!(matches!(error, CheckpointError::Displaced(_)), "{error}");
    });
}

#[test]
fn a_checkpoint_of_the_format_before_is_read_and_goes_on_in_this_one() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (mut runner, mut checkpoints) = open(&store).await;
        runner.process(&fixture().arrivals[..10]);
        save(&mut checkpoints, &mut runner).await.unwrap();
        for path in store.list("checkpoints").await.unwrap() {
            let object = store.get(&path).await.unwrap().unwrap();
            if path.as_str().ends_with("pointer.json") {
                // Format 3 named states by their digests alone.
                let text = String::from_utf8(object.bytes).unwrap();
                let before = text.replace("\"format\": 4", "\"format\": 3").replace("\"1-", "\"");
                assert_ne!(text, before);
                store.replace(&path, before.as_bytes(), &object.etag).await.unwrap();
            } else {
                let before = StorePath::new(&path.as_str().replace("state-1-", "state-")).unwrap();
                store.create(&before, &object.bytes).await.unwrap();
                store.delete(&path).await.unwrap();
            }
        }
        for _ in 0..2 {
            let (mut runner, mut checkpoints) = open(&store).await;
            assert_eq!(runner.next_offset(), 10);
            save(&mut checkpoints, &mut runner).await.unwrap();
        }
    });
}

#[test]
fn detectors_of_a_partition_share_a_checkpoint_and_one_that_is_taken_away_is_forgotten() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let fixture = fixture();
        let named = |detector: &str| Place { detector: detector.into(), ..place(true) };
        let mut one = Runner::new(named("one"), &fixture.module, ENTITIES_MAX);
        let mut other = Runner::new(named("other"), &fixture.other, ENTITIES_MAX);
        let layout = Layout::of("s", "0");
        let mut checkpoints = Checkpoints::open(Arc::clone(&store), layout.clone()).await.unwrap();
        for part in fixture.arrivals[..600].chunks(200) {
            one.process(part);
            other.process(part);
            checkpoints.save(&mut [&mut one, &mut other], &Progress::default()).await.unwrap();
        }
        let rest = &fixture.arrivals[600..900];
        let expected = (one.process(rest), other.process(rest));

        let mut checkpoints = Checkpoints::open(Arc::clone(&store), layout.clone()).await.unwrap();
        let restored =
            checkpoints.restore(&named("one"), &fixture.module, None, ENTITIES_MAX).await;
        let mut one = restored.unwrap().unwrap();
        let restored =
            checkpoints.restore(&named("other"), &fixture.other, None, ENTITIES_MAX).await;
        let mut other = restored.unwrap().unwrap();
        assert!((one.process(rest), other.process(rest)) == expected);

        checkpoints.save(&mut [&mut one], &Progress::default()).await.unwrap();
        let checkpoints = Checkpoints::open(store, layout).await.unwrap();
        let gone = checkpoints.restore(&named("other"), &fixture.other, None, ENTITIES_MAX).await;
        assert!(gone.unwrap().is_none());
        let kept = checkpoints.restore(&named("one"), &fixture.module, None, ENTITIES_MAX).await;
        assert_eq!(kept.unwrap().unwrap().next_offset(), 900);
    });
}

#[test]
fn a_checkpoint_of_another_source_is_told() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (mut runner, mut checkpoints) = open(&store).await;
        save(&mut checkpoints, &mut runner).await.unwrap();
        let other = Place { source: "made anew".into(), ..place(true) };
        let error = checkpoints.restore(&other, &fixture().module, None, ENTITIES_MAX).await;
        assert!(matches!(error.unwrap_err(), CheckpointError::Foreign { .. }));
    });
}

#[test]
fn a_checkpoint_whose_state_is_missing_or_damaged_is_told() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (mut runner, mut checkpoints) = open(&store).await;
        runner.process(&fixture().arrivals[..10]);
        save(&mut checkpoints, &mut runner).await.unwrap();
        let paths = store.list("checkpoints").await.unwrap();
        let state: &StorePath = paths.iter().find(|path| path.as_str().contains("state-")).unwrap();
        let etag = store.get(state).await.unwrap().unwrap().etag;
        store.replace(state, b"damaged", &etag).await.unwrap();
        let damaged = checkpoints
            .restore(&place(true), &fixture().module, None, ENTITIES_MAX)
            .await
            .unwrap_err();
        assert!(damaged.to_string().contains("damaged"), "{damaged}");
        store.delete(state).await.unwrap();
        let missing = checkpoints
            .restore(&place(true), &fixture().module, None, ENTITIES_MAX)
            .await
            .unwrap_err();
        assert!(missing.to_string().contains("missing"), "{missing}");
    });
}

/// Whoever writes to the state can write anything: it is told, and nothing is counted on from it.
#[test]
fn a_checkpoint_of_numbers_that_no_runner_comes_to_is_told() {
    block_on(async {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let (mut runner, mut checkpoints) = open(&store).await;
        runner.skip_to(u64::MAX);
        save(&mut checkpoints, &mut runner).await.unwrap();
        let told = checkpoints
            .restore(&place(true), &fixture().module, None, ENTITIES_MAX)
            .await
            .unwrap_err();
        assert!(told.to_string().contains("no runner comes to"), "{told}");

        let paths = store.list("checkpoints").await.unwrap();
        let pointer = paths.iter().find(|path| path.as_str().contains("pointer")).unwrap();
        let object = store.get(pointer).await.unwrap().unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&object.bytes).unwrap();
        json["epoch"] = u64::MAX.into();
        store.replace(pointer, json.to_string().as_bytes(), &object.etag).await.unwrap();
        let told = Checkpoints::open(store, Layout::of("s", "0")).await.unwrap_err();
        assert!(matches!(told, CheckpointError::Pointer { .. }), "{told}");
        assert!(told.to_string().contains("epoch"), "{told}");
    });
}

/// Counts an entity's events in its state and answers with the count over a thousand; traps when the
/// input is 13.
const COUNTER: &str = r#"(module
  (memory (export "memory") 1)
  (data (i32.const 8) "\01\00\00\00\08\00\00\00\00\10\00\00\00\20\00\00\00\30\00\00\00\40\00\00\00\50\00\00\00\60\00\00\00\70\00\00\00\00\00\00")
  (func (export "twinge_abi") (result i32) i32.const 1)
  (func (export "twinge_prepare") (param i32 i32) (result i32)
    (if (result i32) (i32.gt_u (local.get 0) (i32.const 256)) (then (i32.const 0)) (else (i32.const 8))))
  (func (export "twinge_score") (param $rows i32) (param i32 i32) (result i32)
    (local $row i32) (local $state i32)
    (loop $next
      (if (i32.ge_u (local.get $row) (local.get $rows)) (then (return (i32.const 0))))
      (if (f64.eq (f64.load (i32.add (i32.const 0x3000) (i32.mul (local.get $row) (i32.const 8)))) (f64.const 13)) (then unreachable))
      (local.set $state (i32.add (i32.const 0x4000) (i32.mul (i32.const 8) (i32.load (i32.add (i32.const 0x2000) (i32.mul (local.get $row) (i32.const 4)))))))
      (f64.store (local.get $state) (f64.add (f64.load (local.get $state)) (f64.const 1)))
      (f64.store (i32.add (i32.const 0x5000) (i32.mul (local.get $row) (i32.const 8))) (f64.div (f64.load (local.get $state)) (f64.const 1000)))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br $next))
    (i32.const 0)))"#;

#[test]
fn an_event_that_makes_the_module_trap_is_a_dead_letter_and_the_rest_goes_on() {
    let mut bytes = wat::parse_str(COUNTER).unwrap();
    append_manifest(&mut bytes);
    let engine = Engine::new(Limits::default()).unwrap();
    let module = engine.load(&VerifiedModule::allow_unsigned(bytes)).unwrap();
    let place = Place {
        detector: "counter".into(),
        source: "s".into(),
        partition: "0".into(),
        redelivers: false,
    };
    let arrivals: Vec<Arrival> = (0..100)
        .map(|offset| {
            let x = if offset % 10 == 3 { 13 } else { offset };
            arrival(offset, format!("{{\"entity\":\"e{}\",\"x\":{x}}}", offset % 2))
        })
        .collect();
    let mut expected = None;
    for size in [1, 7, 100] {
        let mut runner = Runner::new(place.clone(), &module, None);
        let records: Vec<Record> =
            arrivals.chunks(size).flat_map(|chunk| runner.process(chunk)).collect();
        for (offset, record) in records.iter().enumerate() {
            match record {
                Record::DeadLetter(letter) => {
                    assert_eq!(offset % 10, 3);
                    assert_eq!(letter.data.reason, "detector-failed");
                }
                Record::Verdict(_) => assert_ne!(offset % 10, 3),
                Record::Duplicate => panic!("offsets are never delivered twice"),
            }
        }
        let Some(Record::Verdict(last)) = records.last() else {
            panic!("the last event has a verdict")
        };
        assert_eq!(
            last.data.score, 0.04,
            "fifty events of e1, ten of which trapped and left no trace"
        );
        assert_eq!(&records, expected.get_or_insert(records.clone()), "batches of {size}");
    }
}

fn append_manifest(module: &mut Vec<u8>) {
    let manifest = br#"{"abi":1,"name":"counter","version":"1","schema":{"entity":"entity","numeric":["x"]},"state_bytes":8,
      "stream":{},"detector":{"kind":"test","settings":{},"features":[]},
      "threshold":{"false_alarm_rate":0.1,"calibration_rows":1,"raw_score":1.0},
      "lineage":{"data_digest":"","rows":0,"config_digest":"","seed":0,"runtime_digest":""}}"#;
    let name = b"twinge.manifest";
    let mut section = vec![name.len() as u8];
    section.extend_from_slice(name);
    section.extend_from_slice(manifest);
    module.push(0);
    // LEB128 of a length between 128 and 16,383.
    module.extend([(section.len() & 0x7f | 0x80) as u8, (section.len() >> 7) as u8]);
    module.extend(section);
}
