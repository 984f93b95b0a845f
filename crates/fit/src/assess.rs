//! Fits the parts of a plan and finds out, on rows that were not fitted, what their scores mean.
//!
//! Rows that a detector was fitted to score lower than new ones. So scores are taken from rows held
//! back, or, when every row is wanted for fitting, from detectors fitted without them (five folds,
//! after cross-conformal prediction, Vovk 2015); the detector that is kept is fitted to all rows.

use crate::calibrate::{Calibrated, calibrate, null_of_series};
use crate::config::{DetectorKind, ValidConfig};
use crate::error::TrainError;
use crate::evaluate::{auc_roc, average_precision};
use crate::fitted::{Fitted, select};
use crate::parts::{Fitter, ROWS_MAX};
use crate::plan::Plan;
use crate::prepare::{Prepared, Tell, go_on};
use crate::random::Random;
use crate::scale::quantile;
use crate::surprise::Curve;
use crate::table::Table;
use std::collections::BTreeMap;
use twinge_detector::alarms::{Rule, smoothed};

/// Folds of a table.
const FOLDS: usize = 5;

/// Rows of a table from which on enough are left beside those fitted to.
const ROWS_WITHOUT_FOLDS: usize = ROWS_MAX + ROWS_MAX / 2;

/// Rows that a threshold is set on at most.
const CALIBRATION_ROWS_MAX: usize = 50_000;

/// Labelled anomalies from which on labels decide how parts are put together.
const LABELS_MIN: usize = 20;
/// Average precision that labels must gain over the usual way.
const LABELS_GAIN: f64 = 0.01;

/// How far above the quantile of its own rows the threshold of wandering sensors lies: levels wander
/// further than training shows.
const WANDER_MARGIN: f64 = 1.8;

/// What was fitted and what its scores mean.
#[derive(Debug)]
pub struct Assessed {
    /// The parts.
    pub fitted: Fitted,
    /// Curve and threshold.
    pub calibrated: Calibrated,
    /// Rows that the threshold was set on.
    pub calibration_rows: usize,
    /// Scores, as they would have been told, of rows that stand for those to come.
    pub scored: Scored,
    /// Figures on rows that were not fitted.
    pub metrics: BTreeMap<String, f64>,
    /// Why parts are put together as they are.
    pub why: Vec<String>,
    /// What was noticed.
    pub notes: Vec<String>,
}

/// Rows with the score of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scored {
    /// Rows of the table.
    pub rows: Vec<u32>,
    /// At least 1 for an anomaly.
    pub scores: Vec<f64>,
}

/// Fits and calibrates.
pub fn assess(
    table: &Table,
    config: &ValidConfig,
    plan: &Plan,
    prepared: &Prepared,
    seed: u64,
    tell: &mut Tell<'_>,
) -> Result<Assessed, TrainError> {
    let clean = config.written.detector.clean.unwrap_or(table.labels.is_some());
    let fitter = Fitter {
        kinds: &plan.kinds,
        settings: &config.written.detector,
        specs: &plan.features,
        clean,
        seed,
    };
    let found_kept = config.written.threshold.found_kept;
    let mut assessment = Assessment { table, plan, prepared, fitter, found_kept, seed };
    match plan.kinds.as_slice() {
        [DetectorKind::Series] => assessment.series(tell),
        [DetectorKind::Wander] => assessment.wander(tell),
        _ => assessment.parts(tell),
    }
}

struct Assessment<'a> {
    table: &'a Table,
    plan: &'a Plan,
    prepared: &'a Prepared,
    fitter: Fitter<'a>,
    found_kept: Option<f64>,
    seed: u64,
}

/// Rows that were not fitted, with the raw scores that each part gave them.
struct Unfitted {
    rows: Vec<u32>,
    scores: Vec<Vec<f64>>,
}

impl Assessment<'_> {
    /// Detectors that are fitted to rows.
    fn parts(&mut self, tell: &mut Tell<'_>) -> Result<Assessed, TrainError> {
        let (mut fitted, unfitted) = self.fit(tell)?;
        let several = self.plan.kinds.len() > 1;
        if several {
            for (part, scores) in fitted.parts.iter_mut().zip(&unfitted.scores) {
                part.curve = Curve::of_surprise(scores.clone());
            }
        }
        let anomalies = self.labelled_anomalies();
        let why = if several { self.fuse(&mut fitted, &unfitted, &anomalies) } else { Vec::new() };
        let raw = fused(&fitted, &unfitted.scores);
        let believed_normal = without_highest(raw.clone(), self.plan.contamination);
        let calibrated = calibrate(believed_normal.clone(), self.plan.false_alarm_rate)
            .expect("there are unfitted rows and the rate was checked");
        let features = self.prepared.features.view();
        let of_anomalies = fitted.raw_scores(features, &anomalies);
        let lower = self.found_kept.and_then(|kept| {
            lower_rate(&believed_normal, &of_anomalies, calibrated.threshold, kept)
        });
        let calibrated = lower
            .filter(|rate| *rate < calibrated.false_alarm_rate)
            .and_then(|rate| calibrate(believed_normal, rate))
            .unwrap_or(calibrated);
        let scored = self.scored(&fitted, &calibrated, &unfitted.rows, &raw);
        let metrics = metrics(self.prepared.fit.len(), &raw, &of_anomalies, &calibrated);
        let mut notes = self.notes_on_rate(&calibrated, raw.len());
        if !self.fitter.clean && self.plan.contamination == 0.0 {
            notes.push("nothing tells how many of the rows are anomalies, so the threshold counts all as normal and finds few; set threshold.contamination to the share you expect, or give labels".into());
        }
        Ok(Assessed {
            fitted,
            calibrated,
            calibration_rows: unfitted.rows.len(),
            scored,
            metrics: if self.table.labels.is_some() { metrics } else { without_labels(metrics) },
            why,
            notes,
        })
    }

    /// What would have been told of rows that were not fitted, whose raw scores are given.
    fn scored(
        &self,
        fitted: &Fitted,
        calibrated: &Calibrated,
        rows: &[u32],
        raw: &[f64],
    ) -> Scored {
        if self.plan.rule == Rule::Every {
            return Scored::of(calibrated, rows, raw.iter().copied());
        }
        // What is told of a row depends on those before it.
        let mut all = self.all_raw_scores(fitted);
        for (row, raw) in rows.iter().zip(raw) {
            all[*row as usize] = *raw;
        }
        let told = self.told(&all, calibrated.threshold);
        Scored::of(calibrated, rows, rows.iter().map(|row| told[*row as usize]))
    }

    fn fit(&mut self, tell: &mut Tell<'_>) -> Result<(Fitted, Unfitted), TrainError> {
        let fit = &self.prepared.fit;
        let mut random = Random::new(self.seed, u64::MAX - 2);
        let chosen = sample_keeping(fit, &self.table.kept, ROWS_MAX, &mut random);
        let records = select(self.prepared.features.view(), &chosen);
        let views = self.fitter.views(records.view());
        let fitted =
            self.fitter.fit(records.view(), &views, &mut |share| tell("fitting", share))?;
        let rest = if !self.prepared.held_back.is_empty() {
            self.prepared.held_back.clone()
        } else if self.plan.kinds.contains(&DetectorKind::TrustedNeighbours) {
            // Of these rows only a few hundred are references.
            fit.clone()
        } else if fit.len() >= ROWS_WITHOUT_FOLDS {
            difference(fit, &chosen)
        } else {
            let unfitted = self.folds(&chosen, &views, &mut random, tell)?;
            return Ok((fitted, unfitted));
        };
        let rows = sample(&rest, CALIBRATION_ROWS_MAX, &mut random);
        go_on(tell, "scoring rows that were not fitted", 0.0)?;
        let scores = self.scores_of_parts(&fitted, &rows);
        Ok((fitted, Unfitted { rows, scores }))
    }

    fn folds(
        &self,
        rows: &[u32],
        views: &[crate::view::View],
        random: &mut Random,
        tell: &mut Tell<'_>,
    ) -> Result<Unfitted, TrainError> {
        let order = random.permutation(rows.len() as u32);
        let mut unfitted =
            Unfitted { rows: Vec::new(), scores: vec![Vec::new(); self.fitter.kinds.len()] };
        for fold in 0..FOLDS {
            go_on(tell, "fitting without each fifth of the rows", fold as f64 / FOLDS as f64)?;
            let is_out = |place: usize| order[place] as usize % FOLDS == fold;
            let pick = |out: bool| -> Vec<u32> {
                (0..rows.len())
                    .filter(|place| is_out(*place) == out)
                    .map(|place| rows[place])
                    .collect()
            };
            let (kept, out) = (pick(false), pick(true));
            let records = select(self.prepared.features.view(), &kept);
            let fitted = self.fitter.fit(records.view(), views, &mut |_| true)?;
            for (all, scores) in unfitted.scores.iter_mut().zip(self.scores_of_parts(&fitted, &out))
            {
                all.extend(scores);
            }
            unfitted.rows.extend(out);
        }
        Ok(unfitted)
    }

    /// Raw scores of every part; those of a single detector that has several parts, as its curves
    /// put them.
    fn scores_of_parts(&self, fitted: &Fitted, rows: &[u32]) -> Vec<Vec<f64>> {
        let features = self.prepared.features.view();
        if self.plan.kinds.len() == 1 {
            return vec![fitted.raw_scores(features, rows)];
        }
        (0..fitted.parts.len()).map(|part| fitted.alone(part).raw_scores(features, rows)).collect()
    }

    fn labelled_anomalies(&self) -> Vec<u32> {
        let Some(labels) = &self.table.labels else { return Vec::new() };
        let rows: Vec<u32> = (0..labels.len() as u32).filter(|row| labels[*row as usize]).collect();
        self.prepared.judged(&rows)
    }

    /// Decides how surprises are put together: their mean, unless labels find another way clearly
    /// better.
    fn fuse(&self, fitted: &mut Fitted, unfitted: &Unfitted, anomalies: &[u32]) -> Vec<String> {
        fitted.takes_largest = self.plan.takes_largest.unwrap_or(false);
        even_weights(fitted);
        if self.plan.takes_largest.is_some() || anomalies.len() < LABELS_MIN {
            let how = if fitted.takes_largest {
                "the largest surprise counts"
            } else {
                "the mean surprise counts"
            };
            return vec![how.into()];
        }
        let of_anomalies = self.scores_of_parts(fitted, anomalies);
        let precision = |fitted: &Fitted| {
            let normal = fused(fitted, &unfitted.scores);
            let mut labels = vec![false; normal.len()];
            labels.resize(normal.len() + anomalies.len(), true);
            let all: Vec<f64> = normal.into_iter().chain(fused(fitted, &of_anomalies)).collect();
            average_precision(&all, &labels).unwrap_or(0.0)
        };
        let mut best = (precision(fitted) + LABELS_GAIN, fitted.clone());
        let before = best.0 - LABELS_GAIN;
        for candidate in candidates(fitted) {
            let reached = precision(&candidate);
            if reached > best.0 {
                best = (reached, candidate);
            }
        }
        if best.1 == *fitted {
            return vec![format!(
                "{} labelled anomalies agree with the usual way, the {} surprise",
                anomalies.len(),
                if fitted.takes_largest { "largest" } else { "mean" }
            )];
        }
        *fitted = best.1;
        let shown: Vec<String> = self
            .plan
            .kinds
            .iter()
            .zip(&fitted.weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(kind, _)| kind.as_str().to_owned())
            .collect();
        let how = if fitted.takes_largest { "largest surprise" } else { "mean surprise" };
        vec![format!(
            "{} labelled anomalies choose the {how} of {} (average precision {:.3}, of the usual way {before:.3})",
            anomalies.len(),
            shown.join(" and "),
            precision(fitted),
        )]
    }

    /// A series: its channels are tail probabilities already.
    fn series(&mut self, tell: &mut Tell<'_>) -> Result<Assessed, TrainError> {
        let mut fitted = self.fit_channels(tell)?;
        fitted.weights = vec![1.0];
        let channels = self.plan.features.iter().filter(|spec| spec.tracker.is_some()).count();
        let rate = self.plan.false_alarm_rate;
        let mut calibrated =
            calibrate(null_of_series(channels), rate).expect("there are draws and a rate");
        let told = self.told(&self.all_raw_scores(&fitted), calibrated.threshold);
        let mut why =
            vec!["one threshold for all series: that of surprises by chance alone".into()];
        let normal = self.normal(&told);
        if normal.len() as f64 * rate >= 10.0
            && let Some(own) = calibrate(normal, rate)
            && own.threshold > calibrated.threshold
        {
            calibrated = own;
            why = vec![
                "the threshold is that of this series' own scores, which are higher than by chance"
                    .into(),
            ];
        }
        Ok(self.of_told(fitted, calibrated, &told, why))
    }

    /// Sensors: the quantile of smoothed scores, with a margin.
    fn wander(&mut self, tell: &mut Tell<'_>) -> Result<Assessed, TrainError> {
        let fitted = self.fit_channels(tell)?;
        let raw = self.all_raw_scores(&fitted);
        let mut words = vec![[0.0; 2]; self.table.entity_count];
        let mut scores: Vec<f64> = Vec::new();
        for (row, raw) in raw.iter().enumerate() {
            let smooth = smoothed(*raw, &mut words[self.table.entities[row] as usize]);
            if self.prepared.fit.binary_search(&(row as u32)).is_ok() {
                scores.push(smooth);
            }
        }
        scores.sort_unstable_by(f64::total_cmp);
        let usual = quantile(&scores, 1.0 - self.plan.false_alarm_rate);
        let threshold = (WANDER_MARGIN * usual).max(f64::MIN_POSITIVE);
        let curve = Curve { raw: vec![0.0, threshold], value: vec![0.0, 1.0] };
        let calibrated = Calibrated {
            curve,
            threshold,
            false_alarm_rate: self.plan.false_alarm_rate,
            is_extrapolated: false,
        };
        let told = self.told(&raw, threshold);
        let why = vec![format!(
            "the threshold is {WANDER_MARGIN} times what the sensors' own rows stay below, because levels wander further than they show"
        )];
        Ok(self.of_told(fitted, calibrated, &told, why))
    }

    fn fit_channels(&self, tell: &mut Tell<'_>) -> Result<Fitted, TrainError> {
        let features = self.prepared.features.view();
        Ok(self.fitter.fit(features, &[], &mut |share| tell("fitting", share))?)
    }

    fn all_raw_scores(&self, fitted: &Fitted) -> Vec<f64> {
        let rows: Vec<u32> = (0..self.table.rows() as u32).collect();
        fitted.raw_scores(self.prepared.features.view(), &rows)
    }

    /// What is told of every row with these raw scores, by the rule of alarms.
    fn told(&self, raw: &[f64], threshold: f64) -> Vec<f64> {
        let alarms = self.prepared.alarms(self.plan);
        let words = self.prepared.pipeline.shape.state_words as usize;
        let mut states = vec![0.0; self.table.entity_count * words];
        let rows = raw.iter().zip(&self.table.entities).zip(&self.prepared.kinds);
        rows.map(|((raw, entity), kind)| {
            let state = &mut states[*entity as usize * words..][..words];
            if kind.empty { 0.0 } else { alarms.told(*raw, threshold, state, kind.late) }
        })
        .collect()
    }

    /// Told scores of the rows that are fitted, none of which is labelled anomalous.
    fn normal(&self, told: &[f64]) -> Vec<f64> {
        self.prepared.fit.iter().map(|row| told[*row as usize]).collect()
    }

    fn of_told(
        &self,
        fitted: Fitted,
        calibrated: Calibrated,
        told: &[f64],
        why: Vec<String>,
    ) -> Assessed {
        let normal = self.normal(told);
        let anomalies = self.labelled_anomalies();
        let of_anomalies: Vec<f64> = anomalies.iter().map(|row| told[*row as usize]).collect();
        let metrics = metrics(normal.len(), &normal, &of_anomalies, &calibrated);
        let rows = &self.prepared.fit;
        Assessed {
            scored: Scored::of(&calibrated, rows, normal.iter().copied()),
            fitted,
            calibrated,
            calibration_rows: normal.len(),
            metrics: if self.table.labels.is_some() { metrics } else { without_labels(metrics) },
            why,
            notes: Vec::new(),
        }
    }

    fn notes_on_rate(&self, calibrated: &Calibrated, rows: usize) -> Vec<String> {
        let rate = self.plan.false_alarm_rate;
        if calibrated.is_extrapolated {
            return vec![format!(
                "{rows} rows cannot show a false-alarm rate of {rate}: the threshold follows from the shape of their highest scores; give more data or ask for a higher rate to be sure"
            )];
        }
        if rows as f64 * rate >= 10.0 {
            return Vec::new();
        }
        vec![format!(
            "the threshold rests on the {:.0} largest of {rows} scores: it finds only what is far beyond them; more data or a higher threshold.false_alarm_rate finds more",
            (rows as f64 * rate).max(1.0)
        )]
    }
}

impl Scored {
    fn of(calibrated: &Calibrated, rows: &[u32], told: impl Iterator<Item = f64>) -> Self {
        let calibration = calibrated.model();
        Self { rows: rows.to_vec(), scores: told.map(|raw| calibration.score(raw)).collect() }
    }
}

/// The rate of normal rows at or above the score that keeps the share `kept` of the anomalies that
/// are found at `threshold`; nothing where fewer than [`LABELS_MIN`] are found. It is not below what
/// so many rows can promise.
fn lower_rate(normal: &[f64], anomalies: &[f64], threshold: f64, kept: f64) -> Option<f64> {
    let mut found: Vec<f64> = anomalies.iter().copied().filter(|raw| *raw >= threshold).collect();
    if found.len() < LABELS_MIN {
        return None;
    }
    found.sort_unstable_by(f64::total_cmp);
    // A hair is added because a share of a count may lie just below a whole number.
    let lost = (found.len() as f64 * (1.0 - kept) + 1e-9) as usize;
    let higher = found[lost.min(found.len() - 1)];
    let above = normal.iter().filter(|raw| **raw >= higher).count();
    Some((above as f64 + 1.0) / (normal.len() as f64 + 1.0))
}

/// The fused raw scores of rows, from the raw scores of each part.
fn fused(fitted: &Fitted, scores: &[Vec<f64>]) -> Vec<f64> {
    // A single detector's scores went through its curves already.
    let [first, _, ..] = scores else { return scores.first().cloned().unwrap_or_default() };
    let model = fitted.model();
    let mut all = vec![0.0; first.len()];
    for (index, (part, scores)) in fitted.parts.iter().zip(scores).enumerate() {
        for (raw, score) in all.iter_mut().zip(scores) {
            *raw = model.fusion.add(index, *raw, part.curve.model().at(*score));
        }
    }
    all
}

fn even_weights(fitted: &mut Fitted) {
    let weight = if fitted.takes_largest { 1.0 } else { 1.0 / fitted.parts.len() as f64 };
    fitted.weights = vec![weight; fitted.parts.len()];
}

/// Other ways to put the same parts together: mean, largest, and each alone.
fn candidates(fitted: &Fitted) -> Vec<Fitted> {
    let mut candidates = Vec::new();
    for takes_largest in [false, true] {
        let mut candidate = Fitted { takes_largest, ..fitted.clone() };
        even_weights(&mut candidate);
        candidates.push(candidate);
    }
    for part in 0..fitted.parts.len() {
        let mut candidate = Fitted { takes_largest: false, ..fitted.clone() };
        candidate.weights = vec![0.0; fitted.parts.len()];
        candidate.weights[part] = 1.0;
        candidates.push(candidate);
    }
    candidates
}

/// Scores without the highest share of them.
fn without_highest(mut scores: Vec<f64>, share: f64) -> Vec<f64> {
    scores.sort_unstable_by(f64::total_cmp);
    let left = (scores.len() as f64 * (1.0 - share)).ceil() as usize;
    scores.truncate(left.max(1));
    scores
}

/// At most `count` of the rows, ascending.
fn sample(rows: &[u32], count: usize, random: &mut Random) -> Vec<u32> {
    if rows.len() <= count {
        return rows.to_vec();
    }
    let places = random.distinct(count as u32, rows.len() as u32);
    places.into_iter().map(|place| rows[place as usize]).collect()
}

/// The same, with those of `kept` that are among the rows, up to a quarter of `count`.
fn sample_keeping(rows: &[u32], kept: &[u32], count: usize, random: &mut Random) -> Vec<u32> {
    let is_there = |row: &&u32| rows.binary_search(row).is_ok();
    let kept: Vec<u32> = kept.iter().filter(is_there).copied().take(count / 4).collect();
    let others = difference(rows, &kept);
    let mut chosen = sample(&others, count - kept.len(), random);
    chosen.extend(kept);
    chosen.sort_unstable();
    chosen
}

/// Those of `all` that are not in `part`; both ascending.
fn difference(all: &[u32], part: &[u32]) -> Vec<u32> {
    all.iter().filter(|row| part.binary_search(row).is_err()).copied().collect()
}

/// Figures on rows that were not fitted.
fn metrics(
    rows_fitted: usize,
    normal: &[f64],
    anomalous: &[f64],
    calibrated: &Calibrated,
) -> BTreeMap<String, f64> {
    let is_alarm = |raw: &&f64| **raw >= calibrated.threshold;
    let false_alarms = normal.iter().filter(is_alarm).count() as f64;
    let hits = anomalous.iter().filter(is_alarm).count() as f64;
    let scores: Vec<f64> = normal.iter().chain(anomalous).copied().collect();
    let mut labels = vec![false; normal.len()];
    labels.resize(scores.len(), true);
    let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    let figures = [
        ("rows_fitted", Some(rows_fitted as f64)),
        ("held_back_alarm_share", share(false_alarms, normal.len() as f64)),
        ("labelled_anomalies", Some(anomalous.len() as f64)),
        ("auc_roc", auc_roc(&scores, &labels)),
        ("average_precision", average_precision(&scores, &labels)),
        ("recall", share(hits, anomalous.len() as f64)),
        ("precision", share(hits, hits + false_alarms)),
    ];
    figures.into_iter().filter_map(|(name, figure)| Some((name.to_owned(), figure?))).collect()
}

fn without_labels(mut metrics: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    metrics.retain(|name, _| name == "rows_fitted" || name == "held_back_alarm_share");
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_rows_are_always_in_the_sample() {
        let rows: Vec<u32> = (0..10_000).step_by(2).collect();
        let draw = |kept: &[u32]| sample_keeping(&rows, kept, 100, &mut Random::new(1, 0));
        let kept = [3, 4, 8, 9998, 20_000];
        let chosen = draw(&kept);
        assert!(chosen.len() == 100 && chosen.is_sorted_by(|a, b| a < b), "{chosen:?}");
        assert!([4, 8, 9998].iter().all(|row| chosen.contains(row)) && !chosen.contains(&3));
        assert_eq!(draw(&[]), sample(&rows, 100, &mut Random::new(1, 0)));
        let many: Vec<u32> = (0..200).map(|row| row * 2).collect();
        assert!(draw(&many).iter().filter(|row| many.contains(row)).count() < 50, "a quarter");
    }

    #[test]
    fn the_rate_falls_as_far_as_found_anomalies_allow() {
        let normal: Vec<f64> = (0..999).map(f64::from).collect();
        let anomalies: Vec<f64> = (0..100).map(|n| 980.0 + f64::from(n)).collect();
        // All hundred are found at 980; of 99 % of them the lowest is 981, with 18 normal rows.
        assert_eq!(lower_rate(&normal, &anomalies, 980.0, 0.99), Some(0.019));
        assert_eq!(lower_rate(&normal, &anomalies, 980.0, 0.5), Some(0.001));
        assert_eq!(lower_rate(&normal, &anomalies, 1070.0, 0.99), None, "ten are too few");
        let calibrated = calibrate(normal.clone(), 0.019).unwrap();
        assert!(calibrated.threshold <= 981.0 && calibrated.threshold > 980.0);
    }
}
