//! What people say of verdicts: a file of labels, and which rows they are about.

use crate::usage::Usage;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use twinge_contract::time::TimeFormat;
use twinge_fit::read::Row;

/// Longest line of labels or verdicts, in bytes: that of the largest event.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Most labels that are read.
const LABELS_MAX: usize = 1_000_000;

/// What somebody says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Label {
    /// It is an anomaly.
    Anomaly,
    /// It raised an alarm and is none.
    FalseAlarm,
    /// It is none.
    Normal,
}

/// A line of a file of labels, written by hand or by a host. More than these members is an error: a
/// typing mistake in one would be a label that nobody sees.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    verdict_id: Option<String>,
    entity: Option<String>,
    time: Option<serde_json::Value>,
    label: Label,
    detector: Option<String>,
    /// When a host took it: with several journals, the later word counts.
    received: Option<String>,
    #[expect(dead_code, reason = "a host writes it, and what was said counts, not who said it")]
    by: Option<String>,
    #[expect(dead_code, reason = "for people")]
    note: Option<String>,
}

/// Labels as they stand in a file or a lake, their events not yet known.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Where each stands, and what it says.
    lines: Vec<(String, Line)>,
}

/// Entity and time in milliseconds.
pub(crate) type Event = (String, i64);

/// The events of verdicts, by their ids.
pub(crate) type Events = BTreeMap<String, Event>;

/// Labels by event.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    by_event: BTreeMap<Event, Label>,
    /// Labels of verdicts that nobody knows.
    unknown: usize,
}

/// What labels say of rows.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Of each row.
    pub(crate) rows: Vec<Option<Label>>,
    /// Labels that are about no row.
    pub(crate) strays: usize,
}

impl Said {
    /// Reads a file of labels.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut said = Self::default();
        read_lines(path, |number, line| {
            said.push(format!("{} line {number}", path.display()), line)
        })?;
        Ok(said)
    }

    /// Labels of a lake, in the order in which its hosts took them.
    pub(crate) fn of_lake(place: &str, lines: &[u8]) -> Result<Self> {
        let mut said = Self::default();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            said.push(format!("a label of the lake {place}"), line)?;
        }
        said.lines.sort_by(|a, b| a.1.received.cmp(&b.1.received));
        Ok(said)
    }

    fn push(&mut self, place: String, line: &[u8]) -> Result<()> {
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| Usage(format!("{place} is not usable: {error}")))?;
        // What it is about is looked up later; whether it is about anything is known now.
        line.event(&Events::new())
            .map_err(|reason| Usage(format!("{place} is not usable: {reason}")))?;
        if self.lines.len() == LABELS_MAX {
            return Err(Usage(format!("{place} is one of more than a million labels")).into());
        }
        self.lines.push((place, line));
        Ok(())
    }

    /// These, and then the others: of several labels of one event the last counts.
    pub(crate) fn then(mut self, others: Self) -> Self {
        self.lines.extend(others.lines);
        self
    }

    /// The ids of verdicts whose events are to be looked up.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.lines.iter().filter_map(|(_, line)| line.verdict_id.clone()).collect()
    }

    /// The labels that are about events of a detector. Where `every_id` must be known, one that is
    /// not is an error; else it is about an event that is not among the data.
    pub(crate) fn resolve(
        self,
        detector: &str,
        events: &Events,
        every_id: bool,
    ) -> Result<Labels, Usage> {
        let mut labels = Labels::default();
        for (place, line) in self.lines {
            if line.detector.as_ref().is_some_and(|other| other != detector) {
                continue;
            }
            let event = line.event(events);
            match event.map_err(|reason| Usage(format!("{place} is not usable: {reason}")))? {
                Some(event) => drop(labels.by_event.insert(event, line.label)),
                None if every_id => {
                    let id = line.verdict_id.unwrap_or_default();
                    let reason = "with a time: name its file with --verdicts";
                    return Err(Usage(format!(
                        "{place} is not usable: no verdict `{id}` {reason}"
                    )));
                }
                None => labels.unknown += 1,
            }
        }
        Ok(labels)
    }
}

impl Labels {
    /// What they say of each of the rows.
    pub(crate) fn of(&self, rows: &[Row]) -> Applied {
        let mut used = BTreeSet::new();
        let labels = rows.iter().map(|row| {
            let event = (row.entity.clone(), row.time_ms.unwrap_or_default());
            let label = self.by_event.get(&event).copied();
            if label.is_some() {
                used.insert(event);
            }
            label
        });
        let rows = labels.collect();
        Applied { rows, strays: self.by_event.len() - used.len() + self.unknown }
    }
}

impl Line {
    /// The event that it is about, or nothing where its verdict is not known.
    fn event(&self, events: &Events) -> Result<Option<Event>, &'static str> {
        if let Some(event) = self.verdict_id.as_ref().and_then(|id| events.get(id)) {
            return Ok(Some(event.clone()));
        }
        match (&self.verdict_id, &self.entity, &self.time) {
            (_, Some(entity), Some(time)) => {
                let read = match time {
                    serde_json::Value::String(text) => TimeFormat::Rfc3339.read_text(text),
                    serde_json::Value::Number(ms) => {
                        ms.as_f64().and_then(|ms| TimeFormat::EpochMs.read_number(ms))
                    }
                    _ => None,
                };
                let unreadable = "`time` is neither RFC 3339 nor milliseconds since 1970";
                Ok(Some((entity.clone(), read.ok_or(unreadable)?)))
            }
            (Some(_), ..) => Ok(None),
            _ => Err("give either `verdict_id`, or `entity` and `time`"),
        }
    }
}

/// Looks verdicts up in files of them.
pub(crate) fn look_up(ids: &BTreeSet<String>, verdicts: &[PathBuf]) -> Result<Events> {
    let mut events = Events::new();
    for path in verdicts {
        read_lines(path, |number, line| {
            // Whatever else is told among them has no id that a label names.
            let verdict: serde_json::Value = serde_json::from_slice(line).map_err(|error| {
                Usage(format!("{} line {number} is no verdict: {error}", path.display()))
            })?;
            let text = |name: &str| verdict[name].as_str();
            let time_ms = text("time").and_then(|time| TimeFormat::Rfc3339.read_text(time));
            if let (Some(id), Some(entity), Some(time_ms)) = (text("id"), text("subject"), time_ms)
                && ids.contains(id)
            {
                events.insert(id.to_owned(), (entity.to_owned(), time_ms));
            }
            Ok(())
        })?;
    }
    Ok(events)
}

fn read_lines(path: &Path, mut take: impl FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
    let cannot = || format!("cannot read {}", path.display());
    let mut reader = BufReader::new(File::open(path).with_context(cannot)?);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
        if read.with_context(cannot)? == 0 {
            break;
        }
        if line.len() as u64 > LINE_BYTES_MAX {
            let reason = "is longer than a mebibyte";
            return Err(Usage(format!("{} line {number} {reason}", path.display())).into());
        }
        if !line.trim_ascii().is_empty() {
            take(number, &line)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(entity: &str, time_ms: i64) -> Row {
        Row { entity: entity.into(), time_ms: Some(time_ms), ..Row::default() }
    }

    fn read(text: &str) -> Result<Labels> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.ndjson");
        std::fs::write(&path, text).unwrap();
        Ok(Said::read(&path)?.resolve("d", &Events::new(), true)?)
    }

    #[test]
    fn the_last_label_of_an_event_counts_and_strays_are_told() {
        let text = r#"{"entity":"a","time":1000,"label":"anomaly"}

{"entity":"a","time":"1970-01-01T00:00:01Z","label":"false-alarm"}
{"entity":"b","time":1000,"label":"normal"}
"#;
        let rows = [row("a", 1000), row("a", 2000), row("a", 1000)];
        let applied = read(text).unwrap().of(&rows);
        let expected = Some(Label::FalseAlarm);
        assert_eq!(applied.rows, [expected, None, expected]);
        assert_eq!(applied.strays, 1);
    }

    #[test]
    fn labels_of_a_lake_come_in_the_order_in_which_they_were_taken() {
        let lines = br#"{"received":"2026-02-02T00:00:00.000Z","verdict_id":"v","label":"normal","by":"ann"}
{"received":"2026-01-01T00:00:00.000Z","verdict_id":"v","label":"anomaly","by":"bob","note":"hm"}
{"received":"2026-01-01T00:00:00.000Z","verdict_id":"gone","label":"anomaly","by":"bob"}
{"received":"2026-01-01T00:00:00.000Z","verdict_id":"w","detector":"other","label":"anomaly","by":"bob"}
"#;
        let said = Said::of_lake("lake", lines).unwrap();
        assert_eq!(said.ids().len(), 3);
        let events = ["v", "w"].map(|id| (id.to_owned(), (id.to_owned(), 1000)));
        let labels = said.resolve("d", &events.into(), false).unwrap();
        let applied = labels.of(&[row("v", 1000), row("w", 1000)]);
        assert_eq!(applied.rows, [Some(Label::Normal), None]);
        assert_eq!(applied.strays, 1);
    }

    #[test]
    fn a_line_that_says_nothing_usable_is_told() {
        let cases = [
            (r#"{"entity":"a","time":1,"label":"wrong"}"#, "line 1"),
            (r#"{"entity":"a","label":"normal"}"#, "either"),
            (r#"{"entity":"a","time":[],"label":"normal"}"#, "neither"),
            (r#"{"entity":"a","time":1,"label":"normal","lable":1}"#, "lable"),
            (r#"{"verdict_id":"x","label":"normal"}"#, "--verdicts"),
            ("\n{", "line 2"),
        ];
        for (text, told) in cases {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
