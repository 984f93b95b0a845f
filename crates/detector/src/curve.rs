//! A monotone curve through stored points: from a raw score to a value with a meaning.
//!
//! Between points it is linear; below the first it is flat; beyond the last it goes on with the slope
//! of the end, where no data can say more.

use crate::sections::{ModelError, Sections, Tag, all_finite, ensure};
use crate::steps::{larger, smaller};

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
        let [value] = self.at_each([raw]);
        value
    }

    /// Replaces raw scores by the values at them.
    pub fn at_all(&self, raw: &mut [f64]) {
        // A search waits for each of its steps; several at once do not wait for each other.
        let (lanes, rest) = raw.as_chunks_mut::<4>();
        for lanes in lanes {
            *lanes = self.at_each(*lanes);
        }
        for raw in rest {
            *raw = self.at(*raw);
        }
    }

    #[inline]
    fn at_each<const LANES: usize>(&self, raw: [f64; LANES]) -> [f64; LANES] {
        let places = self.entries_below(&raw);
        core::array::from_fn(|lane| self.between(places[lane], raw[lane]))
    }

    /// How many entries are smaller than each raw score.
    #[inline]
    fn entries_below<const LANES: usize>(&self, raw: &[f64; LANES]) -> [usize; LANES] {
        let is_below = |place: usize, raw: f64| self.raw.get(place).is_some_and(|at| *at < raw);
        let (mut places, mut size) = ([0; LANES], self.raw.len());
        while size > 1 {
            let half = size / 2;
            for (place, raw) in places.iter_mut().zip(raw) {
                *place += if is_below(*place + half, *raw) { half } else { 0 };
            }
            size -= half;
        }
        core::array::from_fn(|lane| places[lane] + usize::from(is_below(places[lane], raw[lane])))
    }

    #[inline]
    fn between(&self, entries_below: usize, raw: f64) -> f64 {
        if raw <= self.raw[0] {
            return self.value[0];
        }
        let upper = entries_below.clamp(1, self.raw.len() - 1);
        let (raw_low, raw_high) = (self.raw[upper - 1], self.raw[upper]);
        let (low, high) = (self.value[upper - 1], self.value[upper]);
        let value = low + (raw - raw_low) / (raw_high - raw_low) * (high - low);
        // Rounding may step over an entry by one unit; keep the order.
        let (least, most) = if raw <= raw_high { (low, high) } else { (high, VALUE_MAX) };
        smaller(larger(value, least), most)
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
        fn searches_side_by_side_find_what_one_alone_does(
            entries in proptest::collection::btree_set(-50i32..50, 2..90),
            raw in proptest::array::uniform4(-55.0f64..55.0),
            ties in any::<bool>(),
        ) {
            let entries: std::vec::Vec<f64> = entries.into_iter().map(f64::from).collect();
            let raw = if ties { raw.map(libm::round) } else { raw };
            let curve = Curve { raw: &entries, value: &entries };
            let expected = raw.map(|raw| entries.partition_point(|entry| *entry < raw));
            prop_assert_eq!(curve.entries_below(&raw), expected);
            let mut all = raw.to_vec();
            all.extend(raw);
            all.push(raw[0]);
            curve.at_all(&mut all);
            prop_assert!(all.iter().zip(raw.iter().cycle()).all(|(all, raw)| *all == curve.at(*raw)));
        }

        #[test]
        fn values_are_monotone(a in -1.0f64..2.0, b in -1.0f64..2.0) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(CURVE.at(low) <= CURVE.at(high));
        }
    }
}
