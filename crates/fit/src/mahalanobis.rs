//! Fits a Mahalanobis distance that outliers among the rows cannot bend.
//!
//! The rows with the largest distances are dropped and the rest is fitted again, a few times: the
//! concentration steps of the minimum covariance determinant (Rousseeuw and Van Driessen 1999), from
//! the start of all rows.

use crate::linear::mean_and_covariance;
use crate::means::slice;
use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{ArrayBase, ArrayView2, Data, Ix2};
use thiserror::Error;
use twinge_detector::mahalanobis::Mahalanobis as Model;

/// Added to each variance.
const FLOOR: f64 = 1e-6;
/// Concentration steps.
const STEPS: usize = 5;

/// Unchecked settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MahalanobisParams(MahalanobisValidParams);

/// Checked settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MahalanobisValidParams {
    kept: f64,
}

impl MahalanobisParams {
    /// All rows count.
    pub fn new() -> Self {
        Self(MahalanobisValidParams { kept: 1.0 })
    }

    /// Share of the rows that count, the nearest to the middle.
    #[must_use]
    pub fn kept(mut self, share: f64) -> Self {
        self.0.kept = share;
        self
    }
}

impl Default for MahalanobisParams {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a distance cannot be fitted.
#[derive(Debug, Error)]
pub enum MahalanobisError {
    /// A share outside its range.
    #[error("mahalanobis distance that keeps {0} of the rows: choose a share from 0.5 to 1")]
    Kept(f64),
    /// Too few rows.
    #[error("a mahalanobis distance needs at least 2 rows to fit on, and there are {0}")]
    TooFewRows(usize),
    /// linfa's own errors.
    #[error("dataset is not usable")]
    Dataset(#[from] linfa::error::Error),
}

impl ParamGuard for MahalanobisParams {
    type Checked = MahalanobisValidParams;
    type Error = MahalanobisError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        if (0.5..=1.0).contains(&self.0.kept) {
            Ok(&self.0)
        } else {
            Err(MahalanobisError::Kept(self.0.kept))
        }
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref().copied()
    }
}

/// Centre and whitening as a module keeps them.
#[derive(Clone, Debug, PartialEq)]
pub struct Mahalanobis {
    centre: Vec<f32>,
    whitening: Vec<f32>,
}

impl Mahalanobis {
    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model { centre: &self.centre, whitening: &self.whitening }
    }

    fn of(records: ArrayView2<'_, f32>, weights: &[f64]) -> Self {
        let (mean, mut covariance) = mean_and_covariance(records, weights);
        // A floor relative to the largest variance keeps singular covariances usable.
        let largest = (0..mean.len()).map(|i| covariance.at(i, i)).fold(0.0, f64::max);
        covariance.add_to_diagonal(FLOOR * largest.max(1e-6));
        let factor = covariance.cholesky().expect("a covariance with a floor is positive definite");
        let inverse = factor.lower_inverse();
        let lower = |row: usize| (0..=row).map(move |column| (row, column));
        Self {
            centre: mean.iter().map(|value| *value as f32).collect(),
            whitening: (0..mean.len())
                .flat_map(lower)
                .map(|(row, column)| inverse.at(row, column) as f32)
                .collect(),
        }
    }
}

impl<D: Data<Elem = f32>, T> Fit<ArrayBase<D, Ix2>, T, MahalanobisError>
    for MahalanobisValidParams
{
    type Object = Mahalanobis;

    /// Fits on records of shape (rows, features); values must be finite.
    fn fit(
        &self,
        dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
    ) -> Result<Mahalanobis, MahalanobisError> {
        let records = dataset.records().view();
        let rows = records.nrows();
        if rows < 2 {
            return Err(MahalanobisError::TooFewRows(rows));
        }
        let mut fitted = Mahalanobis::of(records, &vec![1.0; rows]);
        if self.kept == 1.0 {
            return Ok(fitted);
        }
        let kept = ((rows as f64 * self.kept) as usize).clamp(2, rows);
        for _ in 0..STEPS {
            let model = fitted.model();
            let distances: Vec<f64> =
                records.rows().into_iter().map(|row| model.distance(slice(&row))).collect();
            let mut order: Vec<usize> = (0..rows).collect();
            order.sort_by(|a, b| distances[*a].total_cmp(&distances[*b]).then(a.cmp(b)));
            let mut weights = vec![0.0; rows];
            for row in &order[..kept] {
                weights[*row] = 1.0;
            }
            fitted = Mahalanobis::of(records, &weights);
        }
        Ok(fitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use linfa::Dataset;
    use ndarray::Array2;

    #[test]
    fn outliers_among_the_rows_do_not_hide_themselves() {
        let mut random = Random::new(6, 0);
        let records = Array2::from_shape_fn((500, 2), |(row, feature)| {
            if row < 60 && feature == 0 { 9.0 } else { random.normal() as f32 }
        });
        let dataset = Dataset::from(records);
        let distance = |params: MahalanobisParams| {
            params.check().unwrap().fit(&dataset).unwrap().model().distance(&[9.0, 0.0])
        };
        let (plain, robust) =
            (distance(MahalanobisParams::new()), distance(MahalanobisParams::new().kept(0.75)));
        assert!(robust > 5.0 * plain, "{robust} {plain}");
    }

    #[test]
    fn bad_settings_are_refused_and_singular_rows_are_not() {
        assert!(MahalanobisParams::new().kept(0.2).check().is_err());
        let line = Dataset::from(Array2::from_shape_fn((30, 3), |(row, _)| row as f32));
        let fitted = MahalanobisParams::new().check().unwrap().fit(&line).unwrap();
        assert!(fitted.model().distance(&[3.0, 4.0, 5.0]).is_finite());
    }
}
