//! Tails: how far beyond the usual a row's most unusual feature lies.
//!
//! An isolation forest tells a row apart by where its trees split, and no tree splits beyond the
//! rows that it was grown on: far out is as good as further out. This looks at each feature alone.
//! A feature goes so many times beyond its usual extent on the same side; a row's surprise is the
//! logarithm of the largest of these. [`fuse`] takes whichever of forest and tails stands out more.

use crate::model::TailModel;

/// The surprise of a feature row: 0 where the most unusual feature is at its usual extent.
pub fn surprise(tails: &TailModel<'_>, features: &[f32]) -> f64 {
    let mut largest = f64::MIN_POSITIVE;
    for (value, [below, above]) in features.iter().zip(tails.bounds) {
        let value = f64::from(*value);
        // One scale is added on both sides of the fraction, so that small extents do not make
        // small distances large.
        let times = if value < 0.0 { (1.0 - value) * below } else { (1.0 + value) * above };
        if times > largest {
            largest = times;
        }
    }
    libm::log(largest)
}

/// One raw score of the forest's and the tails', each in units of its spread about its median.
pub fn fuse(tails: &TailModel<'_>, forest: f64, tail: f64) -> f64 {
    let [forest_median, forest_scale, tail_median, tail_scale] = tails.fusion;
    let forest = (forest - forest_median) * forest_scale;
    let tail = (tail - tail_median) * tail_scale;
    if tail > forest { tail } else { forest }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAILS: TailModel<'_> =
        TailModel { bounds: &[[1.0, 0.5], [0.25, 0.25]], fusion: [0.4, 5.0, 0.6, 2.0] };

    #[test]
    fn the_most_unusual_feature_counts_on_its_own_side() {
        assert_eq!(surprise(&TAILS, &[0.0, 0.0]), libm::log(0.5));
        assert_eq!(surprise(&TAILS, &[3.0, 0.0]), libm::log(2.0));
        assert_eq!(surprise(&TAILS, &[-3.0, 3.0]), libm::log(4.0));
    }

    #[test]
    fn what_stands_out_more_is_taken() {
        assert_eq!(fuse(&TAILS, 0.6, 0.6), (0.6 - 0.4) * 5.0);
        assert_eq!(fuse(&TAILS, 0.4, 1.6), 2.0);
    }
}
