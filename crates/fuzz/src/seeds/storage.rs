//! What programs keep: checkpoints, files of journals and spools, files of the lake.

use super::Seed;
use crate::targets::checkpoint::{arrivals, modules, now, place};
use crate::targets::files::{File, join};
use std::path::Path;
use std::sync::Arc;
use twinge_journal::{Journal, Settings as JournalSettings};
use twinge_lake::{Fields, Lake, Place, Row, Settings as LakeSettings, Writer};
use twinge_platform::{Disk as _, ManualClock, SimulatedDisk};
use twinge_registry::{MemoryStore, Store as _};
use twinge_rollout::{Gate, Part};
use twinge_runner::{Assigned, Checkpoints, Directive, Layout, Progress, Runner};
use twinge_spool::{Entry, Importance, Settings as SpoolSettings, Spool};

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (name, is_beside) in [("acting", false), ("beside", true)] {
        let (pointer, states) = checkpoint(is_beside);
        seeds.push(("pointer", name.to_owned(), pointer));
        let states = states.iter().map(|bytes| File { tag: 0, bytes });
        let input = [vec![u8::from(is_beside)], join(states)].concat();
        seeds.push(("snapshot", name.to_owned(), input));
    }
    for (name, flags) in [("as-it-is", 0), ("mended", 1)] {
        seeds.push(("journal", name.to_owned(), [vec![flags], journal()].concat()));
        seeds.push(("spool", name.to_owned(), [vec![flags], spool()].concat()));
    }
    for (place, file) in lake_files().into_iter().enumerate() {
        seeds.push(("parquet", format!("lake-{place}"), file));
    }
    seeds
}

/// A checkpoint of a full snapshot and of changes on top of it: pointer and states.
fn checkpoint(is_beside: bool) -> (Vec<u8>, Vec<Vec<u8>>) {
    let [acting, other] = modules();
    let store = Arc::new(MemoryStore::default());
    let opened = now(Checkpoints::open(store.clone(), Layout::of("s", "0")));
    let mut checkpoints = opened.expect("an empty store opens");
    let mut runner = Runner::new(place(), acting, Some(8));
    if is_beside {
        let assigned =
            |module: &twinge_engine::Module, since| Assigned { module: module.clone(), since };
        runner.direct(&Directive {
            serial: Some(2),
            act: assigned(acting, 1),
            beside: Some((assigned(other, 2), Part::Shadow)),
            gate: Gate::default(),
            sensitivity: 1.0,
        });
    }
    for round in 0..2 {
        runner.process(&arrivals(round * 12, 12));
        now(checkpoints.save(&mut [&mut runner], &Progress::default())).expect("a store takes it");
    }
    let pointer = checkpoints.latest().expect("it was saved").clone();
    let read = |path: &str| {
        let path = twinge_registry::StorePath::new(path).expect("a path");
        now(store.get(&path)).expect("a store in memory").expect("it is there").bytes
    };
    let states = pointer.detectors[0].objects.iter();
    let states = states.map(|digest| read(&format!("checkpoints/s/0/state-{digest}.bin")));
    (read("checkpoints/s/0/pointer.json"), states.collect())
}

/// Segments of a journal, the last of them torn.
fn journal() -> Vec<u8> {
    let disk = SimulatedDisk::new(0);
    let folder = Path::new("/journal");
    let settings =
        JournalSettings { segment_bytes: 256, record_bytes_max: 4096, total_bytes_max: 1 << 20 };
    let opened = Journal::open(Arc::new(disk.clone()), folder, settings);
    let mut journal = opened.expect("an empty disk opens");
    for record in 0..12_u8 {
        let bytes = vec![record + 1; 7 + 3 * usize::from(record)];
        journal.append([&*bytes]).expect("there is room");
    }
    journal.sync().expect("the disk is sound");
    journal.append([&b"torn"[..]]).expect("there is room");
    let paths = disk.list(folder).expect("the disk is sound");
    let contents: Vec<_> =
        paths.iter().map(|path| disk.read(path).expect("the disk is sound")).collect();
    join(contents.iter().map(|bytes| File { tag: 0, bytes }))
}

/// All files of a spool, with a dictionary.
fn spool() -> Vec<u8> {
    let disk = SimulatedDisk::new(0);
    let folder = Path::new("/spool");
    let clock = Arc::new(ManualClock::new(0));
    let opened = Spool::open(Arc::new(disk.clone()), clock, folder, SpoolSettings::default());
    let mut spool = opened.expect("an empty disk opens");
    for number in 0..40 {
        let importance = Importance::ALL[usize::from(number % 4 == 0)];
        let key = (number % 3 > 0).then(|| format!("pump-{}", number % 5));
        let bytes = format!(r#"{{"entity":"pump-{}","score":0.{number}}}"#, number % 5);
        let entry = Entry { importance, key, bytes: bytes.into_bytes() };
        spool.append(entry).expect("it is not too large");
        if number % 20 == 19 {
            spool.sync().expect("there is room");
        }
    }
    spool.release(6);
    spool.sync().expect("there is room");
    let mut files = Vec::new();
    for (tag, within) in [(0, ""), (1, "normal"), (2, "anomalous")] {
        for path in disk.list(&folder.join(within)).expect("the disk is sound") {
            let is_dictionary = path.extension().is_some_and(|extension| extension == "dictionary");
            let tag = if is_dictionary { tag + 2 } else { tag };
            files.push((tag, disk.read(&path).expect("the disk is sound")));
        }
    }
    join(files.iter().map(|(tag, bytes)| File { tag: *tag, bytes }))
}

/// A staged file and one that was rolled.
fn lake_files() -> Vec<Vec<u8>> {
    let store = Arc::new(MemoryStore::default());
    let fields = Fields { numeric: vec!["amount".into()], categorical: vec!["kind".into()] };
    let fields = Arc::new(fields);
    let place = Place { source: "s".to_owned(), partition: "0".to_owned() };
    let opened = Writer::open(Lake::new(store.clone()), LakeSettings::default(), "d", place);
    let mut writer = now(opened).expect("an empty store opens");
    for offset in 0..8_u32 {
        let (is_bad, time_ms) = (offset == 5, i64::from(offset) * 60_000);
        let row = Row {
            offset: u64::from(offset),
            ingested_ms: time_ms,
            time_ms: Some(time_ms),
            entity: (!is_bad).then(|| format!("e{}", offset % 3)),
            id: format!("0-{offset}"),
            verdict: if is_bad { "dead-letter" } else { "normal" }.to_owned(),
            score: (!is_bad).then_some(0.5),
            severity: Some("none".to_owned()),
            reason: is_bad.then(|| "no-entity".to_owned()),
            event: format!(r#"{{"n":{offset}}}"#).into_bytes(),
            numbers: vec![f64::from(offset)],
            categories: vec![offset.is_multiple_of(2).then(|| "even".to_owned())],
            ..Row::default()
        };
        writer.push(&fields, row);
    }
    now(writer.stage(0)).expect("a store in memory takes it");
    now(writer.roll()).expect("a store in memory takes it");
    let paths = now(store.list("")).expect("a store in memory");
    let read = |path| now(store.get(path)).expect("a store in memory").map(|object| object.bytes);
    let objects = paths.iter().filter_map(read);
    objects.filter(|bytes: &Vec<u8>| bytes.starts_with(b"PAR1")).collect()
}
