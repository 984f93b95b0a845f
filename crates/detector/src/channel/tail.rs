//! How rare a value is among those seen so far: a tail probability learned while running.
//!
//! Counts in bins of the logarithm hold the past; the answer is `-log10` of the share of earlier
//! values in the same bin or above, the value itself counted in (a conformal p-value without
//! randomisation; Vovk et al. 2005). A new largest value adds the logarithm of how many times the
//! old one it is, at most one. It needs no calibration, so series of any kind can be compared.

use crate::steps::{larger, smaller};
use libm::{log, log10};

/// Bins: one for what is not above the floor, then three to a factor of e.
const BINS: usize = 40;
const BINS_PER_E: f64 = 3.0;

/// The floor of values in units of a scale.
pub const FLOOR: f64 = 1e-3;

/// Words of state: counts, values seen, the largest.
pub const WORDS: usize = BINS + 2;

/// The surprise of a value, which is then remembered; values up to `floor` are not told apart.
pub(crate) fn step(words: &mut [f64], value: f64, floor: f64) -> f64 {
    let (counts, rest) = words.split_at_mut(BINS);
    let (seen, largest) = (rest[0], rest[1]);
    let bin = if value <= floor {
        0
    } else {
        smaller(log(value / floor) * BINS_PER_E, BINS as f64 - 2.0) as usize + 1
    };
    let as_large: f64 = counts[bin..].iter().sum();
    let mut surprise = log10((seen + 1.0) / (as_large + 1.0));
    if largest > 0.0 && value > largest {
        surprise += smaller(log(value / largest), 1.0);
    }
    counts[bin] += 1.0;
    rest[0] = seen + 1.0;
    rest[1] = larger(largest, value);
    surprise
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        /// Against a list of all earlier values, compared by their bins.
        #[test]
        fn surprises_equal_those_of_the_whole_past(
            values in proptest::collection::vec(1e-4f64..1e6, 1..80),
        ) {
            let bin = |value: f64| {
                let steps = (log(value / FLOOR) * BINS_PER_E).min(BINS as f64 - 2.0);
                if value <= FLOOR { 0 } else { steps as usize + 1 }
            };
            let mut words = [0.0; WORDS];
            let mut past: Vec<f64> = Vec::new();
            for value in values {
                let as_large = past.iter().filter(|other| bin(**other) >= bin(value)).count();
                let mut expected = log10((past.len() as f64 + 1.0) / (as_large as f64 + 1.0));
                let largest = past.iter().copied().fold(0.0, f64::max);
                if largest > 0.0 && value > largest {
                    expected += log(value / largest).min(1.0);
                }
                prop_assert!((step(&mut words, value, FLOOR) - expected).abs() < 1e-12);
                past.push(value);
            }
        }
    }

    #[test]
    fn a_usual_value_surprises_little_and_a_new_largest_one_much() {
        let mut words = [0.0; WORDS];
        assert_eq!(step(&mut words, 1.0, 1e-3), 0.0);
        for _ in 0..98 {
            step(&mut words, 1.0, 1e-3);
        }
        assert_eq!(step(&mut words, 1.0, 1e-3), 0.0);
        let ten_times = step(&mut words, 10.0, 1e-3);
        assert!((ten_times - (101.0f64.log10() + 1.0)).abs() < 1e-9, "{ten_times}");
        assert_eq!(step(&mut words, 0.0, 1e-3), 0.0, "all are at least as large");
    }
}
