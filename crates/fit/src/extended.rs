//! Fits an extended isolation forest (Hariri, Carrasco Kind and Brunner 2019): each split looks at
//! two features along a random direction.

use crate::forest::{STORED_INFINITY, between, extremes, mean_path, partition};
use crate::random::Random;
use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{ArrayBase, ArrayView2, Data, Ix2};
use thiserror::Error;
use twinge_detector::extended::{ExtendedForest as Model, WEIGHT_UNITS, along};
use twinge_detector::forest::{DEPTH_MAX, LEAF_UNITS, TREES_MAX, threshold};

/// Directions that are tried before a node becomes a leaf.
const TRIES: usize = 10;

/// Unchecked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedForestParams(ExtendedForestValidParams);

/// Checked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedForestValidParams {
    trees: u32,
    sample_rows: u32,
    seed: u64,
}

impl ExtendedForestParams {
    /// 64 trees of 256 rows each: what fits into a module beside everything else.
    pub fn new(seed: u64) -> Self {
        Self(ExtendedForestValidParams { trees: 64, sample_rows: 256, seed })
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

/// Why a forest cannot be fitted.
#[derive(Debug, Error)]
pub enum ExtendedForestError {
    /// No trees, or too many.
    #[error("extended forest of {0} trees: choose 1 to {TREES_MAX}")]
    Trees(u32),
    /// Samples too small or too large.
    #[error("extended forest of {0} rows a tree: choose 2 to {most}", most = 1 << DEPTH_MAX)]
    SampleRows(u32),
    /// Too few rows to isolate any.
    #[error("extended forest needs at least 2 rows to fit on, and there are {0}")]
    TooFewRows(usize),
    /// linfa's own errors.
    #[error("dataset is not usable")]
    Dataset(#[from] linfa::error::Error),
}

impl ParamGuard for ExtendedForestParams {
    type Checked = ExtendedForestValidParams;
    type Error = ExtendedForestError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        if !(1..=TREES_MAX).contains(&self.0.trees) {
            return Err(ExtendedForestError::Trees(self.0.trees));
        }
        if !(2..=1 << DEPTH_MAX).contains(&self.0.sample_rows) {
            return Err(ExtendedForestError::SampleRows(self.0.sample_rows));
        }
        Ok(&self.0)
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref().copied()
    }
}

/// A forest as a module keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtendedForest {
    trees: u32,
    depth: u32,
    norm: f64,
    thresholds: Vec<u16>,
    features: Vec<[u8; 2]>,
    weights: Vec<[i8; 2]>,
    leaves: Vec<u16>,
}

impl ExtendedForest {
    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model {
            trees: self.trees,
            depth: self.depth,
            norm: self.norm,
            thresholds: &self.thresholds,
            features: &self.features,
            weights: &self.weights,
            leaves: &self.leaves,
        }
    }
}

impl<D: Data<Elem = f32>, T> Fit<ArrayBase<D, Ix2>, T, ExtendedForestError>
    for ExtendedForestValidParams
{
    type Object = ExtendedForest;

    /// Fits on records of shape (rows, features) in comparable units; values must be finite.
    fn fit(
        &self,
        dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
    ) -> Result<ExtendedForest, ExtendedForestError> {
        let records = dataset.records().view();
        let rows = records.nrows();
        if rows < 2 {
            return Err(ExtendedForestError::TooFewRows(rows));
        }
        let sample_rows = self.sample_rows.min(u32::try_from(rows).unwrap_or(u32::MAX));
        let depth = u32::BITS - (sample_rows - 1).leading_zeros();
        let places = (self.trees as usize) << depth;
        let mut forest = ExtendedForest {
            trees: self.trees,
            depth,
            norm: 1.0 / (f64::from(self.trees) * mean_path(sample_rows as usize) * LEAF_UNITS),
            thresholds: vec![STORED_INFINITY; places],
            features: vec![[0; 2]; places],
            weights: vec![[0; 2]; places],
            leaves: vec![0; places],
        };
        for tree in 0..self.trees {
            let mut random = Random::new(self.seed, u64::from(tree));
            let mut sample = random.distinct(sample_rows, rows as u32);
            let start = (tree as usize) << depth;
            Grower { records, random, start, forest: &mut forest }.grow(&mut sample, 0, 0);
        }
        Ok(forest)
    }
}

/// Grows one tree into its places of the arrays.
struct Grower<'r, 'f> {
    records: ArrayView2<'r, f32>,
    random: Random,
    start: usize,
    forest: &'f mut ExtendedForest,
}

/// A split: two features, their weights and the stored threshold.
type Split = ([u8; 2], [i8; 2], u16);

impl Grower<'_, '_> {
    fn grow(&mut self, sample: &mut [u32], node: usize, level: u32) {
        let may_split = level < self.forest.depth && sample.len() > 1;
        let Some((features, weights, stored)) = may_split.then(|| self.split(sample)).flatten()
        else {
            return self.leaf(sample.len(), node, level);
        };
        let place = self.start + node;
        self.forest.features[place] = features;
        self.forest.weights[place] = weights;
        self.forest.thresholds[place] = stored;
        let records = self.records;
        let goes_right =
            |row: u32| along(row_of(records, row), features, weights) > threshold(stored);
        let right = partition(sample, goes_right);
        let (low, high) = sample.split_at_mut(right);
        self.grow(low, 2 * node + 1, level + 1);
        self.grow(high, 2 * node + 2, level + 1);
    }

    fn split(&mut self, sample: &[u32]) -> Option<Split> {
        for _ in 0..TRIES {
            let (features, weights) = self.direction();
            let records = self.records;
            let place = |row: &u32| along(row_of(records, *row), features, weights);
            let (low, high) = extremes(sample.iter().map(place));
            let wanted = f64::from(low) + self.random.unit() * (f64::from(high) - f64::from(low));
            if let Some(stored) = between(low, high, wanted as f32) {
                return Some((features, weights, stored));
            }
        }
        None
    }

    /// Two features and a direction of normally distributed weights, the larger one whole.
    fn direction(&mut self) -> ([u8; 2], [i8; 2]) {
        let width = self.records.ncols() as u32;
        let first = self.random.below(width);
        if width == 1 {
            return ([0, 0], [WEIGHT_UNITS as i8, 0]);
        }
        let second = (first + 1 + self.random.below(width - 1)) % width;
        let weights = [self.random.normal(), self.random.normal()];
        let largest = weights[0].abs().max(weights[1].abs()).max(f64::MIN_POSITIVE);
        let unit = |weight: f64| libm::round(weight / largest * f64::from(WEIGHT_UNITS)) as i8;
        ([first as u8, second as u8], weights.map(unit))
    }

    /// Every place below `node` on the last level gets the leaf's path length.
    fn leaf(&mut self, rows: usize, node: usize, level: u32) {
        let units = libm::round((f64::from(level) + mean_path(rows)) * LEAF_UNITS) as u16;
        let depth = self.forest.depth;
        let below = 1 << (depth - level);
        let first = self.start + (node + 1) * below - (1 << depth);
        self.forest.leaves[first..first + below].fill(units);
    }
}

fn row_of(records: ArrayView2<'_, f32>, row: u32) -> &[f32] {
    let start = row as usize * records.ncols();
    let all = records.to_slice().expect("records are contiguous");
    &all[start..start + records.ncols()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use linfa::Dataset;
    use ndarray::Array2;

    #[test]
    fn a_row_beside_two_clusters_leaves_no_ghost() {
        // Clusters at (-5, 5) and (5, -5); axis-parallel splits think (5, 5) usual.
        let mut random = Random::new(3, 0);
        let records = Array2::from_shape_fn((600, 2), |(row, feature)| {
            let side = if (row + feature) % 2 == 0 { 5.0 } else { -5.0 };
            random.normal() as f32 + side
        });
        let params = ExtendedForestParams::new(1).check().unwrap();
        let forest = params.fit(&Dataset::from(records)).unwrap();
        let model = forest.model();
        let usual = model.raw_score(&[5.0, -5.0]).max(model.raw_score(&[-5.0, 5.0]));
        assert!(model.raw_score(&[5.0, 5.0]) > usual + 0.1);
        assert!(model.raw_score(&[20.0, -20.0]) > usual + 0.1);
    }

    #[test]
    fn bad_settings_are_refused() {
        assert!(ExtendedForestParams::new(0).trees(0).check().is_err());
        assert!(ExtendedForestParams::new(0).sample_rows(1).check().is_err());
        let one = Dataset::from(Array2::<f32>::zeros((1, 2)));
        assert!(ExtendedForestParams::new(0).check().unwrap().fit(&one).is_err());
    }
}
