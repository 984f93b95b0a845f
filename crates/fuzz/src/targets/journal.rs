//! Segments of a journal: whatever lies there, opening tells what is wrong or gives a journal that
//! takes records, keeps them over a power cut and gives them back.

use super::files::{files, mend_segment, segment_name};
use std::path::Path;
use std::sync::Arc;
use twinge_journal::{Journal, JournalError, Settings};
use twinge_platform::{Disk as _, SimulatedDisk};

pub(super) const WORDS: &[&[u8]] = &[
    b"TWINGEJ\x01",
    b"TWINGED\x01",
    b"TWINGES\x01",
    b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xfe\xff\xff\xff\xff\xff\xff\xff",
];

const FOLDER: &str = "/journal";

/// The first byte says whether checksums are made right.
pub(super) fn journal(bytes: &[u8]) {
    let Some((flags, rest)) = bytes.split_first() else { return };
    let disk = SimulatedDisk::new(u64::from(*flags));
    for file in files(rest) {
        let mut content = file.bytes.to_vec();
        if flags & 1 == 1 {
            mend_segment(&mut content);
        }
        let path = Path::new(FOLDER).join(segment_name(&content));
        disk.replace(&path, &content).expect("the disk is sound");
    }
    let open = || {
        let settings =
            Settings { segment_bytes: 4096, record_bytes_max: 65_536, total_bytes_max: 1 << 20 };
        Journal::open(Arc::new(disk.clone()), Path::new(FOLDER), settings)
    };
    let Ok(mut journal) = open() else { return };
    read_all(&mut journal);
    let Ok(taken) = journal.append([&b"one"[..], b"two"]) else { return };
    journal.sync().expect("the disk is sound");
    let read = journal.read(taken.start, 8, 1 << 10).expect("what was appended is read");
    assert_eq!(read.len(), 2, "both are there");
    assert_eq!((&*read[0].bytes, &*read[1].bytes), (&b"one"[..], &b"two"[..]));
    let end = journal.end();
    drop(journal);
    disk.crash();
    let mut journal = open().expect("what was open opens again");
    assert_eq!(journal.end(), end, "what was synced is there");
    let read = journal.read(taken.start, 8, 1 << 10).expect("what was appended is read");
    assert_eq!(read.len(), 2, "both are there after a power cut");
    journal.release(end).expect("the disk is sound");
}

/// Reads from the first to the last, over damage to the next segment.
fn read_all(journal: &mut Journal) {
    let mut from = journal.start();
    while from < journal.durable_end() {
        match journal.read(from, 64, 4096) {
            Ok(records) => {
                let last = records.last().expect("there are records up to the end");
                assert!(last.offset >= from, "reading goes on");
                from = last.offset + 1;
            }
            Err(JournalError::Corrupt { .. }) => match journal.next_segment(from) {
                Some(next) => from = next,
                None => return,
            },
            Err(error) => panic!("the disk is sound: {error}"),
        }
    }
}
