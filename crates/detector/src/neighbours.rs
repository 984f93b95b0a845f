//! Nearest neighbours: how far a row lies from reference rows kept in the module.
//!
//! References come in bags. In each bag the distances to all references are taken, each times the
//! reference's own factor (one over the square root of how sparse its surroundings are, or one), and
//! the k nearest make the bag's answer: their mean, or the k-th alone. The answer is the mean over
//! bags (Ramaswamy et al. 2000 for the k-th distance; Angiulli and Pizzuti 2002 for the mean; bags
//! after Wu and Jermaine 2006; factors after local scaling, Zelnik-Manor and Perona 2004).
//!
//! Distances are computed for [`LANES`] references at once, which lie beside one another in memory;
//! each sum runs over the features in order, so that no width of a machine's registers shows.

use crate::lanes::{LANES, Lanes};
use crate::sections::{ModelError, Sections, Tag, all_finite_f32, ensure};
use crate::steps::sqrt;

/// Most neighbours that are looked at.
pub const NEIGHBOURS_MAX: usize = 16;

/// Coordinate of references that only fill up the last eight of a bag: farther than any row, and
/// with a square that a float still holds.
pub const FILLER: f32 = 1e18;

/// Reference rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Neighbours<'a> {
    /// Number of bags.
    pub bags: u32,
    /// Neighbours looked at in each.
    pub neighbours: u32,
    /// 1 when the k-th distance alone counts, 0 for the mean of the k nearest.
    pub farthest_only: u32,
    /// Bags of blocks of eight references: for each feature eight values.
    pub references: &'a [[f32; LANES]],
    /// A factor for each reference, squared: eight a block.
    pub factors: &'a [[f32; LANES]],
}

impl<'a> Neighbours<'a> {
    /// The mean distance over all bags.
    pub fn distance(&self, row: &[f32]) -> f64 {
        let blocks = self.factors.len() / self.bags as usize;
        let bags = self.references.chunks_exact(blocks * row.len());
        let mut sum = 0.0;
        for (references, factors) in bags.zip(self.factors.chunks_exact(blocks)) {
            let mut nearest = Nearest::new(self.neighbours as usize);
            squared_distances(row, references, |block, squares| {
                nearest.offer(squares, &factors[block]);
            });
            sum += if self.farthest_only == 0 { nearest.mean() } else { nearest.farthest() };
        }
        sum / f64::from(self.bags)
    }

    pub(crate) fn parse(sections: &Sections<'a>, width: usize) -> Result<Self, ModelError> {
        let [shape, at, factors] = [0, 1, 2].map(|field| Tag::PART.field(field));
        let [bags, neighbours, farthest_only] = *sections.one::<[u32; 3]>(shape)?;
        let model = Self {
            bags,
            neighbours,
            farthest_only,
            references: sections.array(at)?,
            factors: sections.array(factors)?,
        };
        ensure((1..=64).contains(&bags) && farthest_only <= 1, shape)?;
        ensure((1..=NEIGHBOURS_MAX as u32).contains(&neighbours), shape)?;
        ensure(!model.factors.is_empty(), factors)?;
        ensure(model.factors.len().is_multiple_of(bags as usize), factors)?;
        ensure(model.references.len() == model.factors.len() * width, at)?;
        ensure(all_finite_f32(model.references.as_flattened()), at)?;
        ensure(all_finite_f32(model.factors.as_flattened()), factors)?;
        Ok(model)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::PART.field(0), &[[self.bags, self.neighbours, self.farthest_only]]);
        writer.section(Tag::PART.field(1), self.references);
        writer.section(Tag::PART.field(2), self.factors);
    }
}

/// Tells squared distances of a row to others, of which eight at a time lie feature after feature.
pub(crate) fn squared_distances(
    row: &[f32],
    others: &[[f32; LANES]],
    mut tell: impl FnMut(usize, Lanes),
) {
    let groups = others.len() / row.len();
    let of_group = |group: usize| &others[group * row.len()..][..row.len()];
    let mut group = 0;
    while group + 4 <= groups {
        let squares = squares_of_four(row, core::array::from_fn(|next| of_group(group + next)));
        for (next, squares) in squares.into_iter().enumerate() {
            tell(group + next, squares);
        }
        group += 4;
    }
    for group in group..groups {
        let [squares] = squares(row, [of_group(group)]);
        tell(group, squares);
    }
}

#[inline(never)]
fn squares_of_four(row: &[f32], others: [&[[f32; LANES]]; 4]) -> [Lanes; 4] {
    squares(row, others)
}

/// Several sums at once do not wait for each other.
#[inline]
fn squares<const GROUPS: usize>(row: &[f32], others: [&[[f32; LANES]]; GROUPS]) -> [Lanes; GROUPS] {
    let mut sums = [Lanes::splat(0.0); GROUPS];
    for (feature, value) in row.iter().enumerate() {
        let value = Lanes::splat(*value);
        for (sum, others) in sums.iter_mut().zip(others) {
            let difference = value - Lanes::of(&others[feature]);
            *sum = *sum + difference * difference;
        }
    }
    sums
}

/// The k smallest squared distances seen so far, ascending.
pub(crate) struct Nearest {
    squares: [f32; NEIGHBOURS_MAX],
    count: usize,
}

impl Nearest {
    pub(crate) fn new(count: usize) -> Self {
        Self { squares: [f32::MAX; NEIGHBOURS_MAX], count: count.clamp(1, NEIGHBOURS_MAX) }
    }

    /// Takes squared distances into account, each times its factor.
    #[inline]
    pub(crate) fn offer(&mut self, squares: Lanes, factors: &[f32; LANES]) {
        self.offer_some(squares * Lanes::of(factors), LANES);
    }

    /// Takes the first `count` of squared distances into account, factors being in them.
    #[inline]
    pub(crate) fn offer_some(&mut self, squares: Lanes, count: usize) {
        // Seldom is any of eight among the nearest.
        if self.takes(squares) {
            self.insert_nearer(&squares.to_array()[..count]);
        }
    }

    /// Whether any of the squares is among the nearest.
    #[inline]
    pub(crate) fn takes(&self, squares: Lanes) -> bool {
        squares.any_below(self.squares[self.count - 1])
    }

    #[inline(never)]
    fn insert_nearer(&mut self, squares: &[f32]) {
        for square in squares {
            if *square < self.squares[self.count - 1] {
                self.insert(*square);
            }
        }
    }

    fn insert(&mut self, square: f32) {
        let mut place = self.count - 1;
        while place > 0 && self.squares[place - 1] > square {
            self.squares[place] = self.squares[place - 1];
            place -= 1;
        }
        self.squares[place] = square;
    }

    fn farthest(&self) -> f64 {
        sqrt(f64::from(self.squares[self.count - 1]))
    }

    /// The mean of the distances found; fewer than asked for when fewer were offered.
    pub(crate) fn mean(&self) -> f64 {
        let (mut sum, mut found) = (0.0, 0.0);
        for square in &self.squares[..self.count] {
            if *square < f32::MAX {
                sum += sqrt(f64::from(*square));
                found += 1.0;
            }
        }
        if found > 0.0 { sum / found } else { f64::from(f32::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// All distances, sorted.
    fn obvious(model: &Neighbours<'_>, row: &[f32]) -> f64 {
        let blocks = model.factors.len() / model.bags as usize;
        let mut sum = 0.0;
        for bag in 0..model.bags as usize {
            let mut distances = Vec::new();
            for block in 0..blocks {
                for lane in 0..LANES {
                    let place = bag * blocks + block;
                    let square = row.iter().enumerate().fold(0.0f32, |sum, (feature, value)| {
                        let difference =
                            value - model.references[place * row.len() + feature][lane];
                        sum + difference * difference
                    });
                    let square = square * model.factors[place][lane];
                    distances.push(f64::from(square).sqrt());
                }
            }
            distances.sort_by(f64::total_cmp);
            let nearest = &distances[..model.neighbours as usize];
            sum += if model.farthest_only == 1 {
                nearest[nearest.len() - 1]
            } else {
                nearest.iter().sum::<f64>() / nearest.len() as f64
            };
        }
        sum / f64::from(model.bags)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn distances_equal_the_obvious_ones(
            bags in 1u32..4, blocks in 1usize..5, width in 1usize..6, neighbours in 1u32..8,
            farthest_only in 0u32..2, seed in proptest::collection::vec(-9.0f32..9.0, 1000),
        ) {
            let blocks_in_all = bags as usize * blocks;
            let (references, _) = seed.as_chunks::<LANES>();
            let factors: Vec<[f32; LANES]> =
                references[..blocks_in_all].iter().map(|lanes| lanes.map(|f| f.abs() + 0.1)).collect();
            let model = Neighbours {
                bags, neighbours, farthest_only,
                references: &references[..blocks_in_all * width],
                factors: &factors,
            };
            let row = &seed[900..900 + width];
            let (fast, slow) = (model.distance(row), obvious(&model, row));
            prop_assert!((fast - slow).abs() <= 1e-9 * slow.max(1.0), "{fast} {slow}");
        }
    }
}
