//! What the spool's tests share: small spools, verdicts that look real, a generator.
#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod power;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use twinge_platform::{ManualClock, SimulatedDisk};
use twinge_spool::{Entry, Figures, Importance, Queued, Settings, Spool, SpoolError};

pub(crate) const DIRECTORY: &str = "/spool";
pub(crate) const SMALL: Settings =
    Settings { bytes_max: 1 << 20, age_seconds_max: 3_600, memory_bytes_max: 64 << 10 };

pub(crate) fn try_open(
    disk: &SimulatedDisk,
    clock: &ManualClock,
    settings: Settings,
) -> Result<Spool, SpoolError> {
    Spool::open(Arc::new(disk.clone()), Arc::new(clock.clone()), Path::new(DIRECTORY), settings)
}

pub(crate) fn open(disk: &SimulatedDisk) -> Spool {
    try_open(disk, &ManualClock::new(0), SMALL).expect("the spool opens")
}

/// An entry whose bytes tell its number and do not compress.
pub(crate) fn entry(importance: Importance, number: u64, length: usize) -> Entry {
    let mut random = Random(number * 2 + 1);
    let mut bytes = format!("{number} ").into_bytes();
    while bytes.len() < length {
        bytes.push(random.below(256) as u8);
    }
    Entry { importance, key: Some(format!("entity-{}", number % 7)), bytes }
}

pub(crate) fn number(entry: &Entry) -> u64 {
    let digits = entry.bytes.split(|byte| *byte == b' ').next().expect("there is a number");
    std::str::from_utf8(digits).expect("digits").parse().expect("a number")
}

pub(crate) fn append_all(
    spool: &mut Spool,
    importance: Importance,
    numbers: std::ops::Range<u64>,
    length: usize,
) {
    for number in numbers {
        spool.append(entry(importance, number, length)).expect("appends");
    }
}

/// Everything in the spool, by peeking and releasing.
pub(crate) fn drain(spool: &mut Spool) -> Vec<Queued> {
    let mut all: Vec<Queued> = Vec::new();
    loop {
        let read = spool.peek(50, 100_000).expect("peeks");
        let Some(last) = read.last() else { return all };
        spool.release(last.sequence);
        all.extend(read);
        assert!(all.is_sorted_by(|a, b| a.sequence < b.sequence), "out of order");
    }
}

pub(crate) fn numbers(queued: &[Queued]) -> Vec<u64> {
    queued.iter().map(|queued| number(&queued.entry)).collect()
}

/// Everything appended is released, dropped or still there.
pub(crate) fn check_accounts(figures: &Figures, appended: u64) {
    let dropped = figures.normal.dropped.total() + figures.anomalous.dropped.total();
    assert_eq!(figures.released + dropped + figures.entries(), appended, "{figures:?}");
}

/// A small seeded generator: xorshift64*, never of zero.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 32) % bound
    }

    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const FIELDS: [&str; 6] =
    ["temperature", "vibration", "pressure", "current", "flow_rate", "bearing_temperature"];

/// A verdict as the agent sends it, with an id of 64 hex digits: the members of
/// `io.twinge.verdict.v1`.
pub(crate) fn verdict(random: &mut Random, offset: u64, importance: Importance) -> Entry {
    let mut id = String::new();
    (0..4).for_each(|_| write!(id, "{:016x}", random.next()).expect("a string takes all"));
    let entity = format!("line-{}/pump-{:04}", random.below(9), random.below(1_000));
    let is_anomalous = importance == Importance::Anomalous;
    let score = random.unit() + if is_anomalous { 1.0 } else { 0.0 };
    let attribution = if is_anomalous { attribution(random, score) } else { String::new() };
    let (outcome, severity) = match score {
        1.5.. => ("anomalous", "medium"),
        1.0.. => ("anomalous", "low"),
        _ => ("normal", "none"),
    };
    let seconds = offset / 100;
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let day = 1 + seconds / 86_400 % 28;
    let bytes = format!(
        "{{\"specversion\":\"1.0\",\"type\":\"io.twinge.verdict.v1\",\"id\":\"{id}\",\
         \"source\":\"/twinge/pumps\",\"subject\":\"{entity}\",\
         \"time\":\"2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z\",\
         \"data\":{{\"verdict\":\"{outcome}\",\"score\":{score},\"severity\":\"{severity}\",\
         {attribution}\"version\":\"3.2.1\",\"module\":\"{MODULE}\",\
         \"origin\":{{\"source\":\"edge-gateway-17/mqtt\",\"partition\":\"0\",\
         \"offset\":{offset}}}}}}}",
        random.below(1_000),
    );
    Entry { importance, key: Some(entity), bytes: bytes.into_bytes() }
}

const MODULE: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn attribution(random: &mut Random, score: f64) -> String {
    let first = random.below(6) as usize;
    let shares: Vec<String> = (0..3 + random.below(3) as usize)
        .map(|place| {
            let share = (score * random.unit() / (place + 1) as f64) as f32;
            format!("{{\"field\":\"{}\",\"share\":{share}}}", FIELDS[(first + place) % 6])
        })
        .collect();
    format!("\"attribution\":[{}],", shares.join(","))
}
