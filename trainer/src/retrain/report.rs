//! The report of a retraining: what was trained, on what, how it was judged.

use super::compare::Outcome;
use crate::table::Table as Lines;
use crate::words::count;
use anyhow::{Context, Result};
use std::path::Path;
use twinge_contract::time::to_rfc3339;
use twinge_experiments::File;
use twinge_experiments::judge::{Passage, Side, all_passed, percent};
use twinge_experiments::plot::{
    Bar, Curve, Series, bars, precision_recall, recall_and_precision, score_histogram,
};
use twinge_experiments::report::{Plot, Report, Table};
use twinge_trust::Digest;

/// Points of a curve that are drawn.
const POINTS_MAX: usize = 400;
/// Where the usual rules of thumb call a distribution moved, and much moved.
const PSI_MARKS: [f64; 2] = [0.1, 0.25];

/// Writes the report into a folder, and answers with its files for the tracker.
pub(crate) fn write(folder: &Path, outcome: &Outcome) -> Result<Vec<File>> {
    let report = report(outcome);
    let mut files = vec![
        File { path: "report.html".into(), bytes: report.html().into_bytes() },
        File { path: "report.md".into(), bytes: report.markdown().into_bytes() },
    ];
    for plot in &report.plots {
        let bytes = plot.svg.as_str().as_bytes().to_vec();
        files.push(File { path: format!("plots/{}", plot.file), bytes });
    }
    for file in &files {
        let path = folder.join(&file.path);
        crate::keys::replace(&path, &file.bytes)
            .with_context(|| format!("the report cannot be written to {}", folder.display()))?;
    }
    Ok(files)
}

/// The gates, for a terminal.
pub(crate) fn lines(outcome: &Outcome) -> Vec<String> {
    let mut table = Lines::new(&["gate", "result", "found", "needed"]);
    for gate in &outcome.gates {
        let result = match gate.passage {
            Passage::Passed => "passed",
            Passage::Failed => "FAILED",
            Passage::NotJudged => "not judged",
        };
        table.row(vec![gate.name.into(), result.into(), gate.found.clone(), gate.needed.clone()]);
    }
    table.lines(0)
}

fn report(outcome: &Outcome) -> Report {
    let manifest = &outcome.trained.manifest;
    let is_good = all_passed(&outcome.gates);
    let verdict = if is_good {
        "All gates passed: the challenger may run in shadow.".to_owned()
    } else {
        format!("Not published: these gates failed: {}.", outcome.failed())
    };
    Report {
        title: format!("Retraining of {}", manifest.name),
        outcome: verdict,
        is_good,
        facts: facts(outcome),
        gates: outcome.gates.clone(),
        tables: vec![sides(outcome)],
        plots: plots(outcome),
        notes: manifest.notes.iter().chain(&outcome.notes).cloned().fold(
            Vec::new(),
            |mut notes, note| {
                if !notes.contains(&note) {
                    notes.push(note);
                }
                notes
            },
        ),
    }
}

fn facts(outcome: &Outcome) -> Vec<(String, String)> {
    let manifest = &outcome.trained.manifest;
    let comparison = &outcome.comparison;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".into());
    let period =
        outcome.period_ms.map(|(from, to)| format!("{} to {}", to_rfc3339(from), to_rfc3339(to)));
    let facts = [
        ("reason", outcome.reason.to_owned()),
        ("began", to_rfc3339(outcome.began_ms)),
        ("challenger", Digest::of(&outcome.trained.module).to_string()),
        ("champion", or_none(outcome.champion.map(|digest| digest.to_string()))),
        ("version", manifest.version.clone()),
        ("detector", manifest.detector.kind.clone()),
        ("rows", count(outcome.rows)),
        ("of which learned from", count(outcome.trained_rows)),
        ("of which judged", count(comparison.rows)),
        ("of these labelled", count(comparison.labelled)),
        ("of these anomalies", count(comparison.anomalies)),
        ("period", or_none(period)),
        ("judged from", or_none(outcome.judged_from_ms.map(to_rfc3339))),
        ("false-alarm rate", percent(manifest.threshold.false_alarm_rate)),
        ("data", manifest.lineage.data_digest.clone()),
        ("configuration", manifest.lineage.config_digest.clone()),
        ("seed", manifest.lineage.seed.to_string()),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A name, and how the figure is told.
type Figure = (&'static str, fn(&Side) -> String);

fn sides(outcome: &Outcome) -> Table {
    let comparison = &outcome.comparison;
    let share = |share: Option<f64>| share.map_or("none".into(), percent);
    let figures: [Figure; 7] = [
        ("alarms", |side| count(side.alarms)),
        ("labelled anomalies found", |side| count(side.hits)),
        ("labelled false alarms", |side| count(side.false_alarms)),
        ("verdict rate", |side| percent(side.verdict_rate)),
        ("recall", |side| side.recall.map_or("none".into(), percent)),
        ("precision", |side| side.precision.map_or("none".into(), percent)),
        ("size and speed", |side| format!("{} bytes, {:.2} us a row", side.bytes, side.row_us)),
    ];
    let mut rows: Vec<Vec<String>> = figures
        .iter()
        .map(|(name, figure)| {
            let champion = comparison.champion.as_ref().map_or("none".into(), figure);
            vec![(*name).to_owned(), champion, figure(&comparison.challenger)]
        })
        .collect();
    rows.push(vec!["agreement".into(), String::new(), share(comparison.agreement)]);
    rows.push(vec!["alarms of both among alarms".into(), String::new(), share(comparison.overlap)]);
    Table {
        title: "Both on the same rows".into(),
        header: ["figure", "champion", "challenger"].map(Into::into).into(),
        rows,
    }
}

fn plots(outcome: &Outcome) -> Vec<Plot> {
    let mut series = vec![Series { name: "challenger", values: &outcome.challenger_scores }];
    if !outcome.champion_scores.is_empty() {
        series.push(Series { name: "champion", values: &outcome.champion_scores });
    }
    let mut plots = vec![Plot {
        file: "scores.svg".into(),
        caption: "How often each score occurs among the judged rows; 1 and more is an alarm."
            .into(),
        svg: score_histogram("Scores of the judged rows", &series, 1.0),
    }];
    if !outcome.psi.is_empty() {
        let all: Vec<Bar<'_>> =
            outcome.psi.iter().map(|(name, psi)| Bar { name, value: psi.max(0.0) }).collect();
        plots.push(Plot {
            file: "psi.svg".into(),
            caption: "How far each input lies from what the challenger learned from; from 0.1 it \
                      has moved, from 0.25 much."
                .into(),
            svg: bars("Inputs of the judged rows against training", "PSI", &all, &PSI_MARKS),
        });
    }
    let labelled = &outcome.labelled;
    let of = |scores: &[f64]| recall_and_precision(scores, &labelled.labels, POINTS_MAX);
    let (challenger, champion) = (of(&labelled.challenger), of(&labelled.champion));
    if !challenger.is_empty() {
        let mut curves = vec![Curve { name: "challenger", points: &challenger }];
        if !labelled.champion.is_empty() {
            curves.push(Curve { name: "champion", points: &champion });
        }
        plots.push(Plot {
            file: "precision-recall.svg".into(),
            caption: "Precision over recall on the labelled rows that were judged.".into(),
            svg: precision_recall("Precision and recall", &curves),
        });
    }
    plots
}
