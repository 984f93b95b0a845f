//! Which rows of unlabelled data are too doubtful to learn from.
//!
//! Data that nobody has cleaned holds the very anomalies that a detector is to find, and references
//! among them would make them usual. A first score, used here and then forgotten, ranks all rows by
//! five detectors; the highest third is left out. That costs usual rows too, which the rest stands
//! for.

use crate::means::{slice, squared_distance};
use crate::random::Random;
use ndarray::{Array2, ArrayView2, Axis};
use twinge_detector::view::scaled;

/// Share of the rows that is left out.
const LEFT_OUT: f64 = 0.33;

/// Bags of reference rows, rows in each, and the neighbour whose distance counts. Anomalies that lie
/// close together and are more than one row in 21 are each other's neighbours, and may be trusted.
const BAGS: usize = 32;
const BAG_ROWS: usize = 128;
const NEIGHBOUR: usize = 6;

/// Trees of each forest, and rows in each.
const TREES: usize = 300;
const TREE_ROWS: u32 = 256;

/// Bound of scaled values: how far beyond it a value lies says no more.
const BOUND: f32 = 3.0;

/// The rows to learn from, ascending. Records of shape (rows, features) hold scaled features.
pub fn trusted_rows(
    records: ArrayView2<'_, f32>,
    seed: u64,
    tell: &mut dyn FnMut(f64) -> bool,
) -> Option<Vec<usize>> {
    let rows = records.nrows();
    let bounded = records.map(|value| value.clamp(-BOUND, BOUND));
    // Far rows that the bound makes alike would stand for one another: one look is at the logarithm.
    let drawn = records.map(|value| scaled(*value, [0.0, 1.0, 1.0, 1.0]));
    let width = bounded.ncols();
    let mut first = vec![0.0; rows];
    for kind in 0..5u32 {
        if !tell(f64::from(kind) / 5.0) {
            return None;
        }
        let mut random = Random::new(seed, u64::from(kind));
        let scores = match kind {
            0 => bags(&bounded, width, &mut random),
            1 => bags(&bounded, width.div_ceil(2), &mut random),
            2 => forest(&bounded, Growth::Isolation, &mut random),
            3 => forest(&drawn, Growth::Isolation, &mut random),
            _ => forest(&bounded, Growth::Density, &mut random),
        };
        for (first, rank) in first.iter_mut().zip(ranks(&scores)) {
            *first += rank;
        }
    }
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by(|a, b| first[*a].total_cmp(&first[*b]).then(a.cmp(b)));
    order.truncate((rows as f64 * (1.0 - LEFT_OUT)).ceil() as usize);
    order.sort_unstable();
    Some(order)
}

/// Mean ranks, equal scores sharing theirs, over the number of rows.
fn ranks(scores: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let mut ranks = vec![0.0; scores.len()];
    let mut start = 0;
    for equal in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let rank = (2 * start + equal.len() + 1) as f64 / 2.0;
        for row in equal {
            ranks[*row] = rank / scores.len() as f64;
        }
        start += equal.len();
    }
    ranks
}

/// The sum over bags of the distance to a near neighbour, looking at `width` random features.
fn bags(records: &Array2<f32>, width: usize, random: &mut Random) -> Vec<f64> {
    let (rows, features) = records.dim();
    let mut scores = vec![0.0; rows];
    for _ in 0..BAGS {
        let chosen = random.distinct(width as u32, features as u32);
        let chosen: Vec<usize> = chosen.into_iter().map(|feature| feature as usize).collect();
        let seen = records.select(Axis(1), &chosen).as_standard_layout().into_owned();
        let bag = random.distinct(BAG_ROWS.min(rows) as u32, rows as u32);
        let bag: Vec<usize> = bag.into_iter().map(|row| row as usize).collect();
        let bag = seen.select(Axis(0), &bag);
        let place = NEIGHBOUR.min(bag.nrows()) - 1;
        let mut squares = vec![0.0f32; bag.nrows()];
        for (score, row) in scores.iter_mut().zip(seen.rows()) {
            for (square, reference) in squares.iter_mut().zip(bag.rows()) {
                *square = squared_distance(slice(&row), slice(&reference));
            }
            let near = *squares.select_nth_unstable_by(place, f32::total_cmp).1;
            *score += f64::from(near).sqrt();
        }
    }
    scores
}

/// How a tree is grown and what its leaves say.
#[derive(Clone, Copy, PartialEq)]
enum Growth {
    /// Splits along two features; a short path is doubtful.
    Isolation,
    /// Splits along one; few rows in much room are doubtful.
    Density,
}

/// A node: a split, or a leaf with its value.
enum Node {
    Split { features: [usize; 2], weights: [f32; 2], threshold: f32, left: usize },
    Leaf(f64),
}

fn forest(records: &Array2<f32>, growth: Growth, random: &mut Random) -> Vec<f64> {
    let rows = records.nrows() as u32;
    let per_spread: Vec<f32> = records
        .columns()
        .into_iter()
        .map(|column| {
            let mean = column.iter().map(|value| f64::from(*value)).sum::<f64>() / f64::from(rows);
            let square = |value: &f32| (f64::from(*value) - mean) * (f64::from(*value) - mean);
            let variance = column.iter().map(square).sum::<f64>() / f64::from(rows);
            (1.0 / (variance.sqrt() + 1e-12)) as f32
        })
        .collect();
    let mut scores = vec![0.0; records.nrows()];
    for _ in 0..TREES {
        let mut sample = random.distinct(TREE_ROWS.min(rows), rows);
        let depth = u32::BITS - (sample.len() as u32 - 1).leading_zeros();
        let mut tree =
            Tree { records, per_spread: &per_spread, growth, nodes: vec![Node::Leaf(0.0)] };
        tree.grow(random, &mut sample, 0, depth, 0.0);
        for (score, row) in scores.iter_mut().zip(records.rows()) {
            *score -= tree.value(slice(&row));
        }
    }
    scores
}

struct Tree<'r> {
    records: &'r Array2<f32>,
    per_spread: &'r [f32],
    growth: Growth,
    nodes: Vec<Node>,
}

impl Tree<'_> {
    fn grow(
        &mut self,
        random: &mut Random,
        sample: &mut [u32],
        node: usize,
        levels: u32,
        value: f64,
    ) {
        let split = if levels > 0 && sample.len() > 1 { self.split(random, sample) } else { None };
        let Some((features, weights, threshold, share)) = split else {
            self.nodes[node] = Node::Leaf(match self.growth {
                Growth::Isolation => value + crate::forest::mean_path(sample.len()),
                Growth::Density => value,
            });
            return;
        };
        let left = self.nodes.len();
        self.nodes.extend([Node::Leaf(0.0), Node::Leaf(0.0)]);
        self.nodes[node] = Node::Split { features, weights, threshold, left };
        let records = self.records;
        let goes_right =
            |row: u32| along(slice(&records.row(row as usize)), features, weights) >= threshold;
        let rows = sample.len() as f64;
        let parted = crate::forest::partition(sample, goes_right);
        let (low, high) = sample.split_at_mut(parted);
        let next = |rows_there: usize, room: f64| match self.growth {
            Growth::Isolation => value + 1.0,
            Growth::Density => {
                value + libm::log(rows_there as f64 / rows) - libm::log(room.max(1e-3))
            }
        };
        let (of_low, of_high) = (next(low.len(), share), next(high.len(), 1.0 - share));
        self.grow(random, low, left, levels - 1, of_low);
        self.grow(random, high, left + 1, levels - 1, of_high);
    }

    /// Features, weights, threshold, and the share of the range that lies below it.
    fn split(
        &self,
        random: &mut Random,
        sample: &[u32],
    ) -> Option<([usize; 2], [f32; 2], f32, f64)> {
        let width = self.records.ncols() as u32;
        for _ in 0..10 {
            let first = random.below(width) as usize;
            let (mut second, mut weights) = (first, [1.0, 0.0]);
            if self.growth == Growth::Isolation && width > 1 {
                second = (first + 1 + random.below(width - 1) as usize) % width as usize;
                weights = [
                    random.normal() as f32 * self.per_spread[first],
                    random.normal() as f32 * self.per_spread[second],
                ];
            }
            let features = [first, second];
            let place =
                |row: &u32| along(slice(&self.records.row(*row as usize)), features, weights);
            let (low, high) = crate::forest::extremes(sample.iter().map(place));
            let threshold = low + (high - low) * random.unit() as f32;
            if low < threshold && threshold <= high {
                let share = f64::from((threshold - low) / (high - low));
                return Some((features, weights, threshold, share));
            }
        }
        None
    }

    fn value(&self, row: &[f32]) -> f64 {
        let mut node = 0;
        loop {
            match &self.nodes[node] {
                Node::Leaf(value) => return *value,
                Node::Split { features, weights, threshold, left } => {
                    node = left + usize::from(along(row, *features, *weights) >= *threshold);
                }
            }
        }
    }
}

fn along(row: &[f32], features: [usize; 2], weights: [f32; 2]) -> f32 {
    row[features[0]] * weights[0] + row[features[1]] * weights[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outliers_are_not_trusted() {
        let mut random = Random::new(9, 0);
        let records = Array2::from_shape_fn((400, 4), |(row, _)| {
            (random.normal() + if row < 12 { 6.0 } else { 0.0 }) as f32
        });
        let trusted = trusted_rows(records.view(), 1, &mut |_| true).unwrap();
        assert_eq!(trusted.len(), 268);
        assert!(trusted.iter().all(|row| *row >= 12), "{trusted:?}");
        assert_eq!(trusted_rows(records.view(), 1, &mut |_| false), None);
    }

    #[test]
    fn equal_scores_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [0.875, 0.25, 0.875, 0.5]);
    }
}
