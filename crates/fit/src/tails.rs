//! Fits the tails of features, and puts them together with a forest.

use crate::scale::quantile;
use ndarray::ArrayView1;
use twinge_detector::model::TailParts;

/// Share of the rows that lie within a feature's usual extent.
const USUAL: f64 = 0.999;

/// Share of raw scores up to which the spread of a part reaches.
const SPREAD: f64 = 0.99;

/// The usual extents of a feature downwards and upwards, in the form that a model keeps.
///
/// The extent is at least one scale of the feature, so that a feature with one-sided values does
/// not make every step to the other side a surprise.
pub fn bounds(column: ArrayView1<'_, f32>, rows: &[u32]) -> [f64; 2] {
    let mut values: Vec<f64> = rows.iter().map(|row| f64::from(column[*row as usize])).collect();
    values.sort_unstable_by(f64::total_cmp);
    if values.is_empty() {
        return [0.0, 0.0];
    }
    let extents = [-quantile(&values, 1.0 - USUAL), quantile(&values, USUAL)];
    extents.map(|extent| 1.0 / (1.0 + extent.max(1.0)))
}

/// Tails put together with a forest by the raw scores that both gave held-back rows.
pub fn fuse(bounds: Vec<[f64; 2]>, forest: Vec<f64>, tails: Vec<f64>) -> TailParts {
    let [forest_median, forest_scale] = median_and_scale(forest);
    let [tail_median, tail_scale] = median_and_scale(tails);
    TailParts { bounds, fusion: [forest_median, forest_scale, tail_median, tail_scale] }
}

/// Median, and one over the distance from it to a high quantile; zero where there is none.
fn median_and_scale(mut raw: Vec<f64>) -> [f64; 2] {
    if raw.is_empty() {
        return [0.0, 0.0];
    }
    raw.sort_unstable_by(f64::total_cmp);
    let median = quantile(&raw, 0.5);
    let scale = 1.0 / (quantile(&raw, SPREAD) - median);
    [median, if scale.is_finite() { scale } else { 0.0 }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array1;

    #[test]
    fn extents_follow_each_side() {
        let column = Array1::from_iter((0..1000).map(|row| row as f32 / 10.0));
        let rows: Vec<u32> = (0..1000).collect();
        let [below, above] = bounds(column.view(), &rows);
        assert_eq!(below, 0.5);
        assert!((above - 1.0 / 100.8).abs() < 1e-4);
    }

    #[test]
    fn equal_scores_say_nothing() {
        assert_eq!(median_and_scale(vec![0.5; 9]), [0.5, 0.0]);
    }
}
