//! From a table to a module.

use crate::assess::{Assessed, assess};
use crate::config::ValidConfig;
use crate::error::{ROWS_MIN, TrainError, too_few};
use crate::link::{RUNTIME, link};
use crate::plan::Plan;
use crate::prepare::Prepared;
use crate::reference::references;
use crate::table::Table;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use twinge_contract::abi;
use twinge_contract::manifest::{DetectorInfo, Lineage, Manifest, ThresholdInfo};
use twinge_detector::Model;
use twinge_detector::alarms::Rule;

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

/// Plans, fits, calibrates and links.
///
/// `progress` is told about every step and stops training by answering false.
pub fn train(
    table: &Table,
    config: &ValidConfig,
    seed: u64,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<Trained, TrainError> {
    train_after(None, table, config, seed, progress)
}

/// The same, in the place of a `former` module: what the first of its line was trained on is carried
/// along, for drift. Nothing else depends on it.
pub fn train_after(
    former: Option<&Manifest>,
    table: &Table,
    config: &ValidConfig,
    seed: u64,
    progress: &mut dyn FnMut(Progress) -> bool,
) -> Result<Trained, TrainError> {
    if table.rows() < ROWS_MIN {
        return Err(too_few(table.rows(), "training", ROWS_MIN, ""));
    }
    let mut tell = |step, share| progress(Progress { step, share });
    let plan = Plan::of(table, config)?;
    let prepared = Prepared::new(table, config, &plan, seed, &mut tell)?;
    let assessed = assess(table, config, &plan, &prepared, seed, &mut tell)?;
    crate::prepare::go_on(&mut tell, "linking the module", 0.0)?;
    let model = Model {
        pipeline: prepared.pipeline.model(),
        parts: assessed.fitted.model(),
        calibration: assessed.calibrated.model(),
        alarms: prepared.alarms(&plan),
    };
    let model = model.encode();
    // What was just made must be readable: better told here than on a device.
    Model::parse(as_bytes(&model))?;
    let mut manifest = manifest(table, config, seed, &plan, &prepared, &assessed);
    let (reference, drift) = references(table, &prepared.scaled_on, &assessed.scored, former);
    (manifest.reference, manifest.drift) = (reference, Some(drift));
    let module = link(RUNTIME, as_bytes(&model), &manifest.to_json())?;
    Ok(Trained { module, manifest, model })
}

fn manifest(
    table: &Table,
    config: &ValidConfig,
    seed: u64,
    plan: &Plan,
    prepared: &Prepared,
    assessed: &Assessed,
) -> Manifest {
    let written = &config.written;
    let kinds: Vec<&str> = plan.kinds.iter().map(|kind| kind.as_str()).collect();
    Manifest {
        abi: abi::VERSION,
        name: written.name.clone(),
        version: written.version.clone(),
        schema: table.schema.clone(),
        state_bytes: prepared.pipeline.shape.state_words * 8,
        stream: plan.stream.clone(),
        detector: DetectorInfo {
            kind: kinds.join("+"),
            settings: settings(config, plan, assessed),
            features: plan.features.iter().map(ToString::to_string).collect(),
            why: plan.why.iter().chain(&assessed.why).cloned().collect(),
        },
        threshold: ThresholdInfo {
            false_alarm_rate: assessed.calibrated.false_alarm_rate,
            calibration_rows: assessed.calibration_rows as u64,
            raw_score: assessed.calibrated.threshold,
        },
        metrics: assessed.metrics.clone(),
        lineage: Lineage {
            data_digest: table.digest.clone(),
            rows: table.rows() as u64,
            config_digest: hex::encode(Sha256::digest(written.to_toml())),
            seed,
            runtime_digest: hex::encode(Sha256::digest(RUNTIME)),
        },
        reference: Vec::new(),
        drift: None,
        notes: table.notes.iter().chain(&prepared.notes).chain(&assessed.notes).cloned().collect(),
    }
}

fn settings(
    config: &ValidConfig,
    plan: &Plan,
    assessed: &Assessed,
) -> BTreeMap<String, serde_json::Value> {
    let detector = &config.written.detector;
    let mut settings = BTreeMap::new();
    if plan.kinds.contains(&crate::config::DetectorKind::IsolationForest) {
        settings.insert("trees".into(), detector.trees.into());
        settings.insert("sample_rows".into(), detector.sample_rows.into());
    }
    if assessed.fitted.parts.len() > 1 {
        let fusion = if assessed.fitted.takes_largest { "largest" } else { "mean" };
        settings.insert("fusion".into(), fusion.into());
    }
    let alarms = match plan.rule {
        Rule::Every => "every".into(),
        Rule::Episodes(events) => format!("one an episode, which ends after {events} events"),
        Rule::Aftermath => "smoothed, less after a very high score".into(),
    };
    settings.insert("alarms".into(), alarms.into());
    settings
}

/// The bytes of encoded words.
pub fn as_bytes(words: &[u64]) -> &[u8] {
    bytemuck::cast_slice(words)
}
