//! How probable a difference is by chance alone.

/// Terms of a series or a continued fraction at most; both end far earlier.
const TERMS_MAX: usize = 500;
const ENOUGH: f64 = 1e-15;

/// Probability that the largest difference between two cumulative distributions is at least
/// `distance` by chance, where their difference is as uncertain as that of `events` independent ones
/// from a known distribution (Kolmogorov 1933; Stephens 1970 for few events). With values in bins it
/// is an upper bound.
pub fn kolmogorov_tail(distance: f64, events: f64) -> f64 {
    let root = libm::sqrt(events.max(1.0));
    let x = (root + 0.12 + 0.11 / root) * distance;
    if x < 0.2 {
        return 1.0;
    }
    let mut sum = 0.0;
    let mut sign = 1.0;
    for term in 1..=TERMS_MAX {
        let term = term as f64;
        let part = libm::exp(-2.0 * term * term * x * x);
        sum += sign * part;
        sign = -sign;
        if part < ENOUGH * sum {
            break;
        }
    }
    (2.0 * sum).clamp(0.0, 1.0)
}

/// Probability that a chi-square variable of `degrees` degrees of freedom is at least `value`.
pub fn chi_square_tail(value: f64, degrees: f64) -> f64 {
    if value <= 0.0 || degrees <= 0.0 {
        return 1.0;
    }
    upper_gamma(degrees / 2.0, value / 2.0).clamp(0.0, 1.0)
}

/// Probability of a share at least as far from the expected one, on either side, among `events`: the
/// likelihood ratio of two shares (Wilks 1938). `expected` lies between 0 and 1, both excluded.
pub fn share_tail(observed: f64, expected: f64, events: f64) -> f64 {
    let part = |observed: f64, expected: f64| {
        if observed > 0.0 { observed * libm::log(observed / expected) } else { 0.0 }
    };
    let ratio = part(observed, expected) + part(1.0 - observed, 1.0 - expected);
    libm::erfc(libm::sqrt((events * ratio).max(0.0)))
}

/// Probabilities corrected for their number so that the chance of any false one stays what it is for
/// one (Holm 1979); in the order given.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]).then(a.cmp(b)));
    let mut corrected = vec![1.0; probabilities.len()];
    let mut largest: f64 = 0.0;
    for (rank, place) in order.into_iter().enumerate() {
        let tests_left = (probabilities.len() - rank) as f64;
        largest = largest.max((tests_left * probabilities[place]).min(1.0));
        corrected[place] = largest;
    }
    corrected
}

/// The upper incomplete gamma function over the whole one.
fn upper_gamma(a: f64, x: f64) -> f64 {
    let scale = libm::exp(a * libm::log(x) - x - libm::lgamma(a));
    if x < a + 1.0 {
        return 1.0 - scale * lower_series(a, x);
    }
    scale * upper_fraction(a, x)
}

fn lower_series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum) = (1.0 / a, 1.0 / a);
    for step in 1..=TERMS_MAX {
        term *= x / (a + step as f64);
        sum += term;
        if term < ENOUGH * sum {
            break;
        }
    }
    sum
}

/// Lentz's way to evaluate a continued fraction (Thompson and Barnett 1986).
fn upper_fraction(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let kept = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut term = x + 1.0 - a;
    let mut above = 1.0 / TINY;
    let mut below = 1.0 / term;
    let mut value = below;
    for step in 1..=TERMS_MAX {
        let step = step as f64;
        let numerator = -step * (step - a);
        term += 2.0;
        below = 1.0 / kept(numerator * below + term);
        above = kept(term + numerator / above);
        value *= below * above;
        if (below * above - 1.0).abs() < ENOUGH {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, wanted: f64) {
        assert!((value / wanted - 1.0).abs() < 1e-3, "{value} is not {wanted}");
    }

    #[test]
    fn tails_are_those_of_tables() {
        // 95th and 99.9th percentiles of chi-square with 1, 15 and 40 degrees of freedom.
        close(chi_square_tail(3.8415, 1.0), 0.05);
        close(chi_square_tail(24.996, 15.0), 0.05);
        close(chi_square_tail(37.697, 15.0), 0.001);
        close(chi_square_tail(73.402, 40.0), 0.001);
        assert_eq!(chi_square_tail(0.0, 3.0), 1.0);
        // Of so many events the correction is nothing, and 1.3581 is the 95th percentile.
        close(kolmogorov_tail(1.3581e-4, 1e8), 0.05);
        close(kolmogorov_tail(1.9495e-4, 1e8), 0.001);
        assert_eq!(kolmogorov_tail(0.0, 1000.0), 1.0);
        assert!(kolmogorov_tail(1.0, 1e6) < 1e-100);
        // Far from the edges, a likelihood ratio is a normal deviate.
        close(share_tail(0.5 + 1.96 * 0.5e-3, 0.5, 1e6), 0.05);
        assert_eq!(share_tail(0.2, 0.2, 1e9), 1.0);
        close(share_tail(0.0, 0.01, 300.0), libm::erfc(libm::sqrt(-300.0 * libm::log(0.99))));
    }

    #[test]
    fn the_least_of_many_probabilities_counts_as_many_times() {
        let corrected = holm(&[0.04, 0.001, 0.9, 0.03]);
        close(corrected[1], 0.004);
        close(corrected[3], 0.09);
        // Never less than one before it.
        close(corrected[0], 0.09);
        close(corrected[2], 0.9);
        assert!(holm(&[]).is_empty());
    }
}
