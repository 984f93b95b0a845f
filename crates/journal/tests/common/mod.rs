//! What the journal's tests share: small journals, records that tell their offset, a generator.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::path::Path;
use std::sync::Arc;

use twinge_journal::{Journal, JournalError, Record, Settings};
use twinge_platform::{Disk, SimulatedDisk};

pub(crate) const DIRECTORY: &str = "/spool";
pub(crate) const SMALL: Settings =
    Settings { segment_bytes: 400, record_bytes_max: 1_000, total_bytes_max: 1 << 20 };

pub(crate) fn try_open(disk: &SimulatedDisk) -> Result<Journal, JournalError> {
    Journal::open(Arc::new(disk.clone()), Path::new(DIRECTORY), SMALL)
}

pub(crate) fn open(disk: &SimulatedDisk) -> Journal {
    try_open(disk).expect("the journal opens")
}

/// A record whose length and bytes depend on its number.
pub(crate) fn payload(number: u64) -> Vec<u8> {
    let length = 1 + (number * 37 % 90) as usize;
    format!("record {number} ").bytes().cycle().take(length).collect()
}

pub(crate) fn append(
    journal: &mut Journal,
    numbers: std::ops::Range<u64>,
) -> Result<(), JournalError> {
    let payloads: Vec<_> = numbers.clone().map(payload).collect();
    let offsets = journal.append(payloads.iter().map(Vec::as_slice))?;
    assert_eq!(offsets, numbers, "the offsets are consecutive");
    Ok(())
}

/// A journal with `count` durable records, appended a few at a time.
pub(crate) fn filled(disk: &SimulatedDisk, count: u64) -> Journal {
    let mut journal = open(disk);
    for start in (0..count).step_by(3) {
        append(&mut journal, start..count.min(start + 3)).expect("appends");
    }
    journal.sync().expect("syncs");
    journal
}

pub(crate) fn read_from(journal: &mut Journal, mut from: u64) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let read = journal.read(from, 7, 300).expect("reads");
        let Some(last) = read.last() else { return records };
        from = last.offset + 1;
        records.extend(read);
    }
}

/// Checks that the journal holds exactly the records `from..below`, as [`payload`] made them.
pub(crate) fn check_holds(journal: &mut Journal, numbers: std::ops::Range<u64>) {
    let expected = numbers.clone().map(|offset| Record { offset, bytes: payload(offset) });
    assert_eq!(read_from(journal, numbers.start), expected.collect::<Vec<_>>());
    assert_eq!(journal.durable_end(), numbers.end);
}

pub(crate) fn segments(disk: &SimulatedDisk) -> Vec<std::path::PathBuf> {
    disk.list(Path::new(DIRECTORY)).expect("lists")
}

/// A small seeded generator: xorshift64*, never of zero.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % bound
    }
}
