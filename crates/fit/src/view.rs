//! Fits views: how features are brought to scale before distances are taken.

use ndarray::{Array2, ArrayView1, ArrayView2};
use twinge_detector::view::{Scale, View as Model, scaled};

/// A view as a module keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    features: Vec<u8>,
    scales: Vec<Scale>,
}

/// Draws that a shaped view chooses from; see [`Scale`].
const DRAWS: [f32; 4] = [0.0, 0.3, 1.0, 3.0];

/// Mean log-likelihood that drawing a feature in must gain.
const DRAW_GAIN: f64 = 0.2;

/// Power of the deviation that a drawn feature is divided by: from 0, features as they come, to 1,
/// all of one deviation.
const DRAWN_POWER: f64 = 0.3;

/// A feature with less spread than this after scaling is not enlarged to unit spread.
const SPREAD_MIN: f64 = 1e-9;

impl View {
    /// Every feature that varies, in units of its standard deviation.
    pub fn standard(records: ArrayView2<'_, f32>) -> Self {
        Self::fit(records, |column| {
            let (mean, spread) = mean_and_spread(column, [0.0, 1.0, 0.0, 1.0]);
            [mean as f32, 1.0, 0.0, (1.0 / spread) as f32]
        })
    }

    /// Every feature that varies, drawn in where a normal distribution then fits it clearly better,
    /// in units of its standard deviation.
    pub fn shaped(records: ArrayView2<'_, f32>) -> Self {
        Self::fit(records, |column| {
            let draw = best_draw(column);
            let (_, spread) = mean_and_spread(column, [0.0, 1.0, draw, 1.0]);
            [0.0, 1.0, draw, (1.0 / spread) as f32]
        })
    }

    /// Every feature that varies, drawn in by `draw`, and divided by a power of its deviation.
    pub fn drawn(records: ArrayView2<'_, f32>, draw: f32) -> Self {
        Self::fit(records, |column| {
            let (_, spread) = mean_and_spread(column, [0.0, 1.0, draw, 1.0]);
            [0.0, 1.0, draw, (1.0 / libm::pow(spread, DRAWN_POWER)) as f32]
        })
    }

    fn fit(records: ArrayView2<'_, f32>, scale: impl Fn(ArrayView1<'_, f32>) -> Scale) -> Self {
        let varies = |feature: &usize| {
            let column = records.column(*feature);
            column.iter().any(|value| *value != column[0])
        };
        let mut features: Vec<usize> = (0..records.ncols()).filter(varies).collect();
        if features.is_empty() {
            features.push(0);
        }
        let scales = features.iter().map(|feature| scale(records.column(*feature))).collect();
        Self { features: features.into_iter().map(|feature| feature as u8).collect(), scales }
    }

    /// What is seen of records of shape (rows, features).
    pub fn see(&self, records: ArrayView2<'_, f32>) -> Array2<f32> {
        Array2::from_shape_fn((records.nrows(), self.features.len()), |(row, place)| {
            scaled(records[[row, usize::from(self.features[place])]], self.scales[place])
        })
    }

    /// Features seen.
    pub fn width(&self) -> usize {
        self.features.len()
    }

    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model { features: &self.features, scales: &self.scales }
    }
}

fn mean_and_spread(column: ArrayView1<'_, f32>, scale: Scale) -> (f64, f64) {
    let count = column.len().max(1) as f64;
    let values = || column.iter().map(|value| f64::from(scaled(*value, scale)));
    let mean = values().sum::<f64>() / count;
    let variance = values().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    let spread = variance.sqrt();
    (mean, if spread > SPREAD_MIN { spread } else { 1.0 })
}

/// The draw under which a normal distribution is most likely, its Jacobian counted.
fn best_draw(column: ArrayView1<'_, f32>) -> f32 {
    let likelihood = |draw: f32| {
        let (_, spread) = mean_and_spread(column, [0.0, 1.0, draw, 1.0]);
        let stretch: f64 =
            column.iter().map(|value| libm::log1p(f64::from(draw * value.abs()))).sum();
        -libm::log(spread) - stretch / column.len() as f64
    };
    let plain = likelihood(0.0);
    let mut best = (plain, 0.0);
    for draw in &DRAWS[1..] {
        let gained = likelihood(*draw) - DRAW_GAIN;
        if gained > best.0 {
            best = (gained, *draw);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_normal_feature_stays_and_a_heavy_tail_is_drawn_in() {
        let mut random = Random::new(3, 0);
        let records = Array2::from_shape_fn((2000, 3), |(_, feature)| match feature {
            0 => random.normal() as f32,
            1 => libm::exp(2.0 * random.normal()) as f32,
            _ => 4.0,
        });
        let view = View::shaped(records.view());
        assert_eq!(view.features, [0, 1], "what is constant is not seen");
        assert_eq!(view.scales[0][2], 0.0);
        assert!(view.scales[1][2] > 0.0);
        let seen = view.see(records.view());
        for column in seen.columns() {
            let (_, spread) = mean_and_spread(column, [0.0, 1.0, 0.0, 1.0]);
            assert!((spread - 1.0).abs() < 1e-3);
        }
    }
}
