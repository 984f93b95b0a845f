//! The split that the evaluator of public data sets draws with numpy's legacy generator.

use rand_mt::Mt;

/// Half of the rows that are not anomalous, ascending: `RandomState(seed).permutation` of them, the
/// first half.
pub(crate) fn half_of_normal(labels: &[bool], seed: u32) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..labels.len()).filter(|row| !labels[*row]).collect();
    let mut generator = Mt::new(seed);
    for upper in (1..rows.len()).rev() {
        rows.swap(upper, bounded(&mut generator, upper as u32) as usize);
    }
    rows.truncate(rows.len() / 2);
    rows.sort_unstable();
    rows
}

/// A number up to `most`, by drawing bits until they are not too large.
fn bounded(generator: &mut Mt, most: u32) -> u32 {
    let mask = most.next_power_of_two().max(1).wrapping_mul(2).wrapping_sub(1);
    let mask = if most.is_power_of_two() { mask } else { mask >> 1 };
    loop {
        let drawn = generator.next_u32() & mask;
        if drawn <= most {
            return drawn;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_is_numpys() {
        // numpy: np.sort(np.random.RandomState(0).permutation(10)[:5])
        assert_eq!(half_of_normal(&[false; 10], 0), [1, 2, 4, 8, 9]);
        assert!(half_of_normal(&[true; 4], 0).is_empty());
    }
}
