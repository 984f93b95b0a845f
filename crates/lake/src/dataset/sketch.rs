//! Quantiles of a stream in bounded memory, within one per cent of the value (Masson, Rim and Lee,
//! "`DDSketch`", VLDB 2019): values are counted in bins whose bounds grow by a constant factor.

use std::collections::BTreeMap;

/// Half the relative width of a bin.
const ACCURACY: f64 = 0.01;
/// Values nearer to zero than this count as zero.
const LEAST: f64 = 1e-12;

/// Counts of values; two of them can be put together.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    negative: BTreeMap<i32, u64>,
    zero: u64,
    positive: BTreeMap<i32, u64>,
    least: f64,
    largest: f64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            negative: BTreeMap::new(),
            zero: 0,
            positive: BTreeMap::new(),
            least: f64::INFINITY,
            largest: f64::NEG_INFINITY,
        }
    }
}

impl Sketch {
    /// Counts a finite value.
    pub fn add(&mut self, value: f64) {
        (self.least, self.largest) = (self.least.min(value), self.largest.max(value));
        if value.abs() < LEAST {
            self.zero += 1;
        } else {
            let bins = if value < 0.0 { &mut self.negative } else { &mut self.positive };
            *bins.entry(bin(value.abs())).or_default() += 1;
        }
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (bins, others) in
            [(&mut self.negative, &other.negative), (&mut self.positive, &other.positive)]
        {
            for (bin, count) in others {
                *bins.entry(*bin).or_default() += count;
            }
        }
        self.zero += other.zero;
        (self.least, self.largest) = (self.least.min(other.least), self.largest.max(other.largest));
    }

    /// Values that were counted.
    pub fn count(&self) -> u64 {
        self.zero + self.negative.values().sum::<u64>() + self.positive.values().sum::<u64>()
    }

    /// The value that a share of the others does not exceed; the extremes are exact.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (share.clamp(0.0, 1.0) * (count - 1) as f64) as u64;
        if rank == 0 || rank == count - 1 {
            return Some(if rank == 0 { self.least } else { self.largest });
        }
        let mut seen = 0;
        let found = self.bins().find(|(_, count)| {
            seen += count;
            seen > rank
        });
        found.map(|(value, _)| value.clamp(self.least, self.largest))
    }

    /// Values outside `low..=high`, to the width of a bin.
    pub fn count_outside(&self, low: f64, high: f64) -> u64 {
        let outside = self.bins().filter(|(value, _)| *value < low || *value > high);
        outside.map(|(_, count)| count).sum()
    }

    /// The middles of bins with their counts, ascending.
    fn bins(&self) -> impl Iterator<Item = (f64, u64)> {
        let negative = self.negative.iter().rev().map(|(bin, count)| (-middle(*bin), *count));
        let zero = (self.zero > 0).then_some((0.0, self.zero));
        let positive = self.positive.iter().map(|(bin, count)| (middle(*bin), *count));
        negative.chain(zero).chain(positive)
    }
}

fn growth() -> f64 {
    libm::log((1.0 + ACCURACY) / (1.0 - ACCURACY))
}

fn bin(value: f64) -> i32 {
    libm::ceil(libm::log(value) / growth()) as i32
}

fn middle(bin: i32) -> f64 {
    libm::exp(f64::from(bin) * growth()) * (1.0 - ACCURACY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_lie_within_one_per_cent(
            mut values in proptest::collection::vec(prop_oneof![-1e6f64..1e6, -1.0f64..1.0, Just(0.0)], 1..400),
            share in 0.0..=1.0f64,
            cut in any::<prop::sample::Index>(),
        ) {
            let (mut whole, mut first, mut second) = (Sketch::default(), Sketch::default(), Sketch::default());
            let cut = cut.index(values.len());
            for (place, value) in values.iter().enumerate() {
                whole.add(*value);
                if place < cut { first.add(*value) } else { second.add(*value) }
            }
            first.merge(&second);
            prop_assert_eq!(&first, &whole);
            values.sort_by(f64::total_cmp);
            let exact = values[(share * (values.len() - 1) as f64) as usize];
            let found = whole.quantile(share).unwrap();
            prop_assert!((found - exact).abs() <= 0.0101 * exact.abs() + 1e-11, "{found} for {exact}");
            prop_assert_eq!(whole.count(), values.len() as u64);
        }
    }
}
