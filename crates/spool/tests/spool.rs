//! What a spool does on a good disk: order, bounds, age, and a live path that leaves it alone.
#![expect(clippy::print_stdout, reason = "tests print seeds and figures")]

mod common;

use common::{
    Random, SMALL, append_all, check_accounts, drain, entry, number, numbers, open, try_open,
    verdict,
};
use twinge_platform::{Disk, ManualClock, SimulatedDisk};
use twinge_spool::Importance::{Anomalous, Normal};
use twinge_spool::{Entry, Queued, Settings, SpoolError};

#[test]
fn entries_come_back_in_order_whatever_their_importance() {
    let disk = SimulatedDisk::new(0);
    let mut spool = open(&disk);
    for number in 0..300 {
        let importance = if number % 3 == 0 { Anomalous } else { Normal };
        let sequence = spool.append(entry(importance, number, 200)).unwrap();
        // Some on disk, some in memory, some of both in one lane alone.
        if number == 100 || number == 250 {
            spool.sync().unwrap();
        }
        assert!(number == 0 || sequence > number);
    }
    assert_eq!(numbers(&spool.peek(1_000, 1 << 20).unwrap()), (0..300).collect::<Vec<_>>());
    let mut walked = Vec::new();
    let visited = spool.walk(|queued| walked.push(number(&queued.entry))).unwrap();
    assert_eq!((visited, &walked), (300, &(0..300).collect::<Vec<_>>()));
    let queued = drain(&mut spool);
    assert_eq!(queued.len(), 300);
    for Queued { entry: read, .. } in &queued {
        assert_eq!(*read, entry(read.importance, number(read), 200));
    }
    check_accounts(&spool.figures(), 300);
}

#[test]
fn a_peek_is_bounded_and_repeatable() {
    let mut spool = open(&SimulatedDisk::new(0));
    append_all(&mut spool, Normal, 0..20, 1_000);
    assert_eq!(numbers(&spool.peek(3, usize::MAX).unwrap()), [0, 1, 2]);
    assert_eq!(numbers(&spool.peek(100, 2_500).unwrap()), [0, 1]);
    assert_eq!(numbers(&spool.peek(100, 0).unwrap()), [0], "one, however long");
    assert!(spool.peek(0, usize::MAX).unwrap().is_empty());
}

#[test]
fn the_live_path_never_touches_the_disk() {
    let disk = SimulatedDisk::new(0);
    let mut spool = open(&disk);
    let (operations, used) = (disk.operations(), disk.used_bytes());
    for number in 0..1_000 {
        spool.append(entry(Normal, number, 500)).unwrap();
        let live = spool.peek(10, 1 << 20).unwrap();
        spool.release(live[0].sequence);
        spool.sync().unwrap();
    }
    assert_eq!((disk.operations(), disk.used_bytes()), (operations, used));
    assert_eq!(spool.figures().released, 1_000);
}

#[test]
fn what_was_synced_survives_a_restart_with_its_counts() {
    let disk = SimulatedDisk::new(0);
    let mut spool = open(&disk);
    append_all(&mut spool, Anomalous, 0..100, 300);
    append_all(&mut spool, Normal, 100..200, 300);
    spool.sync().unwrap();
    let peeked = spool.peek(40, 1 << 20).unwrap();
    spool.release(peeked[39].sequence);
    spool.sync().unwrap();
    let last = spool.append(entry(Normal, 999, 10)).unwrap();
    let before = spool.figures();
    disk.crash();
    let mut spool = open(&disk);
    let after = spool.figures();
    assert_eq!((after.released, after.entries()), (40, 160));
    assert_eq!(after.normal.dropped, before.normal.dropped);
    assert!(spool.append(entry(Normal, 200, 10)).unwrap() > last, "no number is given twice");
    assert_eq!(numbers(&drain(&mut spool)), (40..201).collect::<Vec<_>>());
}

#[test]
fn normal_entries_go_first_the_oldest_before_the_others() {
    let disk = SimulatedDisk::new(0);
    let mut spool = open(&disk);
    append_all(&mut spool, Anomalous, 0..100, 1_000);
    append_all(&mut spool, Normal, 100..3_000, 1_000);
    spool.sync().unwrap();
    let figures = spool.figures();
    check_accounts(&figures, 3_000);
    assert!(disk.used_bytes() <= SMALL.bytes_max);
    assert_eq!((figures.anomalous.entries, figures.anomalous.dropped.total()), (100, 0));
    assert!(figures.normal.entries > 600, "the room is used: {figures:?}");
    let kept = numbers(&drain(&mut spool));
    let normal: Vec<_> = kept.into_iter().filter(|number| *number >= 100).collect();
    assert_eq!(normal, (3_000 - normal.len() as u64..3_000).collect::<Vec<_>>());
}

#[test]
fn anomalous_entries_go_only_when_no_normal_one_is_left() {
    let disk = SimulatedDisk::new(0);
    let mut spool = open(&disk);
    append_all(&mut spool, Normal, 0..500, 1_000);
    append_all(&mut spool, Anomalous, 500..3_000, 1_000);
    spool.sync().unwrap();
    let before = spool.figures();
    assert!(before.anomalous.dropped.room > 0);
    assert_eq!(before.normal.dropped.room, 500);
    append_all(&mut spool, Normal, 3_000..3_200, 1_000);
    spool.sync().unwrap();
    assert!(disk.used_bytes() <= SMALL.bytes_max);
    let figures = spool.figures();
    check_accounts(&figures, 3_200);
    assert_eq!(figures.anomalous.dropped, before.anomalous.dropped, "none goes for a normal one");
    let kept = numbers(&drain(&mut spool));
    let (normal, anomalous): (Vec<u64>, Vec<u64>) =
        kept.iter().partition(|number| **number >= 3_000);
    assert_eq!(anomalous, (3_000 - anomalous.len() as u64..3_000).collect::<Vec<_>>());
    assert_eq!(normal, (3_200 - normal.len() as u64..3_200).collect::<Vec<_>>());
}

#[test]
fn the_bound_holds_after_every_call() {
    const SEED: u64 = 11;
    println!("seed {SEED}");
    let mut random = Random(SEED);
    let disk = SimulatedDisk::new(SEED);
    let mut spool = open(&disk);
    for number in 0..4_000 {
        let importance = if random.below(4) == 0 { Anomalous } else { Normal };
        let length = 1 + random.below(2_000) as usize;
        spool.append(entry(importance, number, length)).unwrap();
        if random.below(30) == 0 {
            spool.sync().unwrap();
        }
        assert!(disk.used_bytes() <= SMALL.bytes_max, "{} bytes", disk.used_bytes());
        let told = spool.figures();
        // Beside what the figures show there is the state, and the room for it.
        let beside = disk.used_bytes() - told.disk_bytes();
        assert!((4_096..5_096).contains(&beside), "{beside} bytes beside {told:?}");
    }
    assert!(spool.figures().normal.dropped.room > 0);
    check_accounts(&spool.figures(), 4_000);
}

#[test]
fn a_lower_bound_is_kept_from_the_next_sync_on() {
    let disk = SimulatedDisk::new(0);
    let clock = ManualClock::new(0);
    let mut spool = try_open(&disk, &clock, Settings { bytes_max: 4 << 20, ..SMALL }).unwrap();
    append_all(&mut spool, Normal, 0..3_000, 1_000);
    spool.sync().unwrap();
    assert!(disk.used_bytes() > SMALL.bytes_max);
    drop(spool);
    let mut spool = open(&disk);
    spool.sync().unwrap();
    assert!(disk.used_bytes() <= SMALL.bytes_max);
    check_accounts(&spool.figures(), 3_000);
    let kept = numbers(&drain(&mut spool));
    assert_eq!(kept, (3_000 - kept.len() as u64..3_000).collect::<Vec<_>>());
}

#[test]
fn age_is_operating_time_and_clock_jumps_drop_nothing() {
    let disk = SimulatedDisk::new(0);
    let clock = ManualClock::new(0);
    let mut spool = try_open(&disk, &clock, SMALL).unwrap();
    append_all(&mut spool, Anomalous, 0..10, 100);
    clock.advance(1_000_000);
    append_all(&mut spool, Normal, 10..20, 100);
    spool.sync().unwrap();
    clock.set(i64::MAX);
    spool.sync().unwrap();
    clock.set(i64::MIN);
    assert_eq!(spool.peek(100, 1 << 20).unwrap().len(), 20);
    drop(spool);
    // The device was off for a year, and its monotonic clock starts anew.
    let clock = ManualClock::new(365 * 86_400_000);
    let mut spool = try_open(&disk, &clock, SMALL).unwrap();
    assert_eq!(spool.figures().oldest_age_seconds, Some(1_000));
    clock.advance(2_599_000);
    assert_eq!(spool.peek(100, 1 << 20).unwrap().len(), 20);
    clock.advance(2_000);
    assert_eq!(numbers(&spool.peek(100, 1 << 20).unwrap()), (10..20).collect::<Vec<_>>());
    let figures = spool.figures();
    assert_eq!((figures.anomalous.dropped.age, figures.normal.dropped.age), (10, 0));
    spool.sync().unwrap();
    drop(spool);
    let figures = open(&disk).figures();
    assert_eq!((figures.anomalous.dropped.age, figures.entries()), (10, 10));
}

#[test]
fn an_entry_that_is_too_long_is_refused_and_the_longest_is_taken() {
    let disk = SimulatedDisk::new(0);
    let settings = Settings { bytes_max: 64 << 20, memory_bytes_max: 8 << 20, ..SMALL };
    let mut spool = try_open(&disk, &ManualClock::new(0), settings).unwrap();
    let longest = entry(Normal, 1, (2 << 20) - 8);
    assert_eq!(longest.key.as_ref().map(String::len), Some(8));
    let longer = Entry { bytes: [longest.bytes.clone(), vec![0]].concat(), ..longest.clone() };
    assert!(matches!(spool.append(longer), Err(SpoolError::EntrySize { .. })));
    spool.append(longest.clone()).unwrap();
    spool.append(Entry { importance: Anomalous, key: None, bytes: Vec::new() }).unwrap();
    spool.sync().unwrap();
    drop(spool);
    let mut spool = open(&disk);
    let read = drain(&mut spool);
    assert_eq!(read[0].entry, longest);
    assert_eq!((&read[1].entry.key, read[1].entry.bytes.len()), (&None, 0));
}

#[test]
fn settings_out_of_range_are_refused() {
    for settings in [
        Settings { bytes_max: (1 << 20) - 1, ..SMALL },
        Settings { age_seconds_max: 0, ..SMALL },
        Settings { memory_bytes_max: 1_000, ..SMALL },
    ] {
        let opened = try_open(&SimulatedDisk::new(0), &ManualClock::new(0), settings);
        assert!(matches!(opened, Err(SpoolError::Settings { .. })));
    }
}

#[test]
fn dictionaries_follow_the_messages_and_go_when_no_record_needs_them() {
    let disk = SimulatedDisk::new(0);
    let mut spool = open(&disk);
    let mut random = Random(3);
    let dictionaries = || {
        let listed = disk.list(std::path::Path::new("/spool/normal")).unwrap();
        listed.into_iter().filter(|path| path.extension().unwrap() == "dictionary").count()
    };
    for kind in 0..6 {
        for offset in 0..600 {
            let mut entry = verdict(&mut random, offset, Normal);
            // Another alphabet: the old dictionary is of no use.
            entry.bytes.iter_mut().for_each(|byte| *byte = byte.wrapping_add(kind * 40));
            spool.append(entry).unwrap();
        }
        spool.sync().unwrap();
        assert!((1..=4).contains(&dictionaries()), "{}", dictionaries());
    }
    assert!(dictionaries() > 1);
    drop(spool);
    let mut spool = open(&disk);
    assert_eq!(drain(&mut spool).len() as u64 + spool.figures().normal.dropped.room, 3_600);
    assert_eq!(spool.figures().normal.dropped.damage, 0);
    spool.sync().unwrap();
    assert_eq!(dictionaries(), 1);
}
