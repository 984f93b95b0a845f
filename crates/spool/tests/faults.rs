//! What a spool does when the disk is full, read-only, damaged or failing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "tests print seeds and figures")]

mod common;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::power::Powered;
use common::{
    Random, SMALL, append_all, check_accounts, drain, entry, number, numbers, open, try_open,
    verdict,
};
use twinge_platform::{Disk, DiskFile, DiskLock, ManualClock, SimulatedDisk};
use twinge_spool::Importance::{self, Anomalous, Normal};
use twinge_spool::Spool;

fn files(disk: &SimulatedDisk, importance: Importance, extension: &str) -> Vec<PathBuf> {
    let directory = Path::new(common::DIRECTORY).join(importance.name());
    let mut files = disk.list(&directory).unwrap();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files
}

#[test]
fn on_a_full_disk_normal_entries_make_room() {
    let disk = SimulatedDisk::new(0);
    let mut spool = open(&disk);
    append_all(&mut spool, Normal, 0..400, 1_000);
    spool.sync().unwrap();
    disk.set_capacity(disk.used_bytes() + 10);
    append_all(&mut spool, Anomalous, 400..500, 1_000);
    spool.sync().unwrap();
    let figures = spool.figures();
    assert_eq!((figures.anomalous.entries, figures.anomalous.memory_entries), (100, 0));
    assert!((80..200).contains(&figures.normal.dropped.room), "{figures:?}");
    check_accounts(&figures, 500);
    drop(spool);
    let mut spool = open(&disk);
    assert_eq!(spool.figures().normal.dropped, figures.normal.dropped, "counted durably");
    assert_eq!(numbers(&drain(&mut spool)), (figures.normal.dropped.room..500).collect::<Vec<_>>());
}

#[test]
fn on_a_disk_full_of_anomalies_sync_tells_and_nothing_is_lost() {
    let disk = SimulatedDisk::new(0);
    let mut spool = open(&disk);
    append_all(&mut spool, Anomalous, 0..300, 1_000);
    spool.sync().unwrap();
    disk.set_capacity(disk.used_bytes() + 100);
    append_all(&mut spool, Anomalous, 300..330, 1_000);
    let error = spool.sync().unwrap_err();
    assert!(error.is_backpressure(), "{error}");
    assert!(spool.figures().last_error.is_some_and(|told| told.contains("anomalous")));
    assert_eq!(numbers(&spool.peek(1_000, 1 << 20).unwrap()), (0..330).collect::<Vec<_>>());
    disk.set_capacity(u64::MAX);
    spool.sync().unwrap();
    assert_eq!(spool.figures().last_error, None);
    disk.crash();
    assert_eq!(numbers(&drain(&mut open(&disk))), (0..330).collect::<Vec<_>>());
}

#[test]
fn a_read_only_disk_leaves_the_spool_in_memory() {
    let disk = SimulatedDisk::new(0);
    let mut spool = open(&disk);
    append_all(&mut spool, Normal, 0..200, 1_000);
    append_all(&mut spool, Anomalous, 200..210, 1_000);
    spool.sync().unwrap();
    disk.set_read_only(true);
    append_all(&mut spool, Anomalous, 210..220, 1_000);
    append_all(&mut spool, Normal, 220..420, 1_000);
    assert!(!spool.sync().unwrap_err().is_backpressure());
    check_read_only(&mut spool, 420);
    // A restart reads the disk as well, but what was only in memory is gone.
    let mut restarted = open(&disk);
    assert_eq!(numbers(&restarted.peek(1_000, 1 << 20).unwrap()), (0..210).collect::<Vec<_>>());
    drop(restarted);
    let read = spool.peek(100, 1 << 20).unwrap();
    assert_eq!(numbers(&read), (0..100).collect::<Vec<_>>());
    spool.release(read[99].sequence);
    disk.set_read_only(false);
    spool.sync().unwrap();
    assert_eq!(spool.figures().last_error, None);
    check_accounts(&spool.figures(), 420);
    disk.crash();
    let kept = numbers(&drain(&mut open(&disk)));
    assert_eq!(kept[..120], (100..220).collect::<Vec<_>>());
    assert_eq!(*kept.last().unwrap(), 419);
}

/// Normal entries left the memory first, and everything on disk can still be read.
fn check_read_only(spool: &mut Spool, appended: u64) {
    let figures = spool.figures();
    check_accounts(&figures, appended);
    assert!(figures.last_error.is_some() && figures.normal.dropped.room > 100, "{figures:?}");
    assert_eq!((figures.anomalous.entries, figures.anomalous.memory_entries), (20, 10));
    let held = figures.normal.memory_bytes + figures.anomalous.memory_bytes;
    assert!(held <= SMALL.memory_bytes_max as u64);
    let read = numbers(&spool.peek(1_000, 1 << 21).unwrap());
    assert_eq!(read[..220], (0..220).collect::<Vec<_>>());
    assert_eq!(read.len() as u64, figures.entries());
}

#[test]
fn a_spool_begun_on_a_read_only_disk_works_in_memory() {
    let disk = SimulatedDisk::new(0);
    disk.set_read_only(true);
    let mut spool = open(&disk);
    append_all(&mut spool, Normal, 0..10, 100);
    assert!(spool.sync().is_err());
    assert_eq!(numbers(&spool.peek(100, 1 << 20).unwrap()), (0..10).collect::<Vec<_>>());
    disk.set_read_only(false);
    spool.sync().unwrap();
    assert_eq!(numbers(&drain(&mut open(&disk))), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_flipped_bit_costs_one_entry_or_two() {
    const SEED: u64 = 5;
    println!("seed {SEED}");
    let mut random = Random(SEED);
    let disk = SimulatedDisk::new(SEED);
    let mut spool = open(&disk);
    append_all(&mut spool, Anomalous, 0..300, 500);
    spool.sync().unwrap();
    drop(spool);
    let segments = files(&disk, Anomalous, "journal");
    assert!(segments.len() > 2);
    let contents: Vec<_> = segments.iter().map(|path| disk.read(path).unwrap()).collect();
    for _ in 0..200 {
        for path in files(&disk, Anomalous, "journal") {
            disk.remove(&path).unwrap();
        }
        let damaged = random.below(segments.len() as u64) as usize;
        for (index, path) in segments.iter().enumerate() {
            let mut bytes = contents[index].clone();
            let bit = 16 * 8 + random.below((bytes.len() as u64 - 16) * 8) as usize;
            if index == damaged {
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            disk.replace(path, &bytes).unwrap();
        }
        disk.remove(Path::new("/spool/state")).unwrap();
        check_almost_all(&disk);
    }
}

fn check_almost_all(disk: &SimulatedDisk) {
    let mut spool = open(disk);
    let kept = numbers(&drain(&mut spool));
    assert!(kept.is_sorted_by(|a, b| a < b));
    assert!(kept.len() >= 298, "{} of 300 are left", kept.len());
    let counted = spool.figures().anomalous.dropped.damage;
    // A flip in the very last record looks like a torn write, which is nobody's loss.
    let torn = u64::from(!kept.contains(&299));
    assert_eq!(counted + torn, 300 - kept.len() as u64);
}

#[test]
fn any_damage_opens_and_the_rest_is_there() {
    for seed in 1..150 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let disk = SimulatedDisk::new(seed);
        let mut spool = open(&disk);
        for number in 0..500 {
            let importance = if number % 5 == 0 { Anomalous } else { Normal };
            spool.append(entry(importance, number, 700)).unwrap();
        }
        spool.sync().unwrap();
        drop(spool);
        damage(&disk, &mut random);
        let mut spool = open(&disk);
        let kept = numbers(&drain(&mut spool));
        assert!(kept.len() > 150, "{} of 500", kept.len());
        append_all(&mut spool, Anomalous, 500..510, 100);
        spool.sync().unwrap();
        drop(spool);
        let again = numbers(&drain(&mut open(&disk)));
        assert_eq!(again[again.len() - 10..], (500..510).collect::<Vec<_>>());
    }
}

/// Overwrites, cuts, empties or removes a file or two.
fn damage(disk: &SimulatedDisk, random: &mut Random) {
    for _ in 0..=random.below(2) {
        let mut paths = disk.list(Path::new(common::DIRECTORY)).unwrap();
        for importance in Importance::ALL {
            paths.extend(files(disk, importance, "journal"));
            paths.extend(files(disk, importance, "dictionary"));
        }
        let path = &paths[random.below(paths.len() as u64) as usize];
        let mut bytes = disk.read(path).unwrap();
        match random.below(4) {
            0 => bytes.truncate(random.below(bytes.len() as u64 + 1) as usize),
            1 if !bytes.is_empty() => {
                let start = random.below(bytes.len() as u64) as usize;
                let end = bytes.len().min(start + 1 + random.below(3_000) as usize);
                bytes[start..end].iter_mut().for_each(|byte| *byte = random.below(256) as u8);
            }
            2 => bytes.iter_mut().take(8).for_each(|byte| *byte ^= 0x20),
            _ => {
                disk.remove(path).unwrap();
                continue;
            }
        }
        disk.replace(path, &bytes).unwrap();
    }
}

#[test]
fn without_its_dictionary_a_record_is_damaged_and_passed() {
    for is_removed in [true, false] {
        let disk = SimulatedDisk::new(0);
        let mut spool = open(&disk);
        let mut random = Random(1);
        for offset in 0..50 {
            spool.append(verdict(&mut random, offset, Anomalous)).unwrap();
        }
        append_all(&mut spool, Normal, 50..60, 100);
        spool.sync().unwrap();
        drop(spool);
        let dictionary = files(&disk, Anomalous, "dictionary").remove(0);
        if is_removed {
            disk.remove(&dictionary).unwrap();
        } else {
            let mut bytes = disk.read(&dictionary).unwrap();
            bytes[100] ^= 1;
            disk.replace(&dictionary, &bytes).unwrap();
        }
        let mut spool = open(&disk);
        assert_eq!(numbers(&drain(&mut spool)), (50..60).collect::<Vec<_>>());
        assert_eq!(spool.figures().anomalous.dropped.damage, 50);
        spool.append(verdict(&mut random, 50, Anomalous)).unwrap();
        spool.sync().unwrap();
        drop(spool);
        assert_eq!(drain(&mut open(&disk)).len(), 1, "a new one has another number");
    }
}

/// Fails each operation of a short life in turn.
#[test]
fn one_failed_operation_loses_nothing() {
    let mut operations = 0;
    let mut failed = 0;
    for at in 0.. {
        let disk = SimulatedDisk::new(at);
        let clock = ManualClock::new(0);
        disk.fail_after(at);
        let Ok(mut spool) = try_open(&disk, &clock, SMALL) else {
            failed += 1;
            continue;
        };
        for step in 0..6 {
            let importance = if step % 2 == 0 { Anomalous } else { Normal };
            append_all(&mut spool, importance, step * 30..step * 30 + 30, 1_000);
            if spool.sync().is_err() {
                failed += 1;
                spool.sync().unwrap();
            }
        }
        drop(spool);
        // Opening may be what fails.
        let mut spool = try_open(&disk, &clock, SMALL).unwrap_or_else(|_| open(&disk));
        let mut kept = Vec::new();
        while kept.len() < 180 {
            let Ok(read) = spool.peek(50, 1 << 20) else { continue };
            spool.release(read.last().expect("there are more").sequence);
            kept.extend(read.iter().map(|queued| number(&queued.entry)));
        }
        assert_eq!(kept, (0..180).collect::<Vec<_>>(), "operation {at}");
        operations = operations.max(disk.operations());
        if at > operations {
            break;
        }
    }
    println!("{operations} operations, {failed} failures told");
    assert!(operations > 50 && failed > 10);
}

/// The disk is full and segments go for their room; the power goes at each operation.
#[test]
fn power_lost_while_a_full_disk_makes_room_loses_no_count() {
    let mut cuts = 0;
    for operations in 0.. {
        let disk = SimulatedDisk::new(operations);
        let power = Powered::new(disk.clone());
        let mut spool = open_powered(&power);
        append_all(&mut spool, Normal, 0..400, 1_000);
        spool.sync().unwrap();
        disk.set_capacity(disk.used_bytes() + 10);
        power.cut_after(operations);
        append_all(&mut spool, Anomalous, 400..420, 1_000);
        let is_done = spool.sync().is_ok();
        disk.crash();
        power.restore();
        let mut spool = open_powered(&power);
        let kept = numbers(&drain(&mut spool)).into_iter().filter(|number| *number < 400).count();
        let dropped = spool.figures().normal.dropped.room;
        assert_eq!(kept as u64 + dropped, 400, "operation {operations}");
        if is_done {
            assert!(dropped > 0);
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 5, "{cuts} cuts");
}

/// The state is read when the disk fails: once, and for longer.
#[test]
fn a_state_that_cannot_be_read_for_a_moment_keeps_its_counts() {
    let mut unread = 0;
    for failing in 1..6 {
        let disk = SimulatedDisk::new(failing);
        let mut spool = open(&disk);
        append_all(&mut spool, Normal, 0..1_200, 1_000);
        spool.sync().unwrap();
        let dropped = spool.figures().normal.dropped.room;
        assert!(dropped > 0);
        let left = spool.peek(10_000, 1 << 30).unwrap();
        spool.release(left.last().unwrap().sequence);
        spool.sync().unwrap();
        drop(spool);
        let faulty = Unread { disk: disk.clone(), left: Arc::new(AtomicU64::new(failing)) };
        let clock = Arc::new(ManualClock::new(0));
        let directory = Path::new(common::DIRECTORY);
        let again = |disk: Arc<dyn Disk>| Spool::open(disk, clock.clone(), directory, SMALL);
        disk.set_read_only(failing > 3);
        match again(Arc::new(faulty)) {
            Ok(mut spool) if failing < 3 => {
                assert_eq!(spool.figures().normal.dropped.room, dropped, "{failing} failures");
            }
            // It begins anew, and what it is given does not count as released later.
            Ok(mut spool) => {
                assert_eq!(failing, 3, "one that cannot be written either is waited for");
                append_all(&mut spool, Normal, 2_000..2_010, 100);
                spool.sync().unwrap();
                drop(spool);
                let spooled = numbers(&drain(&mut open(&disk)));
                assert!(spooled.ends_with(&(2_000..2_010).collect::<Vec<_>>()), "{spooled:?}");
                unread += 1;
            }
            Err(error) => assert!(failing > 3, "{error}"),
        }
        disk.set_read_only(false);
        let mut spool = again(Arc::new(disk.clone())).unwrap();
        assert_eq!(spool.figures().normal.dropped.room, if failing == 3 { 0 } else { dropped });
    }
    assert_eq!(unread, 1);
}

/// A disk on which a spool's state cannot be read for a while.
#[derive(Debug)]
struct Unread {
    disk: SimulatedDisk,
    left: Arc<AtomicU64>,
}

impl Disk for Unread {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let is_state = path.ends_with("state");
        if is_state && self.left.load(Ordering::SeqCst) > 0 {
            self.left.fetch_sub(1, Ordering::SeqCst);
            return Err(io::Error::other("a bad place"));
        }
        self.disk.read(path)
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open_append(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.replace(path, bytes)
    }

    fn create_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.disk.create_new(path, bytes)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path)
    }
}

/// A spool at its bound drops a segment for what is appended; the power goes at each operation.
#[test]
fn power_lost_while_dropping_loses_no_count() {
    let mut cuts = 0;
    for operations in 0.. {
        let disk = SimulatedDisk::new(operations);
        let power = Powered::new(disk.clone());
        let mut spool = open_powered(&power);
        append_all(&mut spool, Normal, 0..1_200, 1_000);
        spool.sync().unwrap();
        let before = spool.figures();
        assert!(before.normal.dropped.room > 0);
        power.cut_after(operations);
        append_all(&mut spool, Anomalous, 1_200..1_260, 1_000);
        let is_done = spool.sync().is_ok();
        disk.crash();
        power.restore();
        let mut spool = open_powered(&power);
        let after = spool.figures().normal;
        let known = before.normal.entries + before.normal.dropped.room;
        assert!(after.entries + after.dropped.room >= known, "{operations}: {after:?}");
        assert!(power.peak_bytes() <= SMALL.bytes_max);
        if is_done {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 10, "{cuts} operations");
}

/// A repair copies part of a segment; that must not lead beyond the bound either.
#[test]
fn the_bound_holds_while_damage_is_mended() {
    let disk = SimulatedDisk::new(0);
    let power = Powered::new(disk.clone());
    let mut spool = open_powered(&power);
    append_all(&mut spool, Anomalous, 0..1_500, 1_000);
    spool.sync().unwrap();
    let held = spool.figures().entries();
    drop(spool);
    let segments = files(&disk, Anomalous, "journal");
    for path in &segments {
        let mut bytes = disk.read(path).unwrap();
        if bytes.len() > 1_000 {
            bytes[500] ^= 1;
            disk.replace(path, &bytes).unwrap();
        }
    }
    let mut spool = open_powered(&power);
    let kept = drain(&mut spool).len() as u64;
    let damaged = spool.figures().anomalous.dropped.damage;
    assert_eq!(kept + damaged, held);
    assert!((1..=segments.len() as u64).contains(&damaged), "{damaged}");
    let peak = power.peak_bytes();
    assert!(peak <= SMALL.bytes_max, "{peak} bytes");
}

fn open_powered(power: &Powered) -> Spool {
    let (disk, clock) = (Arc::new(power.clone()), Arc::new(ManualClock::new(0)));
    Spool::open(disk, clock, Path::new(common::DIRECTORY), SMALL).unwrap()
}

/// Reads fail for a moment, then for longer than the spool waits.
#[test]
fn what_cannot_be_read_counts_as_damaged_after_a_minute() {
    let disk = SimulatedDisk::new(0);
    let clock = ManualClock::new(0);
    let mut spool = try_open(&disk, &clock, SMALL).unwrap();
    append_all(&mut spool, Anomalous, 0..400, 1_000);
    spool.sync().unwrap();
    drop(spool);
    for waited in [59, 60] {
        clock.advance(1_000);
        let mut spool = try_open(&disk, &clock, SMALL).unwrap();
        // The first segment was read ahead by opening; what fails is to open the second.
        for second in [0, waited] {
            clock.advance(second * 1_000);
            disk.fail_after(0);
            assert!(spool.peek(1_000, 1 << 20).unwrap().len() < 400);
        }
        let kept = spool.peek(1_000, 1 << 20).unwrap().len();
        assert_eq!(kept == 400, waited < 60, "{kept} after {waited} s");
        assert!(kept > 200);
    }
}
