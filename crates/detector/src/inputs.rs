//! What a row is read with: the parameters of the pipeline, and inputs in units of their scale.

pub use crate::scaling::VALUE_MAX;
use crate::scaling::scaled;

/// Words of an entity's state that are there for every detector: events seen, latest event time.
pub const STATE_WORDS_COMMON: u32 = 2;

/// Words of state: events seen so far, time of the latest in milliseconds.
pub(crate) const SEEN: usize = 0;
pub(crate) const LATEST_MS: usize = 1;

/// The part of a model that computes features.
#[derive(Clone, Copy, Debug)]
pub struct Pipeline<'a> {
    /// Sizes.
    pub shape: Shape,
    /// An event older than its entity's latest by more than this many milliseconds is late.
    pub lateness_ms: f64,
    /// Per numeric input: centre and reciprocal scale.
    pub numbers: &'a [[f64; 2]],
    /// What is remembered of an entity: `[operation, input, state word, first parameter]`.
    pub trackers: &'a [[u32; 4]],
    /// Parameters of the trackers, as many as each operation takes.
    pub tracker_parameters: &'a [f64],
    /// `[operation, input, tracker, 0]`.
    pub features: &'a [[u32; 4]],
    /// Per feature: parameter, centre, reciprocal scale.
    pub feature_parameters: &'a [[f64; 3]],
    /// Per categorical input: first entry and number of entries in the tables below.
    pub category_ranges: &'a [[u32; 2]],
    /// Codes of known categories, ascending within an input.
    pub category_codes: &'a [f64],
    /// What each known category counts as.
    pub category_values: &'a [f64],
    /// What an unknown category counts as, per categorical input.
    pub category_unseen: &'a [f64],
}

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Inputs of a row, numbers first.
    pub fields: u32,
    /// How many of them are numbers.
    pub numeric: u32,
    /// Words of eight bytes that an entity's state has.
    pub state_words: u32,
    /// Events of an entity before its verdicts count.
    pub warm_up_events: u32,
}

/// An input in units of its scale; `None` when it is missing.
#[inline]
pub(crate) fn scaled_input(model: &Pipeline<'_>, input: usize, inputs: &[f64]) -> Option<f64> {
    let value = inputs[input];
    if !value.is_finite() {
        return None;
    }
    Some(match model.numbers.get(input) {
        Some(scale) => scaled(value, *scale),
        None => category_value(model, input - model.numbers.len(), value),
    })
}

#[inline(never)]
fn category_value(model: &Pipeline<'_>, index: usize, code: f64) -> f64 {
    let [start, count] = model.category_ranges[index];
    let range = start as usize..(start + count) as usize;
    let codes = &model.category_codes[range.clone()];
    match codes.binary_search_by(|known| known.total_cmp(&code)) {
        Ok(place) => model.category_values[range.start + place],
        Err(_) => model.category_unseen[index],
    }
}
