//! Histograms: how rare each feature's value is by itself (HBOS, Goldstein and Dengel 2012).
//!
//! Every feature has bins of one width between its extremes in training. The answer is the sum over
//! features of the negative logarithm of the density in the row's bin; outside of all bins it is
//! that of an empty bin.

use crate::sections::{ModelError, Sections, Tag, all_finite_f32, ensure};
use crate::steps::smaller;

/// Bins of all features.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Histogram<'a> {
    /// Per feature: lower end of the first bin and one over a bin's width.
    pub scales: &'a [[f32; 2]],
    /// Per feature: a value for everything below, for each bin, and for everything above.
    pub values: &'a [f32],
}

impl<'a> Histogram<'a> {
    /// The sum over features.
    pub fn rarity(&self, row: &[f32]) -> f64 {
        let places = self.values.len() / self.scales.len();
        let mut sum = 0.0;
        for ((value, [low, per_width]), values) in
            row.iter().zip(self.scales).zip(self.values.chunks_exact(places))
        {
            let place = (value - low) * per_width;
            // Bounded as a float: a cast of a large one would be the largest number of the target.
            let place =
                if place < 0.0 { 0 } else { smaller(place, (places - 2) as f32) as usize + 1 };
            sum += f64::from(values[place]);
        }
        sum
    }

    pub(crate) fn parse(sections: &Sections<'a>, width: usize) -> Result<Self, ModelError> {
        let [scales, values] = [0, 1].map(|field| Tag::PART.field(field));
        let model = Self { scales: sections.array(scales)?, values: sections.array(values)? };
        ensure(model.scales.len() == width, scales)?;
        ensure(all_finite_f32(model.scales.as_flattened()), scales)?;
        ensure(model.values.len().is_multiple_of(width), values)?;
        ensure(model.values.len() >= 3 * width && all_finite_f32(model.values), values)?;
        Ok(model)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::PART.field(0), self.scales);
        writer.section(Tag::PART.field(1), self.values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_by_its_bin() {
        // One feature, two bins from 1 to 3.
        let histogram = Histogram { scales: &[[1.0, 1.0]], values: &[9.0, 1.0, 2.0, 8.0] };
        for (value, expected) in [(0.9, 9.0), (1.0, 1.0), (2.5, 2.0), (3.0, 8.0), (1e30, 8.0)] {
            assert_eq!(histogram.rarity(&[value]), expected, "{value}");
        }
    }
}
