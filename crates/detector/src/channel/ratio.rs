//! An amount against the entity's own profile: how many times its usual, and how often lately.
//!
//! The profile is the mean of the entity's amounts, drawn towards the mean of all entities while it
//! has seen few, with each amount counted up to a few times the mean only. The logarithm of amount
//! over profile has a direction: a small payment surprises nobody. Ratios beyond one add to a burst
//! that decays over a week and raises the odds of what follows. An amount that would be large for
//! anyone counts whatever the profile says.
//!
//! Words: events (at most `EVENTS_MAX`), mean, burst, and the burst's time. Amounts are in units of
//! the mean over all entities.

use crate::channel::Event;
use crate::steps::{larger, smaller, sqrt};
use libm::{exp, log, log10, pow};

/// Words of state.
pub const WORDS: u32 = 4;

/// Points of each tail.
pub const TAIL_POINTS: usize = 17;

/// Probabilities of staying below the points of a tail.
pub const TAIL_SHARES: [f64; TAIL_POINTS] =
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.925, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99];

/// Parameters: the mean over all entities; for the ratio and for the amount itself the values at
/// [`TAIL_SHARES`] and the mean excess beyond the last.
pub const PARAMETERS: usize = 1 + 2 * (TAIL_POINTS + 1);

/// Largest amount, in units of the mean over all entities.
const AMOUNT_MAX: f64 = 1e12;
/// Events that the profile's gain falls with; then old ones are forgotten.
const EVENTS_MAX: f64 = 100.0;
/// Times the profile that an amount counts in it at most.
const CLIP: f64 = 2.25;
/// Added to amount and profile, so that small change does not make large ratios.
const OFFSET: f64 = 0.05;
/// Time constant of the burst.
const BURST_MS: f64 = 7.0 * 86_400_000.0;
/// The excess of a ratio beyond 1 that counts as a whole event of a burst.
const BURST_STEP: f64 = 0.5;
/// How much a burst of one raises the odds.
const BURST_ODDS: f64 = 20.0;

/// The ratio of an amount to the profile before it, by its uncertainty; the profile learns.
pub fn ratio(words: &mut [f64], amount: f64) -> f64 {
    let (events, mean) = (words[0], words[1]);
    let profile = (1.0 + events * mean) / (1.0 + events);
    let ratio = log((amount + OFFSET) / (profile + OFFSET)) / sqrt(1.0 + 1.0 / (events + 1.0));
    words[0] = smaller(events + 1.0, EVENTS_MAX);
    words[1] = mean + (smaller(amount, CLIP * profile) - mean) / words[0];
    ratio
}

/// An input in units of the mean over all entities; what is below zero counts as nothing.
pub fn amount(plain: f64, mean_of_all: f64) -> f64 {
    (plain / mean_of_all).clamp(0.0, AMOUNT_MAX)
}

pub(crate) fn step(parameters: &[f64], event: &Event, words: &mut [f64]) -> f64 {
    let (mean_of_all, tails) = (parameters[0], &parameters[1..]);
    let (of_ratio, of_amount) = tails.split_at(TAIL_POINTS + 1);
    let amount = amount(event.value, mean_of_all);
    let ratio = ratio(words, amount);
    let burst = words[2] * exp(smaller(words[3] - event.time_ms, 0.0) / BURST_MS);
    let by_profile = tail(of_ratio, ratio);
    // From a probability to odds, times the burst's, and back to a power of ten.
    let odds = (1.0 - 0.999 * pow(10.0, -by_profile)) * (1.0 + BURST_ODDS * burst);
    let by_profile = by_profile + log10(odds);
    words[2] = burst + (ratio - 1.0).clamp(0.0, BURST_STEP) / BURST_STEP;
    words[3] = larger(words[3], event.time_ms);
    larger(by_profile, tail(of_amount, amount))
}

/// `-log10` of the probability of at least `value`: linear between the points, and as of an
/// exponential tail beyond them.
fn tail(points: &[f64], value: f64) -> f64 {
    let (points, excess) = (&points[..TAIL_POINTS], points[TAIL_POINTS]);
    let level = |place: usize| -log10(1.0 - TAIL_SHARES[place]);
    let last = TAIL_POINTS - 1;
    if value >= points[last] {
        return level(last) + (value - points[last]) / (excess * core::f64::consts::LN_10);
    }
    if value <= points[0] {
        return 0.0;
    }
    let upper = points.partition_point(|point| *point <= value).clamp(1, last);
    let (low, high) = (level(upper - 1), level(upper));
    low + (high - low) * (value - points[upper - 1]) / (points[upper] - points[upper - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> [f64; PARAMETERS] {
        let mut parameters = [0.0; PARAMETERS];
        parameters[0] = 10.0;
        for place in 0..TAIL_POINTS {
            parameters[1 + place] = -1.0 + place as f64 / 8.0;
            parameters[2 + TAIL_POINTS + place] = place as f64 / 4.0;
        }
        (parameters[1 + TAIL_POINTS], parameters[PARAMETERS - 1]) = (0.3, 1.0);
        parameters
    }

    fn event(plain: f64, time_ms: f64) -> Event {
        Event { time_ms, value: plain }
    }

    #[test]
    fn direction_matters_and_a_burst_raises_what_follows() {
        let parameters = parameters();
        let mut words = [0.0; WORDS as usize];
        for hour in 0..20 {
            step(&parameters, &event(10.0, f64::from(hour) * 3.6e6), &mut words);
        }
        let mut small = words;
        let mut large = words;
        let low = step(&parameters, &event(1.0, 8e7), &mut small);
        let first = step(&parameters, &event(50.0, 8e7), &mut large);
        let second = step(&parameters, &event(50.0, 8.1e7), &mut large);
        assert!(low < 0.5 && first > 2.0 && second > first, "{low} {first} {second}");
    }

    #[test]
    fn a_profile_is_the_mean_of_bounded_amounts_drawn_to_the_mean_of_all() {
        let amounts = [0.5, 2.0, 1.0, 9.0, 0.1, 3.0];
        let mut words = [0.0; WORDS as usize];
        let mut bounded: [f64; 6] = [0.0; 6];
        for (seen, amount) in amounts.into_iter().enumerate() {
            let profile = (1.0 + bounded[..seen].iter().sum::<f64>()) / (1.0 + seen as f64);
            let expected =
                log((amount + OFFSET) / (profile + OFFSET)) / sqrt(1.0 + 1.0 / (seen as f64 + 1.0));
            assert!((ratio(&mut words, amount) - expected).abs() < 1e-12);
            bounded[seen] = amount.min(CLIP * profile);
        }
    }

    #[test]
    fn a_profile_starts_from_the_mean_of_all() {
        let mut words = [0.0; WORDS as usize];
        assert_eq!(ratio(&mut words, 1.0), 0.0);
        assert_eq!(words[..2], [1.0, 1.0]);
    }

    #[test]
    fn tails_are_monotone_also_where_points_coincide() {
        let mut points = [1.0; TAIL_POINTS + 1];
        points[0] = 0.0;
        let values = [-1.0, 0.0, 0.5, 1.0, 1.5, 4.0];
        assert!(values.map(|value| tail(&points, value)).is_sorted());
    }
}
