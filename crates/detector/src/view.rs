//! A view: how the features look to the parts that measure distances.
//!
//! Each chosen feature is centred and scaled, and far values are drawn in by a signed logarithm
//! where the view asks for it. A forest needs no view: it looks at features through thresholds.

use crate::sections::{ModelError, Sections, Tag, all_finite_f32, ensure};
use crate::steps::smaller;

/// Most views that a model may have.
pub const VIEWS_MAX: usize = 4;

/// Most values of a view.
pub const WIDTH_MAX: usize = 256;

/// Features chosen and how they are brought to scale.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View<'a> {
    /// Features in order.
    pub features: &'a [u8],
    /// How each is brought to scale.
    pub scales: &'a [Scale],
}

/// Centre, reciprocal scale, how far values are drawn in, and a factor for the result.
///
/// With a draw of zero a value stays as it is; with `c > 0` it becomes `sign(z) ln(1 + c |z|) / c`;
/// with `c < 0` it is bounded softly, to `|c| tanh(z / |c|)`.
pub type Scale = [f32; 4];

impl<'a> View<'a> {
    /// Writes what is seen of a feature row and returns it.
    pub fn see<'s>(&self, features: &[f32], seen: &'s mut [f32; WIDTH_MAX]) -> &'s [f32] {
        let seen = &mut seen[..self.features.len()];
        for ((seen, feature), scale) in seen.iter_mut().zip(self.features).zip(self.scales) {
            *seen = scaled(features[usize::from(*feature)], *scale);
        }
        seen
    }

    pub(crate) fn parse(sections: &Sections<'a>, features: usize) -> Result<Self, ModelError> {
        let [chosen, scales] = [0, 1].map(|field| Tag::VIEW.field(field));
        let view = Self { features: sections.array(chosen)?, scales: sections.array(scales)? };
        ensure((1..WIDTH_MAX).contains(&view.features.len()), chosen)?;
        ensure(view.features.iter().all(|feature| usize::from(*feature) < features), chosen)?;
        ensure(view.scales.len() == view.features.len(), scales)?;
        ensure(all_finite_f32(view.scales.as_flattened()), scales)?;
        Ok(view)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::VIEW.field(0), self.features);
        writer.section(Tag::VIEW.field(1), self.scales);
    }
}

/// One value brought to scale; finite for every finite value within [`crate::inputs::VALUE_MAX`].
pub fn scaled(value: f32, [centre, scale, draw, factor]: Scale) -> f32 {
    let z = (value - centre) * scale;
    let drawn = if draw == 0.0 {
        z
    } else if draw < 0.0 {
        -draw * softly_bounded(z / -draw)
    } else {
        let drawn = libm::log1pf(draw * z.abs()) / draw;
        if z < 0.0 { -drawn } else { drawn }
    };
    drawn * factor
}

/// The hyperbolic tangent.
fn softly_bounded(z: f32) -> f32 {
    // Beyond nine it is one to the last bit of a float.
    let size = smaller(z.abs(), 9.0);
    let tangent = 1.0 - 2.0 / (libm::expf(2.0 * size) + 1.0);
    if z < 0.0 { -tangent } else { tangent }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn a_view_chooses_and_scales() {
        let scales = [[1.0, 2.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.5]];
        let view = View { features: &[2, 0], scales: &scales };
        let mut seen = [0.0; WIDTH_MAX];
        assert_eq!(view.see(&[3.0, 9.0, 2.0], &mut seen), [2.0, 1.5]);
    }

    #[test]
    fn far_values_are_drawn_in() {
        for z in [-1e6f32, -2.5, -1e-3, 0.0, 0.5, 3.0, 50.0] {
            let log = z.signum() * (1.0 + 0.3 * z.abs()).ln() / 0.3;
            assert!((scaled(z, [0.0, 1.0, 0.3, 1.0]) - log).abs() < 1e-4 * log.abs().max(0.1));
            let bounded = 3.0 * (z / 3.0).tanh();
            assert!((scaled(z, [0.0, 1.0, -3.0, 1.0]) - bounded).abs() < 1e-5, "{z}");
        }
    }
}
