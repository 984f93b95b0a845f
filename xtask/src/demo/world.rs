//! Events of a world that changes, and what only its maker knows: which of them are anomalies.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::ops::Range;

/// An event as a device sends it, and the truth about it.
#[derive(Debug)]
pub(super) struct Event {
    /// The event, a line of JSON without a label.
    pub(super) line: String,
    /// Whose it is.
    pub(super) entity: String,
    pub(super) time: String,
    pub(super) is_anomaly: bool,
}

/// What a device said of an event.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// The id of its verdict.
    pub(super) id: String,
    pub(super) is_alarm: bool,
    /// Whether the verdict counts; while an entity is new, none is given.
    pub(super) counts: bool,
    pub(super) module: String,
}

/// A stream and its verdicts, event by event.
#[derive(Debug)]
pub(super) struct World {
    pub(super) events: Vec<Event>,
    pub(super) judged: Vec<Option<Judged>>,
}

/// False alarms and finds in a part of the stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) normal: usize,
    pub(super) false_alarms: usize,
    pub(super) anomalies: usize,
    pub(super) found: usize,
}

impl World {
    /// Reads labelled lines as the generator writes them.
    pub(super) fn read(lines: &str, entity: &str) -> Result<Self> {
        let events: Vec<Event> =
            lines.lines().map(|line| Event::read(line, entity)).collect::<Result<_>>()?;
        ensure!(!events.is_empty(), "the world has no event");
        Ok(Self { judged: vec![None; events.len()], events })
    }

    /// What came of a part of the stream.
    pub(super) fn tally(&self, part: Range<usize>) -> Tally {
        let mut tally = Tally::default();
        for (event, judged) in self.events[part.clone()].iter().zip(&self.judged[part]) {
            let Some(judged) = judged.as_ref().filter(|judged| judged.counts) else { continue };
            let (all, alarms) = if event.is_anomaly {
                (&mut tally.anomalies, &mut tally.found)
            } else {
                (&mut tally.normal, &mut tally.false_alarms)
            };
            *all += 1;
            *alarms += usize::from(judged.is_alarm);
        }
        tally
    }
}

impl Event {
    fn read(line: &str, entity: &str) -> Result<Self> {
        let told: Value = serde_json::from_str(line)?;
        let text = |name: &str| {
            let found = told[name].as_str().map(str::to_owned);
            found.with_context(|| format!("an event has no {name}: {line}"))
        };
        let (bare, _) = line.split_once(",\"label\":").context("an event has no label")?;
        Ok(Self {
            line: format!("{bare}}}"),
            entity: text(entity)?,
            time: text("time")?,
            is_anomaly: told["label"] == 1,
        })
    }
}

impl Tally {
    /// False alarms among normal events.
    pub(super) fn rate(&self) -> f64 {
        self.false_alarms as f64 / self.normal.max(1) as f64
    }

    /// Anomalies found among those there were.
    pub(super) fn recall(&self) -> f64 {
        self.found as f64 / self.anomalies.max(1) as f64
    }
}
