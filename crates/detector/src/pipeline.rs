//! From an input row and an entity's past to features.
//!
//! Features look at the row and at what is remembered from before it; only then is the row itself
//! remembered. What is remembered are [`Tracker`]s, words of an entity's
//! state; a state of zeros is an entity never seen.

use crate::feature::{Feature, feature};
use crate::inputs::{LATEST_MS, Pipeline, SEEN, STATE_WORDS_COMMON, Shape};
use crate::scaling::{Pair, scaled};
use crate::sections::{ModelError, Sections, Tag, all_finite, ensure};
use crate::tracker::{Tracked, Tracker, remember};
use core::slice::ChunksExact;

impl<'a> Pipeline<'a> {
    pub(crate) fn parse(sections: &Sections<'a>) -> Result<Self, ModelError> {
        let [fields, numeric, state_words, warm_up_events] =
            *sections.one::<[u32; 4]>(Tag::SHAPE)?;
        let pipeline = Self {
            shape: Shape { fields, numeric, state_words, warm_up_events },
            lateness_ms: *sections.one(Tag::RULES)?,
            numbers: sections.array(Tag::NUMBERS)?,
            trackers: sections.array(Tag::TRACKERS)?,
            tracker_parameters: sections.array(Tag::TRACKER_PARAMETERS)?,
            features: sections.array(Tag::FEATURES)?,
            feature_parameters: sections.array(Tag::FEATURE_PARAMETERS)?,
            category_ranges: sections.array(Tag::CATEGORY_RANGES)?,
            category_codes: sections.array(Tag::CATEGORY_CODES)?,
            category_values: sections.array(Tag::CATEGORY_VALUES)?,
            category_unseen: sections.array(Tag::CATEGORY_UNSEEN)?,
        };
        pipeline.check()?;
        Ok(pipeline)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        let Shape { fields, numeric, state_words, warm_up_events } = self.shape;
        writer.section(Tag::SHAPE, &[fields, numeric, state_words, warm_up_events]);
        writer.section(Tag::RULES, &[self.lateness_ms]);
        writer.section(Tag::NUMBERS, self.numbers);
        writer.section(Tag::TRACKERS, self.trackers);
        writer.section(Tag::TRACKER_PARAMETERS, self.tracker_parameters);
        writer.section(Tag::FEATURES, self.features);
        writer.section(Tag::FEATURE_PARAMETERS, self.feature_parameters);
        writer.section(Tag::CATEGORY_RANGES, self.category_ranges);
        writer.section(Tag::CATEGORY_CODES, self.category_codes);
        writer.section(Tag::CATEGORY_VALUES, self.category_values);
        writer.section(Tag::CATEGORY_UNSEEN, self.category_unseen);
    }

    /// Checks everything that [`Extractor`] relies on.
    pub fn check(&self) -> Result<(), ModelError> {
        let Shape { fields, numeric, state_words, .. } = self.shape;
        let categorical = fields.wrapping_sub(numeric) as usize;
        ensure(numeric <= fields && (1..=255).contains(&fields), Tag::SHAPE)?;
        ensure((STATE_WORDS_COMMON..=8192).contains(&state_words), Tag::SHAPE)?;
        ensure(self.lateness_ms >= 0.0 && self.lateness_ms.is_finite(), Tag::RULES)?;
        ensure(self.numbers.len() == numeric as usize, Tag::NUMBERS)?;
        ensure(all_finite(self.numbers.as_flattened()), Tag::NUMBERS)?;
        ensure(all_finite(self.tracker_parameters), Tag::TRACKER_PARAMETERS)?;
        ensure((1..=255).contains(&self.features.len()), Tag::FEATURES)?;
        ensure(self.feature_parameters.len() == self.features.len(), Tag::FEATURE_PARAMETERS)?;
        ensure(all_finite(self.feature_parameters.as_flattened()), Tag::FEATURE_PARAMETERS)?;
        ensure(check(self).is_some(), Tag::FEATURES)?;
        ensure(self.category_ranges.len() == categorical, Tag::CATEGORY_RANGES)?;
        ensure(self.category_unseen.len() == categorical, Tag::CATEGORY_UNSEEN)?;
        ensure(self.category_values.len() == self.category_codes.len(), Tag::CATEGORY_VALUES)?;
        ensure(
            all_finite(self.category_values) && all_finite(self.category_unseen),
            Tag::CATEGORY_VALUES,
        )?;
        for [start, count] in self.category_ranges {
            let end = start.checked_add(*count).map(|end| end as usize);
            let codes = end.and_then(|end| self.category_codes.get(*start as usize..end));
            ensure(
                codes.is_some_and(|codes| codes.is_sorted_by(|a, b| a < b)),
                Tag::CATEGORY_RANGES,
            )?;
        }
        Ok(())
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

/// Checks operations and indices, so that [`Extractor`] need not.
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

/// A bit for each feature.
type Bits = [u64; 4];

/// Computes features of rows.
#[derive(Clone, Copy, Debug)]
pub struct Extractor<'a> {
    model: Pipeline<'a>,
    /// Features that are numbers as they are. They need no past, so blocks of rows share the work.
    plain: Bits,
    /// The others.
    others: Bits,
}

impl<'a> Extractor<'a> {
    /// Of a checked pipeline.
    pub fn new(model: Pipeline<'a>) -> Self {
        let (mut plain, mut others) = ([0; 4], [0; 4]);
        for (index, [code, input, ..]) in model.features.iter().enumerate() {
            let is_plain = *code == Feature::Value as u32 && *input < model.shape.numeric;
            let bits = if is_plain { &mut plain } else { &mut others };
            bits[index / 64 % bits.len()] |= 1 << (index % 64);
        }
        Self { model, plain, others }
    }

    /// Writes those features of rows that are numbers as they are: from the fields of each row into
    /// rows that are `width` features apart. What is not finite is missing, and counts as zero, the
    /// centre of every feature.
    pub fn numbers(&self, inputs: &[f64], width: usize, block: &mut [f32]) {
        let fields = self.model.shape.fields as usize;
        let mut features = ones(self.plain);
        while let Some(first) = features.next() {
            // Of an odd number the last is computed twice.
            let pair = [first, features.next().unwrap_or(first)];
            let from = pair.map(|index| self.model.features[index][1] as usize);
            let scales = pair.map(|index| {
                let [_, centre, scale] = self.model.feature_parameters[index];
                [centre, scale]
            });
            let scaling = Pair::new(from.map(|input| self.model.numbers[input]), scales);
            numbers_of_two(&scaling, inputs.chunks_exact(fields), from, block, width, pair);
        }
    }

    /// Computes the other features of a row into `features`, which has a place for all, and updates
    /// `state`.
    ///
    /// `inputs` has one value for each field; what is not finite is missing. A feature that cannot be
    /// computed takes its centre, zero.
    pub fn row(
        &self,
        time_ms: f64,
        inputs: &[f64],
        state: &mut [f64],
        features: &mut [f32],
    ) -> RowKind {
        let model = &self.model;
        let time_ms = if time_ms.is_finite() { time_ms } else { 0.0 };
        let seen = state[SEEN];
        let kind = RowKind {
            empty: inputs.iter().all(|input| !input.is_finite()),
            late: seen > 0.0 && time_ms < state[LATEST_MS] - model.lateness_ms,
            warming_up: seen < f64::from(model.shape.warm_up_events),
        };
        // Most models have none, and a loop over nothing is not free in a module.
        let others = if self.others == [0; 4] { None } else { Some(ones(self.others)) };
        for index in others.into_iter().flatten() {
            let [_, centre, scale] = model.feature_parameters[index];
            let value = if kind.empty {
                None
            } else {
                feature(model, index, time_ms, inputs, state, kind.late)
            };
            features[index] = value.map_or(0.0, |value| scaled(value, [centre, scale]) as f32);
        }
        if !kind.empty && !kind.late {
            remember(model, time_ms, inputs, state);
        }
        kind
    }
}

/// Writes two features of rows; apart, so that engines keep all that it needs in registers.
#[inline(never)]
fn numbers_of_two(
    scaling: &Pair,
    inputs: ChunksExact<'_, f64>,
    [a, b]: [usize; 2],
    block: &mut [f32],
    width: usize,
    [first, second]: [usize; 2],
) {
    for (inputs, row) in inputs.zip(block.chunks_exact_mut(width)) {
        [row[first], row[second]] = scaling.of([inputs[a], inputs[b]]);
    }
}

/// The places of bits that are set, ascending.
fn ones(bits: Bits) -> impl Iterator<Item = usize> {
    bits.into_iter().enumerate().flat_map(|(word, mut bits)| {
        core::iter::from_fn(move || {
            let place = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
            bits &= bits - 1;
            Some(64 * word + place)
        })
    })
}
