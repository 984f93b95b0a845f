//! Isolation forest: the walk of rows through perfect trees (Liu, Ting and Zhou, "Isolation
//! Forest", ICDM 2008).
//!
//! A branch taken is an index computed, never a jump: `i = 2i + 1 + (x > t)`. Latency hides behind
//! eight walks at once, of eight rows through a tree or, when there are fewer rows, of one row
//! through eight trees. Path lengths are whole numbers, so both give the same sum.

use crate::sections::{ModelError, Sections, Tag, ensure};

/// Units of a leaf's path length in one step. Whole units make the sum over trees exact, so that
/// its order cannot matter.
pub const LEAF_UNITS: f64 = 2048.0;

/// Deepest tree that a model may have.
pub const DEPTH_MAX: u32 = 12;

/// Most trees that a model may have; more would overflow the sum of path lengths.
pub const TREES_MAX: u32 = 1024;

/// A forest's arrays; every tree has `1 << depth` places in each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forest<'a> {
    /// Number of trees.
    pub trees: u32,
    /// Steps from the root to a leaf.
    pub depth: u32,
    /// One over the expected path length summed over all trees, in units of [`LEAF_UNITS`].
    pub norm: f64,
    /// Split thresholds in heap order, as the upper half of a float's bits ([`threshold`]): a row
    /// goes right when its feature is larger.
    pub thresholds: &'a [u16],
    /// Split features in heap order.
    pub features: &'a [u8],
    /// Path lengths in [`LEAF_UNITS`] to the step.
    pub leaves: &'a [u16],
}

impl<'a> Forest<'a> {
    pub(crate) fn parse(sections: &Sections<'a>, features: usize) -> Result<Self, ModelError> {
        let [shape, norm, thresholds, split, leaves] =
            [0, 1, 2, 3, 4].map(|field| Tag::PART.field(field));
        let [trees, depth] = *sections.one::<[u32; 2]>(shape)?;
        let forest = Self {
            trees,
            depth,
            norm: *sections.one(norm)?,
            thresholds: sections.array(thresholds)?,
            features: sections.array(split)?,
            leaves: sections.array(leaves)?,
        };
        ensure((1..=TREES_MAX).contains(&trees) && (1..=DEPTH_MAX).contains(&depth), shape)?;
        let places = (trees as usize) << depth;
        ensure(forest.norm.is_finite() && forest.norm > 0.0, norm)?;
        ensure(forest.thresholds.len() == places, thresholds)?;
        ensure(forest.leaves.len() == places, leaves)?;
        ensure(forest.features.len() == places, split)?;
        let known = |feature: &u8| usize::from(*feature) < features;
        ensure(forest.features.iter().all(known), split)?;
        Ok(forest)
    }

    /// The raw score of one row of any width, by the slow, obvious walk.
    pub fn raw_score(&self, row: &[f32]) -> f64 {
        let mut sum = [0];
        path_sums_of_any_depth(self, row, row.len(), &mut sum);
        libm::exp2(-f64::from(sum[0]) * self.norm)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::PART.field(0), &[[self.trees, self.depth]]);
        writer.section(Tag::PART.field(1), &[self.norm]);
        writer.section(Tag::PART.field(2), self.thresholds);
        writer.section(Tag::PART.field(3), self.features);
        writer.section(Tag::PART.field(4), self.leaves);
    }
}

/// The float that a stored threshold stands for. Two bytes are enough: thresholds are random, and
/// the training takes only those that it can store.
#[inline]
pub fn threshold(stored: u16) -> f32 {
    f32::from_bits(u32::from(stored) << 16)
}

/// Rows that are scored together at most.
pub const BLOCK_ROWS: usize = 64;

const LANES: usize = 8;

/// Places a tree of the usual depth has in each array. With the length known, no access needs a
/// bounds check.
const USUAL_PLACES: usize = 256;
const USUAL_DEPTH: u32 = 8;

/// Width of a feature row in memory: a power of two, so that a masked index is in bounds, and one
/// of three, because each has its own copy of the walks in every module.
pub fn row_width(features: usize) -> usize {
    match features {
        0..=16 => 16,
        17..=64 => 64,
        _ => 256,
    }
}

/// Raw scores of at most [`BLOCK_ROWS`] rows of [`row_width`] features each: between 0 and 1,
/// larger is more anomalous, as in the paper's equation 2.
pub fn raw_scores(forest: &Forest<'_>, rows: &[f32], width: usize, raw: &mut [f64]) {
    let mut sums = [0u32; BLOCK_ROWS];
    let sums = &mut sums[..raw.len()];
    match width {
        _ if forest.depth != USUAL_DEPTH => path_sums_of_any_depth(forest, rows, width, sums),
        16 => path_sums::<16>(forest, rows, sums),
        64 => path_sums::<64>(forest, rows, sums),
        _ => path_sums::<256>(forest, rows, sums),
    }
    for (raw, sum) in raw.iter_mut().zip(sums) {
        *raw = libm::exp2(-f64::from(*sum) * forest.norm);
    }
}

fn path_sums<const WIDTH: usize>(forest: &Forest<'_>, rows: &[f32], sums: &mut [u32]) {
    let (rows, _) = rows.as_chunks::<WIDTH>();
    let rows = &rows[..sums.len()];
    let trees = Trees {
        thresholds: forest.thresholds.as_chunks::<USUAL_PLACES>().0,
        features: forest.features.as_chunks::<USUAL_PLACES>().0,
        leaves: forest.leaves.as_chunks::<USUAL_PLACES>().0,
        depth: forest.depth,
    };
    let whole = rows.len() - rows.len() % LANES;
    for (rows, sums) in
        rows[..whole].as_chunks::<LANES>().0.iter().zip(sums.as_chunks_mut::<LANES>().0)
    {
        trees.add_paths_of_rows(rows, sums);
    }
    for (row, sum) in rows[whole..].iter().zip(&mut sums[whole..]) {
        *sum += trees.path_of_row(row);
    }
}

/// The slow, obvious walk; also the reference that the fast one is tested against.
fn path_sums_of_any_depth(forest: &Forest<'_>, rows: &[f32], width: usize, sums: &mut [u32]) {
    let places = 1usize << forest.depth;
    for (row, sum) in rows.chunks_exact(width).zip(sums) {
        for tree in 0..forest.trees as usize {
            let start = tree * places;
            let mut node = 0;
            for _ in 0..forest.depth {
                let feature = usize::from(forest.features[start + node]);
                node = 2 * node
                    + 1
                    + usize::from(row[feature] > threshold(forest.thresholds[start + node]));
            }
            *sum += u32::from(forest.leaves[start + node - (places - 1)]);
        }
    }
}

/// A forest whose trees have [`USUAL_PLACES`] places.
struct Trees<'a> {
    thresholds: &'a [[u16; USUAL_PLACES]],
    features: &'a [[u8; USUAL_PLACES]],
    leaves: &'a [[u16; USUAL_PLACES]],
    // Read at run time on purpose: with a constant depth the loop is unrolled into code that is
    // half as fast.
    depth: u32,
}

impl Trees<'_> {
    fn add_paths_of_rows<const WIDTH: usize>(
        &self,
        rows: &[[f32; WIDTH]; LANES],
        sums: &mut [u32; LANES],
    ) {
        for ((thresholds, features), leaves) in
            self.thresholds.iter().zip(self.features).zip(self.leaves)
        {
            let mut nodes = [0usize; LANES];
            for _ in 0..self.depth {
                for lane in 0..LANES {
                    nodes[lane] = step(&rows[lane], thresholds, features, nodes[lane]);
                }
            }
            for lane in 0..LANES {
                sums[lane] += leaf(leaves, nodes[lane]);
            }
        }
    }

    fn path_of_row<const WIDTH: usize>(&self, row: &[f32; WIDTH]) -> u32 {
        let (thresholds, rest_of_thresholds) = self.thresholds.as_chunks::<LANES>();
        let (features, rest_of_features) = self.features.as_chunks::<LANES>();
        let (leaves, rest_of_leaves) = self.leaves.as_chunks::<LANES>();
        let mut sum = 0;
        for ((thresholds, features), leaves) in thresholds.iter().zip(features).zip(leaves) {
            let mut nodes = [0usize; LANES];
            for _ in 0..self.depth {
                for lane in 0..LANES {
                    nodes[lane] = step(row, &thresholds[lane], &features[lane], nodes[lane]);
                }
            }
            for lane in 0..LANES {
                sum += leaf(&leaves[lane], nodes[lane]);
            }
        }
        for ((thresholds, features), leaves) in
            rest_of_thresholds.iter().zip(rest_of_features).zip(rest_of_leaves)
        {
            let mut node = 0;
            for _ in 0..self.depth {
                node = step(row, thresholds, features, node);
            }
            sum += leaf(leaves, node);
        }
        sum
    }
}

#[inline]
fn step<const WIDTH: usize>(
    row: &[f32; WIDTH],
    thresholds: &[u16; USUAL_PLACES],
    features: &[u8; USUAL_PLACES],
    node: usize,
) -> usize {
    let place = node % USUAL_PLACES;
    let feature = usize::from(features[place]) % WIDTH;
    2 * node + 1 + usize::from(row[feature] > threshold(thresholds[place]))
}

#[inline]
fn leaf(leaves: &[u16; USUAL_PLACES], node: usize) -> u32 {
    u32::from(leaves[(node + 1) % USUAL_PLACES])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn forest_strategy() -> impl Strategy<Value = (Vec<u16>, Vec<u8>, Vec<u16>, Vec<f32>)> {
        let value =
            prop_oneof![Just(0.0f32), Just(1.0), Just(f32::INFINITY), Just(-1e6), -2.0f32..2.0];
        (1usize..21, 1usize..65).prop_flat_map(move |(trees, rows)| {
            let places = trees * USUAL_PLACES;
            (
                proptest::collection::vec(
                    value.clone().prop_map(|v| (v.to_bits() >> 16) as u16),
                    places,
                ),
                proptest::collection::vec(0u8..11, places),
                proptest::collection::vec(0u16..=u16::MAX, places),
                proptest::collection::vec(value.clone(), rows * 16),
            )
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn fast_walks_equal_the_obvious_one((thresholds, features, leaves, rows) in forest_strategy()) {
            let forest = Forest {
                trees: (thresholds.len() / USUAL_PLACES) as u32,
                depth: USUAL_DEPTH,
                norm: 1.0,
                thresholds: &thresholds,
                features: &features,
                leaves: &leaves,
            };
            let count = rows.len() / 16;
            let mut fast = [0u32; BLOCK_ROWS];
            let mut slow = [0u32; BLOCK_ROWS];
            path_sums::<16>(&forest, &rows, &mut fast[..count]);
            path_sums_of_any_depth(&forest, &rows, 16, &mut slow[..count]);
            prop_assert_eq!(fast, slow);
        }
    }
}
