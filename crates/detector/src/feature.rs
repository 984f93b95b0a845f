//! What is computed from a row and from what is remembered.

use crate::channel::Event;
use crate::inputs::{LATEST_MS, Pipeline, SEEN, scaled_input};
use crate::steps::{larger, sqrt};
use crate::tracker::{Tracked, Tracker};

const DAY_MS: f64 = 86_400_000.0;

/// What is computed from a row and the trackers; its number is its place in [`Feature::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Feature {
    /// The input itself.
    Value = 0,
    /// Input minus the tracked mean, over the tracked standard deviation. The parameter is added
    /// to the variance, so that a quiet entity does not make every flicker a surprise.
    Deviation = 1,
    /// The tracked mean.
    Level = 2,
    /// Half the logarithm of the tracked variance plus the parameter.
    Volatility = 3,
    /// Input minus its previous value.
    Difference = 4,
    /// Logarithm of one plus the seconds since the entity's latest event.
    Gap = 5,
    /// Logarithm of the decayed count, this event included.
    Rate = 6,
    /// Sine of the time of day.
    DaySine = 7,
    /// Cosine of the time of day.
    DayCosine = 8,
    /// What a channel says of the input: `-log10` of a tail probability, more or less.
    Surprise = 9,
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Value,
        Self::Deviation,
        Self::Level,
        Self::Volatility,
        Self::Difference,
        Self::Gap,
        Self::Rate,
        Self::DaySine,
        Self::DayCosine,
        Self::Surprise,
    ];

    /// Whether it can look at a tracker of this kind; `None` stands for no tracker at all.
    pub fn looks_at(self, tracker: Option<Tracker>) -> bool {
        match self {
            Self::Deviation | Self::Level | Self::Volatility => tracker == Some(Tracker::Average),
            Self::Difference => tracker == Some(Tracker::Previous),
            Self::Rate => tracker == Some(Tracker::Count),
            Self::Surprise => tracker.is_some_and(Tracker::is_channel),
            Self::Value | Self::Gap | Self::DaySine | Self::DayCosine => true,
        }
    }

    /// Whether it looks at the event's time rather than at an input.
    pub fn is_of_time(self) -> bool {
        matches!(self, Self::Gap | Self::Rate | Self::DaySine | Self::DayCosine)
    }

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(code as usize).copied()
    }
}

/// Feature number `index` of a row, not scaled yet; `None` when it cannot be computed.
///
/// A channel updates its words in the same step, unless the row is `late`.
pub(crate) fn feature(
    model: &Pipeline<'_>,
    index: usize,
    time_ms: f64,
    inputs: &[f64],
    state: &mut [f64],
    late: bool,
) -> Option<f64> {
    let [code, input, tracker, _] = model.features[index];
    let [parameter, ..] = model.feature_parameters[index];
    let value = || scaled_input(model, input as usize, inputs);
    let word = || model.trackers[tracker as usize][2] as usize;
    let seen = state[SEEN] > 0.0;
    let elapsed_ms = || if seen { larger(time_ms - state[LATEST_MS], 0.0) } else { 0.0 };
    let day = || time_ms / DAY_MS;
    match Feature::from_code(code)? {
        Feature::Value => value(),
        Feature::Deviation => {
            let (mean, variance) = average(state, word())?;
            Some((value()? - mean) / sqrt(variance + parameter))
        }
        Feature::Level => average(state, word()).map(|(mean, _)| mean),
        Feature::Volatility => {
            average(state, word()).map(|(_, variance)| 0.5 * libm::log(variance + parameter))
        }
        Feature::Difference => {
            let word = word();
            if state[word] > 0.0 { Some(value()? - state[word + 1]) } else { None }
        }
        Feature::Gap => seen.then(|| libm::log1p(elapsed_ms() / 1000.0)),
        Feature::Rate => {
            let time_constant = Tracked::of(model, tracker as usize)?.parameters[0];
            Some(libm::log(1.0 + state[word()] * libm::exp(-elapsed_ms() / time_constant)))
        }
        Feature::DaySine => Some(sine_of_turn(day())),
        Feature::DayCosine => Some(sine_of_turn(day() + 0.25)),
        Feature::Surprise => {
            let tracked = Tracked::of(model, tracker as usize)?;
            let event = Event { time_ms, value: inputs[input as usize] };
            if !event.value.is_finite() {
                return None;
            }
            Some(tracked.surprise(&event, state, late))
        }
    }
}

/// Sine of an angle given in turns, to about 1e-6 (Taylor series to the 11th power on a quarter
/// turn). `libm`'s is exact for any angle, and its tables would be the largest part of a module.
fn sine_of_turn(turn: f64) -> f64 {
    let turn = turn - libm::floor(turn);
    // A quarter turn each side of zero has all values.
    let folded = if turn < 0.25 {
        turn
    } else if turn < 0.75 {
        0.5 - turn
    } else {
        turn - 1.0
    };
    let x = folded * core::f64::consts::TAU;
    let square = x * x;
    let terms = [1.0 / 39_916_800.0, 1.0 / 362_880.0, 1.0 / 5040.0, 1.0 / 120.0, 1.0 / 6.0];
    let [t11, t9, t7, t5, t3] = terms;
    x * (1.0 - square * (t3 - square * (t5 - square * (t7 - square * (t9 - square * t11)))))
}

/// Tracked mean and variance, once a value has been seen.
fn average(state: &[f64], word: usize) -> Option<(f64, f64)> {
    (state[word] > 0.0).then(|| (state[word + 1], state[word + 2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sine_of_turns_is_the_sine() {
        for step in -400..400 {
            let turn = f64::from(step) / 100.0;
            let exact = libm::sin(turn * core::f64::consts::TAU);
            assert!((sine_of_turn(turn) - exact).abs() < 1e-6, "{turn}");
        }
    }
}
