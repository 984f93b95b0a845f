//! Threshold and score table from held-back raw scores.
//!
//! Split conformal prediction (Vovk et al. 2005; Laxhammar 2014 for anomalies): when held-back
//! normal rows and new normal rows are exchangeable, a new raw score lies above the k-th smallest
//! of n held-back ones, k = ceil((n + 1)(1 - rate)), with a probability of at most the rate.

use crate::random::Random;
use crate::surprise::Curve;
use twinge_detector::calibration::Calibration;

/// Entries of the score curve within the data at most.
const ENTRIES: usize = 128;

/// A calibration and the rate that it really promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// From raw score to score.
    pub curve: Curve,
    /// Raw score from which on a row is anomalous.
    pub threshold: f64,
    /// The false-alarm rate.
    pub false_alarm_rate: f64,
    /// Whether the rate is lower than so many rows can promise.
    pub is_extrapolated: bool,
}

impl Calibrated {
    /// What a module keeps.
    pub fn model(&self) -> Calibration<'_> {
        Calibration { curve: self.curve.model(), threshold: self.threshold }
    }
}

/// Calibrates to a false-alarm rate on the raw scores of held-back normal rows.
///
/// Up to one over the number of rows the threshold is their conformal quantile; a lower rate than
/// that no quantile can promise, and it is taken from a generalised Pareto tail. Returns `None` for
/// no rows or a rate outside (0, 1).
pub fn calibrate(mut raw: Vec<f64>, false_alarm_rate: f64) -> Option<Calibrated> {
    if raw.is_empty() || !(false_alarm_rate > 0.0 && false_alarm_rate < 1.0) {
        return None;
    }
    raw.sort_unstable_by(f64::total_cmp);
    let rows = raw.len();
    let tail = Tail::fit(&raw);
    let is_extrapolated = false_alarm_rate * (rows as f64 + 1.0) < 1.0 - 1e-9;
    let quantile = if is_extrapolated {
        tail.quantile(false_alarm_rate)
    } else {
        // The smallest whole number that is at least the product; a hair is taken off because
        // (n + 1)(1 - rate) computed in floats may lie just above a whole number.
        let rank = libm::ceil((rows as f64 + 1.0) * (1.0 - false_alarm_rate) - 1e-9) as usize;
        raw[rank.clamp(1, rows) - 1]
    };
    let curve = curve(&raw, &tail, false_alarm_rate);
    Some(Calibrated { curve, threshold: quantile.next_up(), false_alarm_rate, is_extrapolated })
}

/// Draws that stand for the raw scores of a series in which nothing happens.
const NULL_DRAWS: usize = 200_000;

/// Raw scores of a series in which nothing happens: the root of the mean square of `channels`
/// surprises, each `-log10` of a probability that is as good as any other.
///
/// The channels of a series are tail probabilities already, learned from the series itself, so one
/// threshold serves all series and needs no data to be set on.
pub fn null_of_series(channels: usize) -> Vec<f64> {
    let mut random = Random::new(0, 0);
    let square = |surprise: f64| surprise * surprise;
    let mut draw = || -> f64 {
        let sum: f64 = (0..channels.max(1)).map(|_| square(libm::log10(1.0 - random.unit()))).sum();
        (sum / channels.max(1) as f64).sqrt()
    };
    (0..NULL_DRAWS).map(|_| draw()).collect()
}

/// Raw scores and their scores: log of the tail probability over log of the rate.
fn curve(sorted: &[f64], tail: &Tail, rate: f64) -> Curve {
    let rows = sorted.len() as f64;
    let mut curve = Curve { raw: Vec::new(), value: Vec::new() };
    let score = |probability: f64| libm::log(probability) / libm::log(rate) + 0.0;
    for entry in 0..ENTRIES {
        // Evenly spaced in the logarithm of the tail probability: fine where it matters.
        let share = libm::pow(rows + 1.0, -(entry as f64) / (ENTRIES as f64 - 1.0));
        let rank = ((1.0 - share) * (rows + 1.0)) as usize;
        let raw = sorted[rank.min(sorted.len() - 1)];
        if curve.raw.last().is_some_and(|last| *last >= raw) {
            continue;
        }
        let at_least = sorted.len() - sorted.partition_point(|other| *other < raw);
        curve.raw.push(raw);
        // The sum ends in plus zero, so that the logarithm of one gives no negative zero.
        curve.value.push(score((at_least as f64 + 1.0) / (rows + 1.0)));
    }
    for step in 1..=BEYOND {
        let probability = libm::exp2(-f64::from(step)) / (rows + 1.0);
        let raw = tail.quantile(probability);
        if curve.raw.last().is_some_and(|last| *last < raw) {
            curve.raw.push(raw);
            curve.value.push(score(probability).max(curve.value[curve.value.len() - 1]));
        }
    }
    curve
}

/// Powers of two below one over the number of rows that the curve reaches.
const BEYOND: i32 = 24;

/// Share of the highest scores that a tail is fitted to, and their number at least.
const TAIL_SHARE: f64 = 0.1;
const TAIL_ROWS: usize = 10;

/// A generalised Pareto tail: location, scale and shape by probability-weighted moments (Hosking and
/// Wallis 1987), the shape kept between that of an exponential tail and one without a variance.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tail {
    start: f64,
    share: f64,
    scale: f64,
    shape: f64,
    highest: f64,
}

impl Tail {
    fn fit(sorted: &[f64]) -> Self {
        let rows = sorted.len();
        let count = ((rows as f64 * TAIL_SHARE) as usize).max(TAIL_ROWS).min(rows);
        let start = if count < rows { sorted[rows - count - 1] } else { sorted[0] };
        let excesses = &sorted[rows - count..];
        let size = count as f64;
        let mean = excesses.iter().map(|score| score - start).sum::<f64>() / size;
        let weighted = excesses
            .iter()
            .enumerate()
            .map(|(place, score)| (1.0 - (place as f64 + 0.65) / size) * (score - start));
        let weighted = weighted.sum::<f64>() / size;
        let shape = 2.0 - mean / (mean - 2.0 * weighted);
        let shape = if shape.is_finite() { shape.clamp(0.0, 0.5) } else { 0.0 };
        // Where all are alike, a hair: a score above all must still count as higher.
        let least = (sorted[rows - 1].abs() * 1e-9).max(1e-12);
        let scale = (mean * (1.0 - shape)).max(least);
        let share = size / (rows as f64 + 1.0);
        Self { start, share, scale, shape, highest: sorted[rows - 1] }
    }

    /// The score that is reached with a probability beyond the data; not below the highest seen.
    fn quantile(&self, probability: f64) -> f64 {
        let times = self.share / probability;
        let excess = if self.shape < 1e-6 {
            self.scale * libm::log(times)
        } else {
            self.scale / self.shape * (libm::pow(times, self.shape) - 1.0)
        };
        let value = self.start + excess;
        if value > self.highest {
            return value;
        }
        // The tail ends before the data does: go on from the highest with its scale.
        self.highest + self.scale * libm::log(times.max(1.0 + 1e-9)) * 1e-3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_rows_alarm_at_the_stated_rate() {
        let mut random = Random::new(7, 0);
        let mut draw = |count: usize| -> Vec<f64> { (0..count).map(|_| random.unit()).collect() };
        let calibrated = calibrate(draw(5000), 0.01).unwrap();
        let fresh = draw(100_000);
        let alarms = fresh.iter().filter(|raw| **raw >= calibrated.threshold).count();
        let rate = alarms as f64 / fresh.len() as f64;
        // Given 5,000 rows the true rate is Beta distributed about .01 with deviation .0014.
        assert!((0.005..0.015).contains(&rate), "rate {rate}");
    }

    #[test]
    fn a_rate_that_cannot_be_promised_is_extrapolated() {
        // Of an exponential distribution, the rate 1e-4 is reached at ln(1e4) = 9.2.
        let mut random = Random::new(3, 0);
        let raw: Vec<f64> = (0..2000).map(|_| -libm::log(1.0 - random.unit())).collect();
        let calibrated = calibrate(raw, 1e-4).unwrap();
        assert!(calibrated.is_extrapolated);
        assert!((7.5..12.0).contains(&calibrated.threshold), "{}", calibrated.threshold);
        let score = calibrated.model().score(calibrated.threshold + 0.5);
        assert!((1.0..1.4).contains(&score), "{score}");
    }

    #[test]
    fn equal_rows_do_not_alarm() {
        for rows in [3, 200] {
            let calibrated = calibrate(vec![0.5; rows], 0.01).unwrap();
            assert!(calibrated.model().score(0.5) < 1.0);
            assert!(calibrated.model().score(0.6) >= 1.0);
        }
        assert!(calibrate(vec![], 0.01).is_none());
    }

    #[test]
    fn scores_rise_with_raw_scores() {
        let mut random = Random::new(4, 0);
        let raw: Vec<f64> = (0..300).map(|_| random.normal()).collect();
        let calibrated = calibrate(raw, 0.001).unwrap();
        assert!(calibrated.curve.raw.is_sorted_by(|a, b| a < b));
        assert!(calibrated.curve.value.is_sorted());
    }
}
