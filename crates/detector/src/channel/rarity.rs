//! How seldom a value like this has been seen, wherever it lies.
//!
//! Values are counted in bins that widen away from the middle. A value inside the usual range, at a
//! place that has hardly ever been visited, is rare too: that of a sensor stuck between two levels.
//!
//! Words: counts, values seen, and a [`tail`] of rarities.

use crate::channel::tail;

const BINS: usize = 64;

/// Scales at which bins have become twice as wide.
const MIDDLE: f64 = 5.0;

/// Words of state.
pub const WORDS: u32 = (BINS + 1 + tail::WORDS) as u32;

pub(crate) fn step(value: f64, words: &mut [f64]) -> f64 {
    let (counts, rest) = words.split_at_mut(BINS);
    let size = if value < 0.0 { -value } else { value };
    // Between -1 and 1.
    let squashed = value / (MIDDLE + size);
    let bin = (((squashed + 1.0) * 0.5 * BINS as f64) as usize).min(BINS - 1);
    let rarity = (rest[0] + 1.0) / (counts[bin] + 1.0);
    counts[bin] += 1.0;
    rest[0] += 1.0;
    tail::step(&mut rest[1..], rarity, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_between_two_levels_is_rare() {
        let mut words = [0.0; WORDS as usize];
        let mut usual = 0.0f64;
        for row in 0..1000 {
            let surprise = step(if row % 2 == 0 { -2.0 } else { 2.0 }, &mut words);
            if row > 500 {
                usual = usual.max(surprise);
            }
        }
        assert!(step(0.0, &mut words) > usual + 2.0);
        assert!(step(1e6, &mut words) > usual + 2.0);
    }
}
