//! `trainer experiments`: what was trained, and how it went.

use crate::output::print;
use crate::place::{Missing, block_on, open};
use crate::table::{Table, one_line};
use crate::tracking;
use crate::usage::Usage;
use anyhow::Result;
use clap::Subcommand;
use std::collections::BTreeSet;
use std::path::PathBuf;
use twinge_contract::time::to_rfc3339;
use twinge_experiments::{Model, Run, RunId, Tracker};
use twinge_registry::Name;

/// List, show and compare what was trained: at `MLFLOW_TRACKING_URI` if that is set, else in the
/// registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The newest runs of a detector, and which versions its aliases point at.
    List {
        /// Most runs to list.
        #[arg(long, default_value_t = 20)]
        most: usize,
        #[command(flatten)]
        whose: Whose,
    },
    /// All of a run.
    Show {
        /// The run.
        run: RunId,
        /// A folder to write its files to.
        #[arg(long)]
        files: Option<PathBuf>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Two runs or more, side by side: what differs.
    Compare {
        /// The runs.
        #[arg(required = true, num_args = 2..=8)]
        runs: Vec<RunId>,
        #[command(flatten)]
        whose: Whose,
    },
}

#[derive(Debug, clap::Args)]
struct Whose {
    /// The detector.
    #[arg(long)]
    detector: Name,
    /// The registry.
    #[arg(long, env = "TWINGE_REGISTRY")]
    registry: Option<String>,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

/// `trainer experiments`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    block_on(async {
        match &arguments.verb {
            Verb::List { most, whose } => list(whose, *most).await,
            Verb::Show { run, files, whose } => show(whose, run, files.as_ref()).await,
            Verb::Compare { runs, whose } => compare(whose, runs).await,
        }
    })
}

impl Whose {
    async fn tracker(&self) -> Result<Box<dyn Tracker>> {
        let registry = match &self.registry {
            Some(location) if !tracking::is_mlflow_set() => {
                Some(open(location, Missing::Refuse).await?)
            }
            _ => None,
        };
        tracking::tracker(registry.as_ref().zip(self.registry.as_deref()))
    }

    async fn find(&self, tracker: &dyn Tracker, id: &RunId) -> Result<Run> {
        let missing = || {
            let place = tracker.place();
            Usage(format!("{place} has no run {id} of {}: list them", self.detector))
        };
        Ok(tracker.run(&self.detector, id).await?.ok_or_else(missing)?)
    }
}

async fn list(whose: &Whose, most: usize) -> Result<()> {
    let tracker = whose.tracker().await?;
    let runs = tracker.runs(&whose.detector, most).await?;
    let model = tracker.model(&whose.detector).await?.unwrap_or_default();
    if whose.json {
        let value = serde_json::json!({ "runs": runs, "model": model });
        print(&serde_json::to_string_pretty(&value)?);
        return Ok(());
    }
    let mut table = Table::new(&["run", "reason", "outcome", "version", "aliases", "name"]);
    for run in &runs {
        let tag = |name: &str| run.tags.get(name).cloned().unwrap_or_default();
        let (number, aliases) = version_of(&model, run);
        let id = run.id.to_string();
        let outcome = match tag("outcome") {
            outcome if outcome.is_empty() => run.status.as_str().to_owned(),
            outcome => outcome,
        };
        table.row(vec![id, tag("reason"), outcome, number, aliases, run.name.clone()]);
    }
    if table.is_empty() {
        print(&format!("{} has no runs of {}", tracker.place(), whose.detector));
    } else {
        table.lines(0).iter().for_each(|line| print(line));
    }
    for (alias, number) in &model.aliases {
        let version = model.versions.iter().find(|version| version.number == *number);
        let digest = version.map(|version| version.module_digest.as_str()).unwrap_or_default();
        print(&format!("{alias}  version {number}  {}", one_line(digest)));
    }
    Ok(())
}

fn version_of(model: &Model, run: &Run) -> (String, String) {
    let digest = run.lineage.module_digest.as_deref();
    match digest.and_then(|digest| model.version_of(digest)) {
        Some(version) => (version.number.to_string(), model.aliases_of(version.number).join(", ")),
        None => (String::new(), String::new()),
    }
}

async fn show(whose: &Whose, id: &RunId, files: Option<&PathBuf>) -> Result<()> {
    let tracker = whose.tracker().await?;
    let run = whose.find(tracker.as_ref(), id).await?;
    if let Some(folder) = files {
        write_files(tracker.as_ref(), &run, folder).await?;
    }
    if whose.json {
        print(&serde_json::to_string_pretty(&run)?);
        return Ok(());
    }
    print(&format!("{}  {}", run.id, one_line(&run.name)));
    print(&format!(
        "{} to {}, {}",
        to_rfc3339(run.started_ms),
        to_rfc3339(run.ended_ms),
        run.status.as_str()
    ));
    let mut table = Table::new(&["what", "name", "value"]);
    for (what, name, value) in facts(&run) {
        table.row(vec![what.into(), name, value]);
    }
    for artifact in &run.artifacts {
        table.row(vec!["file".into(), artifact.path.clone(), format!("{} bytes", artifact.bytes)]);
    }
    table.lines(0).iter().for_each(|line| print(line));
    Ok(())
}

async fn write_files(tracker: &dyn Tracker, run: &Run, folder: &std::path::Path) -> Result<()> {
    for artifact in &run.artifacts {
        // The path comes from a server; only one that we would have written ourselves is used.
        let bytes = tracker.file(&run.detector, &run.id, &artifact.path).await?;
        let missing = || Usage(format!("file {} of run {} is gone", artifact.path, run.id));
        crate::keys::replace(&folder.join(&artifact.path), &bytes.ok_or_else(missing)?)?;
    }
    Ok(())
}

/// Everything that can differ between runs, as texts.
fn facts(run: &Run) -> Vec<(&'static str, String, String)> {
    let lineage = &run.lineage;
    let mut facts = vec![
        ("lineage", "data".to_owned(), lineage.data_digest.clone()),
        ("lineage", "rows".to_owned(), lineage.rows.to_string()),
        ("lineage", "configuration".to_owned(), lineage.config_digest.clone()),
        ("lineage", "seed".to_owned(), lineage.seed.to_string()),
        ("lineage", "runtime".to_owned(), lineage.runtime_digest.clone()),
    ];
    let digests = [("module", &lineage.module_digest), ("champion", &lineage.champion_digest)];
    for (name, digest) in digests {
        facts.extend(digest.clone().map(|digest| ("lineage", name.to_owned(), digest)));
    }
    let texts = |what, texts: &std::collections::BTreeMap<String, String>| {
        texts
            .iter()
            .map(move |(name, value)| (what, name.clone(), value.clone()))
            .collect::<Vec<_>>()
    };
    facts.extend(texts("tag", &run.tags));
    facts.extend(texts("parameter", &run.parameters));
    for metric in &run.metrics {
        let name = match metric.step {
            0 => metric.name.clone(),
            step => format!("{} at {step}", metric.name),
        };
        facts.push(("metric", name, format!("{:.6}", metric.value)));
    }
    facts
}

async fn compare(whose: &Whose, ids: &[RunId]) -> Result<()> {
    let tracker = whose.tracker().await?;
    let mut runs = Vec::new();
    for id in ids {
        runs.push(whose.find(tracker.as_ref(), id).await?);
    }
    let all: Vec<Vec<_>> = runs.iter().map(facts).collect();
    let mut names = BTreeSet::new();
    for (what, name, _) in all.iter().flatten() {
        names.insert((*what, name.clone()));
    }
    let value = |run: usize, key: &(&str, String)| {
        let found = all[run].iter().find(|(what, name, _)| (*what, name) == (key.0, &key.1));
        found.map(|(_, _, value)| value.clone()).unwrap_or_default()
    };
    let header: Vec<&str> =
        ["what", "name"].into_iter().chain(runs.iter().map(|run| run.id.as_str())).collect();
    let (mut table, mut differences) = (Table::new(&header), Vec::new());
    for key in &names {
        let values: Vec<String> = (0..runs.len()).map(|run| value(run, key)).collect();
        if values.iter().all(|value| *value == values[0]) {
            continue;
        }
        differences.push(serde_json::json!({ "what": key.0, "name": key.1, "values": values }));
        table.row([vec![key.0.to_owned(), key.1.clone()], values].concat());
    }
    if whose.json {
        let value = serde_json::json!({ "runs": ids, "differences": differences });
        print(&serde_json::to_string_pretty(&value)?);
    } else if table.is_empty() {
        print("they do not differ");
    } else {
        table.lines(0).iter().for_each(|line| print(line));
    }
    Ok(())
}
