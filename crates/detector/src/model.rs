//! How a model's parameters lie in memory: flat arrays in tagged sections, read in place.
//!
//! ```text
//! u32 magic "TWNG" | u32 version | u32 bytes in all | u32 sections
//! per section: u32 tag | u32 offset | u32 bytes | u32 zero
//! the sections, each at a multiple of eight
//! ```
//! All numbers are little-endian. [`Model::parse`] checks every index once, so that scoring has
//! nothing left to check.

use bytemuck::{Pod, try_cast_slice};
use core::fmt;

const MAGIC: u32 = u32::from_le_bytes(*b"TWNG");
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;

/// Words of an entity's state that are there for every detector: events seen, latest event time.
pub const STATE_WORDS_COMMON: u32 = 2;

/// Sections by what they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Tag {
    Shape = 1,
    Rules = 2,
    Numbers = 3,
    Trackers = 4,
    TrackerParameters = 5,
    Features = 6,
    FeatureParameters = 7,
    CategoryRanges = 8,
    CategoryCodes = 9,
    CategoryValues = 10,
    CategoryUnseen = 11,
    ForestShape = 20,
    ForestNorm = 21,
    ForestThresholds = 22,
    ForestFeatures = 23,
    ForestLeaves = 24,
    TailBounds = 25,
    TailFusion = 26,
    CalibrationRaw = 30,
    CalibrationScore = 31,
    CalibrationThreshold = 32,
}

/// A model's parameters as borrowed arrays.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    /// Sizes.
    pub shape: Shape,
    /// An event older than its entity's latest by more than this many milliseconds is late.
    pub lateness_ms: f64,
    /// Per numeric input: centre and reciprocal scale.
    pub numbers: &'a [[f64; 2]],
    /// What is remembered of an entity: `[operation, input, state word, 0]`.
    pub trackers: &'a [[u32; 4]],
    /// One parameter for each tracker.
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
    /// Isolation forest, when the model has one.
    pub forest: Option<ForestModel<'a>>,
    /// Tails, when the model looks at them beside the forest.
    pub tails: Option<TailModel<'a>>,
    /// Calibration, when the model has been calibrated.
    pub calibration: Option<CalibrationModel<'a>>,
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

/// An isolation forest's arrays; every tree has `1 << depth` places in each.
#[derive(Clone, Copy, Debug)]
pub struct ForestModel<'a> {
    /// Number of trees.
    pub trees: u32,
    /// Steps from the root to a leaf.
    pub depth: u32,
    /// One over the expected path length summed over all trees, in units of [`LEAF_UNITS`].
    pub norm: f64,
    /// Split thresholds in heap order: a row goes right when its feature is larger.
    pub thresholds: &'a [f32],
    /// Split features in heap order.
    pub features: &'a [u8],
    /// Path lengths in [`LEAF_UNITS`] to the step.
    pub leaves: &'a [u16],
}

/// How far out each feature usually goes, and how forest and tails are put together; see
/// [`crate::tails`].
#[derive(Clone, Copy, Debug)]
pub struct TailModel<'a> {
    /// Per feature: one over one plus the usual extent, downwards and upwards.
    pub bounds: &'a [[f64; 2]],
    /// Median and reciprocal spread of the forest's raw scores, then of the tails'.
    pub fusion: [f64; 4],
}

/// Units of a leaf's path length in one step. Whole units make the sum over trees exact, so that
/// its order cannot matter.
pub const LEAF_UNITS: f64 = 2048.0;

/// Deepest tree that a model may have.
pub const DEPTH_MAX: u32 = 12;

/// Most trees that a model may have; more would overflow the sum of path lengths.
pub const TREES_MAX: u32 = 1024;

/// Calibration arrays; see [`crate::calibration`].
#[derive(Clone, Copy, Debug)]
pub struct CalibrationModel<'a> {
    /// Raw scores, ascending.
    pub raw: &'a [f64],
    /// The score at each, ascending.
    pub score: &'a [f64],
    /// Raw score from which on a row is anomalous.
    pub threshold: f64,
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
        let [fields, numeric, state_words, warm_up_events] =
            *sections.one::<[u32; 4]>(Tag::Shape)?;
        let model = Self {
            shape: Shape { fields, numeric, state_words, warm_up_events },
            lateness_ms: *sections.one(Tag::Rules)?,
            numbers: sections.array(Tag::Numbers)?,
            trackers: sections.array(Tag::Trackers)?,
            tracker_parameters: sections.array(Tag::TrackerParameters)?,
            features: sections.array(Tag::Features)?,
            feature_parameters: sections.array(Tag::FeatureParameters)?,
            category_ranges: sections.array(Tag::CategoryRanges)?,
            category_codes: sections.array(Tag::CategoryCodes)?,
            category_values: sections.array(Tag::CategoryValues)?,
            category_unseen: sections.array(Tag::CategoryUnseen)?,
            forest: if sections.has(Tag::ForestShape) {
                Some(ForestModel::parse(&sections)?)
            } else {
                None
            },
            tails: if sections.has(Tag::TailBounds) {
                let fusion = *sections.one(Tag::TailFusion)?;
                Some(TailModel { bounds: sections.array(Tag::TailBounds)?, fusion })
            } else {
                None
            },
            calibration: if sections.has(Tag::CalibrationRaw) {
                Some(CalibrationModel::parse(&sections)?)
            } else {
                None
            },
        };
        model.check()?;
        Ok(model)
    }

    fn check(&self) -> Result<(), ModelError> {
        let Shape { fields, numeric, state_words, .. } = self.shape;
        let categorical = fields.wrapping_sub(numeric) as usize;
        ensure(numeric <= fields && (1..=255).contains(&fields), Tag::Shape)?;
        ensure((STATE_WORDS_COMMON..=8192).contains(&state_words), Tag::Shape)?;
        ensure(self.lateness_ms >= 0.0 && self.lateness_ms.is_finite(), Tag::Rules)?;
        ensure(self.numbers.len() == numeric as usize, Tag::Numbers)?;
        ensure(all_finite(self.numbers.as_flattened()), Tag::Numbers)?;
        ensure(self.tracker_parameters.len() == self.trackers.len(), Tag::TrackerParameters)?;
        ensure(all_finite(self.tracker_parameters), Tag::TrackerParameters)?;
        ensure((1..=255).contains(&self.features.len()), Tag::Features)?;
        ensure(self.feature_parameters.len() == self.features.len(), Tag::FeatureParameters)?;
        ensure(all_finite(self.feature_parameters.as_flattened()), Tag::FeatureParameters)?;
        ensure(crate::pipeline::check(self).is_some(), Tag::Features)?;
        ensure(self.category_ranges.len() == categorical, Tag::CategoryRanges)?;
        ensure(self.category_unseen.len() == categorical, Tag::CategoryUnseen)?;
        ensure(self.category_values.len() == self.category_codes.len(), Tag::CategoryValues)?;
        ensure(
            all_finite(self.category_values) && all_finite(self.category_unseen),
            Tag::CategoryValues,
        )?;
        for [start, count] in self.category_ranges {
            let end = start.checked_add(*count).map(|end| end as usize);
            let codes = end.and_then(|end| self.category_codes.get(*start as usize..end));
            ensure(
                codes.is_some_and(|codes| codes.is_sorted_by(|a, b| a < b)),
                Tag::CategoryRanges,
            )?;
        }
        if let Some(tails) = &self.tails {
            ensure(tails.bounds.len() == self.features.len(), Tag::TailBounds)?;
            ensure(all_finite(tails.bounds.as_flattened()), Tag::TailBounds)?;
            ensure(all_finite(&tails.fusion), Tag::TailFusion)?;
        }
        match &self.forest {
            Some(forest) => forest.check(self.features.len()),
            None => Ok(()),
        }
    }
}

impl<'a> ForestModel<'a> {
    fn parse(sections: &Sections<'a>) -> Result<Self, ModelError> {
        let [trees, depth] = *sections.one::<[u32; 2]>(Tag::ForestShape)?;
        Ok(Self {
            trees,
            depth,
            norm: *sections.one(Tag::ForestNorm)?,
            thresholds: sections.array(Tag::ForestThresholds)?,
            features: sections.array(Tag::ForestFeatures)?,
            leaves: sections.array(Tag::ForestLeaves)?,
        })
    }

    fn check(&self, features: usize) -> Result<(), ModelError> {
        ensure((1..=TREES_MAX).contains(&self.trees), Tag::ForestShape)?;
        ensure((1..=DEPTH_MAX).contains(&self.depth), Tag::ForestShape)?;
        let nodes = (self.trees as usize) << self.depth;
        ensure(self.norm.is_finite() && self.norm > 0.0, Tag::ForestNorm)?;
        ensure(self.thresholds.len() == nodes, Tag::ForestThresholds)?;
        ensure(self.features.len() == nodes, Tag::ForestFeatures)?;
        ensure(self.leaves.len() == nodes, Tag::ForestLeaves)?;
        ensure(
            self.features.iter().all(|feature| usize::from(*feature) < features),
            Tag::ForestFeatures,
        )
    }
}

impl<'a> CalibrationModel<'a> {
    fn parse(sections: &Sections<'a>) -> Result<Self, ModelError> {
        let model = Self {
            raw: sections.array(Tag::CalibrationRaw)?,
            score: sections.array(Tag::CalibrationScore)?,
            threshold: *sections.one(Tag::CalibrationThreshold)?,
        };
        ensure(model.raw.len() >= 2 && all_finite(model.raw), Tag::CalibrationRaw)?;
        ensure(model.raw.is_sorted_by(|a, b| a < b), Tag::CalibrationRaw)?;
        ensure(
            model.score.len() == model.raw.len() && all_finite(model.score),
            Tag::CalibrationScore,
        )?;
        ensure(model.score.is_sorted(), Tag::CalibrationScore)?;
        ensure(model.threshold.is_finite(), Tag::CalibrationThreshold)?;
        Ok(model)
    }
}

fn all_finite(values: &[f64]) -> bool {
    values.iter().all(|value| value.is_finite())
}

fn ensure(holds: bool, tag: Tag) -> Result<(), ModelError> {
    if holds { Ok(()) } else { Err(ModelError::Value(tag as u32)) }
}

/// The directory of a model's bytes.
struct Sections<'a> {
    bytes: &'a [u8],
    entries: &'a [[u32; 4]],
}

impl<'a> Sections<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let header: &[u32] = bytes
            .get(..HEADER_BYTES)
            .and_then(|header| try_cast_slice(header).ok())
            .ok_or(ModelError::Header)?;
        let &[MAGIC, VERSION, length, count] = header else { return Err(ModelError::Header) };
        let end = (count as usize)
            .checked_mul(ENTRY_BYTES)
            .and_then(|bytes| bytes.checked_add(HEADER_BYTES));
        let entries = end
            .and_then(|end| bytes.get(HEADER_BYTES..end))
            .and_then(|entries| try_cast_slice(entries).ok())
            .filter(|_| length as usize == bytes.len())
            .ok_or(ModelError::Header)?;
        Ok(Self { bytes, entries })
    }

    fn entry(&self, tag: Tag) -> Option<&[u32; 4]> {
        self.entries.iter().find(|entry| entry[0] == tag as u32)
    }

    fn has(&self, tag: Tag) -> bool {
        self.entry(tag).is_some()
    }

    fn array<T: Pod>(&self, tag: Tag) -> Result<&'a [T], ModelError> {
        let wrong = ModelError::Section(tag as u32);
        let [_, offset, length, _] = *self.entry(tag).ok_or(wrong)?;
        let end = offset.checked_add(length).ok_or(wrong)?;
        let section = self.bytes.get(offset as usize..end as usize).ok_or(wrong)?;
        // An empty section has no address worth checking.
        if section.is_empty() {
            return Ok(&[]);
        }
        try_cast_slice(section).map_err(|_misaligned| wrong)
    }

    fn one<T: Pod>(&self, tag: Tag) -> Result<&'a T, ModelError> {
        match self.array(tag)? {
            [one] => Ok(one),
            _ => Err(ModelError::Section(tag as u32)),
        }
    }
}

#[cfg(feature = "encode")]
pub use encode::{CalibrationParts, ForestParts, ModelParts, TailParts};

#[cfg(feature = "encode")]
mod encode {
    use super::{ENTRY_BYTES, HEADER_BYTES, MAGIC, Shape, Tag, VERSION};
    use alloc::vec::Vec;
    use bytemuck::{NoUninit, cast_slice};

    /// A model's parameters as owned arrays; the fields are those of [`super::Model`].
    #[derive(Clone, Debug, PartialEq)]
    #[expect(missing_docs, reason = "the fields are documented where they are read")]
    pub struct ModelParts {
        pub shape: Shape,
        pub lateness_ms: f64,
        pub numbers: Vec<[f64; 2]>,
        pub trackers: Vec<[u32; 4]>,
        pub tracker_parameters: Vec<f64>,
        pub features: Vec<[u32; 4]>,
        pub feature_parameters: Vec<[f64; 3]>,
        pub category_ranges: Vec<[u32; 2]>,
        pub category_codes: Vec<f64>,
        pub category_values: Vec<f64>,
        pub category_unseen: Vec<f64>,
        pub forest: Option<ForestParts>,
        pub tails: Option<TailParts>,
        pub calibration: Option<CalibrationParts>,
    }

    /// An isolation forest's arrays; see [`super::ForestModel`].
    #[derive(Clone, Debug, PartialEq)]
    #[expect(missing_docs, reason = "the fields are documented where they are read")]
    pub struct ForestParts {
        pub trees: u32,
        pub depth: u32,
        pub norm: f64,
        pub thresholds: Vec<f32>,
        pub features: Vec<u8>,
        pub leaves: Vec<u16>,
    }

    /// Tails; see [`super::TailModel`].
    #[derive(Clone, Debug, PartialEq)]
    #[expect(missing_docs, reason = "the fields are documented where they are read")]
    pub struct TailParts {
        pub bounds: Vec<[f64; 2]>,
        pub fusion: [f64; 4],
    }

    /// Calibration arrays; see [`super::CalibrationModel`].
    #[derive(Clone, Debug, PartialEq)]
    #[expect(missing_docs, reason = "the fields are documented where they are read")]
    pub struct CalibrationParts {
        pub raw: Vec<f64>,
        pub score: Vec<f64>,
        pub threshold: f64,
    }

    impl ModelParts {
        /// The bytes that [`super::Model::parse`] reads, as words so that they are aligned.
        pub fn encode(&self) -> Vec<u64> {
            let mut writer = Writer::default();
            let Shape { fields, numeric, state_words, warm_up_events } = self.shape;
            writer.section(Tag::Shape, &[fields, numeric, state_words, warm_up_events]);
            writer.section(Tag::Rules, &[self.lateness_ms]);
            writer.section(Tag::Numbers, &self.numbers);
            writer.section(Tag::Trackers, &self.trackers);
            writer.section(Tag::TrackerParameters, &self.tracker_parameters);
            writer.section(Tag::Features, &self.features);
            writer.section(Tag::FeatureParameters, &self.feature_parameters);
            writer.section(Tag::CategoryRanges, &self.category_ranges);
            writer.section(Tag::CategoryCodes, &self.category_codes);
            writer.section(Tag::CategoryValues, &self.category_values);
            writer.section(Tag::CategoryUnseen, &self.category_unseen);
            if let Some(forest) = &self.forest {
                writer.section(Tag::ForestShape, &[forest.trees, forest.depth]);
                writer.section(Tag::ForestNorm, &[forest.norm]);
                writer.section(Tag::ForestThresholds, &forest.thresholds);
                writer.section(Tag::ForestFeatures, &forest.features);
                writer.section(Tag::ForestLeaves, &forest.leaves);
            }
            if let Some(tails) = &self.tails {
                writer.section(Tag::TailBounds, &tails.bounds);
                writer.section(Tag::TailFusion, &[tails.fusion]);
            }
            if let Some(calibration) = &self.calibration {
                writer.section(Tag::CalibrationRaw, &calibration.raw);
                writer.section(Tag::CalibrationScore, &calibration.score);
                writer.section(Tag::CalibrationThreshold, &[calibration.threshold]);
            }
            writer.finish()
        }
    }

    #[derive(Default)]
    struct Writer {
        sections: Vec<(Tag, usize, usize)>,
        body: Vec<u8>,
    }

    impl Writer {
        fn section<T: NoUninit>(&mut self, tag: Tag, values: &[T]) {
            let bytes: &[u8] = cast_slice(values);
            self.sections.push((tag, self.body.len(), bytes.len()));
            self.body.extend_from_slice(bytes);
            self.body.resize(self.body.len().next_multiple_of(8), 0);
        }

        fn finish(self) -> Vec<u64> {
            let start = HEADER_BYTES + self.sections.len() * ENTRY_BYTES;
            let length = start + self.body.len();
            let mut words = alloc::vec![MAGIC, VERSION, length as u32, self.sections.len() as u32];
            for (tag, offset, bytes) in &self.sections {
                words.extend([*tag as u32, (start + offset) as u32, *bytes as u32, 0]);
            }
            let mut all = alloc::vec![0u64; length / 8];
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut all);
            bytes[..start].copy_from_slice(cast_slice(&words));
            bytes[start..].copy_from_slice(&self.body);
            all
        }
    }
}
