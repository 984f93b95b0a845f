//! Robust location and scale.

/// Centre and reciprocal scale of values, so that most lie within a few units of zero.
///
/// The centre is the median; the scale the interquartile range over that of a unit normal
/// distribution (1.349), or, where half of the values are equal, the standard deviation. A column
/// without spread, or with one that no float can hold, has the reciprocal scale zero: it is
/// constant as far as anyone can tell.
pub fn centre_and_scale(values: &mut [f64]) -> [f64; 2] {
    if values.is_empty() {
        return [0.0, 0.0];
    }
    values.sort_unstable_by(f64::total_cmp);
    let centre = quantile(values, 0.5);
    let range = quantile(values, 0.75) - quantile(values, 0.25);
    let scale = if range > 0.0 { range / 1.349 } else { deviation(values, centre) };
    let reciprocal = 1.0 / scale;
    if scale > 0.0 && reciprocal.is_finite() && reciprocal > 0.0 {
        [centre, reciprocal]
    } else {
        [centre, 0.0]
    }
}

/// The value at a share of sorted values, the lower of two neighbours: always one of them.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// Root of the mean square distance from `centre`, without overflow.
fn deviation(values: &[f64], centre: f64) -> f64 {
    let largest = values.iter().map(|value| (value - centre).abs()).fold(0.0, f64::max);
    if largest == 0.0 || !largest.is_finite() {
        return largest;
    }
    let sum: f64 =
        values.iter().map(|value| (value - centre) / largest).map(|unit| unit * unit).sum();
    largest * (sum / values.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extreme_and_constant_columns_have_a_documented_scale() {
        assert_eq!(centre_and_scale(&mut []), [0.0, 0.0]);
        assert_eq!(centre_and_scale(&mut [3.0; 9]), [3.0, 0.0]);
        let mut huge: Vec<f64> = (0..100).map(|i| f64::from(i) * 1e298).collect();
        let [_, scale] = centre_and_scale(&mut huge);
        assert!(scale > 0.0 && scale.is_finite());
        let mut tiny: Vec<f64> = (0..100).map(|i| f64::from(i) * 1e-300).collect();
        let [_, scale] = centre_and_scale(&mut tiny);
        assert!(scale > 0.0 && scale.is_finite());
        let mut mostly_equal = vec![0.0; 99];
        mostly_equal.push(10.0);
        assert!((centre_and_scale(&mut mostly_equal)[1] - 1.0).abs() < 1e-12);
    }
}
