//! The same forest in the best native layouts that we know, for comparison.
//!
//! By level: perfect trees of float thresholds, eight rows at once, no branch that depends on data, path
//! lengths as whole numbers. By block: what a module does, with the vectors of x86-64.

use super::forest::{Queries, SharedForest, Tree};
use std::hint::black_box;
use twinge_detector::forest::LEAF_UNITS;

/// Rows that go down a tree side by side, so that their steps do not wait for each other.
const LANES: usize = 8;

pub(super) struct NativeForest {
    depth: u32,
    /// Threshold and feature of each node, a tree after the other, children of `i` at `2i + 1` and `2i + 2`.
    nodes: Vec<(f32, u32)>,
    leaves: Vec<u16>,
    trees: usize,
    norm: f64,
}

impl NativeForest {
    pub(super) fn new(shared: &SharedForest) -> Self {
        let (inner, outer) = ((1 << shared.depth) - 1, 1 << shared.depth);
        let trees = shared.trees.len();
        let mut this = Self {
            depth: shared.depth,
            nodes: vec![(f32::INFINITY, 0); trees * inner],
            leaves: vec![0; trees * outer],
            trees,
            norm: 1.0 / (shared.norm * LEAF_UNITS),
        };
        for (number, tree) in shared.trees.iter().enumerate() {
            this.put(number, tree, 0, 0, 0);
        }
        this
    }

    fn put(&mut self, number: usize, tree: &Tree, node: usize, level: u32, index: usize) {
        let inner = (1 << self.depth) - 1;
        if tree.left[node] < 0 {
            let below = 1 << (self.depth - level);
            let units = (tree.path[node] * LEAF_UNITS).round() as u16;
            let first = (number << self.depth) + index * below;
            self.leaves[first..first + below].fill(units);
            return;
        }
        let place = (1 << level) - 1 + index;
        self.nodes[number * inner + place] = (tree.threshold[node], tree.feature[node] as u32);
        self.put(number, tree, tree.left[node] as usize, level + 1, 2 * index);
        self.put(number, tree, tree.right[node] as usize, level + 1, 2 * index + 1);
    }

    /// The raw score of one row.
    pub(super) fn of(&self, row: &[f32]) -> f64 {
        let mut sums = [0_u32; 1];
        self.add::<1>(&[row], &mut sums);
        self.raw(sums[0])
    }

    fn raw(&self, sum: u32) -> f64 {
        (-f64::from(sum) * self.norm).exp2()
    }

    fn add<const ROWS: usize>(&self, rows: &[&[f32]; ROWS], sums: &mut [u32; ROWS]) {
        let inner = (1 << self.depth) - 1;
        for tree in 0..self.trees {
            let nodes = &self.nodes[tree * inner..][..inner];
            let leaves = &self.leaves[tree << self.depth..][..1 << self.depth];
            let mut at = [0_usize; ROWS];
            for _ in 0..self.depth {
                for lane in 0..ROWS {
                    let (threshold, feature) = nodes[at[lane]];
                    let goes_right = rows[lane][feature as usize] > threshold;
                    at[lane] = 2 * at[lane] + 1 + usize::from(goes_right);
                }
            }
            for lane in 0..ROWS {
                sums[lane] += u32::from(leaves[at[lane] - inner]);
            }
        }
    }

    /// Scores rows of the queries.
    pub(super) fn score(&self, queries: &Queries, from: usize, rows: usize) {
        let mut row = from;
        while row < from + rows {
            if row + LANES <= from + rows {
                let lanes: [&[f32]; LANES] = std::array::from_fn(|lane| queries.row(row + lane));
                let mut sums = [0; LANES];
                self.add(&lanes, &mut sums);
                black_box(sums.map(|sum| self.raw(sum)));
                row += LANES;
            } else {
                black_box(self.of(queries.row(row)));
                row += 1;
            }
        }
    }
}

/// The module's own blocks, walked through natively.
#[cfg(target_arch = "x86_64")]
pub(super) mod blocks {
    #![expect(unsafe_code, reason = "vectors that a processor may lack, asked for before")]

    use super::{Queries, SharedForest};
    use anyhow::{Result, ensure};
    use std::arch::x86_64::{
        __m128i, _mm_add_epi8, _mm_cmpgt_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_shuffle_epi8,
    };
    use std::hint::black_box;
    use twinge_detector::forest::{self, LEAF_UNITS};

    const BLOCKS: usize = forest::blocks(8);
    /// Two planes of thresholds, features, and leaves of two bytes.
    type Block = [[u8; 16]; 5];
    type Keys = [__m128i; 2];

    pub(in super::super) struct BlockForest {
        trees: Vec<[Block; BLOCKS]>,
        norm: f64,
        keys: Vec<Keys>,
        sums: Vec<u32>,
    }

    impl BlockForest {
        pub(in super::super) fn new(shared: &SharedForest) -> Result<Self> {
            ensure!(
                shared.depth == 8 && shared.features == 16,
                "these blocks are of another shape"
            );
            ensure!(is_x86_feature_detected!("avx2"), "this processor has no AVX2");
            let blocks = shared.blocks()?;
            let blocks: &[Block] = bytemuck::cast_slice(&blocks);
            let norm = 1.0 / (shared.norm * LEAF_UNITS);
            Ok(Self {
                trees: blocks.as_chunks().0.to_vec(),
                norm,
                keys: Vec::new(),
                sums: Vec::new(),
            })
        }

        /// Scores rows of the queries.
        pub(in super::super) fn score(&mut self, queries: &Queries, from: usize, rows: usize) {
            // As many rows at a time as the caches like.
            for first in (from..from + rows).step_by(64) {
                let rows = (from + rows - first).min(64);
                self.keys.clear();
                self.keys.extend((first..first + rows).map(|row| keys(queries.row(row))));
                self.sums.clear();
                self.sums.resize(rows, 0);
                // SAFETY: `new` asked the processor.
                unsafe { self.add_paths() };
                for sum in &self.sums {
                    black_box((-f64::from(*sum) * self.norm).exp2());
                }
            }
        }

        #[target_feature(enable = "avx2,bmi2")]
        fn add_paths(&mut self) {
            for tree in &self.trees {
                for (sum, keys) in self.sums.iter_mut().zip(&self.keys) {
                    let block = &tree[1 + through(keys, &tree[0])];
                    let (block, leaf) = (block.as_flattened(), 48 + 2 * through(keys, block));
                    *sum += u32::from(u16::from_le_bytes([block[leaf], block[leaf + 1]]));
                }
            }
        }
    }

    fn keys(row: &[f32]) -> Keys {
        let (mut lower, mut upper) = ([0_u8; 16], [0_u8; 16]);
        for (place, value) in row.iter().enumerate() {
            let key = forest::key(*value).to_le_bytes();
            (lower[place], upper[place]) = (key[0] ^ 0x80, key[1]);
        }
        [load(&lower), load(&upper)]
    }

    #[inline]
    fn load(bytes: &[u8; 16]) -> __m128i {
        // SAFETY: sixteen bytes are there, and need not be aligned.
        unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn through(keys: &Keys, block: &Block) -> usize {
        let [lower_of_block, upper_of_block, features] = [0, 1, 2].map(|plane| load(&block[plane]));
        let [lower, upper] =
            [_mm_shuffle_epi8(keys[0], features), _mm_shuffle_epi8(keys[1], features)];
        let less = _mm_cmpgt_epi8(lower, lower_of_block);
        let goes_right = _mm_cmpgt_epi8(upper, _mm_add_epi8(upper_of_block, less));
        let answers = _mm_movemask_epi8(goes_right) as usize & 0xffff;
        let shift = usize::from(SHIFTS[answers % 128]);
        (shift - 5 + (answers >> shift & 8)) % 16
    }

    /// As in crates/detector/src/forest/simd.rs.
    static SHIFTS: [u8; 128] = {
        let mut shifts = [0; 128];
        let mut answers = 0;
        while answers < 128 {
            let (mut node, mut level) = (0, 1);
            while level < 4 {
                node = 2 * node + 1 + (answers >> node & 1);
                level += 1;
            }
            shifts[answers] = (node - 2) as u8;
            answers += 1;
        }
        shifts
    };
}

/// Where there are no such vectors, nothing is measured.
#[cfg(not(target_arch = "x86_64"))]
pub(super) mod blocks {
    use super::{Queries, SharedForest};
    use anyhow::{Result, bail};

    pub(in super::super) struct BlockForest;

    impl BlockForest {
        pub(in super::super) fn new(_: &SharedForest) -> Result<Self> {
            bail!("the forest's blocks are walked through natively on x86-64 only: run this there")
        }

        pub(in super::super) fn score(&mut self, _: &Queries, _: usize, _: usize) {}
    }
}
