//! Fits the curve from a part's raw score to its surprise, and curves that change nothing.
//!
//! A surprise is the square root of `-ln p`, where `p` is the share of unfitted rows that score at
//! least as high: about what a deviation is to a normal distribution, so that surprises of different
//! detectors can be added or compared.

use twinge_detector::curve::Curve as Model;

/// Points within the scores seen.
const KNOTS: usize = 64;

/// Points beyond them, each twice as far out as the one before.
const BEYOND: i32 = 16;

/// Share of the highest scores whose mean excess tells how the tail goes on.
const TAIL: f64 = 0.1;

/// A curve as a module keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Raw scores, strictly ascending.
    pub raw: Vec<f64>,
    /// The value at each, ascending.
    pub value: Vec<f64>,
}

impl Curve {
    /// Raw scores as they are, from zero up.
    pub fn identity() -> Self {
        Self { raw: vec![0.0, 1.0], value: vec![0.0, 1.0] }
    }

    /// Surprises by the raw scores of rows that were not fitted; beyond the highest, as of an
    /// exponential tail.
    pub fn of_surprise(mut scores: Vec<f64>) -> Self {
        let mut curve = Self { raw: Vec::new(), value: Vec::new() };
        if scores.is_empty() {
            return Self::identity();
        }
        scores.sort_unstable_by(f64::total_cmp);
        let count = scores.len() as f64;
        let (first, last) = (libm::log((count - 0.5) / count), libm::log(0.5 / count));
        for knot in 0..KNOTS {
            let log = first + (last - first) * knot as f64 / (KNOTS - 1) as f64;
            curve.push(value_at(&scores, libm::exp(log)), libm::sqrt(-log));
        }
        let highest = scores[scores.len() - 1];
        let excess = mean_excess(&scores);
        for power in -2..BEYOND {
            let further = libm::exp2(f64::from(power));
            curve.push(highest + further * excess, libm::sqrt(-last + further));
        }
        curve
    }

    /// The model.
    pub fn model(&self) -> Model<'_> {
        Model { raw: &self.raw, value: &self.value }
    }

    fn push(&mut self, raw: f64, value: f64) {
        let ascends = self.raw.last().is_none_or(|last| *last < raw);
        if ascends {
            self.raw.push(raw);
            self.value.push(value);
        } else if let Some(last) = self.value.last_mut() {
            // Equal scores are as rare as the rarest of them.
            *last = value;
        }
    }
}

/// The score that a share of the sorted scores reaches, between two of them when need be.
fn value_at(sorted: &[f64], share: f64) -> f64 {
    let place = sorted.len() as f64 * (1.0 - share) - 0.5;
    let place = place.clamp(0.0, (sorted.len() - 1) as f64);
    let (below, between) = (place as usize, place - libm::floor(place));
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + between * (sorted[above] - sorted[below])
}

/// Mean excess of the highest scores over where they begin; positive.
fn mean_excess(sorted: &[f64]) -> f64 {
    let start = ((1.0 - TAIL) * sorted.len() as f64) as usize;
    let start = start.min(sorted.len() - 1);
    let (over, count) = (sorted[start], (sorted.len() - start) as f64);
    let excess = sorted[start..].iter().map(|score| score - over).sum::<f64>() / count;
    let smallest = sorted[sorted.len() - 1].abs().max(1e-9) * 1e-9;
    if excess.is_finite() { excess.max(smallest) } else { smallest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surprise_is_the_root_of_the_logarithm_of_the_share() {
        let curve = Curve::of_surprise((0..1000).map(f64::from).collect());
        let model = curve.model();
        for (raw, share) in [(500.0, 0.5), (900.0, 0.1), (990.0, 0.01)] {
            let expected = libm::sqrt(-libm::log(share));
            assert!((model.at(raw) - expected).abs() < 0.05, "{raw}: {}", model.at(raw));
        }
        // Beyond the highest: one mean excess (about 50) for each factor of e.
        let rise = model.at(1100.0) * model.at(1100.0) - model.at(1000.0) * model.at(1000.0);
        assert!((rise - 2.0).abs() < 0.3, "{rise}");
    }

    #[test]
    fn equal_and_missing_scores_give_a_curve_too() {
        for scores in [vec![], vec![3.0], vec![3.0; 40], vec![0.0; 5]] {
            let curve = Curve::of_surprise(scores);
            assert!(curve.raw.len() >= 2 && curve.raw.is_sorted_by(|a, b| a < b));
            assert!(curve.value.is_sorted());
        }
    }
}
