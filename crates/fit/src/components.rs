//! Fits principal components (Pearson 1901): the directions that explain most of the variance.
//!
//! linfa's components call ndarray's products, which round differently on different processors.

use crate::linear::mean_and_covariance;
use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{ArrayBase, Data, Ix2};
use thiserror::Error;
use twinge_detector::components::Components as Model;

/// Unchecked settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComponentsParams(ComponentsValidParams);

/// Checked settings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComponentsValidParams {
    explained: f64,
    count_max: usize,
}

impl ComponentsParams {
    /// Directions that explain 90 % of the variance, 64 at most.
    pub fn new() -> Self {
        Self(ComponentsValidParams { explained: 0.9, count_max: 64 })
    }

    /// Share of the variance that directions explain, and their number at most.
    #[must_use]
    pub fn explained(mut self, share: f64, count_max: usize) -> Self {
        (self.0.explained, self.0.count_max) = (share, count_max);
        self
    }
}

impl Default for ComponentsParams {
    fn default() -> Self {
        Self::new()
    }
}

/// Why components cannot be fitted.
#[derive(Debug, Error)]
pub enum ComponentsError {
    /// A share outside its range.
    #[error("components that explain {0} of the variance: choose a share between 0 and 1")]
    Explained(f64),
    /// Too few rows.
    #[error("components need at least 2 rows to fit on, and there are {0}")]
    TooFewRows(usize),
    /// linfa's own errors.
    #[error("dataset is not usable")]
    Dataset(#[from] linfa::error::Error),
}

impl ParamGuard for ComponentsParams {
    type Checked = ComponentsValidParams;
    type Error = ComponentsError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        if self.0.explained > 0.0 && self.0.explained < 1.0 {
            Ok(&self.0)
        } else {
            Err(ComponentsError::Explained(self.0.explained))
        }
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref().copied()
    }
}

/// Mean and directions as a module keeps them.
#[derive(Clone, Debug, PartialEq)]
pub struct Components {
    centre: Vec<f32>,
    directions: Vec<f32>,
}

impl Components {
    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model { centre: &self.centre, directions: &self.directions }
    }
}

impl<D: Data<Elem = f32>, T> Fit<ArrayBase<D, Ix2>, T, ComponentsError> for ComponentsValidParams {
    type Object = Components;

    /// Fits on records of shape (rows, features); values must be finite. One direction at least is
    /// left unexplained, or every row would be reconstructed.
    fn fit(
        &self,
        dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
    ) -> Result<Components, ComponentsError> {
        let records = dataset.records().view();
        let rows = records.nrows();
        if rows < 2 {
            return Err(ComponentsError::TooFewRows(rows));
        }
        let (mean, covariance) = mean_and_covariance(records, &vec![1.0; rows]);
        let (variances, vectors) = covariance.eigen();
        let total: f64 = variances.iter().sum();
        let most = self.count_max.min(mean.len() - 1);
        let mut explained = 0.0;
        let mut directions = Vec::new();
        for (variance, vector) in variances.iter().zip(&vectors).take(most) {
            if explained >= self.explained * total {
                break;
            }
            explained += variance;
            directions.extend(vector.iter().map(|value| *value as f32));
        }
        Ok(Components { centre: mean.iter().map(|value| *value as f32).collect(), directions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use linfa::Dataset;
    use ndarray::Array2;

    #[test]
    fn rows_near_the_plane_are_usual_and_others_are_not() {
        let mut random = Random::new(7, 0);
        let mut records = Array2::<f32>::zeros((400, 3));
        for mut row in records.rows_mut() {
            let (a, b) = (random.normal() as f32, random.normal() as f32);
            row[0] = a;
            row[1] = b;
            row[2] = a + b + 0.01 * random.normal() as f32;
        }
        let params = ComponentsParams::new().check().unwrap();
        let fitted = params.fit(&Dataset::from(records)).unwrap();
        assert!(fitted.model().residual(&[1.0, -1.0, 0.0]) < 0.01);
        assert!(fitted.model().residual(&[1.0, -1.0, 1.0]) > 0.2);
    }

    #[test]
    fn bad_settings_are_refused_and_one_feature_is_left_unexplained() {
        assert!(ComponentsParams::new().explained(1.0, 5).check().is_err());
        let one = Dataset::from(Array2::from_shape_fn((30, 1), |(row, _)| row as f32));
        let fitted = ComponentsParams::new().check().unwrap().fit(&one).unwrap();
        assert!(fitted.model().residual(&[99.0]) > 1.0);
    }
}
