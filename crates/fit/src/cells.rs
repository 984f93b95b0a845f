//! Fits neighbours in cells: as many references as a module has room for, and an order to visit
//! them in.

use crate::means::{means, owners, slice, squared_distance};
use crate::random::Random;
use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array2, ArrayBase, ArrayView2, Axis, Data, Ix2};
use thiserror::Error;
use twinge_detector::cells::{CELLS_MAX, Cells as Model};
use twinge_detector::lanes::LANES;
use twinge_detector::neighbours::NEIGHBOURS_MAX;

/// Neighbour of a reference, itself not counted, that tells how sparse its surroundings are.
const SCALE_NEIGHBOUR: usize = 10;
/// Share of the median squared scale that is added to each.
const SCALE_FLOOR: f64 = 0.1;
/// Cells for each root of the number of references.
const CELLS_PER_ROOT: f64 = 0.7;

/// Unchecked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellsParams(CellsValidParams);

/// Checked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellsValidParams {
    bytes: usize,
    multiply_adds: usize,
    neighbours: usize,
    seed: u64,
}

impl CellsParams {
    /// References of 130,000 bytes, 9,500 multiply-adds a row, and the 5 nearest neighbours.
    pub fn new(seed: u64) -> Self {
        Self(CellsValidParams { bytes: 130_000, multiply_adds: 9_500, neighbours: 5, seed })
    }

    /// Bytes that all references may take, and multiply-adds that a row may take.
    #[must_use]
    pub fn budget(mut self, bytes: usize, multiply_adds: usize) -> Self {
        (self.0.bytes, self.0.multiply_adds) = (bytes, multiply_adds);
        self
    }

    /// Neighbours whose mean distance counts.
    #[must_use]
    pub fn neighbours(mut self, neighbours: usize) -> Self {
        self.0.neighbours = neighbours;
        self
    }
}

/// Why cells cannot be fitted.
#[derive(Debug, Error)]
pub enum CellsError {
    /// A budget for less than a reference.
    #[error(
        "neighbours in cells of {0} bytes and {1} multiply-adds a row: choose at least 4096 of each"
    )]
    Budget(usize, usize),
    /// No neighbours, or too many.
    #[error("neighbours of a row: {0}; choose 1 to {NEIGHBOURS_MAX}")]
    Neighbours(usize),
    /// No rows.
    #[error("neighbours need at least one row to fit on")]
    NoRows,
    /// linfa's own errors.
    #[error("dataset is not usable")]
    Dataset(#[from] linfa::error::Error),
}

impl ParamGuard for CellsParams {
    type Checked = CellsValidParams;
    type Error = CellsError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        let CellsValidParams { bytes, multiply_adds, neighbours, .. } = self.0;
        if bytes < 4096 || multiply_adds < 4096 {
            return Err(CellsError::Budget(bytes, multiply_adds));
        }
        if !(1..=NEIGHBOURS_MAX).contains(&neighbours) {
            return Err(CellsError::Neighbours(neighbours));
        }
        Ok(&self.0)
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref().copied()
    }
}

/// References in cells as a module keeps them.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    neighbours: usize,
    evaluations: usize,
    grid: Vec<[f32; 3]>,
    centres: Vec<[f32; LANES]>,
    spans: Vec<[u32; 2]>,
    references: Vec<[u8; LANES]>,
    factors: Vec<[f32; LANES]>,
}

impl Cells {
    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model {
            neighbours: self.neighbours as u32,
            evaluations: self.evaluations as u32,
            grid: &self.grid,
            centres: &self.centres,
            cells: &self.spans,
            references: &self.references,
            factors: &self.factors,
        }
    }
}

impl<D: Data<Elem = f32>, T> Fit<ArrayBase<D, Ix2>, T, CellsError> for CellsValidParams {
    type Object = Cells;

    /// Fits on records of shape (rows, features); values must be finite.
    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<Cells, CellsError> {
        let records = dataset.records().view();
        if records.is_empty() {
            return Err(CellsError::NoRows);
        }
        let mut random = Random::new(self.seed, 0);
        let (rows, width) = records.dim();
        // A byte for each coordinate and four for the factor.
        let count = rows.min(self.bytes / (width + 4));
        let chosen = random.distinct(count as u32, rows as u32);
        let chosen: Vec<usize> = chosen.into_iter().map(|row| row as usize).collect();
        let references = records.select(Axis(0), &chosen);
        let factors = factors(&references, records);
        let distances = (self.multiply_adds / width).max(LANES);
        let cells = if count < distances {
            1
        } else {
            let wanted = (CELLS_PER_ROOT * (count as f64).sqrt()) as usize;
            wanted.clamp(4, (distances / 3).clamp(4, CELLS_MAX))
        };
        let centres = means(references.view(), cells, &mut random);
        let owners = owners(references.view(), &centres);
        let evaluations = if cells == 1 { distances } else { distances - centres.nrows() };
        Ok(self.pack(&references, &factors, &centres, &owners, evaluations))
    }
}

impl CellsValidParams {
    fn pack(
        &self,
        references: &Array2<f32>,
        factors: &[f32],
        centres: &Array2<f32>,
        owners: &[usize],
        evaluations: usize,
    ) -> Cells {
        let grid: Vec<[f32; 3]> = references
            .columns()
            .into_iter()
            .map(|column| {
                let low = column.iter().copied().fold(f32::INFINITY, f32::min);
                let high = column.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let step = ((high - low) / 255.0).max(1e-6);
                [low, 1.0 / step, step * step]
            })
            .collect();
        let mut fitted = Cells {
            neighbours: self.neighbours.min(references.nrows()),
            evaluations,
            grid,
            centres: Vec::new(),
            spans: Vec::new(),
            references: Vec::new(),
            factors: Vec::new(),
        };
        let mut kept = Vec::new();
        for (cell, centre) in centres.rows().into_iter().enumerate() {
            let members: Vec<usize> =
                (0..owners.len()).filter(|reference| owners[*reference] == cell).collect();
            if members.is_empty() {
                continue;
            }
            fitted.spans.push([fitted.factors.len() as u32, members.len() as u32]);
            kept.push(centre);
            for block in members.chunks(LANES) {
                fitted.push_block(references, factors, block);
            }
        }
        for group in kept.chunks(LANES) {
            let lane = |feature: usize, lane: usize| group.get(lane).map_or(0.0, |c| c[feature]);
            let features = 0..references.ncols();
            fitted.centres.extend(features.map(|f| std::array::from_fn(|l| lane(f, l))));
        }
        fitted
    }
}

impl Cells {
    fn push_block(&mut self, references: &Array2<f32>, factors: &[f32], block: &[usize]) {
        for (feature, [low, per_step, _]) in self.grid.iter().enumerate() {
            self.references.push(std::array::from_fn(|lane| {
                let value = block.get(lane).map_or(*low, |row| references[[*row, feature]]);
                libm::roundf((value - low) * per_step) as u8
            }));
        }
        let factor = |lane: usize| block.get(lane).map_or(1.0, |row| factors[*row]);
        self.factors.push(std::array::from_fn(factor));
    }
}

/// One over the distance from each reference to its tenth neighbour among the other records, squared
/// distances being drawn towards their median.
fn factors(references: &Array2<f32>, records: ArrayView2<'_, f32>) -> Vec<f32> {
    let tenth = |reference: &[f32]| {
        let mut squares: Vec<f32> = records
            .rows()
            .into_iter()
            .map(|row| squared_distance(slice(&row), reference))
            .collect();
        // The reference itself is the nearest record.
        let place = SCALE_NEIGHBOUR.min(squares.len() - 1);
        f64::from(*squares.select_nth_unstable_by(place, f32::total_cmp).1)
    };
    let scales: Vec<f64> = references.rows().into_iter().map(|row| tenth(slice(&row))).collect();
    let mut sorted = scales.clone();
    sorted.sort_by(f64::total_cmp);
    let floor = SCALE_FLOOR * sorted[sorted.len() / 2] + 1e-9;
    scales.into_iter().map(|scale| (1.0 / (scale + floor).sqrt()) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use linfa::Dataset;

    #[test]
    fn bad_settings_are_refused() {
        let params = CellsParams::new(0);
        assert!(matches!(params.budget(10, 9500).check(), Err(CellsError::Budget(10, 9500))));
        assert!(matches!(params.neighbours(0).check(), Err(CellsError::Neighbours(0))));
        let none = Dataset::from(Array2::<f32>::zeros((0, 2)));
        assert!(params.check().unwrap().fit(&none).is_err());
    }

    #[test]
    fn what_is_far_from_all_references_is_far() {
        let mut random = Random::new(5, 0);
        let records = Array2::from_shape_fn((3000, 8), |_| random.normal() as f32);
        let params = CellsParams::new(1).budget(20_000, 4096).check().unwrap();
        let fitted = params.fit(&Dataset::from(records.clone())).unwrap();
        let model = fitted.model();
        assert!(model.cells.len() > 4);
        let usual = model.distance(records.row(5).as_slice().unwrap());
        assert!(model.distance(&[4.0; 8]) > 2.0 * usual);
    }

    #[test]
    fn few_rows_are_all_looked_at() {
        let records = Array2::from_shape_fn((30, 2), |(row, _)| row as f32);
        let fitted = CellsParams::new(1).check().unwrap().fit(&Dataset::from(records)).unwrap();
        assert_eq!(fitted.spans, [[0, 30]]);
    }
}
