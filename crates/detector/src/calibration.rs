//! From a detector's raw score to the score whose threshold is 1.
//!
//! The curve holds, for quantiles of raw scores on data that was not fitted, the logarithm of the
//! tail probability over that of the false-alarm rate: a score of 2 is an event as improbable as the
//! allowed rate squared. What counts as anomalous is decided by the raw threshold, the conformal
//! quantile itself, and the score is brought to the same side of 1.

use crate::curve::Curve;
use crate::sections::{ModelError, Sections, Tag, ensure};
use crate::steps::{larger, smaller};

/// The largest score below the threshold.
const JUST_NORMAL: f64 = 1.0 - f64::EPSILON / 2.0;

/// Curve and threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calibration<'a> {
    /// The score at raw scores.
    pub curve: Curve<'a>,
    /// Raw score from which on a row is anomalous.
    pub threshold: f64,
}

impl<'a> Calibration<'a> {
    /// The score of a raw score; monotone.
    pub fn score(&self, raw: f64) -> f64 {
        self.beside_threshold(raw, self.curve.at(raw))
    }

    /// Writes the scores of raw scores.
    pub fn score_all(&self, raw: &[f64], scores: &mut [f64]) {
        scores.copy_from_slice(raw);
        self.curve.at_all(scores);
        for (score, raw) in scores.iter_mut().zip(raw) {
            *score = self.beside_threshold(*raw, *score);
        }
    }

    /// A value of the curve, on the side of 1 that the raw score is on of the threshold.
    #[inline]
    fn beside_threshold(&self, raw: f64, value: f64) -> f64 {
        if raw >= self.threshold { larger(value, 1.0) } else { smaller(value, JUST_NORMAL) }
    }

    pub(crate) fn parse(sections: &Sections<'a>) -> Result<Self, ModelError> {
        let curve = Curve::parse(sections, Tag::CALIBRATION_RAW, Tag::CALIBRATION_SCORE)?;
        let threshold: f64 = *sections.one(Tag::CALIBRATION_THRESHOLD)?;
        ensure(threshold.is_finite(), Tag::CALIBRATION_THRESHOLD)?;
        Ok(Self { curve, threshold })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: Calibration<'_> = Calibration {
        curve: Curve { raw: &[0.3, 0.4, 0.5, 0.6], value: &[0.0, 0.2, 0.9, 1.1] },
        threshold: 0.55,
    };

    #[test]
    fn the_threshold_divides_at_one() {
        assert!(TABLE.score(0.55f64.next_down()) < 1.0);
        assert!(TABLE.score(0.55) >= 1.0);
        assert_eq!(TABLE.score(0.0), 0.0);
        assert!(TABLE.score(0.9) > 1.1);
    }

    proptest! {
        #[test]
        fn scores_are_monotone(a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(TABLE.score(low) <= TABLE.score(high));
        }
    }
}
