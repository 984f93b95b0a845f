//! Fits the parameters of channels: from the rows of one number in order, with their entities.

use crate::scale::quantile;
use std::collections::HashMap;
use twinge_detector::channel::ratio::{self, TAIL_POINTS, TAIL_SHARES};
use twinge_detector::channel::wander::{self, Wander};
use twinge_detector::tracker::Tracker;

/// The rows of one number that a channel is fitted to, in order; what is missing is left out.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Entity of each.
    pub entities: Vec<u32>,
    /// The number.
    pub values: Vec<f64>,
}

/// The parameters of a channel's tracker; empty for trackers that are no channels.
pub fn parameters(tracker: Tracker, rows: &Rows) -> Vec<f64> {
    match tracker {
        Tracker::Ratio => ratio_parameters(rows),
        Tracker::Wander => wander_of(&rows.values).to_parameters().to_vec(),
        Tracker::Season | Tracker::Shift | Tracker::Rarity | Tracker::Turbulence => {
            let (_, deviation) = mean_and_deviation(&rows.values);
            vec![median(&rows.values), 1.0 / deviation]
        }
        Tracker::Average | Tracker::Previous | Tracker::Count => Vec::new(),
    }
}

/// Mean of all amounts, then the tails of ratios, replayed from empty states, and of amounts.
fn ratio_parameters(rows: &Rows) -> Vec<f64> {
    let total: f64 = rows.values.iter().map(|value| value.max(0.0)).sum();
    let mean = total / rows.values.len().max(1) as f64;
    let mean = if mean > 0.0 && mean.is_finite() { mean } else { 1.0 };
    let amounts: Vec<f64> = rows.values.iter().map(|value| ratio::amount(*value, mean)).collect();
    let mut states: HashMap<u32, [f64; ratio::WORDS as usize]> = HashMap::new();
    let ratios = rows
        .entities
        .iter()
        .zip(&amounts)
        .map(|(entity, amount)| ratio::ratio(states.entry(*entity).or_default(), *amount));
    let ratios: Vec<f64> = ratios.collect();
    let mut parameters = vec![mean];
    parameters.extend(tail(ratios));
    parameters.extend(tail(amounts));
    parameters
}

/// Values at the shares of a tail, and the mean excess beyond the last.
fn tail(mut values: Vec<f64>) -> [f64; TAIL_POINTS + 1] {
    values.sort_unstable_by(f64::total_cmp);
    let mut points = [0.0; TAIL_POINTS + 1];
    if values.is_empty() {
        points[TAIL_POINTS] = 1.0;
        return points;
    }
    for (point, share) in points.iter_mut().zip(TAIL_SHARES) {
        *point = between(&values, share);
    }
    let last = points[TAIL_POINTS - 1];
    let beyond: Vec<f64> = values.iter().map(|value| value - last).filter(|v| *v > 0.0).collect();
    let excess = beyond.iter().sum::<f64>() / beyond.len().max(1) as f64;
    // Where nothing lies beyond, a tenth of the spread: a larger value must still count as larger.
    let spread = (last - points[0]) * 0.1;
    points[TAIL_POINTS] = [excess, spread, 1e-3].into_iter().find(|e| *e > 0.0).unwrap_or(1e-3);
    points
}

fn between(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len() - 1) as f64 * share;
    let below = place as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

/// Gain of a level that certainly drifts.
const GAIN_MAX: f64 = 0.3;
/// Ratio of slow to fast variance up to which a level is kept, and the range in which it comes to
/// drift fully.
const KEPT: f64 = 2.0;
const DRIFT_RANGE: f64 = 3.0;
/// Bound of a level's steps, in short-term deviations.
const STEP_DEVIATIONS: f64 = 3.0;
/// Added to the variance of distances, in squared deviations.
const VARIANCE_FLOOR: f64 = 0.01;
/// Rows in which smoothed values settle.
const SETTLE: usize = 50;
/// Lags of the fast variance in rows, of the slow one in shares of the rows.
const FAST_LAGS: [usize; 4] = [4, 8, 12, 16];
const SLOW_LAGS: [f64; 5] = [0.15, 0.2, 0.25, 0.3, 0.35];

/// How a level wanders, by the semivariogram: half the mean squared difference over a lag, which
/// stays for noise about a level and grows for a random walk.
fn wander_of(values: &[f64]) -> Wander {
    let (mean, deviation) = mean_and_deviation(values);
    let z: Vec<f64> = values.iter().map(|value| (value - mean) / deviation).collect();
    let rows = z.len();
    let fast = average(FAST_LAGS.iter().filter_map(|lag| semivariance(&z, *lag))) + 0.01;
    let slow_lags = SLOW_LAGS.iter().map(|share| (share * rows as f64) as usize);
    let slow = average(slow_lags.filter_map(|lag| semivariance(&z, lag)));
    let drift = ((slow / fast - KEPT) / DRIFT_RANGE).clamp(0.0, 1.0);
    let mut wander = Wander {
        mean,
        per_deviation: 1.0 / deviation,
        gain: GAIN_MAX * drift,
        step_max: STEP_DEVIATIONS * fast.sqrt(),
        // No distance is close, so that a kept level stays where it is.
        per_distance: 1e9,
    };
    let mut words = [0.0; wander::WORDS as usize];
    let mut squares = Vec::new();
    for (row, value) in values.iter().enumerate() {
        let distance = wander.step(*value, &mut words) * 1e-9;
        if row >= SETTLE {
            squares.push(distance * distance);
        }
    }
    wander.per_distance = 1.0 / (average(squares.into_iter()) + VARIANCE_FLOOR).sqrt();
    wander
}

fn semivariance(z: &[f64], lag: usize) -> Option<f64> {
    if lag == 0 || lag >= z.len() {
        return None;
    }
    let squares =
        z.iter().zip(&z[lag..]).map(|(before, after)| (after - before) * (after - before));
    Some(squares.sum::<f64>() / (z.len() - lag) as f64 / 2.0)
}

fn average(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Mean and standard deviation; a deviation of one where there is none that a float can hold.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let largest = values.iter().map(|value| value.abs()).fold(0.0, f64::max);
    if largest == 0.0 || !largest.is_finite() {
        return (0.0, 1.0);
    }
    // In units of the largest, so that no square overflows.
    let count = values.len() as f64;
    let mean = values.iter().map(|value| value / largest).sum::<f64>() / count;
    let square = |value: &f64| (value / largest - mean) * (value / largest - mean);
    let variance = values.iter().map(square).sum::<f64>() / count;
    let deviation = variance.sqrt() * largest;
    let told_apart = variance.sqrt() > 1e-9 && (1.0 / deviation).is_finite() && deviation > 0.0;
    (mean * largest, if told_apart { deviation } else { 1.0 })
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    if sorted.is_empty() { 0.0 } else { quantile(&sorted, 0.5) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn a_random_walk_drifts_and_noise_does_not() {
        let mut random = Random::new(8, 0);
        let noise: Vec<f64> = (0..400).map(|_| random.normal()).collect();
        let walk: Vec<f64> = noise
            .iter()
            .scan(0.0, |place, step| {
                *place += step;
                Some(*place)
            })
            .collect();
        assert_eq!(wander_of(&noise).gain, 0.0);
        assert!(wander_of(&walk).gain > 0.1);
    }

    #[test]
    fn tails_rise_also_where_all_values_are_alike() {
        for values in [vec![], vec![2.0; 30], (0..500).map(f64::from).collect()] {
            let points = tail(values);
            assert!(points[..TAIL_POINTS].is_sorted() && points[TAIL_POINTS] > 0.0);
        }
    }

    #[test]
    fn parameters_of_extreme_numbers_are_finite() {
        for values in [vec![], vec![1e300, 2e300, -1e300], vec![1e-300, 3e-300], vec![5.0; 9]] {
            let rows = Rows { entities: vec![0; values.len()], values };
            for tracker in Tracker::ALL {
                let parameters = parameters(tracker, &rows);
                assert!(parameters.iter().all(|p| p.is_finite()), "{tracker:?} {rows:?}");
                if tracker.is_channel() {
                    assert_eq!(parameters.len(), tracker.parameters());
                }
            }
        }
    }
}
