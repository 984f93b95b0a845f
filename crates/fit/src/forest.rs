//! Fits an isolation forest (Liu, Ting and Zhou, "Isolation Forest", ICDM 2008).
//!
//! Follows linfa's conventions: [`IsolationForestParams`] are checked into
//! [`IsolationForestValidParams`], which `fit` a dataset of unlabelled records.

use crate::random::Random;
use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{ArrayBase, ArrayView2, Data, Ix2};
use thiserror::Error;
use twinge_detector::forest::{
    Block, DEPTH_MAX, Forest as Model, LEAF_UNITS, TREES_MAX, blocks, key, place, put_leaf,
    threshold,
};

/// Every tree is stored with at least this depth, for which scoring has its fast path.
const DEPTH_MIN: u32 = 8;

/// Unchecked settings of an isolation forest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsolationForestParams(IsolationForestValidParams);

/// Checked settings of an isolation forest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsolationForestValidParams {
    trees: u32,
    sample_rows: u32,
    seed: u64,
}

impl IsolationForestParams {
    /// The paper's settings: 100 trees of 256 rows each.
    pub fn new(seed: u64) -> Self {
        Self(IsolationForestValidParams { trees: 100, sample_rows: 256, seed })
    }

    /// Number of trees.
    #[must_use]
    pub fn trees(mut self, trees: u32) -> Self {
        self.0.trees = trees;
        self
    }

    /// Rows that each tree is grown on.
    #[must_use]
    pub fn sample_rows(mut self, sample_rows: u32) -> Self {
        self.0.sample_rows = sample_rows;
        self
    }
}

/// A forest as a module keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct IsolationForest {
    trees: u32,
    depth: u32,
    norm: f64,
    blocks: Vec<Block>,
}

impl IsolationForest {
    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model { trees: self.trees, depth: self.depth, norm: self.norm, blocks: &self.blocks }
    }
}

/// Why a forest cannot be fitted.
#[derive(Debug, Error)]
pub enum ForestError {
    /// No trees, or too many.
    #[error("isolation forest of {0} trees: choose 1 to {TREES_MAX}")]
    Trees(u32),
    /// Samples too small or too large.
    #[error("isolation forest of {0} rows a tree: choose 2 to {most}", most = 1 << DEPTH_MAX)]
    SampleRows(u32),
    /// Too few rows to isolate any.
    #[error("isolation forest needs at least 2 rows to fit on, and there are {0}")]
    TooFewRows(usize),
    /// linfa's own errors.
    #[error("dataset is not usable")]
    Dataset(#[from] linfa::error::Error),
}

impl ParamGuard for IsolationForestParams {
    type Checked = IsolationForestValidParams;
    type Error = ForestError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        let IsolationForestValidParams { trees, sample_rows, .. } = self.0;
        if !(1..=TREES_MAX).contains(&trees) {
            return Err(ForestError::Trees(trees));
        }
        if !(2..=1 << DEPTH_MAX).contains(&sample_rows) {
            return Err(ForestError::SampleRows(sample_rows));
        }
        Ok(&self.0)
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref().copied()
    }
}

impl<D: Data<Elem = f32>, T> Fit<ArrayBase<D, Ix2>, T, ForestError> for IsolationForestValidParams {
    type Object = IsolationForest;

    /// Fits on records of shape (rows, features); values must be finite.
    fn fit(
        &self,
        dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
    ) -> Result<IsolationForest, ForestError> {
        let records = dataset.records().view();
        let rows = records.nrows();
        if rows < 2 {
            return Err(ForestError::TooFewRows(rows));
        }
        let sample_rows = self.sample_rows.min(u32::try_from(rows).unwrap_or(u32::MAX));
        let depth_limit = u32::BITS - (sample_rows - 1).leading_zeros();
        let depth = depth_limit.max(DEPTH_MIN);
        let mut forest = IsolationForest {
            trees: self.trees,
            depth,
            norm: 1.0 / (f64::from(self.trees) * mean_path(sample_rows as usize) * LEAF_UNITS),
            blocks: vec![Block::EMPTY; self.trees as usize * blocks(depth)],
        };
        for (number, tree) in forest.blocks.chunks_exact_mut(blocks(depth)).enumerate() {
            let mut random = Random::new(self.seed, number as u64);
            let mut sample = random.distinct(sample_rows, rows as u32);
            Grower { records, random, depth, depth_limit, tree }.grow(&mut sample, 0, 0);
        }
        Ok(forest)
    }
}

/// Grows one tree into its blocks.
struct Grower<'r, 'p> {
    records: ArrayView2<'r, f32>,
    random: Random,
    depth: u32,
    depth_limit: u32,
    tree: &'p mut [Block],
}

impl Grower<'_, '_> {
    /// Grows the node that is number `index` of its level, and all below it.
    fn grow(&mut self, sample: &mut [u32], level: u32, index: usize) {
        let split =
            if level < self.depth_limit && sample.len() > 1 { self.split(sample) } else { None };
        let Some((feature, stored)) = split else {
            return self.leaf(sample.len(), level, index);
        };
        let (records, threshold) = (self.records, threshold(stored));
        let (block, place) = place(self.depth, level, index);
        self.tree[block].put_split(place, key(threshold), feature as u8);
        let right = partition(sample, |row| records[[row as usize, feature]] > threshold);
        let (low, high) = sample.split_at_mut(right);
        self.grow(low, level + 1, 2 * index);
        self.grow(high, level + 1, 2 * index + 1);
    }

    /// A random feature that still varies, and a random threshold between its extremes.
    fn split(&mut self, sample: &[u32]) -> Option<(usize, u16)> {
        let ranges: Vec<(usize, f32, f32)> = (0..self.records.ncols())
            .filter_map(|feature| {
                let values = sample.iter().map(|row| self.records[[*row as usize, feature]]);
                let (low, high) = extremes(values);
                between(low, high, low).map(|_| (feature, low, high))
            })
            .collect();
        if ranges.is_empty() {
            return None;
        }
        let (feature, low, high) = ranges[self.random.below(ranges.len() as u32) as usize];
        let wanted = f64::from(low) + self.random.unit() * (f64::from(high) - f64::from(low));
        Some((feature, between(low, high, wanted as f32)?))
    }

    /// Every leaf below the node gets the path length that ends there: the steps so far and those
    /// that its rows would still take.
    fn leaf(&mut self, rows: usize, level: u32, index: usize) {
        let path = f64::from(level) + mean_path(rows);
        let units = libm::round(path * LEAF_UNITS) as u16;
        let below = 1 << (self.depth - level);
        for leaf in index * below..(index + 1) * below {
            put_leaf(self.tree, self.depth, leaf, units);
        }
    }
}

/// The stored form of infinity, which no row exceeds.
pub(crate) const STORED_INFINITY: u16 = (f32::INFINITY.to_bits() >> 16) as u16;

/// The least and the largest value.
pub(crate) fn extremes(values: impl Iterator<Item = f32>) -> (f32, f32) {
    values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}

/// The threshold near `wanted` that can be stored and parts `low` from `high`; `None` when there is
/// none between the two.
pub(crate) fn between(low: f32, high: f32, wanted: f32) -> Option<u16> {
    let parts = |stored: &u16| low <= threshold(*stored) && threshold(*stored) < high;
    // Cutting the lower bits moves towards zero; the next one away from zero is one up.
    let cut = (wanted.to_bits() >> 16) as u16;
    [cut, cut.wrapping_add(1)].into_iter().find(parts).or_else(|| {
        // Beside the wanted one: what is nearest to either extreme.
        [low, high]
            .into_iter()
            .map(|extreme| (extreme.to_bits() >> 16) as u16)
            .flat_map(|stored| [stored, stored.wrapping_add(1)])
            .find(parts)
    })
}

/// Reorders so that rows that go left come first, each side in its old order; returns their number.
pub(crate) fn partition(sample: &mut [u32], goes_right: impl Fn(u32) -> bool) -> usize {
    let (right, left): (Vec<u32>, Vec<u32>) = sample.iter().partition(|row| goes_right(**row));
    sample[..left.len()].copy_from_slice(&left);
    sample[left.len()..].copy_from_slice(&right);
    left.len()
}

/// Mean path length of an unsuccessful search in a binary search tree of `rows` (equation 1), with
/// the harmonic number summed rather than approximated.
pub(crate) fn mean_path(rows: usize) -> f64 {
    if rows < 2 {
        return 0.0;
    }
    let harmonic: f64 = (1..rows).map(|k| 1.0 / k as f64).sum();
    2.0 * harmonic - 2.0 * (rows as f64 - 1.0) / rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use linfa::Dataset;
    use ndarray::Array2;
    use twinge_detector::forest::raw_scores;

    #[test]
    fn bad_settings_are_refused() {
        assert!(matches!(
            IsolationForestParams::new(0).trees(0).check(),
            Err(ForestError::Trees(0))
        ));
        let result = IsolationForestParams::new(0).sample_rows(1).check();
        assert!(matches!(result, Err(ForestError::SampleRows(1))));
        let one = Dataset::from(Array2::<f32>::zeros((1, 2)));
        assert!(IsolationForestParams::new(0).check().unwrap().fit(&one).is_err());
    }

    #[test]
    fn mean_paths_are_those_of_the_paper() {
        assert_eq!(mean_path(1), 0.0);
        assert_eq!(mean_path(2), 1.0);
        assert!((mean_path(256) - 10.244).abs() < 1e-2);
    }

    #[test]
    fn a_stored_threshold_parts_the_extremes_or_there_is_none() {
        for (low, high) in [(-3.0, 2.0), (1.0, 1.01), (-1e6, -9.9e5), (0.0, 1e-30), (-1e-3, 0.0)] {
            for share in 0..=10u8 {
                let wanted = low + (high - low) * f32::from(share) / 10.0;
                let stored = threshold(between(low, high, wanted).unwrap());
                assert!(low <= stored && stored < high, "{low} {stored} {high}");
            }
        }
        assert_eq!(between(1.000_01, 1.000_02, 1.000_01), None);
    }

    #[test]
    fn an_outlier_scores_above_the_crowd() {
        let mut random = Random::new(3, 0);
        let mut records =
            Array2::from_shape_fn((500, 16), |_| (random.unit() + random.unit()) as f32);
        records.row_mut(17).fill(9.0);
        let params = IsolationForestParams::new(1).check().unwrap();
        let forest = params.fit(&Dataset::from(records.clone())).unwrap();
        let mut raw = [0.0; 64];
        raw_scores(&forest.model(), &records.as_slice().unwrap()[..64 * 16], 16, &mut raw);
        for (row, score) in raw.iter().enumerate() {
            assert!((0.0..1.0).contains(score));
            assert!(row == 17 || *score < raw[17] - 0.1, "row {row}: {score} against {}", raw[17]);
        }
    }
}
