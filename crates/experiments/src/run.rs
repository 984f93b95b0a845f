//! A run: one training and what came of it, checked so that every tracker can keep it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use twinge_registry::{Name, StorePath};

/// Longest value of a parameter or a tag, in characters. MLflow's oldest servers, and Azure ML,
/// keep no more.
pub const TEXT_CHARS_MAX: usize = 500;

/// Most metrics of a run, all steps together: as many as MLflow takes in one request.
pub const METRICS_MAX: usize = 1000;

/// Most parameters of a run, and most tags: MLflow takes a hundred in one request, and some of the
/// tags are our own.
const TEXTS_MAX: usize = 80;
const KEY_CHARS_MAX: usize = 120;
const NAME_CHARS_MAX: usize = 120;
const ARTIFACTS_MAX: usize = 64;

/// A run as a tracker keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// What identifies it, in every tracker.
    pub id: RunId,
    /// What people call it.
    pub name: String,
    /// The detector that was trained.
    pub detector: Name,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: i64,
    /// How it ended.
    pub status: Status,
    /// What was set, by name.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// What was measured, in the order of name and step.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// Whatever else is to be found by, by name.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Where the module comes from.
    pub lineage: Lineage,
    /// The files that belong to it.
    #[serde(default)]
    pub artifacts: Vec<Artifact>,
}

/// A figure at a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name.
    pub name: String,
    /// 0, 1, 2 and so on, for a figure that was measured more than once.
    pub step: u32,
    /// The figure, which is finite.
    pub value: f64,
}

/// What a module was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lineage {
    /// SHA-256 of the data as it was read, in hexadecimal.
    pub data_digest: String,
    /// Rows that were learned from.
    pub rows: u64,
    /// SHA-256 of the complete configuration, in hexadecimal.
    pub config_digest: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// SHA-256 of the runtime, in hexadecimal.
    pub runtime_digest: String,
    /// SHA-256 of the module that came of it; nothing where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_digest: Option<String>,
    /// SHA-256 of the champion that it was judged against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub champion_digest: Option<String>,
}

/// A file that belongs to a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its path within the run, such as `plots/scores.svg`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It did what it was to do.
    Finished,
    /// It did not.
    Failed,
}

impl Status {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// What identifies a run: when it began and a number, such as `20260131T120000Z-0a1b2c3d`, so that
/// names sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// The id of a run that began at `started_ms`, in milliseconds since 1970; `number` keeps those
    /// of one second apart.
    pub fn new(started_ms: i64, number: u32) -> Self {
        let seconds = started_ms.clamp(0, LAST_MS) / 1000;
        let (year, month, day) = date(seconds.div_euclid(86_400));
        let within = seconds.rem_euclid(86_400);
        let (hour, minute, second) = (within / 3600, within / 60 % 60, within % 60);
        Self(format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-{number:08x}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl FromStr for RunId {
    type Err = RunError;

    fn from_str(text: &str) -> Result<Self, RunError> {
        let bytes = text.as_bytes();
        let fits = |place: usize, byte: u8| match place {
            8 => byte == b'T',
            15 => byte == b'Z',
            16 => byte == b'-',
            0..16 => byte.is_ascii_digit(),
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        };
        if bytes.len() == 25 && bytes.iter().enumerate().all(|(place, byte)| fits(place, *byte)) {
            return Ok(Self(text.to_owned()));
        }
        Err(RunError::Id { found: text.chars().take(40).collect() })
    }
}

impl TryFrom<String> for RunId {
    type Error = RunError;

    fn try_from(text: String) -> Result<Self, RunError> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> Self {
        id.0
    }
}

/// Why a run cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A text is no run's id.
    #[error(
        "read run id {found:?}: it looks like 20260131T120000Z-0a1b2c3d; list runs to see them"
    )]
    Id {
        /// The text, cut short.
        found: String,
    },
    /// A name that a tracker would refuse.
    #[error(
        "name {what} {found:?}: use 1 to {KEY_CHARS_MAX} letters, digits and . _ - / and no empty \
         part between slashes"
    )]
    Name {
        /// What is named.
        what: &'static str,
        /// The name, cut short.
        found: String,
    },
    /// A text that a tracker would cut or refuse.
    #[error(
        "keep {what} `{name}`: it has {chars} characters and a tracker keeps {TEXT_CHARS_MAX}; put \
         it into a file of the run"
    )]
    TooLong {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
        /// How long it is.
        chars: usize,
    },
    /// More than a tracker takes.
    #[error("keep {found} {what}: a run has at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A figure that is none.
    #[error("keep metric `{name}`: {value} is no finite number; leave it out")]
    NotFinite {
        /// Its name.
        name: String,
        /// What it is.
        value: f64,
    },
    /// Metrics out of order, or one twice.
    #[error("keep metric `{name}` at step {step}: sort metrics by name and step, each once")]
    Order {
        /// Its name.
        name: String,
        /// Its step.
        step: u32,
    },
    /// It ends before it begins.
    #[error("keep a run from {started_ms} to {ended_ms}: it must begin after 1970 and end later")]
    Times {
        /// Its beginning.
        started_ms: i64,
        /// Its end.
        ended_ms: i64,
    },
}

impl Run {
    /// Whether every tracker can keep it.
    pub fn check(&self) -> Result<(), RunError> {
        check_count("parameters", self.parameters.len(), TEXTS_MAX)?;
        check_count("tags", self.tags.len(), TEXTS_MAX)?;
        check_count("metrics", self.metrics.len(), METRICS_MAX)?;
        check_count("files", self.artifacts.len(), ARTIFACTS_MAX)?;
        if self.started_ms < 0 || self.ended_ms < self.started_ms || self.ended_ms > LAST_MS {
            let (started_ms, ended_ms) = (self.started_ms, self.ended_ms);
            return Err(RunError::Times { started_ms, ended_ms });
        }
        let chars = self.name.chars().count();
        if chars > NAME_CHARS_MAX || self.name.trim().is_empty() {
            let found = self.name.chars().take(40).collect();
            return Err(RunError::Name { what: "run", found });
        }
        check_texts("parameter", &self.parameters)?;
        check_texts("tag", &self.tags)?;
        self.check_metrics()?;
        self.artifacts.iter().try_for_each(|artifact| check_name("file", &artifact.path))
    }

    /// The last value of every metric, by name.
    pub fn last_metrics(&self) -> BTreeMap<&str, f64> {
        self.metrics.iter().map(|metric| (metric.name.as_str(), metric.value)).collect()
    }

    /// The run as a list shows it: each metric's last step, and no files.
    #[must_use]
    pub fn summary(mut self) -> Self {
        self.artifacts.clear();
        let mut last: Vec<Metric> = Vec::new();
        for metric in self.metrics {
            match last.last_mut().filter(|before| before.name == metric.name) {
                Some(before) => *before = metric,
                None => last.push(metric),
            }
        }
        self.metrics = last;
        self
    }

    fn check_metrics(&self) -> Result<(), RunError> {
        for metric in &self.metrics {
            check_name("metric", &metric.name)?;
            if !metric.value.is_finite() {
                let (name, value) = (metric.name.clone(), metric.value);
                return Err(RunError::NotFinite { name, value });
            }
        }
        for pair in self.metrics.windows(2) {
            if (&pair[0].name, pair[0].step) >= (&pair[1].name, pair[1].step) {
                return Err(RunError::Order { name: pair[1].name.clone(), step: pair[1].step });
            }
        }
        Ok(())
    }
}

/// 9999-12-31, so that a year has four digits.
const LAST_MS: i64 = 253_402_300_799_999;

/// Year, month and day of a day since 1970 (Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn check_count(what: &'static str, found: usize, most: usize) -> Result<(), RunError> {
    if found > most { Err(RunError::TooMany { what, found, most }) } else { Ok(()) }
}

fn check_texts(what: &'static str, texts: &BTreeMap<String, String>) -> Result<(), RunError> {
    for (name, value) in texts {
        check_name(what, name)?;
        let chars = value.chars().count();
        if chars > TEXT_CHARS_MAX {
            return Err(RunError::TooLong { what, name: name.clone(), chars });
        }
    }
    Ok(())
}

/// A path of a store, which is also a name that MLflow takes, without the characters that it has
/// not.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), RunError> {
    let is_usable =
        name.len() <= KEY_CHARS_MAX && !name.contains(['=', '$']) && StorePath::new(name).is_ok();
    if is_usable {
        return Ok(());
    }
    Err(RunError::Name { what, found: name.chars().take(40).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let metric = |name: &str, step, value| Metric { name: name.into(), step, value };
        Run {
            id: RunId::new(1_769_860_800_000, 7),
            name: "pump 3".into(),
            detector: "pump".parse().unwrap(),
            started_ms: 1_769_860_800_000,
            ended_ms: 1_769_860_805_000,
            status: Status::Finished,
            parameters: [("seed".to_owned(), "7".to_owned())].into(),
            metrics: vec![metric("auc", 0, 0.5), metric("auc", 1, 0.7), metric("rows", 0, 9.0)],
            tags: BTreeMap::new(),
            lineage: Lineage::default(),
            artifacts: vec![Artifact { path: "plots/scores.svg".into(), bytes: 3 }],
        }
    }

    #[test]
    fn ids_sort_by_time_and_are_read_back() {
        let ids = [(0, 1), (951_827_696_000, 0), (1_769_860_800_000, 7), (LAST_MS, u32::MAX)]
            .map(|(ms, number)| RunId::new(ms, number));
        assert!(ids.is_sorted());
        let texts: Vec<&str> = ids.iter().map(RunId::as_str).collect();
        assert_eq!(texts[0], "19700101T000000Z-00000001");
        assert_eq!(texts[1], "20000229T123456Z-00000000");
        assert_eq!(texts[2], "20260131T120000Z-00000007");
        assert_eq!(texts[3], "99991231T235959Z-ffffffff");
        for id in &ids {
            assert_eq!(&id.as_str().parse::<RunId>().unwrap(), id);
        }
        for wrong in ["", "versions", "20260131T120000Z-0000000G", "20260131T120000Z-000000077"] {
            assert!(wrong.parse::<RunId>().is_err(), "{wrong}");
        }
    }

    type Change = fn(&mut Run);

    #[test]
    fn a_run_that_a_tracker_would_refuse_is_told() {
        run().check().unwrap();
        let changes: [(Change, &str); 9] = [
            (|run| run.metrics[1].value = f64::NAN, "NaN"),
            (|run| run.metrics.swap(0, 1), "sort metrics"),
            (|run| run.metrics[1].step = 0, "each once"),
            (|run| run.metrics[2].name = "a b".into(), "a b"),
            (|run| run.artifacts[0].path = "../x".into(), "../x"),
            (|run| run.name = " ".into(), "name run"),
            (|run| run.ended_ms = 0, "end later"),
            (|run| drop(run.tags.insert("long".into(), "x".repeat(501))), "501 characters"),
            (
                |run| run.parameters = (0..81).map(|n| (format!("p{n}"), String::new())).collect(),
                "81",
            ),
        ];
        for (change, told) in changes {
            let mut changed = run();
            change(&mut changed);
            let error = changed.check().unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_summary_has_last_steps() {
        let summary = run().summary();
        let metrics: Vec<(&str, u32)> =
            summary.metrics.iter().map(|metric| (metric.name.as_str(), metric.step)).collect();
        assert_eq!(metrics, [("auc", 1), ("rows", 0)]);
        assert!(summary.artifacts.is_empty());
        assert_eq!(summary.last_metrics()["auc"], 0.7);
    }

    #[test]
    fn a_run_survives_its_file() {
        let json = serde_json::to_vec(&run()).unwrap();
        assert_eq!(serde_json::from_slice::<Run>(&json).unwrap(), run());
    }
}
