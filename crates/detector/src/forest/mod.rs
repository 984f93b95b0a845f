//! Isolation forest: the walk of rows through perfect trees (Liu, Ting and Zhou, "Isolation
//! Forest", ICDM 2008).
//!
//! Nodes lie in blocks of fifteen, which are four levels of a tree, so that a tree of the usual depth
//! is two blocks from root to leaf. Vectors answer all splits of a block at once, for eight rows that
//! meet the same block or for one row that meets its own (simd.rs). Where there are no vectors, or
//! rows are too wide for them, walk.rs takes level after level. Values are compared as whole numbers
//! of sixteen bits ([`key`]) and path lengths are whole numbers too, so every way of walking gives the
//! same sum.

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd;
mod walk;

use crate::sections::{ModelError, Sections, Tag, ensure};
use bytemuck::{Pod, Zeroable};

/// Units of a leaf's path length in one step. Whole units make the sum over trees exact, so that
/// its order cannot matter.
pub const LEAF_UNITS: f64 = 2048.0;

/// Deepest tree that a model may have.
pub const DEPTH_MAX: u32 = 12;

/// Most trees that a model may have; more would overflow the sum of path lengths.
pub const TREES_MAX: u32 = 1024;

/// Levels of a block.
const BLOCK_LEVELS: u32 = 4;

/// Places of a block: its seven upper nodes in heap order, one that is not used, and the eight of its
/// last level. So the answers of a whole level are a byte of their own.
pub const BLOCK_PLACES: usize = 16;

/// Fifteen nodes, four levels of a tree, and the leaves behind them where these are the last levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// The [`key`]s of split thresholds in two planes, so that vectors of bytes compare them: lower
    /// bytes, less 128 so that they are signed as the others are, and upper bytes, of which none is
    /// the least that there is. A row goes right when its feature's key is larger.
    thresholds: [[i8; BLOCK_PLACES]; 2],
    /// Split features.
    features: [u8; BLOCK_PLACES],
    /// Path lengths in [`LEAF_UNITS`] to the step, one behind each exit.
    leaves: [u16; EXITS],
}

impl Block {
    /// Splits that no row exceeds, before leaves of no length.
    pub const EMPTY: Self = {
        let [lower, upper] = bytes(key(f32::INFINITY));
        let thresholds = [[lower; BLOCK_PLACES], [upper; BLOCK_PLACES]];
        Self { thresholds, features: [0; BLOCK_PLACES], leaves: [0; EXITS] }
    };

    /// Puts a split, by the [`key`] of its threshold, at a place.
    pub fn put_split(&mut self, place: usize, key: i16, feature: u8) {
        let [lower, upper] = &mut self.thresholds;
        [lower[place], upper[place]] = bytes(key);
        self.features[place] = feature;
    }

    fn threshold(&self, place: usize) -> i16 {
        let [lower, upper] = &self.thresholds;
        i16::from(upper[place]) * 256 + i16::from(lower[place]) + 128
    }
}

/// A key as blocks hold it.
const fn bytes(key: i16) -> [i8; 2] {
    let [lower, upper] = key.to_le_bytes();
    [(lower ^ 0x80).cast_signed(), upper.cast_signed()]
}

/// Puts the path length that ends at the leaf that is number `index` from the left of a tree.
pub fn put_leaf(tree: &mut [Block], depth: u32, index: usize, units: u16) {
    let place = arranged(depth, depth, index);
    let exits = last_exits(depth);
    tree[last_blocks(depth) + place / exits].leaves[place % exits] = units;
}

/// Exits of a block.
const EXITS: usize = 1 << BLOCK_LEVELS;

/// A forest. A tree of `depth` levels has [`blocks`]`(depth)` blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forest<'a> {
    /// Number of trees.
    pub trees: u32,
    /// Steps from the root to a leaf.
    pub depth: u32,
    /// One over the expected path length summed over all trees, in units of [`LEAF_UNITS`].
    pub norm: f64,
    /// The blocks of all trees, one tree after the other.
    pub blocks: &'a [Block],
}

impl<'a> Forest<'a> {
    pub(crate) fn parse(sections: &Sections<'a>, features: usize) -> Result<Self, ModelError> {
        let [shape, norm, nodes] = [0, 1, 2].map(|field| Tag::PART.field(field));
        let [trees, depth] = *sections.one::<[u32; 2]>(shape)?;
        let forest =
            Self { trees, depth, norm: *sections.one(norm)?, blocks: sections.array(nodes)? };
        ensure((1..=TREES_MAX).contains(&trees) && (1..=DEPTH_MAX).contains(&depth), shape)?;
        ensure(forest.norm.is_finite() && forest.norm > 0.0, norm)?;
        ensure(forest.blocks.len() == trees as usize * blocks(depth), nodes)?;
        let is_sound = |block: &Block| {
            let known = |feature: &u8| usize::from(*feature) < features;
            block.features.iter().all(known)
                && block.thresholds[1].iter().all(|byte| *byte > i8::MIN)
        };
        ensure(forest.blocks.iter().all(is_sound), nodes)?;
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
        writer.section(Tag::PART.field(2), self.blocks);
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
pub const fn key(value: f32) -> i16 {
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

/// Blocks of a tree in front of those that have its leaves.
const fn last_blocks(depth: u32) -> usize {
    blocks(depth) - ((1 << depth) / last_exits(depth))
}

/// Exits of the blocks that have a tree's leaves.
const fn last_exits(depth: u32) -> usize {
    if depth < BLOCK_LEVELS { 1 << depth } else { EXITS }
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
    let last_level = (local + 1 == BLOCK_LEVELS) as usize;
    let place = (1 << local) - 1 + last_level + index % (1 << local);
    (block + arranged(depth, top, index >> local), place)
}

/// Where what is number `index` below `level`, the lower end of blocks, lies among its like: behind
/// the exits of the blocks on its way, one after the other.
const fn arranged(depth: u32, level: u32, index: usize) -> usize {
    let (mut place, mut top, mut below) = (0, 0, first_levels(depth));
    while top < level {
        let exit = (index >> (level - below)) % (1 << (below - top));
        place = (place << (below - top)) + exit_place(below - top, exit);
        (top, below) = (below, below + BLOCK_LEVELS);
    }
    place
}

/// Where the exit that is number `exit` from the left lies in a block of so many levels. In whole
/// blocks all left exits lie before all right ones, which is how the answers of the last level become
/// an exit in one step.
const fn exit_place(levels: u32, exit: usize) -> usize {
    if levels < BLOCK_LEVELS { exit } else { exit % 2 * (EXITS / 2) + exit / 2 }
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
                *block < blocks(depth) && *place < BLOCK_PLACES && *place != 7
            };
            assert!(places.iter().all(fits), "depth {depth}");
            let mut leaves: Vec<_> =
                (0..1 << depth).map(|leaf| arranged(depth, depth, leaf)).collect();
            leaves.sort_unstable();
            assert!(leaves.into_iter().eq(0..1 << depth), "depth {depth}");
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
            let mut all = std::vec![Block::EMPTY; trees * blocks(*depth)];
            for (tree, blocks) in all.chunks_mut(blocks(*depth)).enumerate() {
                let first = tree << depth;
                for leaf in 0..1 << depth {
                    put_leaf(blocks, *depth, leaf, leaves[first + leaf]);
                }
                for level in 0..*depth {
                    for index in 0..1usize << level {
                        let (stored, feature) = splits[first + (1 << level) - 1 + index];
                        let (block, place) = place(*depth, level, index);
                        blocks[block].put_split(place, key(threshold(stored)), feature);
                    }
                }
            }
            let model = Forest { trees: trees as u32, depth: *depth, norm: 1.0, blocks: &all };
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
