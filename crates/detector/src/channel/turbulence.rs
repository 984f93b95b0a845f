//! The size of steps lately against what it is in the long run: too rough, or too smooth.
//!
//! Words: values seen, the last value, short and long mean square of the steps, and a
//! [`tail`] of how far these are apart.

use crate::channel::tail;
use crate::steps::larger;
use libm::log;

/// Gains of the two mean squares, once enough steps have been seen.
const SHORT: f64 = 0.05;
const LONG: f64 = 0.005;

/// Added to both, in squared scales, so that silence is not infinitely smooth.
const FLOOR: f64 = 1e-6;

/// Words of state.
pub const WORDS: u32 = 4 + tail::WORDS as u32;

pub(crate) fn step(value: f64, words: &mut [f64]) -> f64 {
    let change = if words[0] > 0.0 { value - words[1] } else { 0.0 };
    words[0] += 1.0;
    words[1] = value;
    let all = 1.0 / words[0];
    words[2] += larger(all, SHORT) * (change * change - words[2]);
    words[3] += larger(all, LONG) * (change * change - words[3]);
    let ratio = 0.5 * log((words[2] + FLOOR) / (words[3] + FLOOR));
    tail::step(&mut words[4..], if ratio < 0.0 { -ratio } else { ratio }, tail::FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_value_and_a_rough_one_surprise() {
        let mut words = [0.0; WORDS as usize];
        for row in 0..2000 {
            step(f64::from(row * row % 11), &mut words);
        }
        let mut stuck = words;
        let smooth = (0..60).map(|_| step(5.0, &mut stuck)).fold(0.0, f64::max);
        let rough =
            (0..9).map(|row| step(f64::from(row % 2) * 60.0, &mut words)).fold(0.0, f64::max);
        assert!(smooth > 2.0 && rough > 2.0, "{smooth} {rough}");
    }
}
