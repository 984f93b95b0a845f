//! A monotone curve through stored points: from a raw score to a value with a meaning.
//!
//! Between points it is linear; below the first it is flat; beyond the last it goes on with the slope
//! of the end, where no data can say more.

use crate::sections::{ModelError, Sections, Tag, all_finite, ensure};

/// Points of a curve, at least two, both arrays ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Curve<'a> {
    /// Raw scores, strictly ascending.
    pub raw: &'a [f64],
    /// The value at each.
    pub value: &'a [f64],
}

/// Largest value of a curve: everything further out is told alike.
pub const VALUE_MAX: f64 = 1000.0;

impl<'a> Curve<'a> {
    /// The value at a raw score; monotone.
    pub fn at(&self, raw: f64) -> f64 {
        let last = self.raw.len() - 1;
        if raw <= self.raw[0] {
            return self.value[0];
        }
        let upper = self.raw.partition_point(|entry| *entry < raw).clamp(1, last);
        let (raw_low, raw_high) = (self.raw[upper - 1], self.raw[upper]);
        let (low, high) = (self.value[upper - 1], self.value[upper]);
        let value = low + (raw - raw_low) / (raw_high - raw_low) * (high - low);
        // Rounding may step over an entry by one unit; keep the order.
        let (least, most) = if raw <= raw_high { (low, high) } else { (high, VALUE_MAX) };
        value.max(least).min(most)
    }

    pub(crate) fn parse(sections: &Sections<'a>, raw: Tag, value: Tag) -> Result<Self, ModelError> {
        let curve = Self { raw: sections.array(raw)?, value: sections.array(value)? };
        ensure(curve.raw.len() >= 2 && all_finite(curve.raw), raw)?;
        ensure(curve.raw.is_sorted_by(|a, b| a < b), raw)?;
        ensure(curve.value.len() == curve.raw.len() && all_finite(curve.value), value)?;
        ensure(curve.value.is_sorted(), value)?;
        Ok(curve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CURVE: Curve<'_> = Curve { raw: &[0.3, 0.4, 0.5, 0.6], value: &[0.0, 0.2, 0.9, 1.1] };

    #[test]
    fn the_ends_go_on_as_told() {
        assert_eq!(CURVE.at(0.0), 0.0);
        assert_eq!(CURVE.at(0.4), 0.2);
        assert!((CURVE.at(0.7) - 1.3).abs() < 1e-12);
        assert_eq!(CURVE.at(f64::MAX), VALUE_MAX);
    }

    proptest! {
        #[test]
        fn values_are_monotone(a in -1.0f64..2.0, b in -1.0f64..2.0) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(CURVE.at(low) <= CURVE.at(high));
        }
    }
}
