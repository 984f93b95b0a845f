//! From block to block: fifteen splits at once, with WebAssembly's vectors.
//!
//! A row's keys lie in `VECTORS` pairs of vectors, lower bytes and upper bytes of sixteen features
//! each, so that a swizzle is a gather. As the tests of whole modules against [`super::walk`] hold
//! (crates/engine/tests/forest.rs), nothing but speed differs.

use super::layout::{
    BLOCK_LEVELS, BLOCK_PLACES, BLOCK_ROWS, Block, EXITS, Forest, TREES_MAX, blocks,
};
use bytemuck::cast;
use core::arch::wasm32::{
    i8x16_add, i8x16_bitmask, i8x16_gt, i8x16_shuffle, i8x16_swizzle, i16x8_narrow_i32x4,
    i32x4_add, i32x4_shr, i32x4_splat, i32x4_sub, u8x16_splat, u8x16_sub, v128, v128_and, v128_or,
    v128_xor,
};

/// The only depth that this walk knows, and all that trees of the usual sample have.
pub(super) const DEPTH: u32 = 2 * BLOCK_LEVELS;

/// Rows that go through a tree together.
const LANES: usize = 8;

/// A tree's blocks. With their number known, no access needs a bounds check.
type Tree = [Block; blocks(DEPTH)];

/// Lower and upper bytes of the keys of sixteen features, as blocks hold those of thresholds.
type Keys = (v128, v128);

/// Adds the path lengths of rows of `WIDTH`, sixteen times `VECTORS`, features to `sums`.
pub(super) fn path_sums<const WIDTH: usize, const VECTORS: usize>(
    forest: &Forest<'_>,
    rows: &[f32],
    sums: &mut [u32],
) {
    let trees: &[Tree] = forest.blocks.as_chunks().0;
    let rows = rows.as_chunks::<WIDTH>().0;
    let (groups, rest) = rows.as_chunks();
    let (sums_of_groups, sums_of_rest) = sums.as_chunks_mut();
    if !groups.is_empty() {
        many_rows::<WIDTH, VECTORS>(trees, groups, sums_of_groups);
    }
    for (row, sum) in rest.iter().zip(sums_of_rest) {
        *sum += one_row::<WIDTH, VECTORS>(trees, row);
    }
}

#[inline(never)]
fn many_rows<const WIDTH: usize, const VECTORS: usize>(
    trees: &[Tree],
    rows: &[[[f32; WIDTH]; LANES]],
    sums: &mut [[u32; LANES]],
) {
    let zero = i32x4_splat(0);
    let mut keys = [[[(zero, zero); VECTORS]; LANES]; BLOCK_ROWS / LANES];
    for (keys, row) in keys.as_flattened_mut().iter_mut().zip(rows.as_flattened()) {
        *keys = keys_of(row);
    }
    for tree in trees {
        through_tree(&keys, tree, sums);
    }
}

/// Adds the path lengths of rows through a tree.
#[inline(never)]
fn through_tree<const VECTORS: usize>(
    keys: &[[[Keys; VECTORS]; LANES]],
    tree: &Tree,
    sums: &mut [[u32; LANES]],
) {
    for (sums, keys) in sums.iter_mut().zip(keys) {
        let path = |lane: usize| leaf_behind(&keys[lane], tree, through(&keys[lane], &tree[0]));
        // Unrolled by hand: in a loop, engines ask for their deadline, and spill, after every row.
        sums[0] += path(0);
        sums[1] += path(1);
        sums[2] += path(2);
        sums[3] += path(3);
        sums[4] += path(4);
        sums[5] += path(5);
        sums[6] += path(6);
        sums[7] += path(7);
    }
}

#[inline(never)]
fn one_row<const WIDTH: usize, const VECTORS: usize>(trees: &[Tree], row: &[f32; WIDTH]) -> u32 {
    let keys: [Keys; VECTORS] = keys_of(row);
    // First blocks before second ones: where the second ones lie is then known early enough to be
    // fetched while others are walked through.
    let mut exits = [0_u8; TREES_MAX as usize];
    for (exit, tree) in exits.iter_mut().zip(trees) {
        *exit = through(&keys, &tree[0]) as u8;
    }
    let trees = exits.iter().zip(trees);
    trees.map(|(exit, tree)| leaf_behind(&keys, tree, usize::from(*exit))).sum()
}

/// The path length that a row reaches through the block behind `exit` of a tree's first one.
#[inline]
fn leaf_behind<const VECTORS: usize>(
    keys: &[Keys; VECTORS],
    [_, blocks @ ..]: &Tree,
    exit: usize,
) -> u32 {
    let block = &blocks[exit % EXITS];
    u32::from(block.leaves[through(keys, block)])
}

/// By which of sixteen exits a row leaves a block.
#[inline]
fn through<const VECTORS: usize>(keys: &[Keys; VECTORS], block: &Block) -> usize {
    let (lower, upper) = gather(keys, cast(block.features));
    let [lower_of_thresholds, upper_of_thresholds] =
        block.thresholds.map(|plane| cast::<_, v128>(plane));
    // Where the lower byte is larger, the upper one need only be as large: larger than one less.
    let less = i8x16_gt(lower, lower_of_thresholds);
    let goes_right = i8x16_gt(upper, i8x16_add(upper_of_thresholds, less));
    let answers = usize::from(i8x16_bitmask(goes_right));
    let shift = usize::from(SHIFTS[answers % SHIFTS.len()]);
    // The number of the last level's node, and eight if the row goes right there.
    (shift - SHIFT_MIN + (answers >> shift & (EXITS / 2))) % EXITS
}

/// The keys' bytes of each place's feature.
#[inline]
fn gather<const VECTORS: usize>(keys: &[Keys; VECTORS], mut features: v128) -> Keys {
    let (mut lower, mut upper) = (i32x4_splat(0), i32x4_splat(0));
    for (lower_bytes, upper_bytes) in keys {
        // An index beyond sixteen takes zero, and below zero it is beyond sixteen.
        lower = v128_or(lower, i8x16_swizzle(*lower_bytes, features));
        upper = v128_or(upper, i8x16_swizzle(*upper_bytes, features));
        features = u8x16_sub(features, u8x16_splat(BLOCK_PLACES as u8));
    }
    (lower, upper)
}

/// Keys of a row's features, as [`super::key`] makes them.
#[inline]
fn keys_of<const WIDTH: usize, const VECTORS: usize>(row: &[f32; WIDTH]) -> [Keys; VECTORS] {
    let values = row.as_chunks::<BLOCK_PLACES>().0;
    core::array::from_fn(|vector| {
        let quarters: [v128; 4] = cast(values[vector]);
        let [a, b, c, d] = quarters.map(|bits| {
            let sign = i32x4_shr(bits, 31);
            let magnitude = v128_and(bits, i32x4_splat(0x7fff_ffff));
            let ordered = i32x4_sub(v128_xor(magnitude, sign), sign);
            i32x4_add(i32x4_shr(i32x4_sub(ordered, i32x4_splat(1)), 16), i32x4_splat(1))
        });
        let (ab, cd) = (i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d));
        let lower =
            i8x16_shuffle::<0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30>(ab, cd);
        let upper =
            i8x16_shuffle::<1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31>(ab, cd);
        (v128_xor(lower, u8x16_splat(0x80)), upper)
    })
}

/// From the answers of a block's upper seven nodes to how far the answer of the node that they lead to
/// is shifted to become an eight. Nodes of the last level answer in bits 8 to 15.
static SHIFTS: [u8; 128] = shifts();
const SHIFT_MIN: usize = 5;

const fn shifts() -> [u8; 128] {
    let mut shifts = [0; 128];
    let mut answers = 0;
    while answers < shifts.len() {
        let (mut node, mut level) = (0, 1);
        while level < BLOCK_LEVELS {
            node = 2 * node + 1 + (answers >> node & 1);
            level += 1;
        }
        shifts[answers] = (node - 7 + SHIFT_MIN) as u8;
        answers += 1;
    }
    shifts
}
