//! Counts of a stream by the bins of a baseline, which forget and can be added up.

use crate::baseline::Baseline;
use crate::phase;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Groups that entities are counted in, by a hash of their names.
const ENTITY_GROUPS: usize = 128;

/// What is known of the events since it began, the older the less.
///
/// It is as large as its baseline has bins, whatever it has seen. Equal events in equal order give
/// equal sketches, and those of several partitions or devices add up to that of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sketch {
    /// For each field the weight of events in each bin, and in the last place of those without it.
    pub(crate) fields: Vec<Vec<f64>>,
    /// Weight of events around each phase of the day.
    pub(crate) phases: Vec<f64>,
    entities: Vec<f64>,
    weight: f64,
    weight_squares: f64,
}

/// Sketches of different baselines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("sketches of different references cannot be added: take those of one module")]
pub struct MergeError;

impl Sketch {
    /// One that has seen nothing.
    pub fn new(baseline: &Baseline) -> Self {
        Self {
            fields: baseline.bins().map(|bins| vec![0.0; bins + 1]).collect(),
            phases: vec![0.0; baseline.phases().max(1)],
            entities: vec![0.0; ENTITY_GROUPS],
            weight: 0.0,
            weight_squares: 0.0,
        }
    }

    /// Counts an event. `values` are in the order of the baseline's fields, a category by its code
    /// and NaN for what is missing; values beyond the fields are passed over, and fields beyond the
    /// values are missing. `entity` is a hash of its name.
    pub fn note(&mut self, baseline: &Baseline, values: &[f64], time_ms: Option<i64>, entity: u64) {
        for (index, counts) in self.fields.iter_mut().enumerate() {
            let value = values.get(index).copied().unwrap_or(f64::NAN);
            let place = baseline.bin(index, value).unwrap_or(counts.len() - 1);
            counts[place] += 1.0;
        }
        let time_ms = time_ms.map_or(f64::NAN, |time| time as f64);
        for (phase, weight) in phase::around(time_ms, self.phases.len()) {
            self.phases[phase] += weight;
        }
        self.entities[(entity % ENTITY_GROUPS as u64) as usize] += 1.0;
        self.weight += 1.0;
        self.weight_squares += 1.0;
    }

    /// Lets everything so far count only `share` as much.
    pub fn forget(&mut self, share: f64) {
        let all =
            self.fields.iter_mut().flatten().chain(&mut self.phases).chain(&mut self.entities);
        for count in all {
            *count *= share;
        }
        self.weight *= share;
        self.weight_squares *= share * share;
    }

    /// Adds what another has seen: of another partition, or another device.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        if !self.has_shape_of(other) {
            return Err(MergeError);
        }
        let ours =
            self.fields.iter_mut().flatten().chain(&mut self.phases).chain(&mut self.entities);
        let theirs = other.fields.iter().flatten().chain(&other.phases).chain(&other.entities);
        for (count, more) in ours.zip(theirs) {
            *count += more;
        }
        self.weight += other.weight;
        self.weight_squares += other.weight_squares;
        Ok(())
    }

    /// Whether both count by the same bins, and in numbers that counts can be.
    pub fn has_shape_of(&self, other: &Self) -> bool {
        let shape = |sketch: &Self| {
            let fields: Vec<usize> = sketch.fields.iter().map(Vec::len).collect();
            (fields, sketch.phases.len(), sketch.entities.len())
        };
        let is_sound = |sketch: &Self| {
            let all = sketch.fields.iter().flatten().chain(&sketch.phases).chain(&sketch.entities);
            all.chain([&sketch.weight, &sketch.weight_squares])
                .all(|count| count.is_finite() && *count >= 0.0)
        };
        shape(self) == shape(other) && is_sound(self) && is_sound(other)
    }

    /// Events that it stands for, each by its weight.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Events of equal weight that would be as certain (Kish 1965).
    pub fn events(&self) -> f64 {
        if self.weight_squares > 0.0 {
            self.weight * self.weight / self.weight_squares
        } else {
            0.0
        }
    }

    /// Entities that count: as many of equal weight as would have the same mean square. Those that
    /// share a group by chance are allowed for.
    pub fn entities(&self) -> f64 {
        let groups = ENTITY_GROUPS as f64;
        let squares: f64 = self.entities.iter().map(|count| count * count).sum();
        let whole = self.weight * self.weight;
        let own = (squares - whole / groups) / (1.0 - 1.0 / groups);
        // No more than events, and all groups being equal is no proof of more than a few thousand.
        let least = whole / self.events().clamp(1.0, 4096.0);
        if whole > 0.0 { whole / own.max(least) } else { 0.0 }
    }
}
