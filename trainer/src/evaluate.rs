//! `trainer evaluate`: scores against labels.

use crate::data::{DataFile, Trust, load_module};
use crate::output::print;
use crate::score::score_rows;
use crate::train::percent;
use crate::usage::Usage;
use anyhow::Result;
use std::path::PathBuf;
use twinge_contract::abi::Outcome;
use twinge_engine::Module;
use twinge_fit::evaluate::{auc_roc, average_precision};

/// Tell how well a module's scores agree with labels.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The module.
    #[arg(long)]
    module: PathBuf,
    /// CSV or NDJSON with the label column that the module's schema names.
    #[arg(long)]
    data: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    trust: Trust,
}

/// What a module said of labelled rows, as far as it judged them.
#[derive(Default)]
struct Judged {
    scores: Vec<f64>,
    labels: Vec<bool>,
    alarms: Vec<bool>,
    /// Rows that were warming up or invalid.
    left_out: u64,
}

/// `trainer evaluate`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let module = load_module(&arguments.module, &arguments.trust)?;
    let judged = judge(&module, &DataFile::open(&arguments.data)?)?;
    let (hits, misses) = (judged.count(true, true), judged.count(false, true));
    let (false_alarms, quiet) = (judged.count(true, false), judged.count(false, false));
    let share =
        |part: usize, rest: usize| (part + rest > 0).then(|| part as f64 / (part + rest) as f64);
    let figures = [
        ("auc_roc", auc_roc(&judged.scores, &judged.labels)),
        ("average_precision", average_precision(&judged.scores, &judged.labels)),
        ("recall", share(hits, misses)),
        ("precision", share(hits, false_alarms)),
        ("false_alarm_rate", share(false_alarms, quiet)),
    ];
    let (rows, not_judged) = (judged.scores.len(), judged.left_out);
    if arguments.json {
        let mut object = serde_json::json!({
            "rows": rows, "not_judged": not_judged, "anomalies": hits + misses, "found": hits, "false_alarms": false_alarms,
        });
        for (name, figure) in figures {
            object[name] = serde_json::json!(figure);
        }
        print(&object.to_string());
        return Ok(());
    }
    print(&format!("rows               {rows} judged, {not_judged} warming up or invalid"));
    print(&format!("labelled anomalies {}, of which {hits} found", hits + misses));
    print(&format!("false alarms       {false_alarms}"));
    for (name, figure) in figures {
        let text = match figure {
            None => "none: the data has rows of one kind only".to_owned(),
            Some(figure) if name.starts_with('a') => format!("{figure:.4}"),
            Some(figure) => percent(figure),
        };
        print(&format!("{name:<18} {text}"));
    }
    Ok(())
}

fn judge(module: &Module, file: &DataFile) -> Result<Judged> {
    let (mut judged, mut has_labels) = (Judged::default(), false);
    score_rows(module, file, |scored| {
        has_labels |= scored.label.is_some();
        if matches!(scored.outcome, Outcome::Normal | Outcome::Anomalous) {
            judged.scores.push(scored.score);
            judged.labels.push(scored.label.unwrap_or(false));
            judged.alarms.push(scored.outcome == Outcome::Anomalous);
        } else {
            judged.left_out += 1;
        }
        Ok(())
    })?;
    if !has_labels {
        let reason = "has no labels: name the label column under [schema] when training, and have it in the data";
        return Err(Usage(format!("{} {reason}", file.name())).into());
    }
    Ok(judged)
}

impl Judged {
    fn count(&self, alarm: bool, label: bool) -> usize {
        self.alarms.iter().zip(&self.labels).filter(|pair| *pair == (&alarm, &label)).count()
    }
}
