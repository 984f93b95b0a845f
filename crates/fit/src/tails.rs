//! Fits the tails of features: how far out each usually goes.

use crate::scale::quantile;
use ndarray::{ArrayView1, ArrayView2};
use twinge_detector::tails::Tails as Model;

/// Share of the rows that lie within a feature's usual extent.
const USUAL: f64 = 0.999;

/// Extents as a module keeps them.
#[derive(Clone, Debug, PartialEq)]
pub struct Tails {
    bounds: Vec<[f64; 2]>,
}

impl Tails {
    /// Fits on records of shape (rows, features).
    pub fn fit(records: ArrayView2<'_, f32>) -> Self {
        Self { bounds: records.columns().into_iter().map(bounds).collect() }
    }

    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model { bounds: &self.bounds }
    }
}

/// The usual extents of a feature downwards and upwards, in the form that a model keeps.
///
/// The extent is at least one scale of the feature, so that a feature with one-sided values does
/// not make every step to the other side a surprise.
fn bounds(column: ArrayView1<'_, f32>) -> [f64; 2] {
    let mut values: Vec<f64> = column.iter().map(|value| f64::from(*value)).collect();
    values.sort_unstable_by(f64::total_cmp);
    if values.is_empty() {
        return [0.0, 0.0];
    }
    let extents = [-quantile(&values, 1.0 - USUAL), quantile(&values, USUAL)];
    extents.map(|extent| 1.0 / (1.0 + extent.max(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array1;

    #[test]
    fn extents_follow_each_side() {
        let column = Array1::from_iter((0..1000).map(|row| row as f32 / 10.0));
        let [below, above] = bounds(column.view());
        assert_eq!(below, 0.5);
        assert!((above - 1.0 / 100.8).abs() < 1e-4);
    }
}
