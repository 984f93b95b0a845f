//! Gaussian mixture: how improbable a row is under a few clouds, each with its own shape.
//!
//! A cloud's covariance is a few directions with variances of their own and one variance for all
//! the rest (probabilistic principal components, Tipping and Bishop 1999), so that a cloud costs
//! `rank + 1` times the width. The answer is the negative logarithm of the density.

use crate::sections::{ModelError, Sections, Tag, all_finite, all_finite_f32, ensure};

/// Most clouds of a mixture.
pub const CLOUDS_MAX: usize = 32;

/// Clouds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mixture<'a> {
    /// Directions of each cloud.
    pub rank: u32,
    /// Per cloud: logarithm of weight and normalisation, and one over the variance of the rest.
    pub clouds: &'a [[f64; 2]],
    /// Per cloud: its centre.
    pub centres: &'a [f32],
    /// Per cloud and direction: a unit vector.
    pub directions: &'a [f32],
    /// Per cloud and direction: one over its variance, less that of the rest.
    pub gains: &'a [f64],
}

impl<'a> Mixture<'a> {
    /// The negative logarithm of the density at a row.
    pub fn surprise(&self, row: &[f32]) -> f64 {
        let rank = self.rank as usize;
        let mut logs = [f64::NEG_INFINITY; CLOUDS_MAX];
        let mut largest = f64::NEG_INFINITY;
        let mut centred = [0.0f32; crate::view::WIDTH_MAX];
        let centred = &mut centred[..row.len()];
        for (cloud, ([constant, reciprocal], log)) in self.clouds.iter().zip(&mut logs).enumerate()
        {
            let centre = &self.centres[cloud * row.len()..(cloud + 1) * row.len()];
            let mut square = 0.0f64;
            for ((difference, value), centre) in centred.iter_mut().zip(row).zip(centre) {
                *difference = value - centre;
                square += f64::from(*difference) * f64::from(*difference);
            }
            let mut distance = square * reciprocal;
            for direction in cloud * rank..(cloud + 1) * rank {
                let unit = &self.directions[direction * row.len()..(direction + 1) * row.len()];
                let along = dot(unit, centred);
                distance += along * along * self.gains[direction];
            }
            *log = constant - 0.5 * distance;
            if *log > largest {
                largest = *log;
            }
        }
        let sum: f64 = logs[..self.clouds.len()].iter().map(|log| libm::exp(log - largest)).sum();
        -(largest + libm::log(sum))
    }

    pub(crate) fn parse(sections: &Sections<'a>, width: usize) -> Result<Self, ModelError> {
        let [shape, clouds, centres, directions, gains] =
            [0, 1, 2, 3, 4].map(|field| Tag::PART.field(field));
        let model = Self {
            rank: *sections.one(shape)?,
            clouds: sections.array(clouds)?,
            centres: sections.array(centres)?,
            directions: sections.array(directions)?,
            gains: sections.array(gains)?,
        };
        let (count, rank) = (model.clouds.len(), model.rank as usize);
        ensure(rank <= width, shape)?;
        ensure((1..=CLOUDS_MAX).contains(&count), clouds)?;
        ensure(all_finite(model.clouds.as_flattened()), clouds)?;
        ensure(model.centres.len() == count * width && all_finite_f32(model.centres), centres)?;
        ensure(model.directions.len() == count * rank * width, directions)?;
        ensure(all_finite_f32(model.directions), directions)?;
        ensure(model.gains.len() == count * rank && all_finite(model.gains), gains)?;
        Ok(model)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::PART.field(0), &[self.rank]);
        writer.section(Tag::PART.field(1), self.clouds);
        writer.section(Tag::PART.field(2), self.centres);
        writer.section(Tag::PART.field(3), self.directions);
        writer.section(Tag::PART.field(4), self.gains);
    }
}

/// The inner product, in four sums that are added in one order.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f32; 4];
    let (a, a_rest) = a.as_chunks::<4>();
    let (b, b_rest) = b.as_chunks::<4>();
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a * b;
    }
    f64::from((sums[0] + sums[1]) + (sums[2] + sums[3]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_round_cloud_is_a_normal_distribution() {
        // Two features, variance 4: the density at distance r is exp(-r^2 / 8) / (8 pi).
        let constant = -libm::log(8.0 * core::f64::consts::PI);
        let mixture = Mixture {
            rank: 0,
            clouds: &[[constant, 0.25]],
            centres: &[1.0, 1.0],
            directions: &[],
            gains: &[],
        };
        assert!((mixture.surprise(&[1.0, 3.0]) - (-constant + 0.5)).abs() < 1e-9);
    }

    #[test]
    fn a_direction_of_its_own_equals_the_full_covariance() {
        // Variance 9 along the first axis and 1 along the second.
        let constant = -libm::log(2.0 * core::f64::consts::PI * 3.0);
        let mixture = Mixture {
            rank: 1,
            clouds: &[[constant, 1.0]],
            centres: &[0.0, 0.0],
            directions: &[1.0, 0.0],
            gains: &[1.0 / 9.0 - 1.0],
        };
        let expected = -constant + 0.5 * (4.0 / 9.0 + 1.0);
        assert!((mixture.surprise(&[2.0, -1.0]) - expected).abs() < 1e-9);
    }
}
