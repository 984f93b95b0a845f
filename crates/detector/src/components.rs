//! Principal components: what is left of a row when the directions in which the data varies most
//! are taken away (reconstruction error; Shyu et al. 2003).

use crate::mixture::dot;
use crate::sections::{ModelError, Sections, Tag, all_finite_f32, ensure};

/// Mean and directions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Components<'a> {
    /// The mean row.
    pub centre: &'a [f32],
    /// Unit vectors at right angles to one another.
    pub directions: &'a [f32],
}

impl<'a> Components<'a> {
    /// The squared length of what is left.
    pub fn residual(&self, row: &[f32]) -> f64 {
        let mut centred = [0.0f32; crate::view::WIDTH_MAX];
        let centred = &mut centred[..row.len()];
        for ((difference, value), centre) in centred.iter_mut().zip(row).zip(self.centre) {
            *difference = value - centre;
        }
        // One direction after the other is taken away from the row itself: a difference of squares
        // would lose the small residuals that matter.
        for direction in self.directions.chunks_exact(row.len()) {
            let along = dot(direction, centred) as f32;
            for (difference, unit) in centred.iter_mut().zip(direction) {
                *difference -= along * unit;
            }
        }
        dot(centred, centred)
    }

    pub(crate) fn parse(sections: &Sections<'a>, width: usize) -> Result<Self, ModelError> {
        let [centre, directions] = [0, 1].map(|field| Tag::PART.field(field));
        let model =
            Self { centre: sections.array(centre)?, directions: sections.array(directions)? };
        ensure(model.centre.len() == width && all_finite_f32(model.centre), centre)?;
        ensure(model.directions.len().is_multiple_of(width), directions)?;
        ensure(model.directions.len() <= width * width, directions)?;
        ensure(all_finite_f32(model.directions), directions)?;
        Ok(model)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::PART.field(0), self.centre);
        writer.section(Tag::PART.field(1), self.directions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_along_a_direction_is_taken_away() {
        let half = core::f32::consts::FRAC_1_SQRT_2;
        let model = Components { centre: &[1.0, 1.0], directions: &[half, half] };
        assert!(model.residual(&[4.0, 4.0]) < 1e-9);
        assert!((model.residual(&[2.0, 0.0]) - 2.0).abs() < 1e-6);
    }
}
