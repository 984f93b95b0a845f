//! Fits nearest neighbours: chooses the reference rows that a module keeps.
//!
//! References are random rows in bags, or the centres of k-means, which stand for more rows each.
//! With local scale a distance counts by how sparse the surroundings of its reference are.

use crate::means::{means, slice, squared_distance};
use crate::random::Random;
use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array2, ArrayBase, ArrayView2, Axis, Data, Ix2};
use thiserror::Error;
use twinge_detector::lanes::LANES;
use twinge_detector::neighbours::{FILLER, NEIGHBOURS_MAX, Neighbours as Model};

/// Neighbour of a reference whose distance tells how sparse its surroundings are.
const SCALE_NEIGHBOUR: usize = 10;

/// Share of the median scale that is added to each, so that duplicates do not make it zero.
const SCALE_FLOOR: f32 = 0.1;

/// Unchecked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighboursParams(NeighboursValidParams);

/// Checked settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighboursValidParams {
    bags: usize,
    references: usize,
    neighbours: usize,
    farthest_only: bool,
    centres: bool,
    local_scale: bool,
    seed: u64,
}

impl NeighboursParams {
    /// One bag of at most 256 random rows, the mean distance to the 5 nearest.
    pub fn new(seed: u64) -> Self {
        Self(NeighboursValidParams {
            bags: 1,
            references: 256,
            neighbours: 5,
            farthest_only: false,
            centres: false,
            local_scale: false,
            seed,
        })
    }

    /// Bags, and references in each.
    #[must_use]
    pub fn bags(mut self, bags: usize, references: usize) -> Self {
        (self.0.bags, self.0.references) = (bags, references);
        self
    }

    /// Neighbours looked at: the farthest of them, or their mean.
    #[must_use]
    pub fn neighbours(mut self, neighbours: usize, farthest_only: bool) -> Self {
        (self.0.neighbours, self.0.farthest_only) = (neighbours, farthest_only);
        self
    }

    /// References are centres of k-means rather than rows.
    #[must_use]
    pub fn centres(mut self) -> Self {
        self.0.centres = true;
        self
    }

    /// Distances count by how sparse the surroundings of the reference are.
    #[must_use]
    pub fn local_scale(mut self) -> Self {
        self.0.local_scale = true;
        self
    }
}

/// Why neighbours cannot be fitted.
#[derive(Debug, Error)]
pub enum NeighboursError {
    /// No bags or references.
    #[error(
        "neighbours of {0} bags with {1} references each: choose 1 to 64 bags and 1 to 4096 references"
    )]
    References(usize, usize),
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

impl ParamGuard for NeighboursParams {
    type Checked = NeighboursValidParams;
    type Error = NeighboursError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        let NeighboursValidParams { bags, references, neighbours, .. } = self.0;
        if !(1..=64).contains(&bags) || !(1..=4096).contains(&references) {
            return Err(NeighboursError::References(bags, references));
        }
        if !(1..=NEIGHBOURS_MAX).contains(&neighbours) {
            return Err(NeighboursError::Neighbours(neighbours));
        }
        Ok(&self.0)
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref().copied()
    }
}

/// References as a module keeps them.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    bags: usize,
    nearest: usize,
    farthest_only: bool,
    references: Vec<[f32; LANES]>,
    factors: Vec<[f32; LANES]>,
}

impl Neighbours {
    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model {
            bags: self.bags as u32,
            neighbours: self.nearest as u32,
            farthest_only: u32::from(self.farthest_only),
            references: &self.references,
            factors: &self.factors,
        }
    }
}

impl<D: Data<Elem = f32>, T> Fit<ArrayBase<D, Ix2>, T, NeighboursError> for NeighboursValidParams {
    type Object = Neighbours;

    /// Fits on records of shape (rows, features); values must be finite.
    fn fit(
        &self,
        dataset: &DatasetBase<ArrayBase<D, Ix2>, T>,
    ) -> Result<Neighbours, NeighboursError> {
        let records = dataset.records().view();
        if records.is_empty() {
            return Err(NeighboursError::NoRows);
        }
        let mut bags = Vec::new();
        for bag in 0..self.bags {
            let mut random = Random::new(self.seed, bag as u64);
            bags.push(if self.centres {
                means(records, self.references, &mut random)
            } else {
                let rows = random
                    .distinct(self.references.min(records.nrows()) as u32, records.nrows() as u32);
                let rows: Vec<usize> = rows.into_iter().map(|row| row as usize).collect();
                records.select(Axis(0), &rows)
            });
        }
        let factors = bags.iter().map(|bag| {
            if self.local_scale { factors(bag, records) } else { vec![1.0; bag.nrows()] }
        });
        let factors: Vec<Vec<f32>> = factors.collect();
        let fewest = bags.iter().map(Array2::nrows).min().unwrap_or(1);
        Ok(Neighbours {
            bags: self.bags,
            nearest: self.neighbours.min(fewest),
            farthest_only: self.farthest_only,
            references: pack_references(&bags),
            factors: pack_factors(&factors),
        })
    }
}

/// One over the distance from each reference to its tenth neighbour among the records, with a part
/// of the median distance added.
fn factors(bag: &Array2<f32>, records: ArrayView2<'_, f32>) -> Vec<f32> {
    let tenth = |reference: &[f32]| {
        let mut squares: Vec<f32> = records
            .rows()
            .into_iter()
            .map(|row| squared_distance(slice(&row), reference))
            .collect();
        let place = SCALE_NEIGHBOUR.min(squares.len()) - 1;
        squares.select_nth_unstable_by(place, f32::total_cmp).1.sqrt()
    };
    let scales: Vec<f32> = bag.rows().into_iter().map(|row| tenth(slice(&row))).collect();
    let mut sorted = scales.clone();
    sorted.sort_by(f32::total_cmp);
    let floor = (SCALE_FLOOR * sorted[sorted.len() / 2]).max(f32::MIN_POSITIVE.sqrt());
    scales.into_iter().map(|scale| 1.0 / (scale + floor)).collect()
}

/// Bags of blocks of eight; a value of eight references lies together.
fn pack_references(bags: &[Array2<f32>]) -> Vec<[f32; LANES]> {
    let blocks = blocks(bags.iter().map(Array2::nrows));
    let mut packed = Vec::new();
    for bag in bags {
        for block in 0..blocks {
            for feature in 0..bag.ncols() {
                packed.push(std::array::from_fn(|lane| {
                    bag.get((block * LANES + lane, feature)).copied().unwrap_or(FILLER)
                }));
            }
        }
    }
    packed
}

fn pack_factors(bags: &[Vec<f32>]) -> Vec<[f32; LANES]> {
    let blocks = blocks(bags.iter().map(Vec::len));
    let block = |bag: &[f32], block: usize| {
        std::array::from_fn(|lane| bag.get(block * LANES + lane).copied().unwrap_or(1.0))
    };
    bags.iter().flat_map(|bag| (0..blocks).map(move |number| block(bag, number))).collect()
}

fn blocks(rows: impl Iterator<Item = usize>) -> usize {
    rows.max().unwrap_or(0).div_ceil(LANES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use linfa::Dataset;

    #[test]
    fn bad_settings_are_refused() {
        let params = NeighboursParams::new(0);
        assert!(matches!(params.bags(0, 5).check(), Err(NeighboursError::References(0, 5))));
        let result = params.neighbours(17, false).check();
        assert!(matches!(result, Err(NeighboursError::Neighbours(17))));
        let none = Dataset::from(Array2::<f32>::zeros((0, 2)));
        assert!(params.check().unwrap().fit(&none).is_err());
    }

    #[test]
    fn distances_are_those_to_the_rows_also_when_the_last_block_is_not_full() {
        let records = Array2::from_shape_fn((11, 1), |(row, _)| row as f32);
        let params = NeighboursParams::new(1).bags(2, 99).neighbours(3, false).check().unwrap();
        let fitted = params.fit(&Dataset::from(records)).unwrap();
        assert!((fitted.model().distance(&[10.0]) - 1.0).abs() < 1e-6);
        assert!((fitted.model().distance(&[20.0]) - 11.0).abs() < 1e-6);
    }

    #[test]
    fn fewer_rows_than_neighbours_are_enough() {
        let records = Array2::from_shape_fn((2, 1), |(row, _)| row as f32);
        let params = NeighboursParams::new(1).centres().local_scale().check().unwrap();
        let fitted = params.fit(&Dataset::from(records)).unwrap();
        assert!(fitted.model().distance(&[0.5]).is_finite());
    }

    #[test]
    fn a_sparse_reference_makes_distances_smaller() {
        let mut records = Array2::from_shape_fn((40, 1), |(row, _)| row as f32 / 100.0);
        for row in 20..40 {
            records[[row, 0]] = 100.0 + row as f32;
        }
        let params = NeighboursParams::new(1).neighbours(1, false).local_scale().check().unwrap();
        let fitted = params.fit(&Dataset::from(records)).unwrap();
        let model = fitted.model();
        assert!(model.distance(&[0.5 + 0.19]) > model.distance(&[139.0 + 0.5]));
    }
}
