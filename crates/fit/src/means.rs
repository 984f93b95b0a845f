//! k-means: rows that stand for their surroundings (Lloyd 1982; first centres after Arthur and
//! Vassilvitskii, "k-means++", 2007).

use crate::random::Random;
use ndarray::{Array2, ArrayView2};

/// Rounds of Lloyd's algorithm.
const ROUNDS: usize = 10;

/// At most `count` centres of records of shape (rows, features); fewer when rows are alike.
pub fn means(records: ArrayView2<'_, f32>, count: usize, random: &mut Random) -> Array2<f32> {
    let mut centres = first_centres(records, count, random);
    for _ in 0..ROUNDS {
        let owners = owners(records, &centres);
        let moved = centres_of(records, &owners, &centres);
        if moved == centres {
            break;
        }
        centres = moved;
    }
    centres
}

/// The nearest centre of each record.
pub fn owners(records: ArrayView2<'_, f32>, centres: &Array2<f32>) -> Vec<usize> {
    let nearest = |row: &[f32]| {
        let mut best = (f32::INFINITY, 0);
        for (index, centre) in centres.rows().into_iter().enumerate() {
            let square = squared_distance(row, slice(&centre));
            if square < best.0 {
                best = (square, index);
            }
        }
        best.1
    };
    records.rows().into_iter().map(|row| nearest(slice(&row))).collect()
}

/// Each next centre is a row drawn with a probability by its squared distance to those so far.
fn first_centres(records: ArrayView2<'_, f32>, count: usize, random: &mut Random) -> Array2<f32> {
    let mut chosen = vec![random.below(records.nrows() as u32) as usize];
    let mut squares = vec![f32::INFINITY; records.nrows()];
    while chosen.len() < count {
        let latest = records.row(chosen[chosen.len() - 1]);
        let mut total = 0.0;
        for (square, row) in squares.iter_mut().zip(records.rows()) {
            *square = square.min(squared_distance(slice(&row), slice(&latest)));
            total += f64::from(*square);
        }
        if !(total > 0.0 && total.is_finite()) {
            break;
        }
        let mut left = random.unit() * total;
        let drawn = squares.iter().position(|square| {
            left -= f64::from(*square);
            left < 0.0
        });
        // Rounding may leave a crumb behind the last row.
        let last = squares.iter().rposition(|square| *square > 0.0).unwrap_or(0);
        chosen.push(drawn.unwrap_or(last));
    }
    records.select(ndarray::Axis(0), &chosen)
}

fn centres_of(
    records: ArrayView2<'_, f32>,
    owners: &[usize],
    centres: &Array2<f32>,
) -> Array2<f32> {
    let mut sums = Array2::<f64>::zeros(centres.raw_dim());
    let mut counts = vec![0u32; centres.nrows()];
    for (row, owner) in records.rows().into_iter().zip(owners) {
        counts[*owner] += 1;
        for (sum, value) in sums.row_mut(*owner).iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    let mut moved = centres.clone();
    for ((mut centre, sums), count) in moved.rows_mut().into_iter().zip(sums.rows()).zip(counts) {
        if count > 0 {
            for (value, sum) in centre.iter_mut().zip(sums) {
                *value = (sum / f64::from(count)) as f32;
            }
        }
    }
    moved
}

/// The squared distance of two rows.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    // Four sums hide the latency of an addition; they are added in one order.
    let mut sums = [0.0f32; 4];
    let (a, a_rest) = a.as_chunks::<4>();
    let (b, b_rest) = b.as_chunks::<4>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..4 {
            let difference = a[lane] - b[lane];
            sums[lane] += difference * difference;
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] += (a - b) * (a - b);
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// A row's values.
pub(crate) fn slice<'a>(row: &'a ndarray::ArrayView1<'_, f32>) -> &'a [f32] {
    row.as_slice().expect("rows of records are contiguous")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_get_a_centre_each() {
        let mut random = Random::new(1, 0);
        let records = Array2::from_shape_fn((90, 2), |(row, _)| {
            (row % 3) as f32 * 10.0 + random.unit() as f32
        });
        let centres = means(records.view(), 3, &mut Random::new(2, 0));
        let mut firsts: Vec<f32> = centres.column(0).to_vec();
        firsts.sort_by(f32::total_cmp);
        for (first, expected) in firsts.iter().zip([0.5, 10.5, 20.5]) {
            assert!((first - expected).abs() < 0.3, "{firsts:?}");
        }
    }

    #[test]
    fn rows_that_are_alike_give_one_centre() {
        let centres = means(Array2::zeros((20, 3)).view(), 5, &mut Random::new(2, 0));
        assert_eq!(centres.nrows(), 1);
    }
}
