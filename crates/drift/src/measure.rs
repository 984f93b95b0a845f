//! Measures of how far a distribution lies from another.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Share of unseen categories, of the values that are there.
    Unseen,
    /// Largest difference of cumulative shares (Kolmogorov and Smirnov).
    Ks,
    /// Population stability index.
    Psi,
    /// Share of events in which the field is missing.
    Missing,
    /// Share of verdicts `anomalous`.
    VerdictRate,
    /// Share of events whose verdict came later than the bound.
    Latency,
}

impl Measure {
    /// The word for it in messages and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unseen => "unseen",
            Self::Ks => "ks",
            Self::Psi => "psi",
            Self::Missing => "missing",
            Self::VerdictRate => "verdict-rate",
            Self::Latency => "latency",
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How a field of the window compares with the reference.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldMeasures {
    /// The field.
    pub field: String,
    /// Population stability index, from 0.
    pub psi: f64,
    /// Jensen-Shannon distance, from 0 to 1.
    pub js: f64,
    /// Largest difference of cumulative shares, from 0 to 1; not of categories.
    pub ks: Option<f64>,
    /// Share of events without the field, here and as expected.
    pub missing: [f64; 2],
    /// Share of unseen categories, here and as expected; not of numbers.
    pub unseen: Option<[f64; 2]>,
    /// Independent events that would tell as much as the window does; nothing where the reference
    /// cannot tell.
    pub effective_events: Option<f64>,
    /// What can be judged, each with its probability by chance alone.
    pub tests: Vec<Test>,
}

/// A measure and how probable it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Test {
    /// What is measured.
    pub measure: Measure,
    /// What it is.
    pub value: f64,
    /// Its size as an effect: the value itself, or its distance from the expected share.
    pub effect: f64,
    /// What is expected.
    pub expected: f64,
    /// The probability of at least this by chance, before correction for the number of tests.
    pub probability: f64,
}

/// The population stability index, the symmetric divergence of Jeffreys (1946): the sum of
/// `(o - e) ln(o / e)` over bins. Of counts, so that half an event can be imagined in each bin.
pub fn psi(observed: &[f64], expected: &[f64]) -> f64 {
    let (observed, expected) = (imagined(observed), imagined(expected));
    observed.iter().zip(&expected).map(|(o, e)| (o - e) * libm::log(o / e)).sum()
}

/// The Jensen-Shannon distance: the root of the divergence in bits (Lin 1991; Endres and Schindelin
/// 2003). Of counts or shares.
pub fn jensen_shannon(observed: &[f64], expected: &[f64]) -> f64 {
    let (observed, expected) = (shares(observed), shares(expected));
    let bits = |p: f64, middle: f64| if p > 0.0 { p * libm::log2(p / middle) } else { 0.0 };
    let divergence: f64 = observed
        .iter()
        .zip(&expected)
        .map(|(o, e)| {
            let middle = f64::midpoint(*o, *e);
            f64::midpoint(bits(*o, middle), bits(*e, middle))
        })
        .sum();
    libm::sqrt(divergence.clamp(0.0, 1.0))
}

/// The largest difference of cumulative shares at the bounds of bins. Of counts or shares.
pub fn kolmogorov_smirnov(observed: &[f64], expected: &[f64]) -> f64 {
    let (mut below, mut largest) = (0.0_f64, 0.0_f64);
    for (o, e) in shares(observed).iter().zip(shares(expected)) {
        below += o - e;
        largest = largest.max(below.abs());
    }
    largest
}

/// The likelihood ratio of observed shares to expected ones, for one event: `2 sum o ln(o / e)`.
/// `expected` are counts, of which half of one more is imagined in each bin.
pub fn likelihood_ratio(observed: &[f64], expected: &[f64]) -> f64 {
    let expected = imagined(expected);
    let part = |o: f64, e: f64| if o > 0.0 { o * libm::log(o / e) } else { 0.0 };
    let sum: f64 = shares(observed).iter().zip(&expected).map(|(o, e)| part(*o, *e)).sum();
    (2.0 * sum).max(0.0)
}

fn shares(counts: &[f64]) -> Vec<f64> {
    let sum: f64 = counts.iter().sum();
    let whole = if sum > 0.0 { sum } else { 1.0 };
    counts.iter().map(|count| count / whole).collect()
}

fn imagined(counts: &[f64]) -> Vec<f64> {
    shares(&counts.iter().map(|count| count + 0.5).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_distributions_are_no_way_apart() {
        let (few, many) = ([10.0, 30.0, 60.0], [1000.0, 3000.0, 6000.0]);
        assert!(psi(&few, &many) < 1e-3);
        assert_eq!(jensen_shannon(&few, &many), 0.0);
        assert!(kolmogorov_smirnov(&few, &many) < 1e-15);
        assert!(likelihood_ratio(&few, &many) < 1e-6);
    }

    #[test]
    fn measures_are_what_their_formulas_say() {
        let (o, e) = ([5e5, 5e5], [9e5, 1e5]);
        let by_hand = 0.4 * (0.9f64 / 0.5).ln() + 0.4 * (0.5f64 / 0.1).ln();
        assert!((psi(&o, &e) - by_hand).abs() < 1e-5);
        assert!((kolmogorov_smirnov(&o, &e) - 0.4).abs() < 1e-12);
        let ratio = 2.0 * (0.5 * (0.5f64 / 0.9).ln() + 0.5 * (0.5f64 / 0.1).ln());
        assert!((likelihood_ratio(&o, &e) - ratio).abs() < 1e-5);
        assert_eq!(jensen_shannon(&[1.0, 0.0], &[0.0, 7.0]), 1.0);
        // Nothing seen is no reason to divide by zero.
        assert!(
            psi(&[0.0, 0.0], &e).is_finite() && kolmogorov_smirnov(&[0.0, 0.0], &e).is_finite()
        );
    }
}
