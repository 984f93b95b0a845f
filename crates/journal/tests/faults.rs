//! What a journal does when the disk is full, damaged, failing or loses power.

mod common;

use std::path::{Path, PathBuf};

use common::{Random, append, check_holds, filled, open, payload, segments, try_open};
use twinge_journal::{Journal, JournalError};
use twinge_platform::{Disk, SimulatedDisk};

const SEEDS: u64 = 200;

fn last_segment(disk: &SimulatedDisk) -> PathBuf {
    segments(disk).pop().expect("there is a segment")
}

#[test]
fn a_file_cut_anywhere_in_its_last_record_loses_that_record_alone() {
    let whole = {
        let disk = SimulatedDisk::new(0);
        drop(filled(&disk, 20));
        disk.read(&last_segment(&disk)).unwrap()
    };
    let record = 16 + payload(19).len();
    for kept in whole.len() - record..whole.len() {
        let disk = SimulatedDisk::new(0);
        drop(filled(&disk, 20));
        disk.replace(&last_segment(&disk), &whole[..kept]).unwrap();
        let mut journal = open(&disk);
        let torn = kept - (whole.len() - record);
        assert_eq!(journal.recovery().cut_bytes, torn as u64);
        check_holds(&mut journal, 0..19);
        append(&mut journal, 19..21).unwrap();
        journal.sync().unwrap();
        check_holds(&mut journal, 0..21);
        assert_eq!(journal.bytes(), disk.used_bytes());
    }
}

#[test]
fn a_flipped_bit_in_an_older_segment_is_told_when_it_is_read() {
    let disk = SimulatedDisk::new(0);
    let mut journal = filled(&disk, 40);
    let next = journal.next_segment(0).unwrap();
    let path = segments(&disk).swap_remove(0);
    let whole = disk.read(&path).unwrap();
    for bit in 16 * 8..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.replace(&path, &flipped).unwrap();
        journal = open(&disk);
        check_told(&mut journal, next, bit);
        check_holds_after(&mut journal, next);
    }
}

fn check_told(journal: &mut Journal, next: u64, bit: usize) {
    let good = journal.read(0, 1_000, 1 << 20).unwrap_or_default().len() as u64;
    assert!(good < next, "bit {bit} went unseen");
    match journal.read(good, 1_000, 1 << 20).expect_err("the damage is told") {
        JournalError::Corrupt { offset, position, .. } => {
            let before = 16 + (0..good).map(|n| 16 + payload(n).len() as u64).sum::<u64>();
            assert_eq!((offset, position), (good, before), "bit {bit}");
        }
        other => panic!("bit {bit}: {other}"),
    }
    assert_eq!(journal.next_segment(good), Some(next));
}

fn check_holds_after(journal: &mut Journal, next: u64) {
    check_holds(journal, next..40);
    journal.release(next).expect("a damaged segment can be given up");
    // The damaged file is put back by the caller for the next bit.
}

#[test]
fn a_flipped_bit_before_other_records_in_the_last_segment_is_told_when_opening() {
    let disk = SimulatedDisk::new(0);
    drop(filled(&disk, 6));
    let path = last_segment(&disk);
    let whole = disk.read(&path).unwrap();
    for bit in 16 * 8..(whole.len() - 16 - payload(5).len()) * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        disk.replace(&path, &flipped).unwrap();
        assert!(matches!(try_open(&disk), Err(JournalError::Corrupt { .. })), "bit {bit}");
        assert_eq!(disk.read(&path).unwrap(), flipped, "nothing is cut");
    }
}

#[test]
fn a_missing_or_shortened_segment_is_told() {
    let disk = SimulatedDisk::new(0);
    drop(filled(&disk, 60));
    let second = segments(&disk).swap_remove(1);
    let whole = disk.read(&second).unwrap();
    for kept in [None, Some(16), Some(whole.len() - 1)] {
        match kept {
            Some(bytes) => disk.replace(&second, &whole[..bytes]).unwrap(),
            None => disk.remove(&second).unwrap(),
        }
        let mut journal = open(&disk);
        let good = journal.read(0, 1_000, 1 << 20).unwrap().len() as u64;
        let told = journal.read(good, 1_000, 1 << 20);
        assert!(matches!(told, Err(JournalError::Corrupt { offset, .. }) if offset == good));
    }
}

#[test]
fn a_disk_full_in_the_middle_of_an_append_changes_nothing() {
    for room in 0..120 {
        let disk = SimulatedDisk::new(room);
        let mut journal = filled(&disk, 31);
        let (end, bytes) = (journal.end(), journal.bytes());
        disk.set_capacity(bytes + room);
        let Err(error) = append(&mut journal, 31..35) else { continue };
        assert!(error.is_backpressure(), "room {room}: {error}");
        // A new segment may have been begun: its header is all that may be new.
        assert!([bytes, bytes + 16].contains(&journal.bytes()), "room {room}");
        assert_eq!((journal.end(), journal.bytes()), (end, disk.used_bytes()), "room {room}");
        check_holds(&mut journal, 0..31);

        disk.set_capacity(u64::MAX);
        append(&mut journal, 31..35).unwrap();
        journal.sync().unwrap();
        disk.crash();
        check_holds(&mut open(&disk), 0..35);
    }
}

#[test]
fn a_crash_loses_unsynced_records_only() {
    for seed in 0..SEEDS {
        let disk = SimulatedDisk::new(seed);
        let mut journal = filled(&disk, 10 + seed % 7);
        let durable = journal.end();
        append(&mut journal, durable..durable + 3).unwrap();
        append(&mut journal, durable + 3..durable + 5).unwrap();
        disk.crash();
        let mut journal = open(&disk);
        let end = journal.end();
        assert!((durable..=durable + 5).contains(&end), "seed {seed}: the end is {end}");
        check_holds(&mut journal, 0..end);
        append(&mut journal, end..end + 2).unwrap();
        journal.sync().unwrap();
        disk.crash();
        check_holds(&mut open(&disk), 0..end + 2);
    }
}

#[test]
fn a_failed_sync_takes_back_what_was_not_durable() {
    let disk = SimulatedDisk::new(0);
    let mut journal = filled(&disk, 5);
    append(&mut journal, 5..8).unwrap();
    disk.fail_after(0);
    let error = journal.sync().unwrap_err();
    assert!(matches!(error, JournalError::Sync { from: 5, below: 8, .. }), "{error}");
    assert_eq!((journal.end(), journal.durable_end()), (5, 5));
    journal.sync().unwrap();
    append(&mut journal, 5..6).unwrap();
    journal.sync().unwrap();
    check_holds(&mut journal, 0..6);
}

/// A killed program left records that are whole and not on the disk, and the first sync after it
/// fails: what is acknowledged later does not stand behind a hole.
#[test]
fn a_sync_that_fails_while_opening_leaves_no_hole_before_later_records() {
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        drop(filled(&disk, 5));
        let before = disk.operations();
        let mut journal = open(&disk);
        // Before what told of doubt is removed.
        let sync = disk.operations() - before - 2;
        append(&mut journal, 5..6).unwrap();
        drop(journal);
        let last = disk.files_below(Path::new("/")).pop().unwrap();
        let version = disk.version(&last);
        disk.fail_after(sync);
        let mut journal = open(&disk);
        assert_ne!(disk.version(&last), version, "it was written anew");
        append(&mut journal, 6..9).unwrap();
        journal.sync().unwrap();
        drop(journal);
        disk.crash();
        check_holds(&mut open(&disk), 0..9);
    }
}

#[test]
fn a_sync_that_failed_inside_an_append_is_told_by_the_next_sync() {
    let disk = SimulatedDisk::new(0);
    let mut journal = filled(&disk, 5);
    append(&mut journal, 5..6).unwrap();
    disk.fail_after(0);
    let long = [b'x'; 390];
    assert!(matches!(journal.append([long.as_slice()]), Err(JournalError::Unsynced)));
    assert!(matches!(append(&mut journal, 6..7), Err(JournalError::Unsynced)));
    assert!(matches!(journal.sync(), Err(JournalError::Sync { from: 5, below: 6, .. })));
    append(&mut journal, 5..7).unwrap();
    journal.sync().unwrap();
    check_holds(&mut journal, 0..7);
}

#[test]
fn a_cut_that_was_late_is_durable_before_its_segment_is_closed() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let mut journal = filled(&disk, 5);
        append(&mut journal, 5..6).unwrap();
        disk.set_capacity(disk.used_bytes() + 10);
        disk.fail_after(1);
        append(&mut journal, 6..7).expect_err("neither the append nor its cut succeeds");
        journal.sync().unwrap();
        assert_eq!(disk.used_bytes(), journal.bytes() + 10, "the torn bytes are durable");
        disk.set_capacity(u64::MAX);
        append(&mut journal, 6..14).unwrap();
        assert!(journal.next_segment(0).is_some(), "the torn segment is closed");
        journal.sync().unwrap();
        disk.crash();
        assert_eq!(disk.used_bytes(), journal.bytes(), "seed {seed}: torn bytes came back");
        check_holds(&mut open(&disk), 0..14);
    }
}

/// Random calls on a disk that fails, fills up and loses power: what was durable stays, in place
/// and unchanged, and the end never goes back behind it.
#[test]
fn durable_records_outlive_any_run_of_faults() {
    for seed in 0..5 * SEEDS {
        let outcome = std::panic::catch_unwind(|| Run::new(seed).go(300));
        assert!(outcome.is_ok(), "seed {seed} failed, see above");
    }
}

struct Run {
    random: Random,
    disk: SimulatedDisk,
    journal: Option<Journal>,
    durable_end: u64,
    released: u64,
    /// A sync failed, and none has succeeded since.
    is_unsynced: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let random = Random(seed * 2 + 1);
        Self {
            random,
            disk: SimulatedDisk::new(seed),
            journal: None,
            durable_end: 0,
            released: 0,
            is_unsynced: false,
        }
    }

    fn go(mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
        self.disk.set_capacity(u64::MAX);
        self.disk.fail_after(1 << 40);
        self.disk.crash();
        let mut journal = open(&self.disk);
        let start = journal.start();
        let end = journal.end();
        assert!(start <= self.released && end >= self.durable_end);
        check_holds(&mut journal, start..end);
        append(&mut journal, end..end + 5).expect("it works again");
        journal.sync().expect("it works again");
        check_holds(&mut journal, start..end + 5);
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0 => self.disk.fail_after(self.random.below(6)),
            1 => self.disk.set_capacity(self.disk.used_bytes() + self.random.below(300)),
            2 | 3 => self.disk.set_capacity(u64::MAX),
            4 => {
                self.disk.crash();
                self.journal = None;
                self.is_unsynced = false;
            }
            // What a failed sync lost can still be read, so that a program which ends before it cut
            // that off believes it at its next start: docs/reliability.md does not promise more.
            5 if !self.is_unsynced => self.journal = None,
            _ => {}
        }
        match self.journal.take().map_or_else(|| try_open(&self.disk), Ok) {
            Ok(journal) => self.journal = Some(self.call(journal)),
            Err(JournalError::Disk { .. }) => {}
            Err(other) => panic!("opening after a fault: {other}"),
        }
    }

    fn call(&mut self, mut journal: Journal) -> Journal {
        let end = journal.end();
        assert!(end >= self.durable_end, "the end went back from {} to {end}", self.durable_end);
        match self.random.below(10) {
            0..5 => {
                let appended = append(&mut journal, end..end + 1 + self.random.below(6));
                assert_eq!(appended.is_err(), journal.end() == end);
                self.is_unsynced |= matches!(appended, Err(JournalError::Unsynced));
            }
            5..7 => {
                let synced = journal.sync();
                assert!(synced.is_err() || journal.durable_end() == end);
                self.is_unsynced = synced.is_err();
            }
            7 => {
                let below = self.random.below(self.durable_end + 1);
                self.released = self.released.max(below);
                journal.release(below).ok();
            }
            _ => self.read(&mut journal),
        }
        self.durable_end = self.durable_end.max(journal.durable_end());
        journal
    }

    fn read(&mut self, journal: &mut Journal) {
        let from = journal.start().max(self.random.below(self.durable_end + 1));
        match journal.read(from, 20, 500) {
            Ok(records) => {
                for (offset, record) in (from..).zip(&records) {
                    assert_eq!((record.offset, &record.bytes), (offset, &payload(offset)));
                }
            }
            Err(JournalError::Disk { .. }) => {}
            Err(other) => panic!("reading from {from}: {other}"),
        }
    }
}
