//! From block to block: fifteen splits at once, with WebAssembly's vectors.
//!
//! A row's keys lie in `VECTORS` pairs of vectors, lower bytes and upper bytes of sixteen features
//! each, so that a swizzle is a gather. As the tests of whole modules against [`super::walk`] hold
//! (crates/engine/tests/forest.rs), nothing but speed differs.

use super::{BLOCK_LEVELS, BLOCK_PLACES, BLOCK_ROWS, Forest, blocks};
use bytemuck::cast;
use core::arch::wasm32::{
    i8x16_bitmask, i8x16_narrow_i16x8, i8x16_shuffle, i8x16_swizzle, i16x8_gt, i16x8_narrow_i32x4,
    i32x4_add, i32x4_shr, i32x4_splat, i32x4_sub, u8x16_splat, u8x16_sub, v128, v128_and, v128_or,
    v128_xor,
};

/// Lower and upper bytes of the keys of sixteen features.
type Keys = (v128, v128);

/// The only depth that this walk knows, and all that trees of the usual sample have.
pub(super) const DEPTH: u32 = 2 * BLOCK_LEVELS;
const BLOCKS: usize = blocks(DEPTH);
const LEAVES: usize = 1 << DEPTH;

/// Adds the path lengths of rows of `WIDTH`, sixteen times `VECTORS`, features to `sums`.
pub(super) fn path_sums<const WIDTH: usize, const VECTORS: usize>(
    forest: &Forest<'_>,
    rows: &[f32],
    sums: &mut [u32],
) {
    let zero = i32x4_splat(0);
    let mut all = [[(zero, zero); VECTORS]; BLOCK_ROWS];
    let keys_of_rows = &mut all[..sums.len()];
    for (keys, row) in keys_of_rows.iter_mut().zip(rows.as_chunks::<WIDTH>().0) {
        for (keys, values) in keys.iter_mut().zip(row.as_chunks::<BLOCK_PLACES>().0) {
            *keys = keys_of(values);
        }
    }
    // With lengths known, no access needs a bounds check.
    let thresholds = forest.thresholds.as_chunks::<BLOCKS>().0;
    let features = forest.features.as_chunks::<BLOCKS>().0;
    let leaves = forest.leaves.as_chunks::<LEAVES>().0;
    for ((thresholds, features), leaves) in thresholds.iter().zip(features).zip(leaves) {
        for (sum, keys) in sums.iter_mut().zip(&*keys_of_rows) {
            let upper = through(keys, &thresholds[0], &features[0]);
            let lower = through(keys, &thresholds[1 + upper], &features[1 + upper]);
            *sum += u32::from(leaves[BLOCK_PLACES * upper + lower]);
        }
    }
}

/// [`super::key`] of sixteen values, in two halves.
#[inline]
fn keys_of(values: &[f32; BLOCK_PLACES]) -> Keys {
    let quarters: [v128; 4] = cast(*values);
    let [a, b, c, d] = quarters.map(|bits| {
        let sign = i32x4_shr(bits, 31);
        let magnitude = v128_and(bits, i32x4_splat(0x7fff_ffff));
        let ordered = i32x4_sub(v128_xor(magnitude, sign), sign);
        i32x4_add(i32x4_shr(i32x4_sub(ordered, i32x4_splat(1)), 16), i32x4_splat(1))
    });
    let (ab, cd) = (i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d));
    (
        i8x16_shuffle::<0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30>(ab, cd),
        i8x16_shuffle::<1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31>(ab, cd),
    )
}

/// By which of sixteen exits a row leaves a block.
#[inline]
fn through<const VECTORS: usize>(
    keys: &[Keys; VECTORS],
    thresholds: &[i16; BLOCK_PLACES],
    features: &[u8; BLOCK_PLACES],
) -> usize {
    let (lower, upper) = gather(keys, cast(*features));
    let [first, second]: [v128; 2] = cast(*thresholds);
    let of_first =
        i8x16_shuffle::<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(lower, upper);
    let of_second =
        i8x16_shuffle::<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(lower, upper);
    let goes_right = i8x16_narrow_i16x8(i16x8_gt(of_first, first), i16x8_gt(of_second, second));
    let answers = usize::from(i8x16_bitmask(goes_right));
    let node = usize::from(NODES[answers % NODES.len()]);
    // The last of four levels: `2 * node + 1 + answer`, counted from the first exit.
    (2 * node + 2 - BLOCK_PLACES + (answers >> node & 1)) % BLOCK_PLACES
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

/// The node of a block's last level, in heap order, that the answers of the first seven lead to.
static NODES: [u8; 128] = nodes();

const fn nodes() -> [u8; 128] {
    let mut nodes = [0; 128];
    let mut answers = 0;
    while answers < nodes.len() {
        let (mut node, mut level) = (0, 1);
        while level < BLOCK_LEVELS {
            node = 2 * node + 1 + (answers >> node & 1);
            level += 1;
        }
        nodes[answers] = node as u8;
        answers += 1;
    }
    nodes
}
