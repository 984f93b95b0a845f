//! The directory of a model's bytes: which section lies where, read and written.

use bytemuck::{Pod, try_cast_slice};
use core::fmt;

const MAGIC: u32 = u32::from_le_bytes(*b"TWNG");
const VERSION: u32 = 4;
const HEADER_BYTES: usize = 16;
const ENTRY_BYTES: usize = 16;

/// Sections by what they hold. A part's sections have a number of its own from [`Tag::PART`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u32);

impl Tag {
    pub(crate) const SHAPE: Self = Self(1);
    pub(crate) const RULES: Self = Self(2);
    pub(crate) const NUMBERS: Self = Self(3);
    pub(crate) const TRACKERS: Self = Self(4);
    pub(crate) const TRACKER_PARAMETERS: Self = Self(5);
    pub(crate) const FEATURES: Self = Self(6);
    pub(crate) const FEATURE_PARAMETERS: Self = Self(7);
    pub(crate) const CATEGORY_RANGES: Self = Self(8);
    pub(crate) const CATEGORY_CODES: Self = Self(9);
    pub(crate) const CATEGORY_VALUES: Self = Self(10);
    pub(crate) const CATEGORY_UNSEEN: Self = Self(11);
    /// How many views, and for each part its kind and view.
    pub(crate) const VIEWS: Self = Self(20);
    pub(crate) const PARTS: Self = Self(21);
    pub(crate) const FUSION: Self = Self(22);
    pub(crate) const WEIGHTS: Self = Self(23);
    pub(crate) const CALIBRATION_RAW: Self = Self(30);
    pub(crate) const CALIBRATION_SCORE: Self = Self(31);
    pub(crate) const CALIBRATION_THRESHOLD: Self = Self(32);
    pub(crate) const ALARMS: Self = Self(33);
    pub(crate) const VIEW: Self = Self(40);
    pub(crate) const CURVE: Self = Self(50);
    pub(crate) const PART: Self = Self(60);

    /// The section number `field` of a view, curve or part.
    pub(crate) const fn field(self, field: u32) -> Self {
        Self(self.0 + field)
    }

    pub(crate) fn number(self) -> u32 {
        self.0
    }
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

/// The directory of a model's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sections<'a> {
    bytes: &'a [u8],
    entries: &'a [[u32; 4]],
    instance: u32,
}

impl<'a> Sections<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ModelError> {
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
        Ok(Self { bytes, entries, instance: 0 })
    }

    /// The sections of view, curve or part number `instance`.
    pub(crate) fn of(&self, instance: usize) -> Self {
        Self { instance: instance as u32, ..*self }
    }

    fn entry(&self, tag: Tag) -> Option<&[u32; 4]> {
        self.entries.iter().find(|entry| entry[0] == tag.0 && entry[3] == self.instance)
    }

    pub(crate) fn array<T: Pod>(&self, tag: Tag) -> Result<&'a [T], ModelError> {
        let wrong = ModelError::Section(tag.0);
        let [_, offset, length, _] = *self.entry(tag).ok_or(wrong)?;
        let end = offset.checked_add(length).ok_or(wrong)?;
        let section = self.bytes.get(offset as usize..end as usize).ok_or(wrong)?;
        // An empty section has no address worth checking.
        if section.is_empty() {
            return Ok(&[]);
        }
        try_cast_slice(section).map_err(|_misaligned| wrong)
    }

    pub(crate) fn one<T: Pod>(&self, tag: Tag) -> Result<&'a T, ModelError> {
        match self.array(tag)? {
            [one] => Ok(one),
            _ => Err(ModelError::Section(tag.0)),
        }
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

#[cfg(feature = "encode")]
pub(crate) use write::Writer;

#[cfg(feature = "encode")]
mod write {
    use super::{ENTRY_BYTES, HEADER_BYTES, MAGIC, Tag, VERSION};
    use alloc::vec::Vec;
    use bytemuck::{NoUninit, cast_slice};

    /// Collects sections; `instance` is the number of the view, curve or part being written.
    #[derive(Default)]
    pub(crate) struct Writer {
        sections: Vec<[u32; 4]>,
        body: Vec<u8>,
        pub(crate) instance: u32,
    }

    impl Writer {
        pub(crate) fn section<T: NoUninit>(&mut self, tag: Tag, values: &[T]) {
            let bytes: &[u8] = cast_slice(values);
            let (offset, length) = (self.body.len() as u32, bytes.len() as u32);
            self.sections.push([tag.0, offset, length, self.instance]);
            self.body.extend_from_slice(bytes);
            self.body.resize(self.body.len().next_multiple_of(8), 0);
        }

        pub(crate) fn finish(self) -> Vec<u64> {
            let start = HEADER_BYTES + self.sections.len() * ENTRY_BYTES;
            let length = start + self.body.len();
            let mut words = alloc::vec![MAGIC, VERSION, length as u32, self.sections.len() as u32];
            for [tag, offset, bytes, instance] in &self.sections {
                words.extend([*tag, start as u32 + offset, *bytes, *instance]);
            }
            let mut all = alloc::vec![0u64; length / 8];
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut all);
            bytes[..start].copy_from_slice(cast_slice(&words));
            bytes[start..].copy_from_slice(&self.body);
            all
        }
    }
}
