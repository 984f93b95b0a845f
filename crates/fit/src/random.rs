//! The one generator that training draws from.
//!
//! xoshiro256++ (Blackman and Vigna 2021) is named and portable; the standard small generators of
//! `rand` differ between 32 and 64 bits, and so does sampling a `usize`. Only whole numbers below
//! 2^32 and unit floats are drawn here.

use rand::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::collections::BTreeSet;

/// A seeded stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(Xoshiro256PlusPlus);

impl Random {
    /// The stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        // The multiplier is odd, so no two streams of a seed start alike.
        Self(Xoshiro256PlusPlus::seed_from_u64(seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A number below `bound`, by Lemire's multiplication without bias.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "a bound of zero leaves nothing to draw");
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.0.next_u32()) * u64::from(bound);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// A float in [0, 1) with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A float from the unit normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(core::f64::consts::TAU * angle)
    }

    /// `count` distinct numbers below `bound`, ascending, by Floyd's algorithm.
    pub fn distinct(&mut self, count: u32, bound: u32) -> Vec<u32> {
        let mut chosen = BTreeSet::new();
        for upper in bound.saturating_sub(count)..bound {
            let candidate = self.below(upper + 1);
            if !chosen.insert(candidate) {
                chosen.insert(upper);
            }
        }
        chosen.into_iter().collect()
    }

    /// The numbers below `bound` in random order (Fisher and Yates).
    pub fn permutation(&mut self, bound: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..bound).collect();
        for upper in (1..bound).rev() {
            order.swap(upper as usize, self.below(upper + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_pinned() {
        let mut random = Random::new(42, 0);
        let drawn: Vec<u32> = (0..4).map(|_| random.below(1000)).collect();
        let mut again = Random::new(42, 0);
        assert_eq!(drawn, (0..4).map(|_| again.below(1000)).collect::<Vec<_>>());
        assert_ne!(Random::new(42, 1).below(u32::MAX), Random::new(42, 2).below(u32::MAX));
    }

    #[test]
    fn distinct_numbers_are_distinct_and_in_bounds() {
        for (count, bound) in [(0, 5), (5, 5), (3, 1000)] {
            let drawn = Random::new(1, 0).distinct(count, bound);
            assert_eq!(drawn.len(), count as usize);
            assert!(drawn.iter().all(|number| *number < bound));
            assert!(drawn.is_sorted_by(|a, b| a < b));
        }
    }
}
