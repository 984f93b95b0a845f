//! Nearest neighbours among many references, of which only the cells around a row are looked at.
//!
//! References lie in cells around centres of k-means, and a row visits cells in the order of their
//! centres' distances until its share of distances is used up (an inverted file; Jegou, Douze and
//! Schmid 2011). Coordinates are one byte each on a grid of the feature's range. As in
//! [`crate::neighbours`], a distance counts by how sparse the reference's surroundings are.

use crate::lanes::{LANES, Lanes};
use crate::neighbours::{NEIGHBOURS_MAX, Nearest, squared_distances};
use crate::sections::{ModelError, Sections, Tag, all_finite_f32, ensure};
use crate::steps::smaller;
use crate::view::WIDTH_MAX;

/// Most cells.
pub const CELLS_MAX: usize = 256;

/// References in cells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cells<'a> {
    /// Neighbours looked at.
    pub neighbours: u32,
    /// References whose distance is taken, up to a block more.
    pub evaluations: u32,
    /// Per feature: the grid's lowest value, one over its step, and the step squared.
    pub grid: &'a [[f32; 3]],
    /// Centres of eight cells at a time: for each feature eight values.
    pub centres: &'a [[f32; LANES]],
    /// Per cell: its first block of eight references, and its number of references.
    pub cells: &'a [[u32; 2]],
    /// For each block and feature, places of eight references on the grid.
    pub references: &'a [[u8; LANES]],
    /// Per block: factors of squared distances.
    pub factors: &'a [[f32; LANES]],
}

impl<'a> Cells<'a> {
    /// The mean distance to the nearest references that were looked at.
    pub fn distance(&self, row: &[f32]) -> f64 {
        let mut order = Order::new();
        squared_distances(row, self.centres, |group, squares| {
            order.set(group, squares, self.cells.len());
        });
        let mut on_grid = [0.0; WIDTH_MAX];
        let on_grid = &mut on_grid[..row.len()];
        for ((place, value), [low, per_step, _]) in on_grid.iter_mut().zip(row).zip(self.grid) {
            *place = (value - low) * per_step;
        }
        let mut nearest = Nearest::new(self.neighbours as usize);
        let mut evaluated = 0;
        for _ in 0..self.cells.len() {
            if evaluated >= self.evaluations {
                break;
            }
            let cell = order.next();
            evaluated += self.visit(cell, on_grid, self.evaluations - evaluated, &mut nearest);
        }
        nearest.mean()
    }

    /// Offers a cell's references, at most about `budget`; returns how many.
    fn visit(&self, cell: usize, on_grid: &[f32], budget: u32, nearest: &mut Nearest) -> u32 {
        let [first, count] = self.cells[cell];
        let count = count.min(budget.next_multiple_of(LANES as u32));
        let mut left = Left { block: first as usize, references: count as usize };
        while left.references > 3 * LANES {
            self.offer::<4>(&mut left, on_grid, nearest);
        }
        while left.references > 0 {
            self.offer::<1>(&mut left, on_grid, nearest);
        }
        count
    }

    /// Offers the references of so many blocks: several sums at once do not wait for each other.
    #[inline(never)]
    fn offer<const BLOCKS: usize>(&self, left: &mut Left, on_grid: &[f32], nearest: &mut Nearest) {
        let width = on_grid.len();
        let block = |block: usize| &self.references[(left.block + block) * width..][..width];
        let blocks: [&[[u8; LANES]]; BLOCKS] = core::array::from_fn(block);
        let factors: [Lanes; BLOCKS] =
            core::array::from_fn(|block| Lanes::of(&self.factors[left.block + block]));
        let mut sums = [Lanes::splat(0.0); BLOCKS];
        let mut feature = 0;
        for (values, grid) in on_grid.chunks(STRIDE).zip(self.grid.chunks(STRIDE)) {
            for (value, [_, _, weight]) in values.iter().zip(grid) {
                let (value, weight) = (Lanes::splat(*value), Lanes::splat(*weight));
                for (sum, block) in sums.iter_mut().zip(blocks) {
                    let difference = value - Lanes::of_bytes(block[feature]);
                    *sum = *sum + difference * difference * weight;
                }
                feature += 1;
            }
            // What is too far by some features is no nearer by all.
            if !(sums.iter().zip(factors)).any(|(sum, factor)| nearest.takes(*sum * factor)) {
                break;
            }
        }
        for (squares, factors) in sums.into_iter().zip(factors) {
            let count = left.references.min(LANES);
            nearest.offer_some(squares * factors, count);
            left.references -= count;
        }
        left.block += BLOCKS;
    }

    pub(crate) fn parse(sections: &Sections<'a>, width: usize) -> Result<Self, ModelError> {
        let [shape, grid, centres, cells, references, factors] =
            [0, 1, 2, 3, 4, 5].map(|field| Tag::PART.field(field));
        let [neighbours, evaluations] = *sections.one::<[u32; 2]>(shape)?;
        let model = Self {
            neighbours,
            evaluations,
            grid: sections.array(grid)?,
            centres: sections.array(centres)?,
            cells: sections.array(cells)?,
            references: sections.array(references)?,
            factors: sections.array(factors)?,
        };
        ensure((1..=NEIGHBOURS_MAX as u32).contains(&neighbours), shape)?;
        ensure((1..=65_536).contains(&evaluations), shape)?;
        ensure(model.grid.len() == width && all_finite_f32(model.grid.as_flattened()), grid)?;
        ensure((1..=CELLS_MAX).contains(&model.cells.len()), cells)?;
        let groups = model.cells.len().div_ceil(LANES);
        ensure(model.centres.len() == groups * width, centres)?;
        ensure(all_finite_f32(model.centres.as_flattened()), centres)?;
        let blocks = model.factors.len();
        ensure(model.references.len() == blocks * width, references)?;
        ensure(all_finite_f32(model.factors.as_flattened()), factors)?;
        for [first, count] in model.cells {
            let end = first.checked_add(count.div_ceil(LANES as u32));
            let is_there = *count > 0 && end.is_some_and(|end| end as usize <= blocks);
            ensure(is_there, cells)?;
        }
        Ok(model)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::PART.field(0), &[[self.neighbours, self.evaluations]]);
        writer.section(Tag::PART.field(1), self.grid);
        writer.section(Tag::PART.field(2), self.centres);
        writer.section(Tag::PART.field(3), self.cells);
        writer.section(Tag::PART.field(4), self.references);
        writer.section(Tag::PART.field(5), self.factors);
    }
}

/// Features that are added up before references are looked at that may be too far already.
const STRIDE: usize = 4;

/// What is left of a cell: the next block and how many references.
struct Left {
    block: usize,
    references: usize,
}

/// Cells in the order of their centres' distances; those of equal ones in their own.
struct Order {
    /// Squared distances of eights of cells; infinite where a cell was told or there is none.
    squares: [[f32; LANES]; EIGHTS],
    /// The least of each eight.
    least: [[f32; LANES]; EIGHTS / LANES],
}

/// Eights of cells.
const EIGHTS: usize = CELLS_MAX / LANES;

impl Order {
    fn new() -> Self {
        Self {
            squares: [[f32::INFINITY; LANES]; EIGHTS],
            least: [[f32::INFINITY; LANES]; EIGHTS / LANES],
        }
    }

    /// Puts squared distances of an eight; what fills up the last one of `cells` is no cell.
    #[inline]
    fn set(&mut self, eight: usize, squares: Lanes, cells: usize) {
        let mut squares = squares.to_array();
        let count = cells.saturating_sub(eight * LANES).min(LANES);
        squares[count..].fill(f32::INFINITY);
        self.squares[eight % EIGHTS] = squares;
        self.least.as_flattened_mut()[eight % EIGHTS] = least(&squares);
    }

    /// The next cell.
    fn next(&mut self) -> usize {
        let all =
            self.least.iter().fold(Lanes::splat(f32::INFINITY), |l, v| l.smaller(Lanes::of(v)));
        let nearest = least(&all.to_array());
        let find = |(group, values): (usize, &[f32; LANES])| {
            Lanes::of(values).first_equal(nearest).map(|lane| group * LANES + lane)
        };
        let eight = self.least.iter().enumerate().find_map(find).unwrap_or(0);
        let squares = &mut self.squares[eight];
        let lane = Lanes::of(squares).first_equal(nearest).unwrap_or(0);
        squares[lane] = f32::INFINITY;
        self.least.as_flattened_mut()[eight] = least(squares);
        eight * LANES + lane
    }
}

#[inline]
fn least(squares: &[f32; LANES]) -> f32 {
    squares.iter().copied().fold(f32::INFINITY, smaller)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// Cell after cell, reference after reference, feature after feature, and nothing given up.
    fn obvious(cells: &Cells<'_>, row: &[f32]) -> f64 {
        let width = row.len();
        let square = |values: &[(f32, f32, f32)]| {
            values.iter().fold(0.0f32, |sum, (a, b, weight)| sum + (a - b) * (a - b) * weight)
        };
        let centre = |cell: usize| {
            let of =
                |f: usize| (row[f], cells.centres[cell / LANES * width + f][cell % LANES], 1.0);
            square(&(0..width).map(of).collect::<Vec<_>>())
        };
        let mut left: Vec<(f32, usize)> =
            (0..cells.cells.len()).map(|cell| (centre(cell), cell)).collect();
        left.sort_by(|a, b| a.partial_cmp(b).expect("numbers"));
        let (mut squares, mut evaluated) = (Vec::new(), 0);
        for (_, cell) in left {
            if evaluated >= cells.evaluations {
                break;
            }
            let [first, count] = cells.cells[cell];
            let budget = (cells.evaluations - evaluated).next_multiple_of(LANES as u32);
            let count = count.min(budget);
            for reference in 0..count as usize {
                let (block, lane) = (first as usize + reference / LANES, reference % LANES);
                let of = |f: usize| {
                    let [low, per_step, weight] = cells.grid[f];
                    let reference = f32::from(cells.references[block * width + f][lane]);
                    ((row[f] - low) * per_step, reference, weight)
                };
                let square = square(&(0..width).map(of).collect::<Vec<_>>());
                squares.push(square * cells.factors[block][lane]);
            }
            evaluated += count;
        }
        squares.sort_by(f32::total_cmp);
        let mut nearest = Nearest::new(cells.neighbours as usize);
        for square in squares {
            let mut lanes = [f32::INFINITY; LANES];
            lanes[0] = square;
            nearest.offer_some(Lanes::of(&lanes), 1);
        }
        nearest.mean()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn distances_equal_the_obvious_ones_to_the_bit(
            width in 1usize..12,
            counts in proptest::collection::vec(1u32..80, 1..20),
            neighbours in 1u32..6,
            evaluations in 1u32..300,
            seed in proptest::collection::vec(any::<u8>(), 4000),
            coarse in any::<bool>(),
        ) {
            let mut bytes = seed.iter().cycle().copied();
            let mut next = || if coarse { bytes.next().unwrap_or(0) / 64 } else { bytes.next().unwrap_or(0) };
            let mut first = 0;
            let spans: Vec<[u32; 2]> = counts.iter().map(|count| {
                let span = [first, *count];
                first += count.div_ceil(LANES as u32);
                span
            }).collect();
            let blocks = first as usize;
            let references: Vec<[u8; LANES]> =
                (0..blocks * width).map(|_| core::array::from_fn(|_| next())).collect();
            let mut float = || f32::from(next()) / 16.0;
            let factors: Vec<[f32; LANES]> =
                (0..blocks).map(|_| core::array::from_fn(|_| float() + 0.1)).collect();
            let centres: Vec<[f32; LANES]> = (0..spans.len().div_ceil(LANES) * width)
                .map(|_| core::array::from_fn(|_| float())).collect();
            let grid: Vec<[f32; 3]> = (0..width).map(|_| [float() - 4.0, 16.0, 0.004]).collect();
            let row: Vec<f32> = (0..width).map(|_| float()).collect();
            let cells = Cells {
                neighbours, evaluations, grid: &grid, centres: &centres, cells: &spans,
                references: &references, factors: &factors,
            };
            prop_assert_eq!(cells.distance(&row).to_bits(), obvious(&cells, &row).to_bits());
        }
    }

    proptest! {
        #[test]
        fn cells_come_in_the_order_of_their_distances(
            squares in proptest::collection::vec(0u8..40, 1..CELLS_MAX),
        ) {
            let mut order = Order::new();
            for (eight, some) in squares.chunks(LANES).enumerate() {
                let lane = |lane: usize| some.get(lane).map_or(-1.0, |square| f32::from(*square));
                order.set(eight, Lanes::of(&core::array::from_fn(lane)), squares.len());
            }
            let mut expected: Vec<usize> = (0..squares.len()).collect();
            expected.sort_by_key(|cell| squares[*cell]);
            let found: Vec<usize> = squares.iter().map(|_| order.next()).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_nearest_cell_is_looked_at_first_and_the_budget_ends_the_search() {
        // One feature on a grid of whole numbers; cells about 1 and about 100.
        let cells = Cells {
            neighbours: 2,
            evaluations: 3,
            grid: &[[0.0, 1.0, 1.0]],
            centres: &[[1.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]],
            cells: &[[0, 3], [1, 2]],
            references: &[[0, 1, 2, 0, 0, 0, 0, 0], [99, 101, 0, 0, 0, 0, 0, 0]],
            factors: &[[1.0; LANES]; 2],
        };
        assert_eq!(cells.distance(&[4.0]), 2.5);
        assert_eq!(cells.distance(&[100.0]), 1.0);
        let far_sighted = Cells { neighbours: 3, evaluations: 9, ..cells };
        assert_eq!(far_sighted.distance(&[100.0]), (1.0 + 1.0 + 98.0) / 3.0);
    }
}
