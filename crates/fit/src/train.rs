//! From a table to a module.

use crate::calibrate::{Calibrated, calibrate};
use crate::config::{DetectorKind, ValidConfig};
use crate::evaluate::{auc_roc, average_precision};
use crate::features::lay_out;
use crate::forest::{ForestError, IsolationForest};
use crate::link::{LinkError, RUNTIME, link};
use crate::random::Random;
use crate::reference::{category_counts, histograms};
use crate::scale::centre_and_scale;
use crate::table::Table;
use crate::tails;
use linfa::ParamGuard;
use linfa::dataset::DatasetBase;
use linfa::traits::Fit;
use ndarray::{Array2, ArrayView1, Axis};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use thiserror::Error;
use twinge_contract::manifest::{DetectorInfo, Lineage, Manifest, StreamRules, ThresholdInfo};
use twinge_contract::{abi, category};
use twinge_detector::forest::{BLOCK_ROWS, raw_scores, row_width};
use twinge_detector::model::{ForestModel, ForestParts, ModelParts, TailModel};
use twinge_detector::pipeline::{self, RowKind};
use twinge_detector::tails::{fuse, surprise};
use twinge_detector::{Model, ModelError};

/// Fewest rows that a detector is fitted to.
pub const ROWS_MIN: usize = 32;

/// Fewest held-back rows that a threshold is set on.
const CALIBRATION_ROWS_MIN: usize = 8;

/// Known categories of an input at most; rarer ones count as unseen.
const CATEGORIES_MAX: usize = 1024;

/// A step of training and how much of it is done, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What is being done, for people.
    pub step: &'static str,
    /// Share done.
    pub share: f64,
}

/// A trained module.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The module's bytes.
    pub module: Vec<u8>,
    /// What it tells about itself.
    pub manifest: Manifest,
    /// The model inside, for running it natively.
    pub model: Vec<u64>,
}

/// Why nothing could be trained.
#[derive(Debug, Error)]
pub enum TrainError {
    /// Fewer rows than needed.
    #[error(
        "data has {rows} usable rows for {purpose}, and {needed} are needed: give more data{hint}"
    )]
    TooFewRows {
        /// Rows there are.
        rows: usize,
        /// What for.
        purpose: &'static str,
        /// Rows needed.
        needed: usize,
        /// What else helps.
        hint: &'static str,
    },
    /// Nothing varies.
    #[error("all rows are alike in every input: there is nothing to learn from")]
    AllAlike,
    /// Two category texts cannot be told apart.
    #[error(
        "column `{column}`: categories `{first}` and `{second}` have the same code: rename one"
    )]
    CategoryClash {
        /// The column.
        column: String,
        /// One text.
        first: String,
        /// Another.
        second: String,
    },
    /// Training was cancelled by its caller.
    #[error("training was cancelled")]
    Cancelled,
    /// The forest cannot be fitted.
    #[error("isolation forest cannot be fitted")]
    Forest(#[from] ForestError),
    /// Our own fault.
    #[error("model that was just made is not readable")]
    Model(#[from] ModelError),
    /// Our own fault.
    #[error("module cannot be linked")]
    Link(#[from] LinkError),
}

/// Fits, calibrates and links.
///
/// `progress` is told about every step and stops training by answering false.
pub fn train(
    table: &Table,
    config: &ValidConfig,
    seed: u64,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<Trained, TrainError> {
    let mut run = Run::new(table, config, seed, progress)?;
    run.scale_inputs()?;
    let kinds = run.scale_features()?;
    let (fit_rows, held_back) = run.usable_rows(&kinds)?;
    let forest = run.fit(&fit_rows)?;
    let bounds = run.tail_bounds(&fit_rows);
    let raw = run.raw_scores(&forest, bounds, &held_back)?;
    let calibrated = calibrate(
        held_back.iter().map(|row| raw[*row as usize]).collect(),
        config.written.threshold.false_alarm_rate,
    )
    .expect("there are held-back rows and the rate was checked");
    let metrics = run.metrics(&raw, &kinds, &fit_rows, &held_back, &calibrated);
    run.parts.forest = Some(forest);
    run.parts.calibration = Some(calibrated.parts.clone());
    run.link(&calibrated, metrics, held_back.len())
}

/// Training under way.
struct Run<'a> {
    table: &'a Table,
    config: &'a ValidConfig,
    seed: u64,
    progress: &'a mut dyn FnMut(Progress) -> bool,
    stream: StreamRules,
    codes: Vec<Vec<f64>>,
    split: Split,
    parts: ModelParts,
    features: Array2<f32>,
    notes: Vec<String>,
}

/// Which rows fit and which calibrate; labelled anomalies do neither.
struct Split {
    fit: Vec<u32>,
    held_back: Vec<u32>,
}

impl<'a> Run<'a> {
    fn new(
        table: &'a Table,
        config: &'a ValidConfig,
        seed: u64,
        progress: &'a mut dyn FnMut(Progress) -> bool,
    ) -> Result<Self, TrainError> {
        if table.rows() < ROWS_MIN {
            return Err(too_few(table.rows(), "training", ROWS_MIN, ""));
        }
        let mut notes = Vec::new();
        let stream = stream_rules(table, config, &mut notes);
        let split = split(table, config.written.threshold.held_back, seed);
        let lateness_ms = stream.lateness_s * 1000.0;
        let numbers = vec![[0.0, 0.0]; table.numeric.len()];
        let parts =
            lay_out(&config.features, &table.schema, stream.warm_up_events, lateness_ms, numbers);
        let codes = category_codes(table)?;
        let features = Array2::zeros((0, 0));
        Ok(Self { table, config, seed, progress, stream, codes, split, parts, features, notes })
    }

    fn tell(&mut self, step: &'static str, share: f64) -> Result<(), TrainError> {
        if (self.progress)(Progress { step, share }) { Ok(()) } else { Err(TrainError::Cancelled) }
    }

    /// Centre and scale of each number, rarity of each category, from the rows to fit.
    fn scale_inputs(&mut self) -> Result<(), TrainError> {
        for (index, column) in self.table.numeric.iter().enumerate() {
            self.tell("scaling inputs", index as f64 / self.table.numeric.len() as f64)?;
            let mut values: Vec<f64> = self
                .split
                .fit
                .iter()
                .map(|row| column[*row as usize])
                .filter(|value| !value.is_nan())
                .collect();
            self.parts.numbers[index] = centre_and_scale(&mut values);
            let name = &self.table.schema.numeric[index];
            if values.is_empty() {
                self.notes.push(format!(
                    "column `{name}` has no value in the rows to fit and says nothing"
                ));
            } else if self.parts.numbers[index][1] == 0.0 {
                self.notes.push(format!(
                    "column `{name}` is constant in the rows to fit and says nothing"
                ));
            }
        }
        for column in &self.table.categorical {
            let mut counts = category_counts(column, &self.split.fit);
            let total: usize = counts.iter().map(|(_, count)| count).sum();
            counts.truncate(CATEGORIES_MAX);
            // One row is imagined for each category and for all unseen ones together (Laplace).
            let denominator = (total + counts.len() + 1) as f64;
            let rarity = |count: usize| -libm::log((count as f64 + 1.0) / denominator);
            let mut entries: Vec<(f64, f64)> =
                counts.iter().map(|(name, count)| (category::code(name), rarity(*count))).collect();
            entries.sort_by(|a, b| a.0.total_cmp(&b.0));
            self.parts
                .category_ranges
                .push([self.parts.category_codes.len() as u32, entries.len() as u32]);
            self.parts.category_codes.extend(entries.iter().map(|entry| entry.0));
            self.parts.category_values.extend(entries.iter().map(|entry| entry.1));
            self.parts.category_unseen.push(rarity(0));
        }
        Ok(())
    }

    /// Computes features twice: plain, to learn their centre and scale, and scaled.
    fn scale_features(&mut self) -> Result<Vec<RowKind>, TrainError> {
        let kinds = self.compute_features("computing features")?;
        if kinds.iter().all(|kind| kind.empty) {
            return Err(TrainError::AllAlike);
        }
        let judged: Vec<u32> = judged(&self.split.fit, &kinds);
        let mut varies = judged.is_empty();
        for feature in 0..self.features.ncols() {
            let column = self.features.column(feature);
            let mut values: Vec<f64> =
                judged.iter().map(|row| f64::from(column[*row as usize])).collect();
            let [centre, scale] = centre_and_scale(&mut values);
            varies |= scale > 0.0;
            self.parts.feature_parameters[feature][1] = centre;
            self.parts.feature_parameters[feature][2] = scale;
        }
        if !varies {
            return Err(TrainError::AllAlike);
        }
        self.compute_features("scaling features")
    }

    fn compute_features(&mut self, step: &'static str) -> Result<Vec<RowKind>, TrainError> {
        let bytes = self.parts.encode();
        let model = Model::parse(as_bytes(&bytes))?;
        let words = model.shape.state_words as usize;
        let mut states = vec![0.0; self.table.entity_count * words];
        let mut inputs = vec![0.0; self.table.schema.width()];
        let mut kinds = Vec::with_capacity(self.table.rows());
        let mut features = std::mem::take(&mut self.features);
        if features.is_empty() {
            features = Array2::zeros((self.table.rows(), model.features.len()));
        }
        for (row, mut features) in features.axis_iter_mut(Axis(0)).enumerate() {
            if row % 65_536 == 0 {
                self.tell(step, row as f64 / self.table.rows() as f64)?;
            }
            self.table.inputs(row, &self.codes, &mut inputs);
            let entity = self.table.entities[row] as usize;
            let state = &mut states[entity * words..(entity + 1) * words];
            let features = features.as_slice_mut().expect("rows of a new array are contiguous");
            kinds.push(pipeline::row(&model, self.table.times_ms[row], &inputs, state, features));
        }
        self.features = features;
        Ok(kinds)
    }

    /// Rows to fit and to calibrate with, without those that get no verdict.
    fn usable_rows(&mut self, kinds: &[RowKind]) -> Result<(Vec<u32>, Vec<u32>), TrainError> {
        let late = kinds.iter().filter(|kind| kind.late).count();
        if late > 0 {
            self.notes.push(format!("{late} rows are older than their entity's latest by more than the lateness and were not remembered"));
        }
        let (fit, held_back) =
            (judged(&self.split.fit, kinds), judged(&self.split.held_back, kinds));
        let hint = ", or lower stream.warm_up_events";
        if fit.len() < ROWS_MIN / 2 {
            return Err(too_few(fit.len(), "fitting", ROWS_MIN / 2, hint));
        }
        if held_back.len() < CALIBRATION_ROWS_MIN {
            return Err(too_few(held_back.len(), "the threshold", CALIBRATION_ROWS_MIN, hint));
        }
        Ok((fit, held_back))
    }

    fn fit(&mut self, rows: &[u32]) -> Result<ForestParts, TrainError> {
        self.tell("growing the forest", 0.0)?;
        let rows: Vec<usize> = rows.iter().map(|row| *row as usize).collect();
        let records = self.features.select(Axis(0), &rows);
        let params = self.config.written.detector.forest(self.seed).check()?;
        let IsolationForest(parts) = params.fit(&DatasetBase::from(records))?;
        Ok(parts)
    }

    /// The usual extents of all features, where the detector looks at tails.
    fn tail_bounds(&self, rows: &[u32]) -> Option<Vec<[f64; 2]>> {
        if self.config.written.detector.kind != DetectorKind::ForestAndTails {
            return None;
        }
        Some(
            self.features.columns().into_iter().map(|column| tails::bounds(column, rows)).collect(),
        )
    }

    /// The raw score of every row; how forest and tails are put together follows from the held-back
    /// rows.
    fn raw_scores(
        &mut self,
        forest: &ForestParts,
        bounds: Option<Vec<[f64; 2]>>,
        held_back: &[u32],
    ) -> Result<Vec<f64>, TrainError> {
        let surprises = bounds.as_ref().map(|bounds| self.surprises(bounds));
        let mut raw = self.forest_scores(forest)?;
        let (Some(bounds), Some(surprises)) = (bounds, surprises) else { return Ok(raw) };
        let of_held_back = |raw: &[f64]| held_back.iter().map(|row| raw[*row as usize]).collect();
        let parts = tails::fuse(bounds, of_held_back(&raw), of_held_back(&surprises));
        let model = TailModel { bounds: &parts.bounds, fusion: parts.fusion };
        for (raw, surprise) in raw.iter_mut().zip(&surprises) {
            *raw = fuse(&model, *raw, *surprise);
        }
        self.parts.tails = Some(parts);
        Ok(raw)
    }

    fn surprises(&self, bounds: &[[f64; 2]]) -> Vec<f64> {
        let model = TailModel { bounds, fusion: [0.0; 4] };
        let row = |row: ArrayView1<'_, f32>| {
            surprise(&model, row.as_slice().expect("rows are contiguous"))
        };
        self.features.rows().into_iter().map(row).collect()
    }

    fn forest_scores(&mut self, forest: &ForestParts) -> Result<Vec<f64>, TrainError> {
        let forest = borrow(forest);
        let width = row_width(self.features.ncols());
        let mut block = vec![0.0f32; BLOCK_ROWS * width];
        let mut raw = vec![0.0; self.features.nrows()];
        let features = std::mem::take(&mut self.features);
        let columns = features.ncols();
        let features = features.as_slice().expect("a new array is contiguous");
        for (chunk, raw) in raw.chunks_mut(BLOCK_ROWS).enumerate() {
            if chunk % 1024 == 0 {
                self.tell(
                    "scoring held-back rows",
                    (chunk * BLOCK_ROWS) as f64 / self.table.rows() as f64,
                )?;
            }
            let rows = &features[chunk * BLOCK_ROWS * columns..];
            for (row, features) in
                block.chunks_exact_mut(width).zip(rows.chunks_exact(columns)).take(raw.len())
            {
                row[..columns].copy_from_slice(features);
            }
            raw_scores(&forest, &block[..raw.len() * width], width, raw);
        }
        Ok(raw)
    }

    /// Figures on rows that were not fitted; those that need labels only where there are some.
    fn metrics(
        &self,
        raw: &[f64],
        kinds: &[RowKind],
        fit: &[u32],
        held_back: &[u32],
        calibrated: &Calibrated,
    ) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::new();
        metrics.insert("rows_fitted".into(), fit.len() as f64);
        let is_alarm = |row: &u32| raw[*row as usize] >= calibrated.parts.threshold;
        let false_alarms = held_back.iter().filter(|row| is_alarm(row)).count() as f64;
        metrics.insert("held_back_alarm_share".into(), false_alarms / held_back.len() as f64);
        let Some(labels) = &self.table.labels else { return metrics };
        let anomalies: Vec<u32> = (0..labels.len() as u32)
            .filter(|row| {
                labels[*row as usize]
                    && !kinds[*row as usize].empty
                    && !kinds[*row as usize].warming_up
            })
            .collect();
        let rows: Vec<u32> = held_back.iter().chain(&anomalies).copied().collect();
        let scores: Vec<f64> = rows.iter().map(|row| raw[*row as usize]).collect();
        let labels: Vec<bool> = rows.iter().map(|row| labels[*row as usize]).collect();
        let hits = anomalies.iter().filter(|row| is_alarm(row)).count() as f64;
        metrics.insert("labelled_anomalies".into(), anomalies.len() as f64);
        let figures = [
            ("auc_roc", auc_roc(&scores, &labels)),
            ("average_precision", average_precision(&scores, &labels)),
            ("recall", (!anomalies.is_empty()).then(|| hits / anomalies.len() as f64)),
            ("precision", (hits + false_alarms > 0.0).then(|| hits / (hits + false_alarms))),
        ];
        metrics.extend(
            figures.into_iter().filter_map(|(name, figure)| Some((name.to_owned(), figure?))),
        );
        metrics
    }

    fn link(
        mut self,
        calibrated: &Calibrated,
        metrics: BTreeMap<String, f64>,
        calibration_rows: usize,
    ) -> Result<Trained, TrainError> {
        self.tell("linking the module", 0.0)?;
        let asked = self.config.written.threshold.false_alarm_rate;
        if calibrated.false_alarm_rate <= asked && (calibration_rows as f64) * asked < 10.0 {
            self.notes.push(format!(
                "the threshold rests on the {:.0} largest of {calibration_rows} held-back scores: it finds only what is far beyond them; more data or a higher threshold.false_alarm_rate finds more",
                (calibration_rows as f64 * asked).max(1.0)
            ));
        }
        if calibrated.false_alarm_rate > asked {
            self.notes.push(format!(
                "{calibration_rows} held-back rows cannot promise a false-alarm rate of {asked}: the threshold promises {:.5}; give more data or ask for a higher rate",
                calibrated.false_alarm_rate
            ));
        }
        let model = self.parts.encode();
        let manifest = self.manifest(calibrated, metrics, calibration_rows);
        let module = link(RUNTIME, as_bytes(&model), &manifest.to_json())?;
        Ok(Trained { module, manifest, model })
    }

    fn manifest(
        &self,
        calibrated: &Calibrated,
        metrics: BTreeMap<String, f64>,
        calibration_rows: usize,
    ) -> Manifest {
        let written = &self.config.written;
        Manifest {
            abi: abi::VERSION,
            name: written.name.clone(),
            version: written.version.clone(),
            schema: self.table.schema.clone(),
            state_bytes: self.parts.shape.state_words * 8,
            stream: self.stream.clone(),
            detector: DetectorInfo {
                kind: written.detector.kind.as_str().into(),
                settings: BTreeMap::from([
                    ("trees".into(), written.detector.trees.into()),
                    ("sample_rows".into(), written.detector.sample_rows.into()),
                ]),
                features: self.config.features.iter().map(ToString::to_string).collect(),
            },
            threshold: ThresholdInfo {
                false_alarm_rate: calibrated.false_alarm_rate,
                calibration_rows: calibration_rows as u64,
                raw_score: calibrated.parts.threshold,
            },
            metrics,
            lineage: Lineage {
                data_digest: self.table.digest.clone(),
                rows: self.table.rows() as u64,
                config_digest: hex::encode(Sha256::digest(written.to_toml())),
                seed: self.seed,
                runtime_digest: hex::encode(Sha256::digest(RUNTIME)),
            },
            reference: histograms(self.table, &self.split.fit),
            notes: self.notes.clone(),
        }
    }
}

/// Stream rules, the warm-up shortened when no entity would ever get through it.
fn stream_rules(table: &Table, config: &ValidConfig, notes: &mut Vec<String>) -> StreamRules {
    let mut stream = config.stream.clone();
    let is_set =
        config.written.stream.as_ref().is_some_and(|stream| stream.warm_up_events.is_some());
    let mut events = vec![0u32; table.entity_count];
    for entity in &table.entities {
        events[*entity as usize] += 1;
    }
    events.sort_unstable();
    let bearable = events.get(events.len() / 2).map_or(0, |median| median / 4);
    if !is_set && stream.warm_up_events > bearable {
        notes.push(format!(
            "half of the entities have at most {} events, so the warm-up was shortened from {} events to {bearable}",
            events[events.len() / 2], stream.warm_up_events
        ));
        stream.warm_up_events = bearable;
    }
    stream
}

/// The last rows of a stream are held back, because a detector is used on what comes later; of a
/// table random ones, because its order may mean anything.
fn split(table: &Table, held_back: f64, seed: u64) -> Split {
    let is_anomalous =
        |row: &u32| table.labels.as_ref().is_some_and(|labels| labels[*row as usize]);
    let rows = table.rows() as u32;
    let is_stream = table.schema.time.is_some() || table.schema.entity.is_some();
    let mut order: Vec<u32> =
        if is_stream { (0..rows).collect() } else { Random::new(seed, u64::MAX).permutation(rows) };
    order.retain(|row| !is_anomalous(row));
    let fit = ((order.len() as f64) * (1.0 - held_back)) as usize;
    let mut held_back = order.split_off(fit);
    order.sort_unstable();
    held_back.sort_unstable();
    Split { fit: order, held_back }
}

/// Those of `rows` that get a verdict: neither empty nor of an entity that is warming up.
fn judged(rows: &[u32], kinds: &[RowKind]) -> Vec<u32> {
    let is_judged = |row: &&u32| {
        let kind = kinds[**row as usize];
        !kind.empty && !kind.warming_up
    };
    rows.iter().filter(is_judged).copied().collect()
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

fn borrow(parts: &ForestParts) -> ForestModel<'_> {
    ForestModel {
        trees: parts.trees,
        depth: parts.depth,
        norm: parts.norm,
        thresholds: &parts.thresholds,
        features: &parts.features,
        leaves: &parts.leaves,
    }
}

/// The bytes of encoded words.
pub fn as_bytes(words: &[u64]) -> &[u8] {
    bytemuck::cast_slice(words)
}

fn too_few(rows: usize, purpose: &'static str, needed: usize, hint: &'static str) -> TrainError {
    TrainError::TooFewRows { rows, purpose, needed, hint }
}
