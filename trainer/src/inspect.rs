//! `trainer inspect`: what a module says about itself.

use crate::output::print;
use crate::train::percent;
use anyhow::{Context, Result};
use std::path::PathBuf;
use twinge_contract::manifest::Manifest;
use twinge_engine::manifest;
use twinge_registry::file::read_signed;
use twinge_trust::Digest;

/// Tell what a module says about itself, without running it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The module.
    #[arg(long)]
    module: PathBuf,
    /// Print the manifest as JSON.
    #[arg(long)]
    json: bool,
}

/// `trainer inspect`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (bytes, signature) = read_signed(&arguments.module)?;
    let manifest = manifest(&bytes).with_context(|| arguments.module.display().to_string())?;
    if arguments.json {
        print(&serde_json::to_string_pretty(&manifest)?);
        return Ok(());
    }
    let signature = if signature.is_some() { "there, not verified here" } else { "none" };
    print(&format!("module      {} bytes, digest {}", bytes.len(), Digest::of(&bytes)));
    print(&format!("signature   {signature}"));
    describe(&manifest);
    Ok(())
}

fn describe(manifest: &Manifest) {
    let schema = &manifest.schema;
    let or_none = |name: &Option<String>| name.clone().unwrap_or_else(|| "none".into());
    print(&format!("detector    {} {}", manifest.name, manifest.version));
    print(&format!("entity      {}", or_none(&schema.entity)));
    print(&format!("time        {}", or_none(&schema.time)));
    print(&format!("numbers     {}", schema.numeric.join(", ")));
    print(&format!("categories  {}", schema.categorical.join(", ")));
    print(&format!("features    {}", manifest.detector.features.join(", ")));
    let settings: Vec<String> = manifest.detector.settings.iter().map(shown).collect();
    print(&format!("kind        {} ({})", manifest.detector.kind, settings.join(", ")));
    for sentence in &manifest.detector.why {
        print(&format!("why         {sentence}"));
    }
    print(&format!(
        "threshold   {} false alarms at most, from {} rows that were not fitted; raw score {:.4}",
        percent(manifest.threshold.false_alarm_rate),
        manifest.threshold.calibration_rows,
        manifest.threshold.raw_score
    ));
    let stream = &manifest.stream;
    print(&format!(
        "stream      {} events of warm-up, lateness {} s, skew at most {} s, {} entities of {} bytes",
        stream.warm_up_events,
        stream.lateness_s,
        stream.skew_max_s,
        stream.entities_max,
        manifest.state_bytes
    ));
    for (name, figure) in &manifest.metrics {
        print(&format!("metric      {name} {figure}"));
    }
    let lineage = &manifest.lineage;
    print(&format!(
        "lineage     data {} ({} rows), configuration {}, seed {}, runtime {}",
        short(&lineage.data_digest),
        lineage.rows,
        short(&lineage.config_digest),
        lineage.seed,
        short(&lineage.runtime_digest)
    ));
    for note in &manifest.notes {
        print(&format!("note        {note}"));
    }
}

/// A setting without the quotes of JSON.
fn shown((name, value): (&String, &serde_json::Value)) -> String {
    match value.as_str() {
        Some(text) => format!("{name}: {text}"),
        None => format!("{name}: {value}"),
    }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
