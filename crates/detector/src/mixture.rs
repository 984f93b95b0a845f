//! Gaussian mixture: how improbable a row is under a few clouds, each with its own shape.
//!
//! A cloud's covariance is a few directions with variances of their own and one variance for all
//! the rest (probabilistic principal components, Tipping and Bishop 1999), so that a cloud costs
//! `rank + 1` times the width. The answer is the negative logarithm of the density.

use crate::lanes::{LANES, Lanes};
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
    /// Per cloud: unit vectors, eight at a time, feature after feature.
    pub directions: &'a [[f32; LANES]],
    /// Per cloud and direction: one over its variance, less that of the rest.
    pub gains: &'a [f64],
}

impl<'a> Mixture<'a> {
    /// The negative logarithm of the density at a row.
    pub fn surprise(&self, row: &[f32]) -> f64 {
        let rank = self.rank as usize;
        let eights = rank.div_ceil(LANES);
        let mut logs = [f64::NEG_INFINITY; CLOUDS_MAX];
        let mut largest = f64::NEG_INFINITY;
        let mut centred = [0.0f32; crate::view::WIDTH_MAX];
        let centred = &mut centred[..row.len()];
        for (cloud, ([constant, reciprocal], log)) in self.clouds.iter().zip(&mut logs).enumerate()
        {
            let centre = &self.centres[cloud * row.len()..(cloud + 1) * row.len()];
            let mut distance = centred_square(row, centre, centred) * reciprocal;
            let gains = &self.gains[cloud * rank..(cloud + 1) * rank];
            let directions = &self.directions[cloud * eights * row.len()..];
            for (gains, units) in gains.chunks(LANES).zip(directions.chunks_exact(row.len())) {
                let along = along(units, centred).to_array();
                for (gain, along) in gains.iter().zip(along.map(f64::from)) {
                    distance += along * along * gain;
                }
            }
            *log = constant - 0.5 * distance;
            if *log > largest {
                largest = *log;
            }
        }
        let near = logs[..self.clouds.len()].iter().map(|log| log - largest);
        let sum: f64 = near.filter(|below| *below > NEGLIGIBLE).map(libm::exp).sum();
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
        ensure(model.directions.len() == count * rank.div_ceil(LANES) * width, directions)?;
        ensure(all_finite_f32(model.directions.as_flattened()), directions)?;
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

/// What lies this far below the largest logarithm adds nothing that a float could hold.
const NEGLIGIBLE: f64 = -40.0;

/// Sums that do not wait for each other.
const AT_ONCE: usize = 4;

/// Writes a row less a centre, and returns its squared length: eight sums, added in order.
#[inline(never)]
fn centred_square(row: &[f32], centre: &[f32], centred: &mut [f32]) -> f64 {
    let mut squares = Lanes::splat(0.0);
    let (rows, row_rest) = row.as_chunks::<LANES>();
    let (centres, centre_rest) = centre.as_chunks::<LANES>();
    let (eights, rest) = centred.as_chunks_mut::<LANES>();
    for ((differences, values), centres) in eights.iter_mut().zip(rows).zip(centres) {
        let difference = Lanes::of(values) - Lanes::of(centres);
        *differences = difference.to_array();
        squares = squares + difference * difference;
    }
    let mut squares = squares.to_array();
    for (place, difference) in rest.iter_mut().enumerate() {
        *difference = row_rest[place] - centre_rest[place];
        squares[place] += *difference * *difference;
    }
    squares.into_iter().map(f64::from).sum()
}

/// How far a centred row goes along each of eight directions.
#[inline(never)]
fn along(units: &[[f32; LANES]], centred: &[f32]) -> Lanes {
    let mut sums = [Lanes::splat(0.0); AT_ONCE];
    let (units, units_rest) = units.as_chunks::<AT_ONCE>();
    let (differences, rest) = centred.as_chunks::<AT_ONCE>();
    for (units, differences) in units.iter().zip(differences) {
        for ((sum, units), difference) in sums.iter_mut().zip(units).zip(differences) {
            *sum = *sum + Lanes::of(units) * Lanes::splat(*difference);
        }
    }
    for ((sum, units), difference) in sums.iter_mut().zip(units_rest).zip(rest) {
        *sum = *sum + Lanes::of(units) * Lanes::splat(*difference);
    }
    let [a, b, c, d] = sums;
    (a + b) + (c + d)
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
            directions: &[[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0; LANES]],
            gains: &[1.0 / 9.0 - 1.0],
        };
        let expected = -constant + 0.5 * (4.0 / 9.0 + 1.0);
        assert!((mixture.surprise(&[2.0, -1.0]) - expected).abs() < 1e-9);
    }
}
