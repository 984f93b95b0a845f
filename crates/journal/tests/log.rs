//! What a journal does on a disk that works.

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use common::{SMALL, append, check_holds, filled, open, payload, read_from, segments};
use twinge_journal::{Journal, JournalError, Record, Recovery, Settings};
use twinge_platform::{Disk, RealDisk, SimulatedDisk};

#[test]
fn records_come_back_over_many_segments_and_openings() {
    let disk = SimulatedDisk::new(0);
    let mut journal = filled(&disk, 200);
    assert!(segments(&disk).len() > 10);
    check_holds(&mut journal, 0..200);
    for from in [199, 0, 57, 56, 200] {
        let read = journal.read(from, 1, 1 << 20).unwrap();
        assert_eq!(read.first().map(|r| r.offset), (from < 200).then_some(from));
    }
    drop(journal);
    let mut journal = open(&disk);
    assert_eq!(journal.recovery().cut_bytes, 0);
    check_holds(&mut journal, 0..200);
    append(&mut journal, 200..203).unwrap();
    journal.sync().unwrap();
    check_holds(&mut journal, 0..203);
    assert_eq!(journal.bytes(), disk.used_bytes());
}

#[test]
fn the_real_disk_keeps_records_too() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("spool");
    let mut journal = Journal::open(Arc::new(RealDisk), &directory, SMALL).unwrap();
    for start in 0..50 {
        append(&mut journal, start..start + 1).unwrap();
    }
    journal.sync().unwrap();
    journal.release(20).unwrap();
    drop(journal);
    let mut journal = Journal::open(Arc::new(RealDisk), &directory, SMALL).unwrap();
    let start = journal.start();
    assert!(start > 0 && start <= 20);
    check_holds(&mut journal, start..50);
}

#[test]
fn only_durable_records_are_read() {
    let disk = SimulatedDisk::new(0);
    let mut journal = filled(&disk, 2);
    append(&mut journal, 2..4).unwrap();
    assert_eq!((journal.durable_end(), journal.end()), (2, 4));
    check_holds(&mut journal, 0..2);
    journal.sync().unwrap();
    check_holds(&mut journal, 0..4);
}

#[test]
fn a_read_keeps_to_its_bounds_but_gives_one_record_at_least() {
    let mut journal = filled(&SimulatedDisk::new(0), 100);
    for max_bytes in [0, 1, 10, 100, 1_000] {
        for max_records in [0, 1, 5, 1_000] {
            let records = journal.read(11, max_records, max_bytes).unwrap();
            let bytes: usize = records.iter().map(|record| record.bytes.len()).sum();
            assert!(records.len() <= max_records);
            assert!(bytes <= max_bytes || records.len() == 1, "{bytes} of {max_bytes}");
            assert_eq!(records.is_empty(), max_records == 0);
        }
    }
}

#[test]
fn a_record_longer_than_a_block_is_read_whole() {
    let settings = Settings { segment_bytes: 1 << 16, ..Settings::default() };
    let directory = Path::new("/spool");
    let disk = Arc::new(SimulatedDisk::new(0));
    let mut journal = Journal::open(disk, directory, settings).unwrap();
    let long = vec![b'x'; 1 << 20];
    journal.append([b"short".as_slice(), &long, b"short"]).unwrap();
    journal.append([long.as_slice()]).unwrap();
    journal.sync().unwrap();
    let lengths: Vec<_> = read_from(&mut journal, 0).iter().map(|r| r.bytes.len()).collect();
    assert_eq!(lengths, [5, 1 << 20, 5, 1 << 20]);
}

#[test]
fn releasing_removes_whole_segments_and_never_the_last() {
    let disk = SimulatedDisk::new(0);
    let mut journal = filled(&disk, 100);
    let second = journal.next_segment(0).unwrap();
    journal.read(0, 1, 1).unwrap();
    journal.release(second - 1).unwrap();
    assert_eq!(journal.start(), 0);
    journal.release(second).unwrap();
    assert_eq!(journal.start(), second);
    assert!(matches!(journal.read(0, 1, 1), Err(JournalError::Released { from: 0, .. })));
    check_holds(&mut journal, second..100);

    journal.release(u64::MAX).unwrap();
    assert_eq!(segments(&disk).len(), 1);
    assert_eq!((journal.end(), journal.bytes()), (100, disk.used_bytes()));
    assert_eq!(journal.next_segment(99), None);
}

#[test]
fn offsets_go_on_after_everything_was_released() {
    let disk = SimulatedDisk::new(0);
    for end in (0..60).step_by(6) {
        let mut journal = open(&disk);
        assert_eq!((journal.end(), journal.durable_end()), (end, end));
        append(&mut journal, end..end + 6).unwrap();
        journal.sync().unwrap();
        journal.release(end + 6).unwrap();
        disk.crash();
    }
}

#[test]
fn a_full_journal_refuses_until_records_are_released() {
    let settings = Settings { segment_bytes: 200, record_bytes_max: 100, total_bytes_max: 500 };
    let directory = Path::new("/spool");
    let disk = SimulatedDisk::new(0);
    let mut journal = Journal::open(Arc::new(disk.clone()), directory, settings).unwrap();
    for round in 0..20 {
        let error = loop {
            if let Err(error) = journal.append([[b'x'; 50].as_slice()]) {
                break error;
            }
        };
        assert!(matches!(error, JournalError::Full { .. }) && error.is_backpressure(), "{error}");
        assert!(journal.bytes() <= 500 && disk.used_bytes() == journal.bytes(), "round {round}");
        journal.sync().unwrap();
        journal.release(journal.end()).unwrap();
    }
    // As much as fits an empty journal fits one whose records are all released.
    assert!(journal.bytes() > 16);
    journal.append([[b'x'; 100].as_slice(); 4]).unwrap();
    let more = journal.append([[b'x'; 100].as_slice(); 5]);
    assert!(matches!(more, Err(JournalError::BatchSize { total_bytes_max: 500 })));
}

#[test]
fn records_must_have_an_allowed_length() {
    let disk = SimulatedDisk::new(0);
    let mut journal = filled(&disk, 3);
    let before = disk.used_bytes();
    for wrong in [&[][..], &[0; 1_001]] {
        let refused = journal.append([b"fine".as_slice(), wrong]);
        assert!(matches!(refused, Err(JournalError::RecordSize { .. })));
    }
    assert_eq!(journal.append([]).unwrap(), 3..3);
    assert_eq!(disk.used_bytes(), before);
    append(&mut journal, 3..4).unwrap();
}

#[test]
fn a_reader_ahead_of_the_journal_is_told() {
    let mut journal = filled(&SimulatedDisk::new(0), 3);
    assert!(matches!(journal.read(4, 1, 1), Err(JournalError::Ahead { from: 4, end: 3 })));
}

#[test]
fn contradicting_settings_are_refused() {
    for settings in [
        Settings { total_bytes_max: 799, ..SMALL },
        Settings { record_bytes_max: 0, ..SMALL },
        Settings { total_bytes_max: 1_031, ..SMALL },
    ] {
        let disk = Arc::new(SimulatedDisk::new(0));
        let opened = Journal::open(disk, Path::new("/spool"), settings.clone());
        assert!(matches!(opened, Err(JournalError::Settings { .. })), "{settings:?}");
    }
}

/// Version 1 as it was first written: it must be read, and written, like this forever.
#[test]
fn version_1_stays_as_it_is() {
    const NAME: &str = "/spool/00000000000000000042.journal";
    let pinned = include_bytes!("v1/00000000000000000042.journal");
    let disk = SimulatedDisk::new(0);
    disk.replace(Path::new(NAME), &pinned[..16]).unwrap();
    let mut journal = open(&disk);
    append(&mut journal, 42..45).unwrap();
    journal.sync().unwrap();
    assert_eq!(disk.read(Path::new(NAME)).unwrap(), pinned);
    drop(journal);

    let mut journal = open(&disk);
    assert_eq!(journal.recovery(), Recovery { records: 3, cut_bytes: 0 });
    let last = Record { offset: 44, bytes: payload(44) };
    assert_eq!(journal.read(44, 9, 999).unwrap(), [last]);
}

#[test]
fn a_newer_version_and_a_wrong_name_are_refused() {
    let pinned = include_bytes!("v1/00000000000000000042.journal");
    let mut newer = pinned.to_vec();
    newer[7] = 2;
    for (name, bytes) in [(42, newer), (43, pinned.to_vec()), (42, b"TWING".to_vec())] {
        let disk = SimulatedDisk::new(0);
        disk.replace(&Path::new("/spool").join(format!("{name:020}.journal")), &bytes).unwrap();
        assert!(matches!(common::try_open(&disk), Err(JournalError::Header { .. })));
    }
}

#[test]
fn other_files_are_left_alone() {
    let disk = SimulatedDisk::new(0);
    disk.replace(Path::new("/spool/checkpoint"), b"other").unwrap();
    let mut journal = filled(&disk, 100);
    journal.release(100).unwrap();
    assert_eq!(disk.read(Path::new("/spool/checkpoint")).unwrap(), b"other");
    let missing = disk.read(Path::new("/spool/00000000000000000000.journal"));
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

/// Offsets are counted on from what a segment says: one that leaves no room to is none of ours.
#[test]
fn a_segment_at_the_end_of_all_numbers_is_refused() {
    for (first, is_refused) in [(u64::MAX, true), (u64::MAX / 2 + 1, true), (u64::MAX / 2, false)] {
        let disk = SimulatedDisk::new(0);
        let header = [&b"TWINGEJ\x01"[..], &first.to_le_bytes()].concat();
        let path = Path::new(common::DIRECTORY).join(format!("{first:020}.journal"));
        disk.create_new(&path, &header).unwrap();
        match Journal::open(Arc::new(disk), Path::new(common::DIRECTORY), SMALL) {
            Ok(mut journal) => {
                assert!(!is_refused, "{first} was taken");
                assert_eq!(journal.append([&b"one"[..]]).unwrap(), first..first + 1);
            }
            Err(JournalError::Header { .. }) => assert!(is_refused, "{first} was refused"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// The end of a header may be zeros: what is missing there was once taken for them.
#[test]
fn a_segment_without_a_whole_header_is_refused() {
    let header = [&b"TWINGEJ\x01"[..], &0_u64.to_le_bytes()].concat();
    for kept in 0..header.len() {
        let disk = SimulatedDisk::new(0);
        let path = Path::new(common::DIRECTORY).join(format!("{:020}.journal", 0));
        disk.create_new(&path, &header[..kept]).unwrap();
        let opened = Journal::open(Arc::new(disk), Path::new(common::DIRECTORY), SMALL);
        assert!(matches!(opened, Err(JournalError::Header { .. })), "{kept} bytes: {opened:?}");
    }
}
