//! Random numbers and distributions that are the same on every platform.
//!
//! The generator is named (xoshiro256++), and logarithms, sines and exponentials come from
//! `libm`, because those of std differ between platforms in the last bit.

use core::f64::consts::TAU;

use rand::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// One independent sequence of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(Xoshiro256PlusPlus);

/// What a sequence is for: each purpose has its own, so that asking for more missing values, say,
/// leaves the arrivals as they were.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Arrivals,
    Anomalies,
    Values,
    Missing,
    /// The lasting traits of the entity with this index.
    Profile(u32),
}

impl Random {
    pub(crate) fn new(seed: u64, purpose: Purpose) -> Self {
        let number = match purpose {
            Purpose::Arrivals => 1,
            Purpose::Anomalies => 2,
            Purpose::Values => 3,
            Purpose::Missing => 4,
            Purpose::Profile(index) => (1 << 32) + u64::from(index),
        };
        Self(Xoshiro256PlusPlus::seed_from_u64(mix(seed ^ mix(number))))
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform from 0 up to but not 1.
    pub(crate) fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 53) as f64;
        (self.bits() >> 11) as f64 * STEP
    }

    /// Uniform between the two.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A whole number from the first to the last, both included.
    pub(crate) fn whole(&mut self, first: u32, last: u32) -> u32 {
        first + (self.unit() * f64::from(last - first + 1)) as u32
    }

    /// One of these, all equally likely.
    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[(self.unit() * items.len() as f64) as usize]
    }

    /// One of these by the weight that stands beside it.
    pub(crate) fn pick_weighted<T: Copy>(&mut self, items: &[(T, f64)]) -> T {
        let total: f64 = items.iter().map(|(_, weight)| weight).sum();
        let mut left = self.unit() * total;
        for (item, weight) in items {
            left -= weight;
            if left < 0.0 {
                return *item;
            }
        }
        items[items.len() - 1].0
    }

    /// Standard normal, by Box and Muller; the second value is thrown away to keep no state.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        radius * libm::cos(TAU * self.unit())
    }

    /// Normal, but every hundredth value comes from a distribution twice as wide: a heavy tail.
    pub(crate) fn heavy_normal(&mut self) -> f64 {
        let wide = self.chance(0.01);
        self.normal() * if wide { 2.0 } else { 1.0 }
    }

    /// Log-normal with this median, heavy in the tail; `sigma` is the spread of the logarithm.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * libm::exp(sigma * self.heavy_normal())
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -libm::log(1.0 - self.unit())
    }
}

/// Rounds to this many decimals (at most 4), so that numbers look as if measured.
pub(crate) fn round(value: f64, decimals: u8) -> f64 {
    let scale = [1.0, 10.0, 100.0, 1000.0, 10_000.0][usize::from(decimals)];
    // Adding zero turns a negative zero into a plain one.
    libm::round(value * scale) / scale + 0.0
}

/// Spreads the bits of a number: the finaliser of `SplitMix64`.
pub(crate) fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_the_distributions() {
        let mut random = Random::new(1, Purpose::Values);
        let count = 100_000;
        let (mut sum, mut squares, mut gaps) = (0.0, 0.0, 0.0);
        for _ in 0..count {
            let value = random.normal();
            sum += value;
            squares += value * value;
            gaps += random.exponential();
        }
        let count = f64::from(count);
        assert!(libm::fabs(sum / count) < 0.02);
        assert!(libm::fabs(squares / count - 1.0) < 0.02);
        assert!(libm::fabs(gaps / count - 1.0) < 0.02);
    }

    #[test]
    fn rounding_leaves_no_negative_zero() {
        assert_eq!(round(1.2345, 2), 1.23);
        assert!(round(-0.001, 1).is_sign_positive());
    }
}
