//! The score of the Numenta Anomaly Benchmark (Lavin and Ahmad 2015), standard profile.
//!
//! A window is found at its earliest row with a score of the threshold, and the earlier the better;
//! a row outside of all windows with such a score is a false alarm, and worth less right after a
//! window. One threshold serves all series. It is tuned on the very series that are scored, as the
//! published tables do, or on three quarters of them for the remaining one.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use twinge_fit::random::Random;

/// Worth of a false alarm and of a missed window, against 1 for a window found at once.
const FALSE_ALARM: f64 = 0.11;
const MISSED: f64 = 1.0;

/// Share of a series, of at most so many rows, that is not scored.
const PROBATION: f64 = 0.15;
const PROBATION_ROWS_MAX: f64 = 750.0;

/// Scores below this are never a threshold.
const THRESHOLD_MIN: f64 = 0.2;

/// Assignments of the series to four folds that the cross-validated figure is the mean of.
const ASSIGNMENTS: u64 = 20;
const FOLDS: usize = 4;

/// Windows of all series by their file's name.
pub(crate) fn windows(folder: &Path) -> Result<BTreeMap<String, Vec<[String; 2]>>> {
    let path = folder.join("windows.json");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let all: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_slice(&text)?;
    let name = |file: String| file.replace('/', "__").trim_end_matches(".csv").to_owned();
    Ok(all.into_iter().map(|(file, windows)| (name(file), windows)).collect())
}

/// A series as it is scored: rows with their score, worth and window.
#[derive(Debug)]
pub(crate) struct Series {
    rows: Vec<(f64, f64, Option<usize>)>,
    windows: usize,
}

impl Series {
    pub(crate) fn new(times: &[String], scores: &[f64], windows: &[[String; 2]]) -> Result<Self> {
        let row_of = |time: &str| {
            let found = times.iter().position(|other| other.get(..19) == time.get(..19));
            found.with_context(|| format!("no row has the time {time}"))
        };
        let spans: Result<Vec<(usize, usize)>> =
            windows.iter().map(|[first, last]| Ok((row_of(first)?, row_of(last)?))).collect();
        let spans = spans?;
        let probation = (PROBATION * times.len() as f64).floor().min(PROBATION_ROWS_MAX) as usize;
        let rows = (probation..times.len()).map(|row| {
            let (worth, window) = worth(row, &spans);
            (scores[row], worth, window)
        });
        Ok(Self { rows: rows.collect(), windows: spans.len() })
    }

    /// Worth at each threshold, which fall.
    fn worth_at(&self, thresholds: &[f64]) -> Vec<f64> {
        let mut rows: Vec<&(f64, f64, Option<usize>)> = self.rows.iter().collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut best: Vec<f64> = vec![-MISSED; self.windows];
        let (mut false_alarms, mut next) = (0.0, 0);
        let mut worth = Vec::with_capacity(thresholds.len());
        for threshold in thresholds {
            while let Some((score, gain, window)) = rows.get(next)
                && score >= threshold
            {
                match window {
                    Some(window) => best[*window] = best[*window].max(*gain),
                    None => false_alarms += FALSE_ALARM * gain,
                }
                next += 1;
            }
            worth.push(false_alarms + best.iter().sum::<f64>());
        }
        worth
    }
}

/// What a row with a high score is worth, and its window.
fn worth(row: usize, spans: &[(usize, usize)]) -> (f64, Option<usize>) {
    let sigmoid = |x: f64| if x > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * x).exp()) - 1.0 };
    if let Some(window) = spans.iter().position(|(first, last)| (*first..=*last).contains(&row)) {
        let (first, last) = spans[window];
        let width = (last - first + 1) as f64;
        return (sigmoid(-((last - row + 1) as f64) / width) / sigmoid(-1.0), Some(window));
    }
    let Some((first, last)) = spans.iter().rfind(|(_, last)| *last < row) else {
        return (-1.0, None);
    };
    let width = ((last - first) as f64).max(1e-9);
    (sigmoid((row - last) as f64 / width), None)
}

/// The benchmark's score of all series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    /// With the threshold tuned on them, and that threshold.
    pub(crate) tuned: f64,
    pub(crate) threshold: f64,
    /// With thresholds tuned on the other series.
    pub(crate) cross_validated: f64,
}

pub(crate) fn score(series: &[Series]) -> Score {
    let mut thresholds: Vec<f64> = series
        .iter()
        .flat_map(|series| series.rows.iter().map(|row| row.0))
        .filter(|score| *score >= THRESHOLD_MIN)
        .collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let worth: Vec<Vec<f64>> = series.iter().map(|series| series.worth_at(&thresholds)).collect();
    let windows: usize = series.iter().map(|series| series.windows).sum();
    let normalised =
        |worth: f64| 100.0 * (worth + MISSED * windows as f64) / ((1.0 + MISSED) * windows as f64);
    let all: Vec<usize> = (0..series.len()).collect();
    let best = best_place(&worth, &all, thresholds.len());
    let folds = (0..ASSIGNMENTS).map(|assignment| {
        let order = Random::new(assignment, 0).permutation(series.len() as u32);
        let fold = |series: usize| order[series] as usize % FOLDS;
        let of_fold = |number: usize| {
            let (out, rest): (Vec<usize>, Vec<usize>) =
                all.iter().partition(|series| fold(**series) == number);
            let place = best_place(&worth, &rest, thresholds.len());
            out.iter().map(|series| worth[*series][place]).sum::<f64>()
        };
        normalised((0..FOLDS).map(of_fold).sum())
    });
    Score {
        tuned: normalised(all.iter().map(|series| worth[*series][best]).sum()),
        threshold: thresholds[best],
        cross_validated: folds.sum::<f64>() / ASSIGNMENTS as f64,
    }
}

/// The place of the threshold at which the chosen series are worth most.
fn best_place(worth: &[Vec<f64>], chosen: &[usize], thresholds: usize) -> usize {
    let total = |place: usize| chosen.iter().map(|series| worth[*series][place]).sum::<f64>();
    (0..thresholds).max_by(|a, b| total(*a).total_cmp(&total(*b)).then(b.cmp(a))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_find_without_false_alarms_is_worth_all() {
        let times: Vec<String> =
            (0..200).map(|row| format!("2020-01-01 {:02}:{:02}:00", row / 60, row % 60)).collect();
        let window = [[times[100].clone(), times[119].clone()]];
        let mut scores = vec![0.0; 200];
        scores[100] = 1.0;
        let series = Series::new(&times, &scores, &window).unwrap();
        let Score { tuned, threshold, .. } = score(&[series]);
        assert!((tuned - 100.0).abs() < 1e-9 && threshold == 1.0, "{tuned}");
        scores[50] = 2.0;
        let series = Series::new(&times, &scores, &window).unwrap();
        assert!((score(&[series]).tuned - 94.5).abs() < 1e-9, "a false alarm costs .11 of 2");
    }
}
