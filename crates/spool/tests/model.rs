//! Random lives of a spool on a disk that fills up, fails and loses power, against a model.
#![expect(clippy::print_stdout, reason = "tests print seeds and figures")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::power::Powered;
use common::{DIRECTORY, Random, SMALL, entry, number};
use twinge_platform::{ManualClock, SimulatedDisk};
use twinge_spool::{Figures, Importance, Queued, Settings, Spool};

const SEEDS: u64 = 40;
const STEPS: u64 = 250;
const BOUNDS: Settings = Settings { age_seconds_max: 5_000, ..SMALL };

/// What must be true of an entry.
#[derive(Debug)]
struct Expected {
    number: u64,
    importance: Importance,
    length: usize,
    is_durable: bool,
}

fn open(power: &Powered, clock: &ManualClock) -> Spool {
    let (disk, clock) = (Arc::new(power.clone()), Arc::new(clock.clone()));
    Spool::open(disk, clock, Path::new(DIRECTORY), BOUNDS).expect("the spool opens")
}

struct Life {
    random: Random,
    disk: SimulatedDisk,
    power: Powered,
    clock: ManualClock,
    spool: Spool,
    /// Appended and not released, by sequence number.
    waiting: BTreeMap<u64, Expected>,
    appended: u64,
    /// The figures when the spool was opened, and how many were appended before.
    opened: (Figures, u64),
    sequence_last: u64,
    crashes: u64,
    failures: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        let (disk, clock) = (SimulatedDisk::new(seed), ManualClock::new(0));
        let power = Powered::new(disk.clone());
        let mut spool = open(&power, &clock);
        Self {
            random: Random(seed * 2 + 1),
            opened: (spool.figures(), 0),
            disk,
            power,
            clock,
            spool,
            waiting: BTreeMap::new(),
            appended: 0,
            sequence_last: 0,
            crashes: 0,
            failures: 0,
        }
    }

    fn step(&mut self) {
        match self.random.below(21) {
            0..=8 => self.append(),
            9..=11 => self.sync(),
            12..=14 => self.forward(),
            15 => self.cut_power(),
            16 => self.disk.set_capacity(self.disk.used_bytes() + self.random.below(60_000)),
            17 | 18 => {
                self.disk.set_capacity(u64::MAX);
                self.clock.advance(self.random.below(200_000));
            }
            19 => self.turn_read_only(),
            _ => self.disk.fail_after(self.random.below(12)),
        }
        let peak = self.power.peak_bytes();
        assert!(peak <= BOUNDS.bytes_max, "{peak} bytes on disk");
        self.check_accounts();
    }

    fn append(&mut self) {
        for _ in 0..self.random.below(12) {
            let importance = Importance::ALL[usize::from(self.random.below(3) == 0)];
            let length = 20 + self.random.below(6_000) as usize;
            let number = self.appended;
            let sequence = self.spool.append(entry(importance, number, length)).expect("is taken");
            assert!(sequence > self.sequence_last, "sequence numbers grow and are never reused");
            self.sequence_last = sequence;
            self.appended += 1;
            let expected = Expected { number, importance, length, is_durable: false };
            self.waiting.insert(sequence, expected);
        }
    }

    fn sync(&mut self) {
        match self.spool.sync() {
            Ok(()) => self.waiting.values_mut().for_each(|expected| expected.is_durable = true),
            Err(_full_or_failed) => self.failures += 1,
        }
    }

    /// Sends what waits upstream and releases some of it.
    fn forward(&mut self) {
        let entries_max = 1 + self.random.below(40) as usize;
        let Ok(read) = self.spool.peek(entries_max, 60_000) else {
            self.failures += 1;
            return;
        };
        self.check_read(&read);
        if !read.is_empty() {
            let through = read[self.random.below(read.len() as u64) as usize].sequence;
            self.spool.release(through);
            self.waiting = self.waiting.split_off(&(through + 1));
        }
    }

    fn check_read(&self, read: &[Queued]) {
        assert!(read.is_sorted_by(|a, b| a.sequence < b.sequence), "out of order");
        for queued in read {
            // What a crash brought back is not waiting any more, and that is all right.
            if let Some(expected) = self.waiting.get(&queued.sequence) {
                let original = entry(expected.importance, expected.number, expected.length);
                assert_eq!(queued.entry, original);
            }
        }
    }

    /// In the middle of something, or between two calls.
    fn cut_power(&mut self) {
        if self.random.below(2) == 0 {
            self.turn_read_only();
        }
        self.crash();
    }

    /// The disk refuses everything for a while, from the middle of something on.
    fn turn_read_only(&mut self) {
        self.power.cut_after(self.random.below(25));
        for _ in 0..2 {
            self.append();
            self.sync();
            self.forward();
        }
        self.power.restore();
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.disk.crash();
        // The device cannot start before it can read, and may start with a full disk.
        self.clock = ManualClock::new(-5);
        self.spool = open(&self.power, &self.clock);
        let mut all = Vec::new();
        self.spool.walk(|queued| all.push(queued.clone())).expect("walks");
        self.check_read(&all);
        self.check_durable(&all);
        let there: BTreeMap<_, _> =
            all.iter().map(|queued| (queued.sequence, number(&queued.entry))).collect();
        self.waiting.retain(|sequence, _| there.contains_key(sequence));
        self.waiting.values_mut().for_each(|expected| expected.is_durable = true);
        self.opened = (self.spool.figures(), self.appended);
    }

    /// What was durable is there, or counted as dropped.
    fn check_durable(&mut self, all: &[Queued]) {
        let figures = self.spool.figures();
        for importance in Importance::ALL {
            let there = |sequence: &u64| all.iter().any(|queued| queued.sequence == *sequence);
            let missing = self.waiting.iter().filter(|(sequence, expected)| {
                expected.importance == importance && expected.is_durable && !there(sequence)
            });
            let dropped = match importance {
                Importance::Normal => figures.normal.dropped,
                Importance::Anomalous => figures.anomalous.dropped,
            };
            let missing = missing.count() as u64;
            assert!(missing <= dropped.room + dropped.age, "{missing} {importance:?}: {dropped:?}");
            assert_eq!(dropped.damage, 0);
        }
    }

    /// Since the spool was opened: appended = released + dropped + held.
    fn check_accounts(&mut self) {
        let sum = |figures: &Figures| {
            let dropped = figures.normal.dropped.total() + figures.anomalous.dropped.total();
            figures.released + dropped + figures.entries()
        };
        let (opened, before) = &self.opened;
        let now = self.spool.figures();
        assert_eq!(sum(&now), sum(opened) + self.appended - before, "{now:?}");
    }
}

#[test]
fn random_lives_keep_what_was_durable() {
    let (mut crashes, mut failures, mut dropped) = (0, 0, 0);
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut life = Life::new(seed);
        for _ in 0..STEPS {
            life.step();
        }
        life.disk.set_capacity(u64::MAX);
        life.crash();
        let drained = common::drain(&mut life.spool);
        life.check_durable(&drained);
        let figures = life.spool.figures();
        crashes += life.crashes;
        failures += life.failures;
        dropped += figures.normal.dropped.total() + figures.anomalous.dropped.total();
    }
    println!("{crashes} crashes, {failures} failures told, {dropped} entries dropped");
    assert!(crashes > SEEDS && failures > SEEDS && dropped > SEEDS);
}
