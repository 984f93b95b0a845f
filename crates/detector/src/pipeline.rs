//! From an input row and an entity's past to features.
//!
//! Features look at the row and at what is remembered from before it; only then is the row itself
//! remembered. What is remembered are [`Tracker`](crate::tracker::Tracker)s, words of an entity's
//! state; a state of zeros is an entity never seen.

use crate::feature::{Feature, feature};
use crate::model::{Pipeline, STATE_WORDS_COMMON};
use crate::tracker::{Tracked, Tracker, remember};

/// Largest absolute value of a scaled input or feature. Beyond a million scales all values are
/// equally far, and their squares still fit.
pub const VALUE_MAX: f64 = 1e6;

/// Words of state: events seen so far, time of the latest in milliseconds.
pub(crate) const SEEN: usize = 0;
pub(crate) const LATEST_MS: usize = 1;

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
pub(crate) fn check(model: &Pipeline<'_>) -> Option<()> {
    let fields = model.shape.fields;
    for index in 0..model.trackers.len() {
        let tracked = Tracked::of(model, index)?;
        // A time constant of zero would divide by it.
        if tracked.tracker == Tracker::Count && tracked.parameters[0] <= 0.0 {
            return None;
        }
        let end = tracked.word.checked_add(tracked.tracker.words() as usize)?;
        let is_number = tracked.input < model.shape.numeric as usize;
        let input_known = tracked.input < fields as usize || tracked.tracker == Tracker::Count;
        if !input_known || (tracked.tracker.is_channel() && !is_number) {
            return None;
        }
        if tracked.word < STATE_WORDS_COMMON as usize || end > model.shape.state_words as usize {
            return None;
        }
    }
    for [code, input, tracker, _] in model.features {
        let feature = Feature::from_code(*code)?;
        let tracked = Tracked::of(model, *tracker as usize).map(|tracked| tracked.tracker);
        // The place behind the last input stands for time.
        let input_known = *input < fields || (feature.is_of_time() && *input == fields);
        if !feature.looks_at(tracked) || !input_known {
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
    model: &Pipeline<'_>,
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
        *feature = scaled_feature(model, index, time_ms, inputs, state, kind.late);
    }
    if !kind.late {
        remember(model, time_ms, inputs, state);
    }
    kind
}

fn scaled_feature(
    model: &Pipeline<'_>,
    index: usize,
    time_ms: f64,
    inputs: &[f64],
    state: &mut [f64],
    late: bool,
) -> f32 {
    let [_, centre, scale] = model.feature_parameters[index];
    match feature(model, index, time_ms, inputs, state, late) {
        Some(value) => clamp((value - centre) * scale) as f32,
        None => 0.0,
    }
}

/// An input in units of its scale; `None` when it is missing.
pub(crate) fn scaled_input(model: &Pipeline<'_>, input: usize, inputs: &[f64]) -> Option<f64> {
    let value = inputs[input];
    if !value.is_finite() {
        return None;
    }
    Some(match model.numbers.get(input) {
        Some([centre, scale]) => clamp((value - centre) * scale),
        None => category_value(model, input - model.numbers.len(), value),
    })
}

fn category_value(model: &Pipeline<'_>, index: usize, code: f64) -> f64 {
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
