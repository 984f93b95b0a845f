//! Mahalanobis distance: how far a row lies from the middle, in units of how the features vary
//! together (Mahalanobis 1936; made robust in fitting).

use crate::mixture::dot;
use crate::sections::{ModelError, Sections, Tag, all_finite_f32, ensure};

/// Centre and whitening.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mahalanobis<'a> {
    /// The middle.
    pub centre: &'a [f32],
    /// Lower-triangular matrix by rows, each as long as its number: it turns differences from the
    /// middle into uncorrelated units.
    pub whitening: &'a [f32],
}

impl<'a> Mahalanobis<'a> {
    /// The squared distance over the number of features: about 1 for a usual row.
    pub fn distance(&self, row: &[f32]) -> f64 {
        let mut centred = [0.0f32; crate::view::WIDTH_MAX];
        let centred = &mut centred[..row.len()];
        for ((difference, value), centre) in centred.iter_mut().zip(row).zip(self.centre) {
            *difference = value - centre;
        }
        let (mut sum, mut start) = (0.0, 0);
        for length in 1..=row.len() {
            let unit = dot(&self.whitening[start..start + length], &centred[..length]);
            sum += unit * unit;
            start += length;
        }
        sum / row.len() as f64
    }

    pub(crate) fn parse(sections: &Sections<'a>, width: usize) -> Result<Self, ModelError> {
        let [centre, whitening] = [0, 1].map(|field| Tag::PART.field(field));
        let model = Self { centre: sections.array(centre)?, whitening: sections.array(whitening)? };
        ensure(model.centre.len() == width && all_finite_f32(model.centre), centre)?;
        ensure(model.whitening.len() == width * (width + 1) / 2, whitening)?;
        ensure(all_finite_f32(model.whitening), whitening)?;
        Ok(model)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::PART.field(0), self.centre);
        writer.section(Tag::PART.field(1), self.whitening);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_equal_those_of_the_inverse_covariance() {
        // Covariance [[4, 2], [2, 2]]; its inverse is [[0.5, -0.5], [-0.5, 1]]. The whitening is the
        // inverse of its Cholesky factor [[2, 0], [1, 1]].
        let model = Mahalanobis { centre: &[1.0, 0.0], whitening: &[0.5, -0.5, 1.0] };
        let (x, y) = (3.0 - 1.0, -1.0);
        let expected = 0.5 * x * x - x * y + y * y;
        assert!((model.distance(&[3.0, -1.0]) - expected / 2.0).abs() < 1e-9);
    }
}
