//! From a table to features: scales, categories, channels, and the split of the rows.

use crate::channels;
use crate::config::ValidConfig;
use crate::error::{ROWS_MIN, TrainError, too_few};
use crate::features::{PipelineParts, lay_out};
use crate::plan::Plan;
use crate::random::Random;
use crate::scale::centre_and_scale;
use crate::table::Table;
use ndarray::{Array2, Axis};
use twinge_contract::category;
use twinge_detector::alarms::{Alarms, Rule};
use twinge_detector::feature::Feature;
use twinge_detector::pipeline::{Extractor, RowKind};

/// Fewest held-back rows that a threshold is set on.
const CALIBRATION_ROWS_MIN: usize = 8;

/// Known categories of an input at most; rarer ones count as unseen.
const CATEGORIES_MAX: usize = 1024;

/// Told how much of a step is done; answers whether to go on.
pub type Tell<'a> = dyn FnMut(&'static str, f64) -> bool + 'a;

/// A table turned into features.
#[derive(Debug)]
pub struct Prepared {
    /// How features are computed.
    pub pipeline: PipelineParts,
    /// Features of all rows.
    pub features: Array2<f32>,
    /// What became of each row.
    pub kinds: Vec<RowKind>,
    /// Rows to fit, ascending; labelled anomalies and rows without a verdict are not among them.
    pub fit: Vec<u32>,
    /// Rows held back from fitting.
    pub held_back: Vec<u32>,
    /// All rows that scales were learned from.
    pub scaled_on: Vec<u32>,
    /// What was noticed.
    pub notes: Vec<String>,
}

impl Prepared {
    /// Prepares a table by a plan.
    pub fn new(
        table: &Table,
        config: &ValidConfig,
        plan: &Plan,
        seed: u64,
        tell: &mut Tell<'_>,
    ) -> Result<Self, TrainError> {
        let lateness_ms = plan.stream.lateness_s * 1000.0;
        let pipeline = lay_out(
            &plan.features,
            &table.schema,
            plan.stream.warm_up_events,
            lateness_ms,
            plan.rule,
        );
        let (fit, held_back) = split(table, plan.held_back, seed);
        let mut prepared = Self {
            pipeline,
            features: Array2::zeros((0, 0)),
            kinds: Vec::new(),
            scaled_on: fit.clone(),
            fit,
            held_back,
            notes: Vec::new(),
        };
        prepared.scale_inputs(table, tell)?;
        prepared.fit_channels(table);
        prepared.scale_features(table, tell)?;
        prepared.keep_usable_rows(config)?;
        Ok(prepared)
    }

    /// Centre and scale of each number, rarity of each category, from the rows to fit.
    fn scale_inputs(&mut self, table: &Table, tell: &mut Tell<'_>) -> Result<(), TrainError> {
        for (index, column) in table.numeric.iter().enumerate() {
            go_on(tell, "scaling inputs", index as f64 / table.numeric.len() as f64)?;
            let mut values: Vec<f64> = self
                .fit
                .iter()
                .map(|row| column[*row as usize])
                .filter(|value| !value.is_nan())
                .collect();
            self.pipeline.numbers[index] = centre_and_scale(&mut values);
            let name = &table.schema.numeric[index];
            if values.is_empty() {
                self.notes.push(format!(
                    "column `{name}` has no value in the rows to fit and says nothing"
                ));
            } else if self.pipeline.numbers[index][1] == 0.0 {
                self.notes.push(format!(
                    "column `{name}` is constant in the rows to fit and says nothing"
                ));
            }
        }
        for column in &table.categorical {
            self.scale_categories(column.counts(&self.fit));
        }
        Ok(())
    }

    /// What each category counts as: how rare it is.
    fn scale_categories(&mut self, mut counts: Vec<(&str, usize)>) {
        let total: usize = counts.iter().map(|(_, count)| count).sum();
        counts.truncate(CATEGORIES_MAX);
        // One row is imagined for each category and for all unseen ones together (Laplace).
        let denominator = (total + counts.len() + 1) as f64;
        let rarity = |count: usize| -libm::log((count as f64 + 1.0) / denominator);
        let mut entries: Vec<(f64, f64)> =
            counts.iter().map(|(name, count)| (category::code(name), rarity(*count))).collect();
        entries.sort_by(|a, b| a.0.total_cmp(&b.0));
        let parts = &mut self.pipeline;
        parts.category_ranges.push([parts.category_codes.len() as u32, entries.len() as u32]);
        parts.category_codes.extend(entries.iter().map(|entry| entry.0));
        parts.category_values.extend(entries.iter().map(|entry| entry.1));
        parts.category_unseen.push(rarity(0));
    }

    /// Channels learn from the rows to fit, in their order.
    fn fit_channels(&mut self, table: &Table) {
        for index in 0..self.pipeline.trackers.len() {
            let Some((tracker, input, parameters)) = self.pipeline.tracker_mut(index) else {
                continue;
            };
            if !tracker.is_channel() {
                continue;
            }
            let mut rows = channels::Rows::default();
            for row in &self.fit {
                let value = table.numeric[input][*row as usize];
                if !value.is_nan() {
                    rows.entities.push(table.entities[*row as usize]);
                    rows.values.push(value);
                }
            }
            parameters.copy_from_slice(&channels::parameters(tracker, &rows));
        }
    }

    /// Computes features twice: plain, to learn their centre and scale, and scaled.
    fn scale_features(&mut self, table: &Table, tell: &mut Tell<'_>) -> Result<(), TrainError> {
        self.compute_features(table, "computing features", tell)?;
        if self.kinds.iter().all(|kind| kind.empty) {
            return Err(TrainError::AllAlike);
        }
        let judged = self.judged(&self.fit);
        let mut varies = judged.is_empty();
        for feature in 0..self.features.ncols() {
            let column = self.features.column(feature);
            let mut values: Vec<f64> =
                judged.iter().map(|row| f64::from(column[*row as usize])).collect();
            let [centre, scale] = centre_and_scale(&mut values);
            varies |= scale > 0.0;
            // A surprise has a scale already.
            if self.pipeline.features[feature][0] != Feature::Surprise as u32 {
                self.pipeline.feature_parameters[feature][1] = centre;
                self.pipeline.feature_parameters[feature][2] = scale;
            }
        }
        if !varies {
            return Err(TrainError::AllAlike);
        }
        self.compute_features(table, "scaling features", tell)
    }

    fn compute_features(
        &mut self,
        table: &Table,
        step: &'static str,
        tell: &mut Tell<'_>,
    ) -> Result<(), TrainError> {
        let codes = category_codes(table)?;
        let model = self.pipeline.model();
        model.check()?;
        let extractor = Extractor::new(model);
        let words = model.shape.state_words as usize;
        let mut states = vec![0.0; table.entity_count * words];
        let mut inputs = vec![0.0; table.schema.width()];
        self.kinds.clear();
        if self.features.is_empty() {
            self.features = Array2::zeros((table.rows(), model.features.len()));
        }
        for (row, mut features) in self.features.axis_iter_mut(Axis(0)).enumerate() {
            if row % 65_536 == 0 {
                go_on(tell, step, row as f64 / table.rows() as f64)?;
            }
            table.inputs(row, &codes, &mut inputs);
            let entity = table.entities[row] as usize;
            let state = &mut states[entity * words..(entity + 1) * words];
            let features = features.as_slice_mut().expect("rows of a new array are contiguous");
            extractor.numbers(&inputs, model.features.len(), features);
            self.kinds.push(extractor.row(table.times_ms[row], &inputs, state, features));
        }
        Ok(())
    }

    /// Leaves rows to fit and held-back rows only those that get a verdict.
    fn keep_usable_rows(&mut self, config: &ValidConfig) -> Result<(), TrainError> {
        let late = self.kinds.iter().filter(|kind| kind.late).count();
        if late > 0 {
            self.notes.push(format!("{late} rows are older than their entity's latest by more than the lateness and were not remembered"));
        }
        let was_held_back = !self.held_back.is_empty();
        (self.fit, self.held_back) = (self.judged(&self.fit), self.judged(&self.held_back));
        let set = config.written.stream.as_ref().and_then(|stream| stream.warm_up_events);
        let hint = if set.is_some() { ", or lower stream.warm_up_events" } else { "" };
        if self.fit.len() < ROWS_MIN / 2 {
            return Err(too_few(self.fit.len(), "fitting", ROWS_MIN / 2, hint));
        }
        if was_held_back && self.held_back.len() < CALIBRATION_ROWS_MIN {
            let rows = self.held_back.len();
            return Err(too_few(rows, "the threshold", CALIBRATION_ROWS_MIN, hint));
        }
        Ok(())
    }

    /// The rule of alarms and its place in the state.
    pub fn alarms(&self, plan: &Plan) -> Alarms {
        let word = if plan.rule == Rule::Every { 0 } else { self.pipeline.alarm_word };
        Alarms { rule: plan.rule, word }
    }

    /// Those of `rows` that get a verdict: neither empty nor of an entity that is warming up.
    pub fn judged(&self, rows: &[u32]) -> Vec<u32> {
        let is_judged = |row: &&u32| {
            let kind = self.kinds[**row as usize];
            !kind.empty && !kind.warming_up
        };
        rows.iter().filter(is_judged).copied().collect()
    }
}

/// An error when the caller says stop.
pub(crate) fn go_on(tell: &mut Tell<'_>, step: &'static str, share: f64) -> Result<(), TrainError> {
    if tell(step, share) { Ok(()) } else { Err(TrainError::Cancelled) }
}

/// The last rows of a stream are held back, because a detector is used on what comes later; of a
/// table random ones, because its order may mean anything. Labelled anomalies are in neither part.
fn split(table: &Table, held_back: Option<f64>, seed: u64) -> (Vec<u32>, Vec<u32>) {
    let is_anomalous =
        |row: &u32| table.labels.as_ref().is_some_and(|labels| labels[*row as usize]);
    let rows = table.rows() as u32;
    let is_stream = table.schema.time.is_some() || table.schema.entity.is_some();
    let mut order: Vec<u32> =
        if is_stream { (0..rows).collect() } else { Random::new(seed, u64::MAX).permutation(rows) };
    order.retain(|row| !is_anomalous(row));
    let fit = ((order.len() as f64) * (1.0 - held_back.unwrap_or(0.0))) as usize;
    let mut held_back = order.split_off(fit);
    order.sort_unstable();
    held_back.sort_unstable();
    (order, held_back)
}

fn category_codes(table: &Table) -> Result<Vec<Vec<f64>>, TrainError> {
    let mut all = Vec::new();
    for (column, name) in table.categorical.iter().zip(&table.schema.categorical) {
        let codes: Vec<f64> = column.names.iter().map(|name| category::code(name)).collect();
        let mut order: Vec<usize> = (0..codes.len()).collect();
        order.sort_by(|a, b| codes[*a].total_cmp(&codes[*b]));
        if let Some(pair) = order.windows(2).find(|pair| codes[pair[0]] == codes[pair[1]]) {
            return Err(TrainError::CategoryClash {
                column: name.clone(),
                first: column.names[pair[0]].clone(),
                second: column.names[pair[1]].clone(),
            });
        }
        all.push(codes);
    }
    Ok(all)
}
