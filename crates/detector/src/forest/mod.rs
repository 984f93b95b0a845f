//! Isolation forest: the walk of rows through perfect trees (Liu, Ting and Zhou, "Isolation
//! Forest", ICDM 2008).
//!
//! Nodes lie in blocks of fifteen, which are four levels of a tree. A walk that meets a block knows
//! all it can ask there, so one gather and one comparison of vectors answer all fifteen splits at
//! once (simd.rs); a tree of the usual depth takes two such steps and not eight that wait for each
//! other. Where there are no vectors, or rows are too wide for them, walk.rs takes level after
//! level. Values are compared as whole numbers of sixteen bits ([`key`]) and path lengths are whole
//! numbers too, so every way of walking gives the same sum.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd;
mod walk;

use crate::sections::{ModelError, Sections, Tag, ensure};

/// Units of a leaf's path length in one step. Whole units make the sum over trees exact, so that
/// its order cannot matter.
pub const LEAF_UNITS: f64 = 2048.0;

/// Deepest tree that a model may have.
pub const DEPTH_MAX: u32 = 12;

/// Most trees that a model may have; more would overflow the sum of path lengths.
pub const TREES_MAX: u32 = 1024;

/// Levels of a block.
const BLOCK_LEVELS: u32 = 4;

/// Places of a block: its fifteen nodes in heap order, and one that is not used.
pub const BLOCK_PLACES: usize = 16;

/// A forest's arrays. A tree of `depth` levels has [`blocks`]`(depth)` blocks and `1 << depth`
/// leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forest<'a> {
    /// Number of trees.
    pub trees: u32,
    /// Steps from the root to a leaf.
    pub depth: u32,
    /// One over the expected path length summed over all trees, in units of [`LEAF_UNITS`].
    pub norm: f64,
    /// The [`key`]s of split thresholds: a row goes right when its feature's key is larger.
    pub thresholds: &'a [[i16; BLOCK_PLACES]],
    /// Split features.
    pub features: &'a [[u8; BLOCK_PLACES]],
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
        let blocks = trees as usize * blocks(depth);
        ensure(forest.norm.is_finite() && forest.norm > 0.0, norm)?;
        ensure(forest.thresholds.len() == blocks, thresholds)?;
        ensure(forest.leaves.len() == (trees as usize) << depth, leaves)?;
        ensure(forest.features.len() == blocks, split)?;
        let known = |feature: &u8| usize::from(*feature) < features;
        ensure(forest.features.as_flattened().iter().all(known), split)?;
        Ok(forest)
    }

    /// The raw score of one row of any width, by the slow, obvious walk.
    pub fn raw_score(&self, row: &[f32]) -> f64 {
        self.score(walk::path_sum(self, row))
    }

    fn score(&self, path_sum: u32) -> f64 {
        libm::exp2(-f64::from(path_sum) * self.norm)
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

/// A finite or infinite value as a whole number: `value > threshold(stored)` is
/// `key(value) > key(threshold(stored))`, since keys keep the order of floats, rounded up where the
/// lower half of the bits, which no threshold has, is not zero.
#[inline]
pub fn key(value: f32) -> i16 {
    let bits = value.to_bits().cast_signed();
    let sign = bits >> 31;
    // Magnitude and sign, so that both zeros are one.
    let ordered = ((bits & 0x7fff_ffff) ^ sign) - sign;
    (((ordered - 1) >> 16) + 1) as i16
}

/// Levels of a tree's first block, so that all others have [`BLOCK_LEVELS`]. Its nodes below these
/// send every row left.
const fn first_levels(depth: u32) -> u32 {
    (depth - 1) % BLOCK_LEVELS + 1
}

/// Blocks of a tree of `depth` levels.
pub const fn blocks(depth: u32) -> usize {
    let (mut blocks, mut level) = (1, first_levels(depth));
    while level < depth {
        blocks += 1 << level;
        level += BLOCK_LEVELS;
    }
    blocks
}

/// Where in a tree the node lies that is number `index` of its `level`: the block, and the place in
/// it.
pub const fn place(depth: u32, level: u32, index: usize) -> (usize, usize) {
    let (mut block, mut top, mut below) = (0, 0, first_levels(depth));
    while level >= below {
        block += 1 << top;
        (top, below) = (below, below + BLOCK_LEVELS);
    }
    let local = level - top;
    (block + (index >> local), (1 << local) - 1 + index % (1 << local))
}

/// Rows that are scored together at most.
pub const BLOCK_ROWS: usize = 64;

/// Width of a feature row in memory: one of four, because each has its own copy of the walks in
/// every module.
pub fn row_width(features: usize) -> usize {
    match features {
        0..=16 => 16,
        17..=32 => 32,
        33..=64 => 64,
        _ => 256,
    }
}

/// Raw scores of at most [`BLOCK_ROWS`] rows of [`row_width`] features each: between 0 and 1,
/// larger is more anomalous, as in the paper's equation 2.
pub fn raw_scores(forest: &Forest<'_>, rows: &[f32], width: usize, raw: &mut [f64]) {
    let mut sums = [0u32; BLOCK_ROWS];
    let sums = &mut sums[..raw.len()];
    path_sums(forest, rows, width, sums);
    for (raw, sum) in raw.iter_mut().zip(sums) {
        *raw = forest.score(*sum);
    }
}

fn path_sums(forest: &Forest<'_>, rows: &[f32], width: usize, sums: &mut [u32]) {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    if forest.depth == simd::DEPTH {
        match width {
            16 => return simd::path_sums::<16, 1>(forest, rows, sums),
            32 => return simd::path_sums::<32, 2>(forest, rows, sums),
            64 => return simd::path_sums::<64, 4>(forest, rows, sums),
            _ => {}
        }
    }
    match width {
        #[cfg(not(target_arch = "wasm32"))]
        16 => walk::path_sums::<16>(forest, rows, sums),
        #[cfg(not(target_arch = "wasm32"))]
        32 => walk::path_sums::<32>(forest, rows, sums),
        #[cfg(not(target_arch = "wasm32"))]
        64 => walk::path_sums::<64>(forest, rows, sums),
        256 => walk::path_sums::<256>(forest, rows, sums),
        _ => {
            for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(width)) {
                *sum = walk::path_sum(forest, row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn value() -> impl Strategy<Value = f32> + Clone {
        prop_oneof![
            Just(0.0f32),
            Just(-0.0),
            Just(1.0),
            Just(f32::INFINITY),
            Just(f32::NEG_INFINITY),
            Just(f32::MIN_POSITIVE),
            Just(-1e6),
            -2.0f32..2.0,
            any::<f32>().prop_filter("numbers", |value| !value.is_nan()),
        ]
    }

    fn stored() -> impl Strategy<Value = u16> {
        value()
            .prop_map(|value| (value.to_bits() >> 16) as u16)
            .prop_filter("numbers", |stored| !threshold(*stored).is_nan())
    }

    proptest! {
        #[test]
        fn keys_answer_as_the_floats_would(value in value(), stored in stored(), ulps in 0u32..3) {
            for value in [value, f32::from_bits(threshold(stored).to_bits().wrapping_add(ulps)), f32::from_bits(threshold(stored).to_bits().wrapping_sub(ulps))] {
                prop_assume!(!value.is_nan());
                prop_assert_eq!(value > threshold(stored), key(value) > key(threshold(stored)));
            }
        }
    }

    #[test]
    fn every_node_has_a_place_of_its_own() {
        for depth in 1..=DEPTH_MAX {
            let mut places: Vec<_> = (0..depth)
                .flat_map(|level| (0..1 << level).map(move |index| place(depth, level, index)))
                .collect();
            let nodes = places.len();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), nodes, "depth {depth}");
            let fits = |(block, place): &(usize, usize)| {
                *block < blocks(depth) && *place < BLOCK_PLACES - 1
            };
            assert!(places.iter().all(fits), "depth {depth}");
        }
        assert_eq!(blocks(8), 17);
    }

    /// Splits in heap order, level after level, and leaves.
    type Splits = (u32, Vec<(u16, u8)>, Vec<u16>, Vec<f32>);

    fn splits() -> impl Strategy<Value = Splits> {
        (1usize..11, 1usize..65, 1u32..11).prop_flat_map(move |(trees, rows, depth)| {
            let places = trees << depth;
            (
                Just(depth),
                proptest::collection::vec((stored(), 0u8..11), places),
                proptest::collection::vec(0u16..=u16::MAX, places),
                proptest::collection::vec(value(), rows * 16),
            )
        })
    }

    /// The walk as the paper draws it, from node to node.
    fn path_sum_from_node_to_node((depth, splits, leaves, _): &Splits, row: &[f32]) -> u32 {
        let trees = splits.chunks(1 << depth).zip(leaves.chunks(1 << depth));
        let path = |(splits, leaves): (&[(u16, u8)], &[u16])| {
            let mut node = 0;
            for _ in 0..*depth {
                let (stored, feature) = splits[node];
                node = 2 * node + 1 + usize::from(row[usize::from(feature)] > threshold(stored));
            }
            u32::from(leaves[node + 1 - (1 << depth)])
        };
        trees.map(path).sum()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn fast_walks_equal_the_one_from_node_to_node(forest in splits()) {
            let (depth, splits, leaves, rows) = &forest;
            let trees = leaves.len() >> depth;
            let mut thresholds = std::vec![[i16::MAX; BLOCK_PLACES]; trees * blocks(*depth)];
            let mut features = std::vec![[0; BLOCK_PLACES]; trees * blocks(*depth)];
            for (tree, splits) in splits.chunks(1 << depth).enumerate() {
                for level in 0..*depth {
                    for index in 0..1usize << level {
                        let (stored, feature) = splits[(1 << level) - 1 + index];
                        let (block, place) = place(*depth, level, index);
                        thresholds[tree * blocks(*depth) + block][place] = key(threshold(stored));
                        features[tree * blocks(*depth) + block][place] = feature;
                    }
                }
            }
            let model = Forest { trees: trees as u32, depth: *depth, norm: 1.0, thresholds: &thresholds, features: &features, leaves };
            let mut fast = [0u32; BLOCK_ROWS];
            let rows: Vec<&[f32]> = rows.chunks(16).collect();
            walk::path_sums::<16>(&model, &rows.concat(), &mut fast[..rows.len()]);
            for (row, fast) in rows.iter().zip(fast) {
                let expected = path_sum_from_node_to_node(&forest, row);
                prop_assert_eq!(walk::path_sum(&model, row), expected);
                prop_assert_eq!(fast, expected);
            }
        }
    }
}
