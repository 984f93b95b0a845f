//! Which inputs made a score.
//!
//! For each input the score is asked twice: how much falls when only its features are typical, and
//! how much rises when only its features are not. The mean of both is its contribution (the first
//! and the last term of a Shapley value); negative ones count as none, and the rest is scaled to
//! sum to the score. It works for any detector, costs two scores an input, and is therefore done
//! for anomalous rows only.

use crate::forest::BLOCK_ROWS;
use crate::steps::larger;

/// Writes contributions that sum to `score`, one for each group.
///
/// `group_of` tells the group of each feature, `row` holds the features, `variants` is room for
/// [`BLOCK_ROWS`] rows of `width`, and `score_rows` scores that many rows at most.
pub fn attribute(
    score: f64,
    row: &[f32],
    width: usize,
    group_of: impl Fn(usize) -> usize,
    variants: &mut [f32],
    mut score_rows: impl FnMut(&[f32], &mut [f64]),
    contributions: &mut [f32],
) {
    let groups_at_once = BLOCK_ROWS / 2;
    let typical = typical_score(width, variants, &mut score_rows);
    for (chunk, contributions) in contributions.chunks_mut(groups_at_once).enumerate() {
        let first = chunk * groups_at_once;
        let rows = contributions.len() * 2;
        for (place, variant) in variants[..rows * width].chunks_exact_mut(width).enumerate() {
            let (group, only) = (first + place / 2, place % 2 == 1);
            for (feature, value) in variant.iter_mut().enumerate() {
                // "Without" keeps all others, "only" keeps this one; zero is the typical value.
                let keep = (group_of(feature) == group) == only;
                *value = if keep { row[feature] } else { 0.0 };
            }
        }
        let mut scores = [0.0; BLOCK_ROWS];
        score_rows(&variants[..rows * width], &mut scores[..rows]);
        for (contribution, pair) in contributions.iter_mut().zip(scores.chunks_exact(2)) {
            let falls_without = score - pair[0];
            let rises_with_it_alone = pair[1] - typical;
            *contribution = larger(0.5 * (falls_without + rises_with_it_alone), 0.0) as f32;
        }
    }
    scale_to(score, contributions);
}

fn typical_score(
    width: usize,
    variants: &mut [f32],
    mut score_rows: impl FnMut(&[f32], &mut [f64]),
) -> f64 {
    variants[..width].fill(0.0);
    let mut score = [0.0];
    score_rows(&variants[..width], &mut score);
    score[0]
}

fn scale_to(score: f64, contributions: &mut [f32]) {
    let total: f64 = contributions.iter().map(|contribution| f64::from(*contribution)).sum();
    let count = contributions.len() as f64;
    for contribution in contributions {
        let share = if total > 0.0 { f64::from(*contribution) / total } else { 1.0 / count };
        *contribution = (share * score) as f32;
    }
}
