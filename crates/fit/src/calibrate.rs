//! Threshold and score table from held-back raw scores.
//!
//! Split conformal prediction (Vovk et al. 2005; Laxhammar 2014 for anomalies): when held-back
//! normal rows and new normal rows are exchangeable, a new raw score lies above the k-th smallest
//! of n held-back ones, k = ceil((n + 1)(1 - rate)), with a probability of at most the rate.

use twinge_detector::model::CalibrationParts;

/// Entries of the score table at most.
const ENTRIES: usize = 128;

/// A calibration and the rate that it really promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// What goes into the model.
    pub parts: CalibrationParts,
    /// The false-alarm rate asked for, or the lowest that so many rows can promise.
    pub false_alarm_rate: f64,
}

/// Calibrates to a false-alarm rate on the raw scores of held-back normal rows.
///
/// Returns `None` for no rows or a rate outside (0, 1).
pub fn calibrate(mut raw: Vec<f64>, false_alarm_rate: f64) -> Option<Calibrated> {
    if raw.is_empty() || !(false_alarm_rate > 0.0 && false_alarm_rate < 1.0) {
        return None;
    }
    raw.sort_unstable_by(f64::total_cmp);
    let rows = raw.len();
    let rate = false_alarm_rate.max(1.0 / (rows as f64 + 1.0));
    // The smallest whole number that is at least the product; a hair is taken off because
    // (n + 1)(1 - rate) computed in floats may lie just above a whole number.
    let rank = libm::ceil((rows as f64 + 1.0) * (1.0 - rate) - 1e-9) as usize;
    let quantile = raw[rank.clamp(1, rows) - 1];
    let (table_raw, table_score) = table(&raw, rate);
    let parts =
        CalibrationParts { raw: table_raw, score: table_score, threshold: quantile.next_up() };
    Some(Calibrated { parts, false_alarm_rate: rate })
}

/// Raw scores and their scores: log of the tail probability over log of the rate.
fn table(sorted: &[f64], rate: f64) -> (Vec<f64>, Vec<f64>) {
    let rows = sorted.len();
    let mut raw: Vec<f64> = Vec::new();
    let mut score: Vec<f64> = Vec::new();
    for entry in 0..ENTRIES {
        // Evenly spaced in the logarithm of the tail probability: fine where it matters.
        let share = libm::pow(rows as f64 + 1.0, -(entry as f64) / (ENTRIES as f64 - 1.0));
        let rank = ((1.0 - share) * (rows as f64 + 1.0)) as usize;
        let value = sorted[rank.min(rows - 1)];
        if raw.last().is_some_and(|last| *last >= value) {
            continue;
        }
        let at_least = rows - sorted.partition_point(|other| *other < value);
        raw.push(value);
        // Plus zero, so that the logarithm of one gives no negative zero.
        score
            .push(libm::log((at_least as f64 + 1.0) / (rows as f64 + 1.0)) / libm::log(rate) + 0.0);
    }
    // Beyond the largest, go on with the slope of the last tenth of a per cent or ten rows: the
    // distance between the very last two rows is chance.
    let last = raw.len() - 1;
    let tail = sorted[rows - (rows / 1000).max(10).min(rows)];
    let start = raw.partition_point(|entry| *entry < tail).min(last);
    let (rise, run) = (score[last] - score[start], raw[last] - raw[start]);
    let (rise, run) = if rise > 0.0 && run > 0.0 { (rise, run) } else { (0.1, 0.01) };
    raw.push(raw[last] + run);
    score.push(score[last] + rise);
    (raw, score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use twinge_detector::calibration;
    use twinge_detector::model::CalibrationModel;

    #[test]
    fn fresh_rows_alarm_at_the_stated_rate() {
        let mut random = Random::new(7, 0);
        let mut draw = |count: usize| -> Vec<f64> { (0..count).map(|_| random.unit()).collect() };
        let calibrated = calibrate(draw(5000), 0.01).unwrap();
        let fresh = draw(100_000);
        let alarms = fresh.iter().filter(|raw| **raw >= calibrated.parts.threshold).count();
        let rate = alarms as f64 / fresh.len() as f64;
        // Given 5,000 rows the true rate is Beta distributed about .01 with deviation .0014.
        assert!((0.005..0.015).contains(&rate), "rate {rate}");
    }

    #[test]
    fn a_rate_that_cannot_be_promised_is_raised() {
        let calibrated = calibrate((0..99).map(f64::from).collect(), 0.0001).unwrap();
        assert_eq!(calibrated.false_alarm_rate, 0.01);
        assert!(calibrated.parts.threshold > 98.0);
    }

    #[test]
    fn equal_rows_do_not_alarm() {
        let calibrated = calibrate(vec![0.5; 200], 0.01).unwrap();
        let parts = &calibrated.parts;
        let model =
            CalibrationModel { raw: &parts.raw, score: &parts.score, threshold: parts.threshold };
        assert!(calibration::score(&model, 0.5) < 1.0);
        assert!(calibration::score(&model, 0.6) >= 1.0);
        assert!(calibrate(vec![], 0.01).is_none());
    }
}
