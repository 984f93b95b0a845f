//! Where runs are recorded, and what the trainer says of one.

use crate::output::{print, tell};
use crate::place::{Missing, block_on, open};
use crate::time::now_ms;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use twinge_experiments::{
    Alias, AliasRole, Artifact, File, Folder, Lineage, METRICS_MAX, Metric, Mlflow, MlflowSettings,
    Registration, RetrySettings, Run, RunId, Status, TEXT_CHARS_MAX, Tracker,
};
use twinge_fit::{Config, Trained};
use twinge_registry::{Channel, Name, Registry, Target};
use twinge_trust::Digest;

/// What a verb says of its run beyond the module.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// When it began, in milliseconds since 1970.
    pub(crate) began_ms: i64,
    /// Why it was done.
    pub(crate) reason: &'static str,
    pub(crate) has_failed: bool,
    pub(crate) metrics: BTreeMap<String, f64>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) files: Vec<File>,
    pub(crate) champion: Option<Digest>,
}

/// Whether runs go to MLflow.
pub(crate) fn is_mlflow_set() -> bool {
    std::env::var("MLFLOW_TRACKING_URI").is_ok_and(|text| !text.trim().is_empty())
}

/// The tracker of this environment: MLflow where it is set, else the registry's folder.
pub(crate) fn tracker(registry: Option<(&Registry, &str)>) -> Result<Box<dyn Tracker>> {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(settings) = MlflowSettings::from_environment(&variable)? {
        return Ok(Box::new(Mlflow::open(&settings, RetrySettings::default())?));
    }
    let nowhere = || {
        let reason = "give --registry, or set MLFLOW_TRACKING_URI";
        crate::usage::Usage(format!("there is nowhere to keep runs: {reason}"))
    };
    let (registry, location) = registry.ok_or_else(nowhere)?;
    Ok(Box::new(Folder::new(Arc::clone(registry.store()), location)))
}

/// Records a module that was trained by itself.
pub(crate) fn record_module(
    location: Option<&str>,
    trained: &Trained,
    config: &Config,
    told: Told,
) -> Result<()> {
    block_on(async {
        let registry = match location {
            Some(location) if !is_mlflow_set() => Some(open(location, Missing::Make).await?),
            _ => None,
        };
        let tracker = tracker(registry.as_ref().zip(location))?;
        let (run, files) = run_of(trained, config, told)?;
        record(tracker.as_ref(), &run, &files, true).await
    })
}

/// Records a run and registers its module.
pub(crate) async fn record(
    tracker: &dyn Tracker,
    run: &Run,
    files: &[File],
    is_told: bool,
) -> Result<()> {
    let notes = tracker.record(run, files).await?;
    for note in notes {
        tell(&format!("note: {note}"));
    }
    if let Some(module_digest) = run.lineage.module_digest.clone() {
        let version = run.parameters.get("version").cloned().unwrap_or_default();
        let registration =
            Registration { module_digest, version, run: Some(run.id.clone()), now_ms: now_ms() };
        tracker.register(&run.detector, &registration).await?;
    }
    if is_told {
        print(&format!("run        {} at {}", run.id, tracker.place()));
    }
    Ok(())
}

/// A run as trackers keep it, with its files: the configuration and the module are among them.
pub(crate) fn run_of(trained: &Trained, config: &Config, told: Told) -> Result<(Run, Vec<File>)> {
    let manifest = &trained.manifest;
    let detector: Name = manifest.name.parse()?;
    let mut number = [0; 4];
    getrandom::fill(&mut number)
        .map_err(|error| anyhow::anyhow!("no randomness for the name of a run: {error}"))?;
    let mut metrics = told.metrics;
    metrics.extend(manifest.metrics.iter().map(|(name, value)| (name.clone(), *value)));
    metrics.insert("module_bytes".into(), trained.module.len() as f64);
    metrics.retain(|_, value| value.is_finite());
    let mut files = told.files;
    files.push(File { path: "detector.wasm".into(), bytes: trained.module.clone() });
    files.push(File { path: "detector.toml".into(), bytes: config.to_toml().into_bytes() });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let listed = files
        .iter()
        .map(|file| Artifact { path: file.path.clone(), bytes: file.bytes.len() as u64 });
    let lineage = &manifest.lineage;
    let run = Run {
        id: RunId::new(told.began_ms, u32::from_le_bytes(number)),
        name: format!("{detector} {}, {}", cut(&manifest.version, 60), told.reason),
        detector,
        started_ms: told.began_ms,
        ended_ms: now_ms().max(told.began_ms),
        status: if told.has_failed { Status::Failed } else { Status::Finished },
        parameters: parameters(trained),
        metrics: metrics
            .into_iter()
            .take(METRICS_MAX)
            .map(|(name, value)| Metric { name, step: 0, value })
            .collect(),
        tags: [("reason".to_owned(), told.reason.to_owned())]
            .into_iter()
            .chain(told.tags)
            .map(|(name, value)| (name, cut(&value, TEXT_CHARS_MAX)))
            .collect(),
        lineage: Lineage {
            data_digest: lineage.data_digest.clone(),
            rows: lineage.rows,
            config_digest: lineage.config_digest.clone(),
            seed: lineage.seed,
            runtime_digest: lineage.runtime_digest.clone(),
            module_digest: Some(Digest::of(&trained.module).to_string()),
            champion_digest: told.champion.map(|digest| digest.to_string()),
        },
        artifacts: listed.collect(),
    };
    Ok((run, files))
}

/// What was set, as far as it shows in the module. The whole configuration is a file of the run.
fn parameters(trained: &Trained) -> BTreeMap<String, String> {
    let manifest = &trained.manifest;
    let mut parameters: BTreeMap<String, String> = manifest
        .detector
        .settings
        .iter()
        .map(|(name, value)| (format!("detector.{name}"), value.to_string()))
        .collect();
    let more = [
        ("version", manifest.version.clone()),
        ("detector.kind", manifest.detector.kind.clone()),
        ("seed", manifest.lineage.seed.to_string()),
        ("features", manifest.detector.features.len().to_string()),
        ("threshold.false_alarm_rate", manifest.threshold.false_alarm_rate.to_string()),
        ("threshold.calibration_rows", manifest.threshold.calibration_rows.to_string()),
        ("threshold.raw_score", manifest.threshold.raw_score.to_string()),
    ];
    parameters.extend(more.map(|(name, value)| (name.to_owned(), value)));
    for value in parameters.values_mut() {
        *value = cut(value, TEXT_CHARS_MAX);
    }
    parameters
}

/// Has the aliases of a channel point at what it points at. A tracker that is away must not keep a
/// channel from changing, so a failure is told and no more.
pub(crate) async fn follow(registry: &Registry, location: &str, channel: &Channel) {
    if let Err(error) = try_follow(registry, location, channel).await {
        tell(&format!("note: the channel is changed, but no alias of experiments is: {error:#}"));
    }
}

async fn try_follow(registry: &Registry, location: &str, channel: &Channel) -> Result<()> {
    let tracker = tracker(Some((registry, location)))?;
    let slots = [
        (AliasRole::Champion, channel.champion.as_ref()),
        (AliasRole::Challenger, channel.challenger.as_ref()),
    ];
    for (role, slot) in slots {
        let alias = Alias::new(role, &channel.channel);
        if let Some(Target { digest, version, .. }) = slot {
            let registration = Registration {
                module_digest: digest.to_string(),
                version: version.clone(),
                run: None,
                now_ms: now_ms(),
            };
            tracker.register(&channel.detector, &registration).await?;
        }
        let digest = slot.map(|target| target.digest.to_string());
        let set = tracker.set_alias(&channel.detector, &alias, digest.as_deref()).await;
        set.with_context(|| format!("cannot set alias {alias}"))?;
    }
    Ok(())
}

fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let start: String = text.chars().take(chars_max - 2).collect();
    format!("{start}..")
}
