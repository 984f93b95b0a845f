//! How a model's parameters lie in memory: flat arrays in tagged sections, read in place.
//!
//! ```text
//! u32 magic "TWNG" | u32 version | u32 bytes in all | u32 sections
//! per section: u32 tag | u32 offset | u32 bytes | u32 instance
//! the sections, each at a multiple of eight
//! ```
//! All numbers are little-endian. The instance tells apart the sections of several views or parts.
//! [`Model::parse`] checks every index once, so that scoring has nothing left to check.

use crate::alarms::Alarms;
use crate::calibration::Calibration;
use crate::inputs::Pipeline;
use crate::part::Parts;
use crate::sections::{ModelError, Sections};

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
        let mut writer = crate::sections::Writer::default();
        self.pipeline.write(&mut writer);
        self.parts.write(&mut writer);
        writer.section(crate::sections::Tag::CALIBRATION_RAW, self.calibration.curve.raw);
        writer.section(crate::sections::Tag::CALIBRATION_SCORE, self.calibration.curve.value);
        writer.section(crate::sections::Tag::CALIBRATION_THRESHOLD, &[self.calibration.threshold]);
        self.alarms.write(&mut writer);
        writer.finish()
    }
}
