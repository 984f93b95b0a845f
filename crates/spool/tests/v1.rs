//! A spool that version 1 wrote is read forever. Its files are in tests/v1.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Random, SMALL, drain, verdict};
use twinge_platform::{Disk, ManualClock, RealDisk, SimulatedDisk};
use twinge_spool::{Entry, Importance, Spool};

fn pinned() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/v1")
}

/// What the pinned spool holds: a few of each kind, plain and packed.
fn entries() -> Vec<Entry> {
    let mut random = Random(2_026);
    let mut entries: Vec<_> = (0..12)
        .map(|offset| verdict(&mut random, offset, Importance::ALL[usize::from(offset % 3 == 0)]))
        .collect();
    entries.push(Entry { importance: Importance::Normal, key: None, bytes: b"\x00\xff".to_vec() });
    entries
}

#[test]
fn version_1_is_read() {
    let disk = SimulatedDisk::new(0);
    for part in ["", "normal", "anomalous"] {
        for path in RealDisk.list(&pinned().join(part)).unwrap() {
            let name = path.file_name().unwrap();
            let copy = Path::new(common::DIRECTORY).join(part).join(name);
            disk.create_new(&copy, &RealDisk.read(&path).unwrap()).unwrap();
        }
    }
    let mut spool = common::open(&disk);
    let figures = spool.figures();
    assert_eq!((figures.released, figures.normal.dropped.age), (2, 1));
    assert_eq!(figures.oldest_age_seconds, Some(100));
    let read: Vec<_> = drain(&mut spool).into_iter().map(|queued| queued.entry).collect();
    assert_eq!(read, entries()[3..]);
}

/// Writes the pinned files, for a version to come.
#[test]
#[ignore = "writes tests/v1"]
fn write_version_1() {
    let clock = ManualClock::new(0);
    let open = || Spool::open(Arc::new(RealDisk), Arc::new(clock.clone()), &pinned(), SMALL);
    let mut spool = open().unwrap();
    let entries = entries();
    spool.append(entries[0].clone()).unwrap();
    spool.append(entries[2].clone()).unwrap();
    let through = spool.peek(2, 1 << 20).unwrap()[1].sequence;
    spool.release(through);
    spool.append(entries[1].clone()).unwrap();
    clock.advance(4_000_000);
    spool.sync().unwrap();
    for entry in &entries[3..12] {
        spool.append(entry.clone()).unwrap();
    }
    spool.sync().unwrap();
    clock.advance(100_000);
    spool.append(entries[12].clone()).unwrap();
    spool.sync().unwrap();
}
