//! Fits a Gaussian mixture: clouds where k-means puts them, or moved on by expectation
//! maximisation (Dempster, Laird and Rubin 1977).
//!
//! linfa's mixture multiplies with ndarray and so rounds differently on different processors. This
//! one is compared with scikit-learn's in tests/reference.rs.

use crate::linear::{Square, mean_and_covariance};
use crate::means::{means, owners};
use crate::random::Random;
use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{ArrayBase, ArrayView2, Data, Ix2};
use thiserror::Error;
use twinge_detector::lanes::LANES;
use twinge_detector::mixture::{CLOUDS_MAX, Mixture as Model};

/// Share of a cloud's covariance that is taken from the mean of all clouds.
const SHRINKAGE: f64 = 0.1;
/// Added to each variance.
const FLOOR: f64 = 0.02;
/// Rows that a cloud needs.
const ROWS_MIN: usize = 30;

/// Unchecked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixtureParams(MixtureValidParams);

/// Checked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MixtureValidParams {
    clouds: usize,
    rank: usize,
    rounds: usize,
    seed: u64,
}

impl MixtureParams {
    /// Eight clouds with eight directions each, where k-means puts them.
    pub fn new(seed: u64) -> Self {
        Self(MixtureValidParams { clouds: 8, rank: 8, rounds: 0, seed })
    }

    /// Clouds, and directions of each that have a variance of their own.
    #[must_use]
    pub fn clouds(mut self, clouds: usize, rank: usize) -> Self {
        (self.0.clouds, self.0.rank) = (clouds, rank);
        self
    }

    /// Rounds of expectation maximisation.
    #[must_use]
    pub fn rounds(mut self, rounds: usize) -> Self {
        self.0.rounds = rounds;
        self
    }
}

/// Why a mixture cannot be fitted.
#[derive(Debug, Error)]
pub enum MixtureError {
    /// No clouds, or too many.
    #[error("mixture of {0} clouds: choose 1 to {CLOUDS_MAX}")]
    Clouds(usize),
    /// No rows.
    #[error("a mixture needs at least 2 rows to fit on, and there are {0}")]
    TooFewRows(usize),
    /// linfa's own errors.
    #[error("dataset is not usable")]
    Dataset(#[from] linfa::error::Error),
}

impl ParamGuard for MixtureParams {
    type Checked = MixtureValidParams;
    type Error = MixtureError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        if !(1..=CLOUDS_MAX).contains(&self.0.clouds) {
            return Err(MixtureError::Clouds(self.0.clouds));
        }
        Ok(&self.0)
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref().copied()
    }
}

/// Clouds as a module keeps them.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    rank: usize,
    clouds: Vec<[f64; 2]>,
    centres: Vec<f32>,
    directions: Vec<[f32; LANES]>,
    gains: Vec<f64>,
}

impl Mixture {
    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model {
            rank: self.rank as u32,
            clouds: &self.clouds,
            centres: &self.centres,
            directions: &self.directions,
            gains: &self.gains,
        }
    }
}

impl<D: Data<Elem = f32>, T> Fit<ArrayBase<D, Ix2>, T, MixtureError> for MixtureValidParams {
    type Object = Mixture;

    /// Fits on records of shape (rows, features); values must be finite.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<Mixture, MixtureError> {
        let records = dataset.records().view();
        let rows = records.nrows();
        if rows < 2 {
            return Err(MixtureError::TooFewRows(rows));
        }
        let clouds = self.clouds.min(rows / ROWS_MIN).max(1);
        let centres = means(records, clouds, &mut Random::new(self.seed, 0));
        let owners = owners(records, &centres);
        let mut shares: Vec<Vec<f64>> = (0..centres.nrows())
            .map(|cloud| owners.iter().map(|owner| f64::from(u8::from(*owner == cloud))).collect())
            .collect();
        let mut fitted = self.clouds_of(records, &shares);
        for _ in 0..self.rounds {
            shares = responsibilities(&fitted, records);
            fitted = self.clouds_of(records, &shares);
        }
        Ok(fitted)
    }
}

impl MixtureValidParams {
    /// Each cloud from the share that it has of every row.
    fn clouds_of(&self, records: ArrayView2<'_, f32>, shares: &[Vec<f64>]) -> Mixture {
        let (rows, width) = (records.nrows() as f64, records.ncols());
        let rank = self.rank.min(width);
        let mut mixture = Mixture {
            rank,
            clouds: Vec::new(),
            centres: Vec::new(),
            directions: Vec::new(),
            gains: Vec::new(),
        };
        let mut pooled = Square::zeros(width);
        let mut moments = Vec::new();
        for shares in shares {
            let weight = shares.iter().sum::<f64>() / rows;
            if weight * rows < 0.5 {
                continue;
            }
            let (mean, covariance) = mean_and_covariance(records, shares);
            for (pooled, value) in pooled.values.iter_mut().zip(&covariance.values) {
                *pooled += weight * value;
            }
            moments.push((weight, mean, covariance));
        }
        for (weight, mean, mut covariance) in moments {
            for (value, pooled) in covariance.values.iter_mut().zip(&pooled.values) {
                *value = (1.0 - SHRINKAGE) * *value + SHRINKAGE * pooled;
            }
            covariance.add_to_diagonal(FLOOR);
            mixture.push(weight, &mean, covariance);
        }
        mixture
    }
}

impl Mixture {
    fn push(&mut self, weight: f64, mean: &[f64], covariance: Square) {
        let width = mean.len();
        let (variances, vectors) = covariance.eigen();
        let (own, rest) = variances.split_at(self.rank);
        let of_rest =
            if rest.is_empty() { 1.0 } else { rest.iter().sum::<f64>() / rest.len() as f64 };
        let logs: f64 = own.iter().map(|variance| libm::log(*variance)).sum();
        let determinant = logs + rest.len() as f64 * libm::log(of_rest);
        let constant = libm::log(weight)
            - 0.5 * (determinant + width as f64 * libm::log(core::f64::consts::TAU));
        self.clouds.push([constant, 1.0 / of_rest]);
        self.centres.extend(mean.iter().map(|value| *value as f32));
        self.gains.extend(own.iter().map(|variance| 1.0 / variance - 1.0 / of_rest));
        for vectors in vectors[..self.rank].chunks(LANES) {
            let along = |feature: usize, lane: usize| {
                vectors.get(lane).map_or(0.0, |vector| vector[feature] as f32)
            };
            let eight = |feature| std::array::from_fn(|lane| along(feature, lane));
            self.directions.extend((0..width).map(eight));
        }
    }
}

/// The probability that a row belongs to each cloud.
fn responsibilities(mixture: &Mixture, records: ArrayView2<'_, f32>) -> Vec<Vec<f64>> {
    let model = mixture.model();
    let width = records.ncols();
    let mut shares = vec![Vec::with_capacity(records.nrows()); mixture.clouds.len()];
    for row in records.rows() {
        let row = crate::means::slice(&row);
        let all = -model.surprise(row);
        for (cloud, shares) in shares.iter_mut().enumerate() {
            let rank = mixture.rank;
            let of_cloud = rank.div_ceil(LANES) * width;
            let alone = Model {
                clouds: &mixture.clouds[cloud..=cloud],
                centres: &mixture.centres[cloud * width..(cloud + 1) * width],
                directions: &mixture.directions[cloud * of_cloud..(cloud + 1) * of_cloud],
                gains: &mixture.gains[cloud * rank..(cloud + 1) * rank],
                ..model
            };
            shares.push(libm::exp(-alone.surprise(row) - all));
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use linfa::Dataset;
    use ndarray::Array2;

    #[test]
    fn a_mixture_knows_where_rows_are_dense() {
        let mut random = Random::new(4, 0);
        let records = Array2::from_shape_fn((600, 3), |(row, _)| {
            (random.normal() * 0.3) as f32 + if row % 2 == 0 { 3.0 } else { -3.0 }
        });
        let params = MixtureParams::new(1).clouds(2, 2).rounds(3).check().unwrap();
        let fitted = params.fit(&Dataset::from(records)).unwrap();
        let model = fitted.model();
        let dense = model.surprise(&[3.0; 3]).max(model.surprise(&[-3.0; 3]));
        assert!(model.surprise(&[0.0; 3]) > dense + 10.0);
    }

    #[test]
    fn bad_settings_are_refused_and_singular_rows_are_not() {
        assert!(matches!(MixtureParams::new(0).clouds(0, 1).check(), Err(MixtureError::Clouds(0))));
        let same = Dataset::from(Array2::<f32>::ones((50, 4)));
        let fitted = MixtureParams::new(0).check().unwrap().fit(&same).unwrap();
        assert!(fitted.model().surprise(&[1.0, 1.0, 1.0, 2.0]).is_finite());
    }
}
