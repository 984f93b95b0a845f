//! Isolation forest: the walk of rows through perfect trees (Liu, Ting and Zhou, "Isolation
//! Forest", ICDM 2008).
//!
//! Nodes lie in blocks of fifteen, which are four levels of a tree, so that a tree of the usual depth
//! is two blocks from root to leaf. Vectors answer all splits of a block at once, for eight rows that
//! meet the same block or for one row that meets its own (simd.rs). Where there are no vectors, or
//! rows are too wide for them, walk.rs takes level after level; layout.rs says where what lies. Values are compared as whole numbers
//! of sixteen bits ([`key`]) and path lengths are whole numbers too, so every way of walking gives the
//! same sum.

mod layout;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd;
mod walk;

pub use layout::{
    BLOCK_PLACES, BLOCK_ROWS, Block, DEPTH_MAX, Forest, LEAF_UNITS, TREES_MAX, blocks, key, place,
    put_leaf, threshold,
};

impl Forest<'_> {
    /// The raw score of one row of any width, by the slow, obvious walk.
    pub fn raw_score(&self, row: &[f32]) -> f64 {
        self.score(walk::path_sum(self, row))
    }

    fn score(&self, path_sum: u32) -> f64 {
        libm::exp2(-f64::from(path_sum) * self.norm)
    }
}

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
    use super::layout::arranged;
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
