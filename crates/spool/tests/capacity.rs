//! Two weeks offline: 100 events/s with 1 % anomalous in a spool of 1 GiB, and scaled down.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "tests print seeds and figures")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Random, check_accounts, verdict};
use twinge_platform::{Disk, ManualClock, RealDisk, SimulatedDisk};
use twinge_spool::Importance::{Anomalous, Normal};
use twinge_spool::{Settings, Spool};

const EVENTS: u64 = 14 * 86_400 * 100;
const SEED: u64 = 14;
/// A checkpoint every five seconds.
const EVENTS_PER_SYNC: u64 = 500;

/// One in so many of the events, in one in so many of the bytes.
fn check(disk: Arc<dyn Disk>, directory: &Path, divisor: u64) {
    println!("seed {SEED}");
    let clock = ManualClock::new(0);
    let bytes_max = (1 << 30) / divisor;
    let settings = Settings { bytes_max, ..Settings::default() };
    let mut spool = Spool::open(disk, Arc::new(clock.clone()), directory, settings).unwrap();
    let mut random = Random(SEED);
    let events = EVENTS / divisor;
    let mut message_bytes = 0;
    for event in 0..events {
        let importance = if event % 100 == 99 { Anomalous } else { Normal };
        let entry = verdict(&mut random, event, importance);
        message_bytes += if importance == Anomalous { entry.bytes.len() as u64 } else { 0 };
        spool.append(entry).unwrap();
        if event % EVENTS_PER_SYNC == 0 {
            spool.sync().unwrap();
            clock.advance(5_000 * divisor);
        }
    }
    spool.sync().unwrap();
    let figures = spool.figures();
    check_accounts(&figures, events);
    let anomalous = figures.anomalous.entries;
    println!(
        "{events} events: {anomalous} anomalous of {} bytes each, {} on disk; {} normal kept, {} \
         dropped; {} of {bytes_max} bytes used",
        message_bytes / anomalous,
        figures.anomalous.disk_bytes / anomalous,
        figures.normal.entries,
        figures.normal.dropped.room,
        figures.disk_bytes(),
    );
    assert_eq!((anomalous, figures.anomalous.dropped.total()), (events / 100, 0));
    assert!(figures.normal.dropped.room > 0 && figures.normal.dropped.age == 0);
    assert!(figures.disk_bytes() <= bytes_max);
}

#[test]
fn two_weeks_offline_lose_nothing_anomalous_on_a_small_scale() {
    let disk = SimulatedDisk::new(SEED);
    check(Arc::new(disk.clone()), Path::new("/spool"), 512);
    assert!(disk.used_bytes() <= (1 << 30) / 512);
}

/// Half an hour of work and 1 GiB of disk.
#[test]
#[ignore = "the whole of it; run with --release"]
fn two_weeks_offline_lose_nothing_anomalous() {
    let directory = tempfile::tempdir().unwrap();
    check(Arc::new(RealDisk), directory.path(), 1);
}

/// The same on a sixteenth of the scale, without a real disk's syncs.
#[test]
#[ignore = "two minutes"]
fn two_weeks_offline_lose_nothing_anomalous_on_a_large_scale() {
    check(Arc::new(SimulatedDisk::new(SEED)), Path::new("/spool"), 16);
}
