//! A batch: rows in, scores, verdicts and new states out.

use crate::attribution::attribute;
use crate::forest::{self, BLOCK_ROWS};
use crate::model::Model;
use crate::pipeline::{Extractor, RowKind};
use crate::sections::ModelError;
use core::fmt;
use twinge_contract::abi::{Outcome, VERDICT_CONTINUES, VERDICT_LATE};

/// A model and the width of its feature rows in memory.
#[derive(Clone, Copy, Debug)]
pub struct Detector<'a> {
    model: Model<'a>,
    extractor: Extractor<'a>,
    width: usize,
}

/// The arrays of a batch, all in row order; see [`twinge_contract::abi::Layout`].
#[derive(Debug)]
pub struct Batch<'b> {
    /// Event times, milliseconds.
    pub times: &'b [f64],
    /// State of each row.
    pub entities: &'b [u32],
    /// `rows * fields` inputs.
    pub inputs: &'b [f64],
    /// `entities * state words`, updated.
    pub states: &'b mut [f64],
    /// Written: a score a row.
    pub scores: &'b mut [f64],
    /// Written: a verdict word a row.
    pub verdicts: &'b mut [u32],
    /// Written: `rows * (fields + 1)` contributions.
    pub attributions: &'b mut [f32],
}

/// Why a batch was not scored; its states are as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Arrays disagree in their length.
    Lengths,
    /// A row names a state that is not there.
    Entity,
}

impl fmt::Display for BatchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Lengths => "batch arrays disagree in their length",
            Self::Entity => "batch names a state that is not there",
        })
    }
}

impl core::error::Error for BatchError {}

impl<'a> Detector<'a> {
    /// Reads a detector in place; `bytes` must start at a multiple of eight.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let model = Model::parse(bytes)?;
        let width = forest::row_width(model.pipeline.features.len());
        Ok(Self { model, extractor: Extractor::new(model.pipeline), width })
    }

    /// Inputs of a row.
    pub fn fields(&self) -> usize {
        self.model.pipeline.shape.fields as usize
    }

    /// Words of state of an entity.
    pub fn state_words(&self) -> usize {
        self.model.pipeline.shape.state_words as usize
    }

    /// Values of working room that [`Self::score`] wants.
    pub fn scratch_len(&self) -> usize {
        2 * BLOCK_ROWS * self.width
    }

    /// Scores rows in order, each seeing the state that the rows before it left.
    pub fn score(
        &self,
        batch: &mut Batch<'_>,
        explain_all: bool,
        scratch: &mut [f32],
    ) -> Result<(), BatchError> {
        self.check(batch, scratch)?;
        let (block, variants) = scratch.split_at_mut(BLOCK_ROWS * self.width);
        let rows = batch.times.len();
        for start in (0..rows).step_by(BLOCK_ROWS) {
            let end = rows.min(start + BLOCK_ROWS);
            let kinds = self.features(batch, start..end, block);
            self.judge(batch, start..end, block, &kinds);
            self.explain(batch, start..end, block, variants, explain_all);
        }
        Ok(())
    }

    fn check(&self, batch: &Batch<'_>, scratch: &[f32]) -> Result<(), BatchError> {
        let (rows, words) = (batch.times.len(), self.state_words());
        let fits = batch.entities.len() == rows
            && batch.inputs.len() == rows * self.fields()
            && batch.scores.len() == rows
            && batch.verdicts.len() == rows
            && batch.attributions.len() == rows * (self.fields() + 1)
            && batch.states.len().is_multiple_of(words)
            && scratch.len() >= self.scratch_len();
        if !fits {
            return Err(BatchError::Lengths);
        }
        let entities = batch.states.len() / words;
        if batch.entities.iter().any(|entity| *entity as usize >= entities) {
            return Err(BatchError::Entity);
        }
        Ok(())
    }

    fn features(
        &self,
        batch: &mut Batch<'_>,
        rows: core::ops::Range<usize>,
        block: &mut [f32],
    ) -> [RowKind; BLOCK_ROWS] {
        let nothing = RowKind { empty: false, late: false, warming_up: false };
        let mut kinds = [nothing; BLOCK_ROWS];
        let (fields, words) = (self.fields(), self.state_words());
        let inputs = &batch.inputs[rows.start * fields..rows.end * fields];
        self.extractor.numbers(inputs, self.width, block);
        for ((row, kind), features) in rows.zip(&mut kinds).zip(block.chunks_exact_mut(self.width))
        {
            let entity = batch.entities[row] as usize;
            let state = &mut batch.states[entity * words..(entity + 1) * words];
            let inputs = &batch.inputs[row * fields..(row + 1) * fields];
            let (features, padding) = features.split_at_mut(self.model.pipeline.features.len());
            *kind = self.extractor.row(batch.times[row], inputs, state, features);
            padding.fill(0.0);
        }
        kinds
    }

    fn judge(
        &self,
        batch: &mut Batch<'_>,
        rows: core::ops::Range<usize>,
        block: &[f32],
        kinds: &[RowKind],
    ) {
        let (mut raw, mut told) = ([0.0; BLOCK_ROWS], [0.0; BLOCK_ROWS]);
        let (raw, told) = (&mut raw[..rows.len()], &mut told[..rows.len()]);
        self.raw_scores(&block[..rows.len() * self.width], raw);
        let (words, calibration) = (self.state_words(), &self.model.calibration);
        for (((row, kind), raw), told) in rows.clone().zip(kinds).zip(&*raw).zip(&mut *told) {
            let entity = batch.entities[row] as usize;
            let state = &mut batch.states[entity * words..(entity + 1) * words];
            *told = match kind {
                RowKind { empty: true, .. } => 0.0,
                _ => self.model.alarms.told(*raw, calibration.threshold, state, kind.late),
            };
        }
        calibration.score_all(told, &mut batch.scores[rows.clone()]);
        for (((row, kind), raw), told) in rows.zip(kinds).zip(raw).zip(told) {
            let score = if kind.empty { 0.0 } else { batch.scores[row] };
            let continues = *raw >= calibration.threshold && *told < calibration.threshold;
            let outcome = if kind.empty {
                Outcome::Invalid
            } else if kind.warming_up {
                Outcome::WarmingUp
            } else if score >= 1.0 {
                Outcome::Anomalous
            } else {
                Outcome::Normal
            };
            batch.scores[row] = score;
            batch.verdicts[row] = outcome.code()
                | if kind.late { VERDICT_LATE } else { 0 }
                | if continues && outcome == Outcome::Normal { VERDICT_CONTINUES } else { 0 };
        }
    }

    fn explain(
        &self,
        batch: &mut Batch<'_>,
        rows: core::ops::Range<usize>,
        block: &[f32],
        variants: &mut [f32],
        explain_all: bool,
    ) {
        let groups = self.fields() + 1;
        batch.attributions[rows.start * groups..rows.end * groups].fill(0.0);
        for (row, features) in rows.zip(block.chunks_exact(self.width)) {
            let outcome = batch.verdicts[row] & 0xff;
            let asked = explain_all && outcome != Outcome::Invalid.code();
            if !asked && outcome != Outcome::Anomalous.code() {
                continue;
            }
            let contributions = &mut batch.attributions[row * groups..(row + 1) * groups];
            // Padding belongs to no group: it is zero in the row and stays so.
            let group_of = |feature: usize| {
                self.model.pipeline.features.get(feature).map_or(groups, |f| f[1] as usize)
            };
            let score_rows = |rows: &[f32], scores: &mut [f64]| self.score_rows(rows, scores);
            attribute(
                batch.scores[row],
                features,
                self.width,
                group_of,
                variants,
                score_rows,
                contributions,
            );
        }
    }

    fn raw_scores(&self, rows: &[f32], raw: &mut [f64]) {
        self.model.parts.raw_scores(rows, self.width, self.model.pipeline.features.len(), raw);
    }

    /// Scores of feature rows, before the rule of alarms.
    fn score_rows(&self, rows: &[f32], scores: &mut [f64]) {
        let mut raw = [0.0; BLOCK_ROWS];
        let raw = &mut raw[..scores.len()];
        self.raw_scores(rows, raw);
        self.model.calibration.score_all(raw, scores);
    }
}
