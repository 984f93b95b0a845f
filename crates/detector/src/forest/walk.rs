//! From level to level: the walk that needs nothing but whole numbers.
//!
//! A branch taken is an index computed, never a jump: `i = 2i + 1 + (x > t)`, and latency hides
//! behind eight rows that walk at once.

use super::layout::{
    BLOCK_LEVELS, BLOCK_PLACES, Block, EXITS, Forest, arranged, blocks, exit_place, first_levels,
    key, last_blocks, last_exits, place,
};

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
    let last_exits = last_exits(forest.depth);
    for tree in forest.blocks.chunks_exact(blocks(forest.depth)) {
        let mut paths = [0; ROWS];
        // The first block may have fewer levels: those below lead left, and count for nothing.
        let (mut first, mut levels) = (0, first_levels(forest.depth));
        let mut level = 0;
        while level < forest.depth {
            for (path, row) in paths.iter_mut().zip(rows) {
                let exit = through(row, &tree[first + *path]);
                *path = (*path << levels) + exit_place(levels, exit >> (BLOCK_LEVELS - levels));
            }
            first += 1 << level;
            (level, levels) = (level + levels, BLOCK_LEVELS);
        }
        let last = &tree[last_blocks(forest.depth)..];
        for (sum, path) in sums.iter_mut().zip(paths) {
            *sum += u32::from(last[path / last_exits].leaves[path % last_exits]);
        }
    }
}

/// By which of sixteen exits a row leaves a block.
#[inline]
fn through<const WIDTH: usize>(row: &[i16; WIDTH], block: &Block) -> usize {
    let goes_right = |place: usize| {
        let place = place % BLOCK_PLACES;
        let feature = usize::from(block.features[place]) % WIDTH;
        usize::from(row[feature] > block.threshold(place))
    };
    let mut node = 0;
    for _ in 1..BLOCK_LEVELS {
        node = 2 * node + 1 + goes_right(node);
    }
    // Nodes of the last level lie one place further.
    2 * node + 1 + goes_right(node + 1) - (EXITS - 1)
}

/// The path lengths of one row of any width, by the slow, obvious walk.
pub(super) fn path_sum(forest: &Forest<'_>, row: &[f32]) -> u32 {
    let (depth, last_exits) = (forest.depth, last_exits(forest.depth));
    let path = |tree: &[Block]| {
        let mut index = 0;
        for level in 0..depth {
            let (block, place) = place(depth, level, index);
            let feature = usize::from(tree[block].features[place]);
            index = 2 * index + usize::from(key(row[feature]) > tree[block].threshold(place));
        }
        let leaf = arranged(depth, depth, index);
        u32::from(tree[last_blocks(depth) + leaf / last_exits].leaves[leaf % last_exits])
    };
    forest.blocks.chunks_exact(blocks(depth)).map(path).sum()
}
