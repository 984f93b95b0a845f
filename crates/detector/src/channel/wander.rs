//! A smoothed value against its level, which may wander.
//!
//! In training each sensor is told apart by how its differences grow with the time between them: one
//! that keeps its level, or one that drifts like a random walk (temperatures do). A drifting level is
//! followed, each step of it bounded; a level that is kept moves only a little, and only while the
//! value lies close. The answer is the distance in units of its usual size.
//!
//! Words: smoothed value and level, both in standard deviations from the mean.

use crate::channel::Event;
use crate::inputs::VALUE_MAX;
use crate::steps::{larger, smaller};

/// Words of state.
pub const WORDS: u32 = 2;

/// Parameters: mean, one over the standard deviation, gain of a drifting level (0 for one that is
/// kept), bound of its steps, one over the usual distance.
pub const PARAMETERS: usize = 5;

/// Gain of the smoothed value.
const SMOOTHING: f64 = 0.15;
/// Gain of a kept level while the value lies close.
const CREEP: f64 = 0.01;
/// Squared distance within which a value lies close.
const CLOSE: f64 = 3.0;

/// Parameters by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wander {
    /// Mean of the input.
    pub mean: f64,
    /// One over its standard deviation.
    pub per_deviation: f64,
    /// Gain of the level; 0 for a level that is kept.
    pub gain: f64,
    /// Bound of the level's steps.
    pub step_max: f64,
    /// One over the usual distance.
    pub per_distance: f64,
}

impl Wander {
    /// From the parameters of a model.
    pub fn of(parameters: &[f64]) -> Self {
        Self {
            mean: parameters[0],
            per_deviation: parameters[1],
            gain: parameters[2],
            step_max: parameters[3],
            per_distance: parameters[4],
        }
    }

    /// The parameters in a model's order.
    pub fn to_parameters(self) -> [f64; PARAMETERS] {
        [self.mean, self.per_deviation, self.gain, self.step_max, self.per_distance]
    }

    /// One step: the distance of the smoothed value from the level before it.
    pub fn step(&self, plain: f64, words: &mut [f64]) -> f64 {
        let value = ((plain - self.mean) * self.per_deviation).clamp(-VALUE_MAX, VALUE_MAX);
        words[0] += SMOOTHING * (value - words[0]);
        let distance = (words[0] - words[1]) * self.per_distance;
        let off = value - words[1];
        let mut step = self.gain * smaller(larger(off, -self.step_max), self.step_max);
        if distance * distance < CLOSE {
            step += (1.0 - self.gain) * CREEP * off;
        }
        words[1] += step;
        if distance < 0.0 { -distance } else { distance }
    }
}

pub(crate) fn step(parameters: &[f64], event: &Event, words: &mut [f64]) -> f64 {
    Wander::of(parameters).step(event.value, words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Wander =
        Wander { mean: 10.0, per_deviation: 0.5, gain: 0.0, step_max: 1.0, per_distance: 2.0 };

    #[test]
    fn a_shift_stays_far_from_a_level_that_is_kept_and_not_from_one_that_drifts() {
        let after_a_shift = |wander: Wander| {
            let mut words = [0.0; WORDS as usize];
            (0..300).map(|_| wander.step(18.0, &mut words)).last()
        };
        assert!(after_a_shift(KEPT) > Some(7.0));
        assert!(after_a_shift(Wander { gain: 0.2, ..KEPT }) < Some(0.1));
    }
}
