//! A short average against a long one: shifts of the level.
//!
//! Words: values seen, short average, long average, and a [`tail`] of differences.

use crate::channel::tail;
use crate::steps::larger;

/// Gains of the two averages, once enough values have been seen.
const SHORT: f64 = 1.0 / 12.0;
const LONG: f64 = 0.01;

/// Words of state.
pub const WORDS: u32 = 3 + tail::WORDS as u32;

pub(crate) fn step(value: f64, words: &mut [f64]) -> f64 {
    words[0] += 1.0;
    let all = 1.0 / words[0];
    words[1] += larger(all, SHORT) * (value - words[1]);
    words[2] += larger(all, LONG) * (value - words[2]);
    let difference = words[1] - words[2];
    tail::step(
        &mut words[3..],
        if difference < 0.0 { -difference } else { difference },
        tail::FLOOR,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_equal_those_over_the_whole_past() {
        let values = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0];
        let mut words = [0.0; WORDS as usize];
        for value in values {
            step(value, &mut words);
        }
        // So few values count alike in both.
        let mean = values.iter().sum::<f64>() / 8.0;
        assert!((words[1] - mean).abs() < 1e-12 && (words[2] - mean).abs() < 1e-12);
    }

    #[test]
    fn a_step_surprises_and_noise_does_not() {
        let mut words = [0.0; WORDS as usize];
        for row in 0..1000 {
            step(f64::from(row % 7), &mut words);
        }
        assert!(step(3.0, &mut words) < 1.0);
        let shifted = (0..10).map(|_| step(30.0, &mut words)).fold(0.0, f64::max);
        assert!(shifted > 2.5, "{shifted}");
    }
}
