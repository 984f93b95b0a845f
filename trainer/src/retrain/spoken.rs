//! What a module says of rows.

use crate::score::{BATCH_ROWS, event};
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};
use twinge_contract::abi::Outcome as Verdict;
use twinge_contract::verdict::Severity;
use twinge_engine::Module;
use twinge_experiments::judge::Said;
use twinge_fit::read::Row;
use twinge_runner::{Judgement, Slot};

/// What a module said of all rows.
pub(crate) struct Spoken {
    pub(crate) said: Vec<Said>,
    pub(crate) severities: Vec<Severity>,
    pub(crate) in_module: Duration,
}

/// Scores rows in order, from an empty state on.
pub(crate) fn score_all(module: &Module, rows: &[Row], sensitivity: f64) -> Result<Spoken> {
    let mut slot = Slot::new(module, None);
    let mut spoken = Spoken { said: Vec::new(), severities: Vec::new(), in_module: Duration::ZERO };
    for batch in rows.chunks(BATCH_ROWS) {
        let began = Instant::now();
        let judgements = slot.score(batch.iter().map(|row| Ok(event(row))).collect());
        spoken.in_module += began.elapsed();
        ensure!(judgements.len() == batch.len(), "a row has no judgement");
        for judgement in &judgements {
            let (said, severity) = said(&slot, judgement, sensitivity);
            spoken.said.push(said);
            spoken.severities.push(severity);
        }
    }
    Ok(spoken)
}

fn said(slot: &Slot, judgement: &Judgement, sensitivity: f64) -> (Said, Severity) {
    let Judgement::Scored { row, .. } = judgement else {
        return (Said { score: 0.0, alarm: false, counts: false }, Severity::None);
    };
    let score = slot.score_of(*row) * sensitivity;
    let counts = matches!(slot.outcome(*row), Verdict::Normal | Verdict::Anomalous);
    let alarm = counts && score >= 1.0;
    let outcome = if alarm { Verdict::Anomalous } else { Verdict::Normal };
    (Said { score, alarm, counts }, Severity::of(outcome, score))
}
