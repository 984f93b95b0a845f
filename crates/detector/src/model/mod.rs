//! How a model's parameters lie in memory: flat arrays in tagged sections, read in place.
//!
//! ```text
//! u32 magic "TWNG" | u32 version | u32 bytes in all | u32 sections
//! per section: u32 tag | u32 offset | u32 bytes | u32 instance
//! the sections, each at a multiple of eight
//! ```
//! All numbers are little-endian. The instance tells apart the sections of several views or parts.
//! [`Model::parse`] checks every index once, so that scoring has nothing left to check.

mod sections;

use crate::alarms::Alarms;
use crate::calibration::Calibration;
use crate::part::Parts;
use core::fmt;

#[cfg(feature = "encode")]
pub(crate) use sections::Writer;
pub(crate) use sections::{Sections, Tag};

/// Words of an entity's state that are there for every detector: events seen, latest event time.
pub const STATE_WORDS_COMMON: u32 = 2;

/// A model's parameters as borrowed arrays.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// From inputs to features.
    pub pipeline: Pipeline<'a>,
    /// From features to a raw score.
    pub parts: Parts<'a>,
    /// From raw score to score.
    pub calibration: Calibration<'a>,
    /// When a score is told.
    pub alarms: Alarms,
}

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

/// Why bytes are no model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelError {
    /// Magic number, version, length or directory are wrong.
    Header,
    /// A section is missing, misplaced or of the wrong length; its tag.
    Section(u32),
    /// A value is out of its range; the section's tag.
    Value(u32),
}

impl fmt::Display for ModelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => formatter.write_str("model has no readable header"),
            Self::Section(tag) => {
                write!(formatter, "model's section {tag} is missing or has a wrong size")
            }
            Self::Value(tag) => {
                write!(formatter, "model's section {tag} holds a value out of range")
            }
        }
    }
}

impl core::error::Error for ModelError {}

impl<'a> Model<'a> {
    /// Reads a model in place; `bytes` must start at a multiple of eight.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let sections = Sections::parse(bytes)?;
        let pipeline = Pipeline::parse(&sections)?;
        Ok(Self {
            pipeline,
            parts: Parts::parse(&sections, pipeline.features.len())?,
            calibration: Calibration::parse(&sections)?,
            alarms: Alarms::parse(&sections, pipeline.shape.state_words)?,
        })
    }

    /// The bytes that [`Self::parse`] reads, as words so that they are aligned.
    #[cfg(feature = "encode")]
    pub fn encode(&self) -> alloc::vec::Vec<u64> {
        let mut writer = Writer::default();
        self.pipeline.write(&mut writer);
        self.parts.write(&mut writer);
        writer.section(Tag::CALIBRATION_RAW, self.calibration.curve.raw);
        writer.section(Tag::CALIBRATION_SCORE, self.calibration.curve.value);
        writer.section(Tag::CALIBRATION_THRESHOLD, &[self.calibration.threshold]);
        self.alarms.write(&mut writer);
        writer.finish()
    }
}

impl<'a> Pipeline<'a> {
    fn parse(sections: &Sections<'a>) -> Result<Self, ModelError> {
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
    fn write(&self, writer: &mut Writer) {
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

    /// Checks everything that [`crate::pipeline::row`] relies on.
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
        ensure(crate::pipeline::check(self).is_some(), Tag::FEATURES)?;
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

pub(crate) fn all_finite(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite())
}

pub(crate) fn all_finite_f32(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

pub(crate) fn ensure(holds: bool, tag: Tag) -> Result<(), ModelError> {
    if holds { Ok(()) } else { Err(ModelError::Value(tag.number())) }
}
