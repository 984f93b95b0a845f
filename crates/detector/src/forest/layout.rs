//! How a forest lies in memory: its blocks, and where in them a node, a threshold and a leaf are.
//!
//! Nothing here walks.

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
pub(super) const BLOCK_LEVELS: u32 = 4;

/// Places of a block: its seven upper nodes in heap order, one that is not used, and the eight of its
/// last level. So the answers of a whole level are a byte of their own.
pub const BLOCK_PLACES: usize = 16;

/// Exits of a block.
pub(super) const EXITS: usize = 1 << BLOCK_LEVELS;

/// Rows that are scored together at most.
pub const BLOCK_ROWS: usize = 64;

/// Fifteen nodes, four levels of a tree, and the leaves behind them where these are the last levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// The [`key`]s of split thresholds in two planes, so that vectors of bytes compare them: lower
    /// bytes, less 128 so that they are signed as the others are, and upper bytes, of which none is
    /// the least that there is. A row goes right when its feature's key is larger.
    pub(super) thresholds: [[i8; BLOCK_PLACES]; 2],
    /// Split features.
    pub(super) features: [u8; BLOCK_PLACES],
    /// Path lengths in [`LEAF_UNITS`] to the step, one behind each exit.
    pub(super) leaves: [u16; EXITS],
}

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

    pub(super) fn threshold(&self, place: usize) -> i16 {
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
pub(super) const fn first_levels(depth: u32) -> u32 {
    (depth - 1) % BLOCK_LEVELS + 1
}

/// Blocks of a tree in front of those that have its leaves.
pub(super) const fn last_blocks(depth: u32) -> usize {
    blocks(depth) - ((1 << depth) / last_exits(depth))
}

/// Exits of the blocks that have a tree's leaves.
pub(super) const fn last_exits(depth: u32) -> usize {
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
pub(super) const fn arranged(depth: u32, level: u32, index: usize) -> usize {
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
pub(super) const fn exit_place(levels: u32, exit: usize) -> usize {
    if levels < BLOCK_LEVELS { exit } else { exit % 2 * (EXITS / 2) + exit / 2 }
}
