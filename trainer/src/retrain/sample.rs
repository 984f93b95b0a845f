//! Which rows are learned from, which are judged on, and what is known of each.

use super::spoken::Spoken;
use super::work::{Arguments, Work};
use crate::data::DataFile;
use crate::dataset::Recent;
use crate::labels::{self, Label, Labels, Said};
use crate::usage::Usage;
use crate::words::many;
use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use twinge_contract::schema::Schema;
use twinge_contract::verdict::Severity;
use twinge_fit::read::Row;
use twinge_fit::table::Filling;
use twinge_fit::{Config, Table};

/// Recent events, in the order of their time.
pub(crate) struct Events {
    pub(crate) rows: Vec<Row>,
    /// SHA-256 over the digests of the files, in the order in which they were given.
    pub(crate) digest: String,
    /// What people said of them.
    pub(crate) labels: Labels,
}

/// Where recent events lie, and what was said of them besides.
pub(crate) struct Sources {
    data: Data,
    said: Said,
    /// Events of verdicts that labels name.
    known: labels::Events,
}

enum Data {
    Files(Vec<PathBuf>),
    Lake(Recent),
}

impl Sources {
    pub(crate) fn of(arguments: &Arguments, said: Said, known: labels::Events) -> Result<Self> {
        let (from, rows_max) = (arguments.from.as_deref(), arguments.rows_max);
        let data = match &arguments.lake {
            None => Data::Files(arguments.data.clone()),
            Some(lake) => Data::Lake(Recent::new(lake.clone(), from, rows_max)?),
        };
        Ok(Self { data, said, known })
    }
}

/// Reads the events of all sources as one stream: the only place that knows where data comes from.
pub(crate) fn read(sources: Sources, config: &Config, seed: u64) -> Result<Events> {
    let schema = &config.schema;
    let Sources { data, said, known } = sources;
    let (files, labels): (Vec<DataFile>, Labels) = match data {
        Data::Files(paths) => {
            let files = paths.iter().map(|path| DataFile::open(path)).collect::<Result<_>>()?;
            (files, said.resolve(&config.name, &known, true)?)
        }
        Data::Lake(recent) => {
            let (file, labels) = recent.sample(&config.name, schema, seed, said, known)?;
            (vec![file], labels)
        }
    };
    let (mut rows, mut digests) = (Vec::new(), Sha256::new());
    for file in files {
        let mut reader = file.rows(schema)?;
        while let Some(row) = reader.next_row().with_context(|| file.name())? {
            rows.push(row.clone());
        }
        digests.update(reader.digest());
    }
    if rows.iter().any(|row| row.anomalous.is_some()) {
        for row in &mut rows {
            row.anomalous.get_or_insert(false);
        }
    }
    if schema.time.is_some() {
        rows.sort_by_key(|row| row.time_ms);
    }
    Ok(Events { rows, digest: hex::encode(digests.finalize()), labels })
}

/// Where the rows that are judged on begin.
pub(crate) struct Split {
    pub(crate) at: usize,
}

impl Split {
    /// The latest share of the rows is judged on; rows of one time stay together.
    pub(crate) fn by_time(rows: &[Row], judge_share: f64) -> Result<Self> {
        let mut at = (rows.len() as f64 * (1.0 - judge_share)) as usize;
        while at > 0 && at < rows.len() && is_same_time(&rows[at - 1], &rows[at]) {
            at += 1;
        }
        if at == 0 || at >= rows.len() {
            let reason = "too few, or of one time: give data of a longer period";
            return Err(Usage(format!("{} of data are {reason}", many(rows.len(), "row"))).into());
        }
        Ok(Self { at })
    }
}

fn is_same_time(a: &Row, b: &Row) -> bool {
    a.time_ms.is_some() && a.time_ms == b.time_ms
}

/// What is known of every row, and which are left out of training.
pub(crate) struct Sample {
    /// Whether each row is an anomaly, as far as somebody knows.
    pub(crate) known: Vec<Option<bool>>,
    /// Of the rows to learn from, those that are left out.
    left_out: Vec<bool>,
    /// Rows to learn from that were labelled as false alarms.
    false_alarms: Vec<u32>,
    pub(crate) confirmed: usize,
    pub(crate) flagged: usize,
    pub(crate) strays: usize,
}

impl Sample {
    /// Anomalies that somebody confirmed leave the sample, and so do rows on which the champion
    /// raised an alarm of medium severity or more, unless somebody knows better. Once people have
    /// gone through the alarms, and called at least `false_alarms_min` of them false, those that
    /// they did not call false leave whatever their severity.
    pub(crate) fn choose(
        events: &Events,
        split: &Split,
        champion: Option<&Spoken>,
        false_alarms_min: usize,
    ) -> Self {
        let applied = events.labels.of(&events.rows);
        let known: Vec<Option<bool>> = events
            .rows
            .iter()
            .zip(&applied.rows)
            .map(|(row, label)| label.map(|label| label == Label::Anomaly).or(row.anomalous))
            .collect();
        let is_false_alarm = |row: &u32| applied.rows[*row as usize] == Some(Label::FalseAlarm);
        let false_alarms: Vec<u32> = (0..split.at as u32).filter(is_false_alarm).collect();
        let were_looked_through = false_alarms.len() >= false_alarms_min;
        let least = if were_looked_through { Severity::Low } else { Severity::Medium };
        let is_flagged = |row: usize| champion.is_some_and(|said| said.severities[row] >= least);
        let left_out: Vec<bool> =
            (0..split.at).map(|row| known[row].unwrap_or_else(|| is_flagged(row))).collect();
        Self {
            false_alarms,
            confirmed: (0..split.at).filter(|row| known[*row] == Some(true)).count(),
            flagged: (0..split.at).filter(|row| known[*row].is_none() && left_out[*row]).count(),
            strays: applied.strays,
            known,
            left_out,
        }
    }

    /// The configuration that the challenger is trained with. Its version tells the data it is of.
    pub(crate) fn config(&self, work: &Work, data_digest: &str) -> Config {
        let mut config = work.config.clone();
        let written = if config.version.is_empty() { "1" } else { &config.version };
        config.version = format!("{written}.{}", &data_digest[..8]);
        if self.confirmed + self.flagged > 0 {
            // They are out of the sample already, and are not to be taken out twice.
            config.threshold.contamination = None;
        }
        if self.false_alarms.len() >= work.settings.false_alarms_min {
            config.threshold.found_kept.get_or_insert(work.settings.found_kept);
        }
        config
    }

    /// The rows to learn from. Those that are left out stay in their places as labelled anomalies:
    /// nothing is fitted to them, and what entities did before and after keeps its order.
    pub(crate) fn table(&self, events: &Events, split: &Split, schema: &Schema) -> Table {
        let mut filling = Filling::new(schema.clone());
        events.rows[..split.at].iter().for_each(|row| filling.push(row));
        let mut digest = Sha256::new();
        digest.update(&events.digest);
        digest.update((split.at as u64).to_le_bytes());
        digest.update((self.false_alarms.len() as u64).to_le_bytes());
        self.false_alarms.iter().for_each(|row| digest.update(row.to_le_bytes()));
        digest.update(self.left_out.iter().map(|left_out| u8::from(*left_out)).collect::<Vec<_>>());
        let mut table = filling.table(hex::encode(digest.finalize()));
        table.kept.clone_from(&self.false_alarms);
        if table.labels.is_some() || self.left_out.contains(&true) {
            table.labels = Some(self.left_out.clone());
            table.notes = vec![self.told()];
        }
        table
    }

    /// What was chosen, in a sentence.
    pub(crate) fn told(&self) -> String {
        format!(
            "retrained: {} confirmed and {} that the champion flagged were left out and count as \
             labelled anomalies in the figures; {} labelled as false alarms count as normal",
            many(self.confirmed, "anomaly").replace("anomalys", "anomalies"),
            many(self.flagged, "row"),
            many(self.false_alarms.len(), "row"),
        )
    }
}
