//! The same forest as native code writes it best: perfect trees of float thresholds, eight rows at once,
//! no branch that depends on data, path lengths as whole numbers.

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
