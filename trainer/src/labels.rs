//! What people say of verdicts: a file of labels, and which rows they are about.

use crate::data::Usage;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use twinge_contract::time::TimeFormat;
use twinge_contract::verdict::Verdict;
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

/// A line of a file of labels. More than these members is an error: a typing mistake in one would
/// be a label that nobody sees.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    verdict_id: Option<String>,
    entity: Option<String>,
    time: Option<serde_json::Value>,
    label: Label,
}

/// Entity and time in milliseconds.
type Event = (String, i64);

/// Labels by event.
#[derive(Debug, Default)]
pub(crate) struct Labels(BTreeMap<Event, Label>);

/// What labels say of rows.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Of each row.
    pub(crate) rows: Vec<Option<Label>>,
    /// Labels that are about no row.
    pub(crate) strays: usize,
}

impl Labels {
    /// Reads a file of labels; `verdicts` are files of verdicts in which ids are looked up. Of
    /// several labels of one event the last counts.
    pub(crate) fn read(path: &Path, verdicts: &[PathBuf]) -> Result<Self> {
        let mut by_event = BTreeMap::new();
        // In the order of the file, so that the last counts however it names its event.
        let mut lines = Vec::new();
        read_lines(path, |number, line| {
            let line: Line = serde_json::from_slice(line)
                .map_err(|error| unusable(path, number, &error.to_string()))?;
            if lines.len() == LABELS_MAX {
                return Err(unusable(path, number, "there are more than a million labels").into());
            }
            lines.push((number, line));
            Ok(())
        })?;
        let wanted = lines.iter().filter_map(|(_, line)| line.verdict_id.clone());
        let events = look_up(wanted.map(|id| (id, None)).collect(), verdicts)?;
        for (number, line) in lines {
            let event = line.event(&events).map_err(|reason| unusable(path, number, &reason))?;
            by_event.insert(event, line.label);
        }
        Ok(Self(by_event))
    }

    /// What they say of each of the rows.
    pub(crate) fn of(&self, rows: &[Row]) -> Applied {
        let mut used = std::collections::BTreeSet::new();
        let labels = rows.iter().map(|row| {
            let event = (row.entity.clone(), row.time_ms.unwrap_or_default());
            let label = self.0.get(&event).copied();
            if label.is_some() {
                used.insert(event);
            }
            label
        });
        let rows = labels.collect();
        Applied { rows, strays: self.0.len() - used.len() }
    }
}

impl Line {
    fn event(&self, events: &BTreeMap<String, Option<Event>>) -> Result<Event, String> {
        match (&self.verdict_id, &self.entity, &self.time) {
            (Some(id), None, None) => {
                let found = events.get(id).cloned().flatten();
                found.ok_or_else(|| {
                    format!("no verdict `{id}` with a time: name its file with --verdicts")
                })
            }
            (None, Some(entity), Some(time)) => {
                let read = match time {
                    serde_json::Value::String(text) => TimeFormat::Rfc3339.read_text(text),
                    serde_json::Value::Number(ms) => {
                        ms.as_f64().and_then(|ms| TimeFormat::EpochMs.read_number(ms))
                    }
                    _ => None,
                };
                let unreadable = "`time` is neither RFC 3339 nor milliseconds since 1970";
                Ok((entity.clone(), read.ok_or(unreadable)?))
            }
            _ => Err("give either `verdict_id`, or `entity` and `time`".to_owned()),
        }
    }
}

/// The events of verdicts, where they are found.
fn look_up(
    mut wanted: BTreeMap<String, Option<Event>>,
    verdicts: &[PathBuf],
) -> Result<BTreeMap<String, Option<Event>>> {
    for path in verdicts {
        read_lines(path, |number, line| {
            let verdict: Verdict = serde_json::from_slice(line)
                .map_err(|error| unusable(path, number, &format!("no verdict: {error}")))?;
            let time_ms =
                verdict.time.as_deref().and_then(|time| TimeFormat::Rfc3339.read_text(time));
            if let (Some(slot), Some(time_ms)) = (wanted.get_mut(&verdict.id), time_ms) {
                *slot = Some((verdict.subject, time_ms));
            }
            Ok(())
        })?;
    }
    Ok(wanted)
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
            return Err(unusable(path, number, "it is longer than a mebibyte").into());
        }
        if !line.trim_ascii().is_empty() {
            take(number, &line)?;
        }
    }
    Ok(())
}

fn unusable(path: &Path, number: usize, reason: &str) -> Usage {
    Usage(format!("{} line {number} is not usable: {reason}", path.display()))
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
        Labels::read(&path, &[])
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
