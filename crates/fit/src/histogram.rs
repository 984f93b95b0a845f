//! Fits histograms of single features (HBOS, Goldstein and Dengel 2012).

use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{ArrayBase, ArrayView1, Data, Ix2};
use thiserror::Error;
use twinge_detector::histogram::Histogram as Model;

/// Unchecked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistogramParams(HistogramValidParams);

/// Checked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistogramValidParams {
    bins: usize,
}

impl HistogramParams {
    /// Ten bins a feature.
    pub fn new() -> Self {
        Self(HistogramValidParams { bins: 10 })
    }

    /// Bins of each feature.
    #[must_use]
    pub fn bins(mut self, bins: usize) -> Self {
        self.0.bins = bins;
        self
    }
}

impl Default for HistogramParams {
    fn default() -> Self {
        Self::new()
    }
}

/// Why histograms cannot be fitted.
#[derive(Debug, Error)]
pub enum HistogramError {
    /// No bins, or too many.
    #[error("histograms of {0} bins: choose 1 to 256")]
    Bins(usize),
    /// No rows.
    #[error("histograms need at least one row to fit on")]
    NoRows,
    /// linfa's own errors.
    #[error("dataset is not usable")]
    Dataset(#[from] linfa::error::Error),
}

impl ParamGuard for HistogramParams {
    type Checked = HistogramValidParams;
    type Error = HistogramError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        if (1..=256).contains(&self.0.bins) {
            Ok(&self.0)
        } else {
            Err(HistogramError::Bins(self.0.bins))
        }
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref().copied()
    }
}

/// Bins as a module keeps them.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    scales: Vec<[f32; 2]>,
    values: Vec<f32>,
}

impl Histogram {
    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model { scales: &self.scales, values: &self.values }
    }
}

impl<D: Data<Elem = f32>, T> Fit<ArrayBase<D, Ix2>, T, HistogramError> for HistogramValidParams {
    type Object = Histogram;

    /// Fits on records of shape (rows, features); values must be finite.
    fn fit(
        &self,
        dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
    ) -> Result<Histogram, HistogramError> {
        let records = dataset.records().view();
        if records.is_empty() {
            return Err(HistogramError::NoRows);
        }
        let mut fitted = Histogram { scales: Vec::new(), values: Vec::new() };
        for column in records.columns() {
            fitted.push(column, self.bins);
        }
        Ok(fitted)
    }
}

impl Histogram {
    fn push(&mut self, column: ArrayView1<'_, f32>, bins: usize) {
        let low = column.iter().copied().fold(f32::INFINITY, f32::min);
        let high = column.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let per_width = if high > low { bins as f32 / (high - low) } else { 1.0 };
        let mut counts = vec![0u32; bins];
        for value in column {
            let place = ((value - low) * per_width).min((bins - 1) as f32) as usize;
            counts[place] += 1;
        }
        // A row more in every bin: what was not seen is rare, not impossible.
        let rows = (column.len() + bins) as f32;
        let rarity = |count: u32| -libm::logf((count as f32 + 1.0) / rows);
        self.scales.push([low, per_width]);
        self.values.push(rarity(0));
        self.values.extend(counts.into_iter().map(rarity));
        self.values.push(rarity(0));
        // The largest value belongs to the last bin, not above it.
        if let Some(scale) = self.scales.last_mut() {
            scale[1] = per_width * (1.0 - 4.0 * f32::EPSILON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linfa::Dataset;
    use ndarray::array;

    #[test]
    fn rare_bins_count_more() {
        let records = array![[0.0f32], [0.1], [0.2], [0.3], [1.0]];
        let params = HistogramParams::new().bins(2).check().unwrap();
        let fitted = params.fit(&Dataset::from(records)).unwrap();
        let rarity = |value: f32| fitted.model().rarity(&[value]);
        assert!((rarity(0.2) - f64::from(-(5.0f32 / 7.0).ln())).abs() < 1e-6);
        assert!((rarity(1.0) - f64::from(-(2.0f32 / 7.0).ln())).abs() < 1e-6);
        assert!(rarity(-0.5) > rarity(1.0) && rarity(9.0) > rarity(1.0));
        assert!(HistogramParams::new().bins(0).check().is_err());
    }
}
