//! Figures that tell how well scores and labels agree.

/// Area under the ROC curve: the probability that an anomaly scores higher than a normal row, ties
/// counted half (Mann and Whitney). `None` unless there are rows of both kinds.
pub fn auc_roc(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
    let positives = labels.iter().filter(|label| **label).count();
    let negatives = labels.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    let mut rank_sum = 0.0;
    let mut start = 0;
    while start < order.len() {
        let end = start
            + order[start..].iter().take_while(|i| scores[**i] == scores[order[start]]).count();
        let mean_rank = (start + 1 + end) as f64 / 2.0;
        rank_sum += mean_rank * order[start..end].iter().filter(|i| labels[**i]).count() as f64;
        start = end;
    }
    let positives = positives as f64;
    Some((rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives as f64))
}

/// Average precision: precision at each threshold weighted by the recall it adds, rows of equal
/// score taken together. `None` without an anomaly.
pub fn average_precision(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let positives = labels.iter().filter(|label| **label).count();
    if positives == 0 {
        return None;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let (mut hits, mut sum, mut start) = (0, 0.0, 0);
    while start < order.len() {
        let end = start
            + order[start..].iter().take_while(|i| scores[**i] == scores[order[start]]).count();
        let gained = order[start..end].iter().filter(|i| labels[**i]).count();
        hits += gained;
        sum += gained as f64 * hits as f64 / end as f64;
        start = end;
    }
    Some(sum / positives as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_equal_those_counted_by_hand() {
        // Counted by hand over all pairs and thresholds, ties included.
        let scores = [0.1, 0.4, 0.35, 0.8, 0.8, 0.2];
        let labels = [false, false, true, true, false, false];
        assert!((auc_roc(&scores, &labels).unwrap() - 0.6875).abs() < 1e-12);
        assert!((average_precision(&scores, &labels).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(auc_roc(&scores, &[false; 6]), None);
        assert_eq!(average_precision(&scores, &[false; 6]), None);
    }
}
