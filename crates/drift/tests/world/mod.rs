//! Streams of which all is known.
#![allow(dead_code, reason = "each test takes a part")]

use std::f64::consts::TAU;
use twinge_contract::category;
use twinge_contract::manifest::{
    DetectorInfo, DriftReference, Lineage, Manifest, StreamRules, ThresholdInfo,
};
use twinge_contract::schema::Schema;
use twinge_drift::training::{self, Column, Row};
use twinge_drift::{Mark, Observation};

pub(crate) const NUMBERS: usize = 16;
/// Deviation of every number of an independent world.
pub(crate) const DEVIATION: f64 = 3.0;
/// Events of a day in a daily world.
pub(crate) const DAY_EVENTS: u64 = 21_600;
const DAY_MS: u64 = 86_400_000;
const CATEGORIES: [&str; 4] = ["red", "green", "blue", "grey"];

/// Numbers, and a category at the end.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) offset: u64,
    pub(crate) time_ms: i64,
    pub(crate) entity: String,
    pub(crate) number: u32,
    pub(crate) inputs: Vec<f64>,
    pub(crate) score: f64,
    pub(crate) is_late: bool,
}

impl Event {
    pub(crate) fn observation(&self) -> Observation<'_> {
        Observation {
            mark: Mark { offset: self.offset, ingested_ms: self.time_ms },
            time_ms: Some(self.time_ms),
            entity: &self.entity,
            inputs: &self.inputs,
            verdict: Some((self.score, self.score >= 1.0)),
            is_late: Some(self.is_late),
        }
    }
}

/// A world that goes on for ever.
#[derive(Clone, Debug)]
pub(crate) struct World {
    random: u64,
    spare: Option<f64>,
    offset: u64,
    entities: usize,
    /// Correlation of each number with the one before of the same entity.
    memory: Vec<f64>,
    /// Height of the daily wave.
    wave: f64,
    levels: Vec<f64>,
    /// What is remembered by each entity of each number.
    walks: Vec<f64>,
}

impl World {
    /// Sixteen independent numbers of a hundred entities.
    pub(crate) fn independent(seed: u64) -> Self {
        Self::new(seed, 100, vec![0.0; NUMBERS], 0.0, 0.0)
    }

    /// Sixteen numbers of eight entities with levels of their own, each with a wave of a day and a
    /// correlation with the one before of 0 to 0.95.
    pub(crate) fn daily(seed: u64) -> Self {
        let memory = (0..NUMBERS).map(|n| 0.95 * n as f64 / (NUMBERS - 1) as f64).collect();
        Self::new(seed, 8, memory, 1.5, 1.0)
    }

    fn new(seed: u64, entities: usize, memory: Vec<f64>, wave: f64, level: f64) -> Self {
        let mut world = Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed,
            spare: None,
            offset: 0,
            entities,
            memory,
            wave,
            levels: Vec::new(),
            walks: vec![0.0; entities * NUMBERS],
        };
        world.levels = (0..entities * NUMBERS).map(|_| level * world.normal()).collect();
        world.walks = (0..entities * NUMBERS).map(|_| world.normal()).collect();
        world
    }

    pub(crate) fn skip(&mut self, events: u64) {
        for _ in 0..events {
            self.event();
        }
    }

    pub(crate) fn event(&mut self) -> Event {
        let offset = self.offset;
        self.offset += 1;
        let time_ms = (offset * (DAY_MS / DAY_EVENTS)).cast_signed();
        let entity = self.below(self.entities as u64) as usize;
        let day = time_ms as f64 / DAY_MS as f64;
        let mut inputs = Vec::with_capacity(NUMBERS + 1);
        for number in 0..NUMBERS {
            let place = entity * NUMBERS + number;
            let memory = self.memory[number];
            let new = (1.0 - memory * memory).sqrt() * self.normal();
            self.walks[place] = memory * self.walks[place] + new;
            let wave = if self.wave == 0.0 {
                0.0
            } else {
                self.wave * (TAU * (day + number as f64 / NUMBERS as f64)).sin()
            };
            inputs.push(DEVIATION * (self.walks[place] + self.levels[place] + wave));
        }
        let category = CATEGORIES[[0, 0, 0, 0, 0, 1, 1, 1, 2, 3][self.below(10) as usize]];
        inputs.push(category::code(category));
        // Scores follow the numbers, their wave and their memory.
        let size = inputs[..NUMBERS].iter().map(|x| x * x).sum::<f64>().sqrt();
        let score = size / (DEVIATION * 4.0) * 0.4 - (self.unit() + 1e-9).ln() * 0.06;
        let entity_name = format!("e{entity}");
        Event {
            offset,
            time_ms,
            entity: entity_name,
            number: entity as u32,
            inputs,
            score,
            is_late: self.below(100) == 0,
        }
    }

    /// The manifest of a module trained on its first rows, scores on the last fifth of them.
    pub(crate) fn manifest(mut self, rows: u64) -> Manifest {
        let events: Vec<Event> = (0..rows).map(|_| self.event()).collect();
        manifest(&events)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (radius, angle) = (1.0 - self.unit(), TAU * self.unit());
        let radius = (-2.0 * radius.ln()).sqrt();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// The generator `SplitMix64` (Steele, Lea and Flood 2014).
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub(crate) fn manifest(events: &[Event]) -> Manifest {
    let fields: Vec<String> = (0..NUMBERS).map(|number| format!("x{number}")).collect();
    let numbers: Vec<Vec<f64>> = (0..NUMBERS)
        .map(|number| events.iter().map(|event| event.inputs[number]).collect())
        .collect();
    let names: Vec<String> = CATEGORIES.iter().map(|&name| name.to_owned()).collect();
    let of_code = |code: f64| names.iter().position(|name| category::code(name) == code);
    let colours: Vec<Option<u32>> = events
        .iter()
        .map(|event| of_code(event.inputs[NUMBERS]).map(|place| place as u32))
        .collect();
    let columns: Vec<Column<'_>> = fields
        .iter()
        .zip(&numbers)
        .map(|(field, values)| Column::Numbers { field, values })
        .chain([Column::Categories { field: "colour", rows: &colours, names: &names }])
        .collect();
    let row = |(place, event): (usize, &Event)| Row {
        row: place as u32,
        place: place as u32,
        time_ms: event.time_ms as f64,
        entity: event.number,
    };
    let rows: Vec<Row> = events.iter().enumerate().map(row).collect();
    let (sample, reference) = training::reference(&columns, &rows);
    let held_back = &rows[rows.len() * 4 / 5..];
    let scored: Vec<f64> = held_back.iter().map(|row| events[row.row as usize].score).collect();
    let scores = Some(training::scores(&scored, held_back));
    Manifest {
        abi: 1,
        name: "world".into(),
        version: "1".into(),
        schema: Schema { numeric: fields, categorical: vec!["colour".into()], ..Schema::default() },
        state_bytes: 0,
        stream: StreamRules::default(),
        detector: DetectorInfo {
            kind: "none".into(),
            settings: std::collections::BTreeMap::new(),
            features: Vec::new(),
            why: Vec::new(),
        },
        threshold: ThresholdInfo { false_alarm_rate: 0.001, calibration_rows: 1, raw_score: 1.0 },
        metrics: std::collections::BTreeMap::new(),
        lineage: Lineage {
            data_digest: "0".repeat(64),
            rows: events.len() as u64,
            config_digest: "0".repeat(64),
            seed: 0,
            runtime_digest: "0".repeat(64),
        },
        reference,
        drift: Some(DriftReference { sample, scores, anchor: None }),
        notes: Vec::new(),
    }
}
