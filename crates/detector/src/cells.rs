//! Nearest neighbours among many references, of which only the cells around a row are looked at.
//!
//! References lie in cells around centres of k-means, and a row visits cells in the order of their
//! centres' distances until its share of distances is used up (an inverted file; Jegou, Douze and
//! Schmid 2011). Coordinates are one byte each on a grid of the feature's range. As in
//! [`crate::neighbours`], a distance counts by how sparse the reference's surroundings are.

use crate::neighbours::{LANES, NEIGHBOURS_MAX, Nearest};
use crate::sections::{ModelError, Sections, Tag, all_finite_f32, ensure};
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
    /// A centre for each cell.
    pub centres: &'a [f32],
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
        let mut left = [f32::INFINITY; CELLS_MAX];
        let left = &mut left[..self.cells.len()];
        for (square, centre) in left.iter_mut().zip(self.centres.chunks_exact(row.len())) {
            *square = squared_distance(row, centre);
        }
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
            let cell = smallest(left);
            left[cell] = f32::INFINITY;
            evaluated += self.visit(cell, on_grid, self.evaluations - evaluated, &mut nearest);
        }
        nearest.mean()
    }

    /// Offers a cell's references, at most about `budget`; returns how many.
    fn visit(&self, cell: usize, on_grid: &[f32], budget: u32, nearest: &mut Nearest) -> u32 {
        let [first, count] = self.cells[cell];
        let count = count.min(budget.next_multiple_of(LANES as u32));
        for block in 0..count.div_ceil(LANES as u32) {
            let place = (first + block) as usize;
            let references = &self.references[place * on_grid.len()..(place + 1) * on_grid.len()];
            let squares = self.squares(on_grid, references);
            let lanes = ((count - block * LANES as u32) as usize).min(LANES);
            nearest.offer(&squares[..lanes], &self.factors[place]);
        }
        count
    }

    #[inline]
    fn squares(&self, on_grid: &[f32], references: &[[u8; LANES]]) -> [f32; LANES] {
        let mut sums = [0.0f32; LANES];
        for ((value, references), [_, _, weight]) in on_grid.iter().zip(references).zip(self.grid) {
            for (sum, reference) in sums.iter_mut().zip(references) {
                let difference = value - f32::from(*reference);
                *sum += difference * difference * weight;
            }
        }
        sums
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
        ensure(model.centres.len() == model.cells.len() * width, centres)?;
        ensure(all_finite_f32(model.centres), centres)?;
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

fn squared_distance(row: &[f32], centre: &[f32]) -> f32 {
    let mut sum = 0.0;
    for (value, centre) in row.iter().zip(centre) {
        sum += (value - centre) * (value - centre);
    }
    sum
}

/// The place of the smallest value; the first of equal ones.
fn smallest(values: &[f32]) -> usize {
    let mut best = 0;
    for (place, value) in values.iter().enumerate() {
        if *value < values[best] {
            best = place;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_cell_is_looked_at_first_and_the_budget_ends_the_search() {
        // One feature on a grid of whole numbers; cells about 1 and about 100.
        let cells = Cells {
            neighbours: 2,
            evaluations: 3,
            grid: &[[0.0, 1.0, 1.0]],
            centres: &[1.0, 100.0],
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
