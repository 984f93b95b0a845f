//! Machine readings. A machine runs idle, normally or boosted; this load drives vibration and
//! current together and warms it. Each sensor has its own levels, drawn from the seed and its
//! index, and a little state, kept from its first reading on.

use core::f64::consts::TAU;
use std::collections::BTreeMap;

use crate::anomaly::Step;
use crate::arrivals::{Arrival, day_part};
use crate::random::{Purpose, Random, round};
use crate::{AnomalyKind, Value};

/// A mode and the load it sets, from 0 to 1.
type Mode = (&'static str, f64);

const IDLE: Mode = ("idle", 0.15);
const BOOST: Mode = ("boost", 0.95);
const MODES: [(Mode, f64); 3] = [(IDLE, 0.25), (("run", 0.6), 0.6), (BOOST, 0.15)];

/// The probability that a machine chooses its mode anew before a reading.
const MODE_CHANGE: f64 = 0.05;

/// How much of the slow noise stays from one reading to the next.
const PERSISTENCE: f64 = 0.9;

/// The behaviour of all sensors.
#[derive(Clone, Debug)]
pub(crate) struct Sensors {
    seed: u64,
    states: BTreeMap<u32, State>,
}

/// What a sensor remembers of its last reading.
#[derive(Clone, Debug)]
struct State {
    mode: Mode,
    /// Slow noise with standard deviation 1.
    temperature_noise: f64,
    /// Slow noise with standard deviation 1.
    load_noise: f64,
    /// Slow noise with standard deviation 1.
    pressure_noise: f64,
    /// As reported, so that a stuck sensor repeats it exactly.
    pressure_kpa: f64,
}

/// The lasting traits of one sensor.
struct Profile {
    temperature_c: f64,
    daily_swing_c: f64,
    /// The part of the day at which the daily cycle crosses its mean.
    daily_phase: f64,
    vibration_mm_s: f64,
    pressure_kpa: f64,
    current_a: f64,
}

struct Reading {
    temperature_c: f64,
    vibration_mm_s: f64,
    pressure_kpa: f64,
    current_a: f64,
    mode: Mode,
}

impl Sensors {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, states: BTreeMap::new() }
    }

    pub(crate) fn values(
        &mut self,
        arrival: Arrival,
        step: Option<Step>,
        random: &mut Random,
    ) -> Vec<Value> {
        let profile = Profile::of(self.seed, arrival.entity);
        let state =
            self.states.entry(arrival.entity).or_insert_with(|| State::new(&profile, random));
        state.move_on(random);
        let mut reading = profile.reading(state, arrival.time_ms, random);
        if let Some(step) = step {
            reading.distort(&profile, state, step, random);
        }
        state.pressure_kpa = reading.pressure_kpa;
        reading.values()
    }
}

impl State {
    fn new(profile: &Profile, random: &mut Random) -> Self {
        Self {
            mode: random.pick_weighted(&MODES),
            temperature_noise: random.normal(),
            load_noise: random.normal(),
            pressure_noise: random.normal(),
            pressure_kpa: profile.pressure_kpa,
        }
    }

    fn move_on(&mut self, random: &mut Random) {
        if random.chance(MODE_CHANGE) {
            self.mode = random.pick_weighted(&MODES);
        }
        for noise in [&mut self.temperature_noise, &mut self.load_noise, &mut self.pressure_noise] {
            let fresh = libm::sqrt(1.0 - PERSISTENCE * PERSISTENCE) * random.heavy_normal();
            *noise = PERSISTENCE * *noise + fresh;
        }
    }
}

impl Profile {
    fn of(seed: u64, entity: u32) -> Self {
        let mut random = Random::new(seed, Purpose::Profile(entity));
        Self {
            temperature_c: random.between(35.0, 55.0),
            daily_swing_c: random.between(1.0, 4.0),
            daily_phase: random.between(8.0, 11.0) / 24.0,
            vibration_mm_s: random.between(1.5, 3.0),
            pressure_kpa: random.between(250.0, 600.0),
            current_a: random.between(4.0, 12.0),
        }
    }

    fn reading(&self, state: &State, time_ms: i64, random: &mut Random) -> Reading {
        let load = (state.mode.1 + 0.04 * state.load_noise).clamp(0.02, 1.2);
        let cycle = libm::sin(TAU * (day_part(time_ms) - self.daily_phase));
        Reading {
            temperature_c: self.temperature_c
                + self.daily_swing_c * cycle
                + 6.0 * load
                + 0.4 * state.temperature_noise,
            vibration_mm_s: self.vibration(load) * libm::exp(0.06 * random.heavy_normal()),
            pressure_kpa: round(
                self.pressure_kpa
                    + 2.0 * load
                    + 0.8 * state.pressure_noise
                    + 0.4 * random.heavy_normal(),
                2,
            ),
            current_a: self.current(load) * (1.0 + 0.03 * random.heavy_normal()),
            mode: state.mode,
        }
    }

    fn vibration(&self, load: f64) -> f64 {
        self.vibration_mm_s * (0.4 + 2.0 * load)
    }

    fn current(&self, load: f64) -> f64 {
        self.current_a * (0.3 + 2.0 * load)
    }
}

impl Reading {
    fn distort(&mut self, profile: &Profile, state: &State, step: Step, random: &mut Random) {
        match step.kind {
            AnomalyKind::Spike => self.temperature_c += step.size(20.0, 40.0),
            AnomalyKind::Drift => self.temperature_c += step.size(22.0, 30.0) * step.progress(),
            AnomalyKind::Stuck => self.pressure_kpa = state.pressure_kpa,
            AnomalyKind::BrokenCorrelation => {
                let usual = profile.vibration(BOOST.1);
                self.vibration_mm_s = usual * step.size(1.4, 1.8) * random.between(0.95, 1.05);
                self.current_a = profile.current(IDLE.1) * random.between(0.95, 1.05);
                self.mode = IDLE;
            }
            AnomalyKind::Burst => {
                let usual = profile.vibration(BOOST.1);
                self.vibration_mm_s = usual * step.size(3.0, 5.0) * random.between(0.9, 1.1);
                self.current_a = profile.current(BOOST.1) * random.between(1.3, 1.5);
                self.mode = BOOST;
            }
            other => unreachable!("{other} is not planted among sensors"),
        }
    }

    fn values(&self) -> Vec<Value> {
        vec![
            Value::Number(round(self.temperature_c, 2)),
            Value::Number(round(self.vibration_mm_s, 3)),
            Value::Number(self.pressure_kpa),
            Value::Number(round(self.current_a, 2)),
            Value::Text(self.mode.0),
        ]
    }
}
