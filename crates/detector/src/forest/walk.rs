//! From level to level: the walk that needs nothing but whole numbers.
//!
//! A branch taken is an index computed, never a jump: `i = 2i + 1 + (x > t)`, and latency hides
//! behind eight rows that walk at once.

use super::{BLOCK_LEVELS, BLOCK_PLACES, Forest, blocks, first_levels, key};

const LANES: usize = 8;

/// Adds the path lengths of rows of `WIDTH` features to `sums`.
pub(super) fn path_sums<const WIDTH: usize>(forest: &Forest<'_>, rows: &[f32], sums: &mut [u32]) {
    let (rows, _) = rows.as_chunks::<WIDTH>();
    let rows = &rows[..sums.len()];
    let whole = rows.len() - rows.len() % LANES;
    for (rows, sums) in
        rows[..whole].as_chunks::<LANES>().0.iter().zip(sums.as_chunks_mut::<LANES>().0)
    {
        add_paths(forest, &rows.map(|row| row.map(key)), sums);
    }
    for (row, sum) in rows[whole..].iter().zip(&mut sums[whole..]) {
        add_paths(forest, &[row.map(key)], core::array::from_mut(sum));
    }
}

fn add_paths<const WIDTH: usize, const ROWS: usize>(
    forest: &Forest<'_>,
    rows: &[[i16; WIDTH]; ROWS],
    sums: &mut [u32; ROWS],
) {
    let (blocks, leaves) = (blocks(forest.depth), 1 << forest.depth);
    let trees = forest.thresholds.chunks_exact(blocks).zip(forest.features.chunks_exact(blocks));
    for ((thresholds, features), leaves) in trees.zip(forest.leaves.chunks_exact(leaves)) {
        let mut paths = [0; ROWS];
        // The first block may have fewer levels: those below lead left, and count for nothing.
        let (mut first, mut levels) = (0, first_levels(forest.depth));
        let mut level = 0;
        while level < forest.depth {
            for (path, row) in paths.iter_mut().zip(rows) {
                let block = first + *path;
                let exit = through(row, &thresholds[block], &features[block]);
                *path = (*path << levels) + (exit >> (BLOCK_LEVELS - levels));
            }
            first += 1 << level;
            (level, levels) = (level + levels, BLOCK_LEVELS);
        }
        for (sum, path) in sums.iter_mut().zip(paths) {
            *sum += u32::from(leaves[path]);
        }
    }
}

/// By which of sixteen exits a row leaves a block.
#[inline]
fn through<const WIDTH: usize>(
    row: &[i16; WIDTH],
    thresholds: &[i16; BLOCK_PLACES],
    features: &[u8; BLOCK_PLACES],
) -> usize {
    let mut node = 0;
    for _ in 0..BLOCK_LEVELS {
        let feature = usize::from(features[node % BLOCK_PLACES]) % WIDTH;
        node = 2 * node + 1 + usize::from(row[feature] > thresholds[node % BLOCK_PLACES]);
    }
    node + 1 - BLOCK_PLACES
}

/// The path lengths of one row of any width, by the slow, obvious walk.
pub(super) fn path_sum(forest: &Forest<'_>, row: &[f32]) -> u32 {
    let path = |tree: usize| {
        let (start, mut index) = (tree * blocks(forest.depth), 0);
        for level in 0..forest.depth {
            let (block, place) = super::place(forest.depth, level, index);
            let feature = forest.features[start + block][place];
            let goes_right =
                key(row[usize::from(feature)]) > forest.thresholds[start + block][place];
            index = 2 * index + usize::from(goes_right);
        }
        u32::from(forest.leaves[(tree << forest.depth) + index])
    };
    (0..forest.trees as usize).map(path).sum()
}
