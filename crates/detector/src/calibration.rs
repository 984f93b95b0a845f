//! From a detector's raw score to the score whose threshold is 1.
//!
//! The table holds, for quantiles of raw scores on held-back normal data, the logarithm of the tail
//! probability over that of the false-alarm rate: a score of 2 is an event as improbable as the
//! allowed rate squared. Between entries the score is linear, beyond the last it goes on with the
//! slope of the last entry, where no data can say how improbable a raw score is. What counts as
//! anomalous is decided by the raw threshold, the conformal quantile itself, and the score is
//! brought to the same side of 1.

use crate::model::CalibrationModel;

/// The largest score below the threshold.
const JUST_NORMAL: f64 = 1.0 - f64::EPSILON / 2.0;

/// The score of a raw score; monotone.
pub fn score(table: &CalibrationModel<'_>, raw: f64) -> f64 {
    let value = interpolate(table, raw);
    if raw >= table.threshold { value.max(1.0) } else { value.min(JUST_NORMAL) }
}

fn interpolate(table: &CalibrationModel<'_>, raw: f64) -> f64 {
    let last = table.raw.len() - 1;
    if raw <= table.raw[0] {
        return table.score[0];
    }
    let upper = table.raw.partition_point(|entry| *entry < raw).clamp(1, last);
    let (raw_low, raw_high) = (table.raw[upper - 1], table.raw[upper]);
    let (low, high) = (table.score[upper - 1], table.score[upper]);
    let value = low + (raw - raw_low) / (raw_high - raw_low) * (high - low);
    // Rounding may step over an entry by one unit; keep the order.
    let (least, most) = if raw <= raw_high { (low, high) } else { (high, SCORE_MAX) };
    value.max(least).min(most)
}

/// Largest score: every probability below this power of the false-alarm rate is told alike.
pub const SCORE_MAX: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: CalibrationModel<'_> = CalibrationModel {
        raw: &[0.3, 0.4, 0.5, 0.6],
        score: &[0.0, 0.2, 0.9, 1.1],
        threshold: 0.55,
    };

    #[test]
    fn the_threshold_divides_at_one() {
        assert!(score(&TABLE, 0.55f64.next_down()) < 1.0);
        assert!(score(&TABLE, 0.55) >= 1.0);
        assert_eq!(score(&TABLE, 0.0), 0.0);
        assert!(score(&TABLE, 0.9) > 1.1);
    }

    proptest! {
        #[test]
        fn scores_are_monotone(a in 0.0f64..1.0, b in 0.0f64..1.0) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(score(&TABLE, low) <= score(&TABLE, high));
        }
    }
}
