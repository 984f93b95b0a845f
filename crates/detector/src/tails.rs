//! Tails: how far beyond the usual a row's most unusual feature lies.
//!
//! An isolation forest tells a row apart by where its trees split, and no tree splits beyond the
//! rows that it was grown on: far out is as good as further out. This looks at each feature alone.
//! A feature goes so many times beyond its usual extent on the same side; a row's surprise is the
//! logarithm of the largest of these.

use crate::sections::{ModelError, Sections, Tag, all_finite, ensure};

/// How far out each feature usually goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tails<'a> {
    /// Per feature: one over one plus the usual extent, downwards and upwards.
    pub bounds: &'a [[f64; 2]],
}

impl<'a> Tails<'a> {
    /// The surprise of a feature row: 0 where the most unusual feature is at its usual extent.
    pub fn surprise(&self, features: &[f32]) -> f64 {
        let mut largest = f64::MIN_POSITIVE;
        for (value, [below, above]) in features.iter().zip(self.bounds) {
            let value = f64::from(*value);
            // One scale is added on both sides of the fraction, so that small extents do not make
            // small distances large.
            let times = if value < 0.0 { (1.0 - value) * below } else { (1.0 + value) * above };
            if times > largest {
                largest = times;
            }
        }
        libm::log(largest)
    }

    pub(crate) fn parse(sections: &Sections<'a>, width: usize) -> Result<Self, ModelError> {
        let tag = Tag::PART.field(0);
        let tails = Self { bounds: sections.array(tag)? };
        ensure(tails.bounds.len() == width && all_finite(tails.bounds.as_flattened()), tag)?;
        Ok(tails)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::PART.field(0), self.bounds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAILS: Tails<'_> = Tails { bounds: &[[1.0, 0.5], [0.25, 0.25]] };

    #[test]
    fn the_most_unusual_feature_counts_on_its_own_side() {
        assert_eq!(TAILS.surprise(&[0.0, 0.0]), libm::log(0.5));
        assert_eq!(TAILS.surprise(&[3.0, 0.0]), libm::log(2.0));
        assert_eq!(TAILS.surprise(&[-3.0, 3.0]), libm::log(4.0));
    }
}
