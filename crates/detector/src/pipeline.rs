//! From an input row and an entity's past to features.
//!
//! Features look at the row and at what is remembered from before it; only then is the row itself
//! remembered. What is remembered are [`Tracker`]s, words of an entity's state; a state of zeros is
//! an entity never seen.

use crate::model::{Model, STATE_WORDS_COMMON};

/// Largest absolute value of a scaled input or feature. Beyond a million scales all values are
/// equally far, and their squares still fit.
pub const VALUE_MAX: f64 = 1e6;

/// Words of state: events seen so far, time of the latest in milliseconds.
const SEEN: usize = 0;
const LATEST_MS: usize = 1;

const DAY_MS: f64 = 86_400_000.0;

/// What is remembered of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Tracker {
    /// Exponentially weighted mean and variance of an input: words are the values seen, mean and
    /// variance; the parameter is the gain, and the first values count in full (gain at least 1/n).
    Average = 0,
    /// The input's last value: words are whether there is one, and it.
    Previous = 1,
    /// Events so far, decaying with time: one word; the parameter is the time constant in ms.
    Count = 2,
}

impl Tracker {
    /// Words of state that it takes.
    pub fn words(self) -> u32 {
        match self {
            Self::Average => 3,
            Self::Previous => 2,
            Self::Count => 1,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        [Self::Average, Self::Previous, Self::Count]
            .into_iter()
            .find(|tracker| *tracker as u32 == code)
    }
}

/// What is computed from a row and the trackers.
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
}

impl Feature {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Value,
        Self::Deviation,
        Self::Level,
        Self::Volatility,
        Self::Difference,
        Self::Gap,
        Self::Rate,
        Self::DaySine,
        Self::DayCosine,
    ];

    /// The tracker that it looks at.
    pub fn tracker(self) -> Option<Tracker> {
        match self {
            Self::Deviation | Self::Level | Self::Volatility => Some(Tracker::Average),
            Self::Difference => Some(Tracker::Previous),
            Self::Rate => Some(Tracker::Count),
            Self::Value | Self::Gap | Self::DaySine | Self::DayCosine => None,
        }
    }

    /// Whether it looks at the event's time rather than at an input.
    pub fn is_of_time(self) -> bool {
        matches!(self, Self::Gap | Self::Rate | Self::DaySine | Self::DayCosine)
    }

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| *feature as u32 == code)
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKind {
    /// Every input was missing: nothing was computed and nothing remembered.
    pub empty: bool,
    /// Too old: nothing was remembered.
    pub late: bool,
    /// Seen too rarely so far for a verdict.
    pub warming_up: bool,
}

/// Checks operations and indices, so that [`row`] need not.
pub(crate) fn check(model: &Model<'_>) -> Option<()> {
    let fields = model.shape.fields;
    for ([code, input, word, _], parameter) in model.trackers.iter().zip(model.tracker_parameters) {
        let tracker = Tracker::from_code(*code)?;
        // A time constant of zero would divide by it.
        if tracker == Tracker::Count && *parameter <= 0.0 {
            return None;
        }
        let end = word.checked_add(tracker.words())?;
        let input_known = *input < fields || tracker == Tracker::Count;
        if !input_known || *word < STATE_WORDS_COMMON || end > model.shape.state_words {
            return None;
        }
    }
    for [code, input, tracker, _] in model.features {
        let feature = Feature::from_code(*code)?;
        let tracked = model
            .trackers
            .get(*tracker as usize)
            .and_then(|tracker| Tracker::from_code(tracker[0]));
        let tracker_fits = feature.tracker().is_none() || feature.tracker() == tracked;
        // The place behind the last input stands for time.
        let input_known = *input < fields || (feature.is_of_time() && *input == fields);
        if !tracker_fits || !input_known {
            return None;
        }
    }
    Some(())
}

/// Computes a row's features into `features` (one for each of the model's) and updates `state`.
///
/// `inputs` has one value for each field; what is not finite is missing. A feature that cannot be
/// computed takes its centre, zero.
pub fn row(
    model: &Model<'_>,
    time_ms: f64,
    inputs: &[f64],
    state: &mut [f64],
    features: &mut [f32],
) -> RowKind {
    let time_ms = if time_ms.is_finite() { time_ms } else { 0.0 };
    let seen = state[SEEN];
    let kind = RowKind {
        empty: inputs.iter().all(|input| !input.is_finite()),
        late: seen > 0.0 && time_ms < state[LATEST_MS] - model.lateness_ms,
        warming_up: seen < f64::from(model.shape.warm_up_events),
    };
    if kind.empty {
        features.fill(0.0);
        return kind;
    }
    for (index, feature) in features.iter_mut().enumerate() {
        *feature = scaled_feature(model, index, time_ms, inputs, state);
    }
    if !kind.late {
        remember(model, time_ms, inputs, state);
    }
    kind
}

fn scaled_feature(
    model: &Model<'_>,
    index: usize,
    time_ms: f64,
    inputs: &[f64],
    state: &[f64],
) -> f32 {
    let [_, centre, scale] = model.feature_parameters[index];
    match feature(model, index, time_ms, inputs, state) {
        Some(value) => clamp((value - centre) * scale) as f32,
        None => 0.0,
    }
}

fn feature(
    model: &Model<'_>,
    index: usize,
    time_ms: f64,
    inputs: &[f64],
    state: &[f64],
) -> Option<f64> {
    let [code, input, tracker, _] = model.features[index];
    let [parameter, ..] = model.feature_parameters[index];
    let value = || scaled_input(model, input as usize, inputs);
    let word = || model.trackers[tracker as usize][2] as usize;
    let seen = state[SEEN] > 0.0;
    let elapsed_ms = if seen { (time_ms - state[LATEST_MS]).max(0.0) } else { 0.0 };
    let day = time_ms / DAY_MS;
    match Feature::from_code(code)? {
        Feature::Value => value(),
        Feature::Deviation => {
            let (mean, variance) = average(state, word())?;
            Some((value()? - mean) / libm::sqrt(variance + parameter))
        }
        Feature::Level => average(state, word()).map(|(mean, _)| mean),
        Feature::Volatility => {
            average(state, word()).map(|(_, variance)| 0.5 * libm::log(variance + parameter))
        }
        Feature::Difference => {
            let word = word();
            if state[word] > 0.0 { Some(value()? - state[word + 1]) } else { None }
        }
        Feature::Gap => seen.then(|| libm::log1p(elapsed_ms / 1000.0)),
        Feature::Rate => {
            let time_constant = model.tracker_parameters[tracker as usize];
            Some(libm::log(1.0 + state[word()] * libm::exp(-elapsed_ms / time_constant)))
        }
        Feature::DaySine => Some(sine_of_turn(day)),
        Feature::DayCosine => Some(sine_of_turn(day + 0.25)),
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

fn remember(model: &Model<'_>, time_ms: f64, inputs: &[f64], state: &mut [f64]) {
    let seen = state[SEEN] > 0.0;
    let elapsed_ms = if seen { (time_ms - state[LATEST_MS]).max(0.0) } else { 0.0 };
    for ([code, input, word, _], parameter) in model.trackers.iter().zip(model.tracker_parameters) {
        let word = *word as usize;
        let Some(tracker) = Tracker::from_code(*code) else { continue };
        if tracker == Tracker::Count {
            state[word] = state[word] * libm::exp(-elapsed_ms / parameter) + 1.0;
            continue;
        }
        let Some(value) = scaled_input(model, *input as usize, inputs) else { continue };
        if tracker == Tracker::Previous {
            state[word] = 1.0;
            state[word + 1] = value;
        } else {
            update_average(&mut state[word..word + 3], *parameter, value);
        }
    }
    state[SEEN] += 1.0;
    state[LATEST_MS] = if seen { state[LATEST_MS].max(time_ms) } else { time_ms };
}

/// One step of the exponentially weighted mean and variance (Finch 2009, "Incremental calculation
/// of weighted mean and variance", section 9).
fn update_average(words: &mut [f64], gain: f64, value: f64) {
    words[0] += 1.0;
    let gain = gain.max(1.0 / words[0]);
    let difference = value - words[1];
    let step = gain * difference;
    words[1] += step;
    words[2] = (1.0 - gain) * (words[2] + difference * step);
}

/// An input in units of its scale; `None` when it is missing.
fn scaled_input(model: &Model<'_>, input: usize, inputs: &[f64]) -> Option<f64> {
    let value = inputs[input];
    if !value.is_finite() {
        return None;
    }
    Some(match model.numbers.get(input) {
        Some([centre, scale]) => clamp((value - centre) * scale),
        None => category_value(model, input - model.numbers.len(), value),
    })
}

fn category_value(model: &Model<'_>, index: usize, code: f64) -> f64 {
    let [start, count] = model.category_ranges[index];
    let range = start as usize..(start + count) as usize;
    let codes = &model.category_codes[range.clone()];
    match codes.binary_search_by(|known| known.total_cmp(&code)) {
        Ok(place) => model.category_values[range.start + place],
        Err(_) => model.category_unseen[index],
    }
}

/// Brings a difference that may have overflowed back into range; never NaN, because neither factor
/// of the product is and a product with zero scale of an infinite difference is taken as zero.
#[expect(
    clippy::manual_clamp,
    reason = "its panic brings the formatting of floats into every module"
)]
fn clamp(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.max(-VALUE_MAX).min(VALUE_MAX) }
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

    #[test]
    fn averages_equal_the_slow_definition_while_all_values_count() {
        let values = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0];
        let mut words = [0.0; 3];
        for value in values {
            update_average(&mut words, 0.01, value);
        }
        let mean = values.iter().sum::<f64>() / 6.0;
        let variance =
            values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / 6.0;
        assert!(
            (words[1] - mean).abs() < 1e-12 && (words[2] - variance).abs() < 1e-12,
            "{words:?}"
        );
    }
}
