//! Extended isolation forest: splits along slanted lines (Hariri, Carrasco Kind and Brunner,
//! "Extended Isolation Forest", TKDE 2019; each split looks at two features, as in isotree).
//!
//! Axis-parallel splits leave ghosts of low scores beside clusters; slanted ones do not.

use crate::forest::{DEPTH_MAX, TREES_MAX, threshold};
use crate::sections::{ModelError, Sections, Tag, ensure};

/// Units of a split's weights.
pub const WEIGHT_UNITS: f32 = 127.0;

/// A forest's arrays in heap order; every tree has `1 << depth` places in each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExtendedForest<'a> {
    /// Number of trees.
    pub trees: u32,
    /// Steps from the root to a leaf.
    pub depth: u32,
    /// As of [`crate::forest::Forest::norm`].
    pub norm: f64,
    /// Split thresholds, stored as a forest's are.
    pub thresholds: &'a [u16],
    /// The two features of each split.
    pub features: &'a [[u8; 2]],
    /// Their weights, in one [`WEIGHT_UNITS`]-th.
    pub weights: &'a [[i8; 2]],
    /// Path lengths in [`crate::forest::LEAF_UNITS`] to the step.
    pub leaves: &'a [u16],
}

impl<'a> ExtendedForest<'a> {
    /// Between 0 and 1, larger is more anomalous.
    pub fn raw_score(&self, row: &[f32]) -> f64 {
        let places = 1usize << self.depth;
        let mut sum = 0u32;
        for tree in 0..self.trees as usize {
            let start = tree * places;
            let mut node = 0;
            for _ in 0..self.depth {
                let place = start + node;
                let goes_right = along(row, self.features[place], self.weights[place])
                    > threshold(self.thresholds[place]);
                node = 2 * node + 1 + usize::from(goes_right);
            }
            sum += u32::from(self.leaves[start + node - (places - 1)]);
        }
        libm::exp2(-f64::from(sum) * self.norm)
    }

    pub(crate) fn parse(sections: &Sections<'a>, width: usize) -> Result<Self, ModelError> {
        let [shape, norm, thresholds, features, weights, leaves] =
            [0, 1, 2, 3, 4, 5].map(|field| Tag::PART.field(field));
        let [trees, depth] = *sections.one::<[u32; 2]>(shape)?;
        let forest = Self {
            trees,
            depth,
            norm: *sections.one(norm)?,
            thresholds: sections.array(thresholds)?,
            features: sections.array(features)?,
            weights: sections.array(weights)?,
            leaves: sections.array(leaves)?,
        };
        ensure((1..=TREES_MAX).contains(&trees) && (1..=DEPTH_MAX).contains(&depth), shape)?;
        let places = (trees as usize) << depth;
        ensure(forest.norm.is_finite() && forest.norm > 0.0, norm)?;
        ensure(forest.thresholds.len() == places, thresholds)?;
        ensure(forest.features.len() == places, features)?;
        let known = |feature: &u8| usize::from(*feature) < width;
        ensure(forest.features.as_flattened().iter().all(known), features)?;
        ensure(forest.weights.len() == places, weights)?;
        ensure(forest.leaves.len() == places, leaves)?;
        Ok(forest)
    }

    #[cfg(feature = "encode")]
    pub(crate) fn write(&self, writer: &mut crate::sections::Writer) {
        writer.section(Tag::PART.field(0), &[[self.trees, self.depth]]);
        writer.section(Tag::PART.field(1), &[self.norm]);
        writer.section(Tag::PART.field(2), self.thresholds);
        writer.section(Tag::PART.field(3), self.features);
        writer.section(Tag::PART.field(4), self.weights);
        writer.section(Tag::PART.field(5), self.leaves);
    }
}

/// Where a row lies along a split's direction; the training splits by the same sum.
#[inline]
pub fn along(row: &[f32], [first, second]: [u8; 2], weights: [i8; 2]) -> f32 {
    let [a, b] = weights.map(|weight| f32::from(weight) / WEIGHT_UNITS);
    row[usize::from(first)] * a + row[usize::from(second)] * b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slanted_split_parts_rows() {
        // One split at x + y > 0, a leaf of 1 step on the left and of 3 on the right.
        let forest = ExtendedForest {
            trees: 1,
            depth: 1,
            norm: 1.0,
            thresholds: &[0, 0],
            features: &[[0, 1], [0, 0]],
            weights: &[[127, 127], [0, 0]],
            leaves: &[1, 3],
        };
        assert_eq!(forest.raw_score(&[2.0, -3.0]), 0.5);
        assert_eq!(forest.raw_score(&[3.0, -2.0]), 0.125);
    }
}
