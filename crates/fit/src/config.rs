//! `detector.toml`: what to train, checked whole before any data is read.

use crate::features::{FeatureSettings, FeatureSpecError};
use crate::forest::{ForestError, IsolationForestParams};
use linfa::ParamGuard;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use twinge_contract::manifest::{ENTITIES_MAX_LIMIT, StreamRules, is_detector_name};
use twinge_contract::schema::{Schema, SchemaError};
use twinge_detector::part::PARTS_MAX;

/// What to train; the keys before the first table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the detector: 1 to 64 of `a-z`, `0-9` and `-`.
    pub name: String,
    /// Version in your own words.
    #[serde(default = "first_version")]
    pub version: String,
    /// Which fields of an event mean what.
    pub schema: Schema,
    /// Features to compute; left out, they follow from the schema.
    #[serde(default, skip_serializing_if = "FeatureSettings::is_empty")]
    pub features: FeatureSettings,
    /// Which detectors take part.
    #[serde(default)]
    pub detector: DetectorSettings,
    /// How many false alarms are acceptable.
    #[serde(default)]
    pub threshold: ThresholdSettings,
    /// How events are placed in time and how much is remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamSettings>,
    /// How the detector is retrained. Training itself does not look at it, so it does not count
    /// for the module's lineage.
    #[serde(default, skip_serializing)]
    pub retrain: Option<toml::Table>,
}

/// Which detectors take part, and their settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorSettings {
    /// Which detectors take part.
    pub kind: Kinds,
    /// How their surprises become one score.
    pub fusion: FusionChoice,
    /// Whether the data is known to hold no anomalies; left out, that is believed of labelled data
    /// only, whose labelled anomalies nothing is fitted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean: Option<bool>,
    /// Trees of an isolation forest.
    pub trees: u32,
    /// Rows that each tree is grown on.
    pub sample_rows: u32,
}

/// `"auto"`, one kind, or a list of kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub enum Kinds {
    /// Chosen by what the data shows.
    #[default]
    Auto,
    /// These.
    Given(Vec<DetectorKind>),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected \"auto\", one of isolation-forest, extended-forest, neighbours, trusted-neighbours, mixture, mahalanobis, components, histogram, tails, series, wander and ratio, or a list of these"
)]
enum Written {
    Auto(AutoWord),
    One(DetectorKind),
    Many(Vec<DetectorKind>),
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum AutoWord {
    /// Chosen by what the data shows.
    Auto,
}

impl From<Written> for Kinds {
    fn from(written: Written) -> Self {
        match written {
            Written::Auto(_) => Self::Auto,
            Written::One(kind) => Self::Given(vec![kind]),
            Written::Many(kinds) => Self::Given(kinds),
        }
    }
}

impl From<Kinds> for Written {
    fn from(kinds: Kinds) -> Self {
        match kinds {
            Kinds::Auto => Self::Auto(AutoWord::Auto),
            Kinds::Given(kinds) => match kinds.as_slice() {
                [kind] => Self::One(*kind),
                _ => Self::Many(kinds),
            },
        }
    }
}

/// Kinds of detectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectorKind {
    /// Axis-parallel isolation forest.
    IsolationForest,
    /// Isolation forest with slanted splits.
    ExtendedForest,
    /// Distance to the nearest of many references, by how sparse these are.
    Neighbours,
    /// Distance to references among the rows of unlabelled data that can be trusted.
    TrustedNeighbours,
    /// Gaussian mixture.
    Mixture,
    /// Robust Mahalanobis distance.
    Mahalanobis,
    /// What principal components leave unexplained.
    Components,
    /// Rarity of single features.
    Histogram,
    /// How far beyond the usual the most unusual feature lies.
    Tails,
    /// A single series against its own past: season, shift, rarity, turbulence.
    Series,
    /// Several sensors against their levels, which may wander.
    Wander,
    /// Amounts against each entity's own profile.
    Ratio,
}

impl DetectorKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::IsolationForest,
        Self::ExtendedForest,
        Self::Neighbours,
        Self::TrustedNeighbours,
        Self::Mixture,
        Self::Mahalanobis,
        Self::Components,
        Self::Histogram,
        Self::Tails,
        Self::Series,
        Self::Wander,
        Self::Ratio,
    ];

    /// The word in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IsolationForest => "isolation-forest",
            Self::ExtendedForest => "extended-forest",
            Self::Neighbours => "neighbours",
            Self::TrustedNeighbours => "trusted-neighbours",
            Self::Mixture => "mixture",
            Self::Mahalanobis => "mahalanobis",
            Self::Components => "components",
            Self::Histogram => "histogram",
            Self::Tails => "tails",
            Self::Series => "series",
            Self::Wander => "wander",
            Self::Ratio => "ratio",
        }
    }

    /// The channels that it looks at, of every number.
    pub fn channels(self) -> &'static [&'static str] {
        match self {
            Self::Series => &["season", "shift", "rarity", "turbulence"],
            Self::Wander => &["wander"],
            Self::Ratio => &["ratio"],
            _ => &[],
        }
    }
}

/// How the surprises of several detectors become one score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FusionChoice {
    /// Their mean, unless enough labels find another way clearly better.
    #[default]
    Auto,
    /// Their mean.
    Mean,
    /// The largest.
    Largest,
}

impl DetectorSettings {
    /// The forest that these settings describe, for a seed.
    pub fn forest(&self, seed: u64) -> IsolationForestParams {
        IsolationForestParams::new(seed).trees(self.trees).sample_rows(self.sample_rows)
    }
}

impl Default for DetectorSettings {
    fn default() -> Self {
        Self {
            kind: Kinds::Auto,
            fusion: FusionChoice::Auto,
            clean: None,
            trees: 100,
            sample_rows: 256,
        }
    }
}

/// How many false alarms are acceptable, and on what data that is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdSettings {
    /// Share of normal events that may be called anomalous.
    pub false_alarm_rate: f64,
    /// In place of the share: false alarms a day, by how many events the data has a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarms_per_day: Option<f64>,
    /// Share of unlabelled rows that are expected to be anomalies: so many of the highest scores do
    /// not count as normal when the threshold is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contamination: Option<f64>,
    /// With labelled anomalies, at least twenty of which are found: the false-alarm rate becomes as
    /// low as it can while this share of those found is still found, such as 0.99.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_kept: Option<f64>,
    /// Share of the rows held back from fitting to set the threshold on: the last ones of a
    /// stream, random ones of a table. Left out, a stream holds back 0.3, and a table is fitted
    /// several times, each time without the rows that are then scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<f64>,
    /// Events after its highest score at which an episode ends; within one, only a new high alarms
    /// again. 0 tells every score. Left out, a series has episodes and other data has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episode_events: Option<u32>,
}

impl Default for ThresholdSettings {
    fn default() -> Self {
        Self {
            false_alarm_rate: 0.001,
            alarms_per_day: None,
            contamination: None,
            found_kept: None,
            held_back: None,
            episode_events: None,
        }
    }
}

/// How events are placed in time and how much is remembered; what is left out follows from the
/// features.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamSettings {
    /// An event older than its entity's latest by more than this is scored without changing state.
    /// Seconds [default: 0].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lateness_s: Option<f64>,
    /// An event further ahead of its arrival than this is a dead letter. Seconds [default: 3600].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skew_max_s: Option<f64>,
    /// Events of an entity before its verdicts count [default: by the features].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up_events: Option<u32>,
    /// Entities remembered at most; the one seen longest ago makes room [default: 100000].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entities_max: Option<u32>,
}

/// A configuration that training can rely on.
#[derive(Clone, Debug)]
pub struct ValidConfig {
    /// As it was written.
    pub written: Config,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not the TOML it should be; the message tells line and key.
    #[error("configuration is not readable: {0}")]
    Toml(String),
    /// A name that cannot stand in a path.
    #[error("key `name`: `{0}` is not usable: take 1 to 64 of a-z, 0-9 and -")]
    Name(String),
    /// The schema contradicts itself.
    #[error("section [schema] is not usable")]
    Schema(#[from] SchemaError),
    /// A feature is not known or does not fit the schema.
    #[error("section [features] is not usable")]
    Features(#[from] FeatureSpecError),
    /// The forest's settings are out of range.
    #[error("section [detector] is not usable")]
    Detector(#[from] ForestError),
    /// A share outside its range.
    #[error(
        "key `threshold.{key}`: {value} is out of range: choose between 0 and {below}, both excluded"
    )]
    Share {
        /// The key.
        key: &'static str,
        /// Its value.
        value: f64,
        /// Upper bound.
        below: f64,
    },
    /// A number of alarms that cannot be meant.
    #[error("key `threshold.alarms_per_day`: {0} is out of range: choose a positive number")]
    AlarmsPerDay(f64),
    /// No kinds, too many, or one twice.
    #[error("key `detector.kind` lists {0} kinds: give \"auto\", or 1 to {most} different kinds", most = PARTS_MAX / 2)]
    Kinds(usize),
    /// A stream rule outside its range.
    #[error(
        "key `stream.{0}` is out of range: it must be finite and not negative, and `entities_max` between 1 and {ENTITIES_MAX_LIMIT}"
    )]
    Stream(&'static str),
}

impl Config {
    /// Reads a configuration; unknown keys are errors.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let told = error.to_string().replace("expected a sequence", "expected a list");
            ConfigError::Toml(told.trim_end().to_owned())
        })
    }

    /// The configuration as a file to keep.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a configuration holds nothing that TOML lacks")
    }

    /// Checks everything that can be checked without data.
    pub fn check(self) -> Result<ValidConfig, ConfigError> {
        if !is_detector_name(&self.name) {
            return Err(ConfigError::Name(self.name));
        }
        self.schema.check()?;
        check_share("false_alarm_rate", self.threshold.false_alarm_rate, 0.5)?;
        if let Some(held_back) = self.threshold.held_back {
            check_share("held_back", held_back, 0.9)?;
        }
        if let Some(found_kept) = self.threshold.found_kept {
            check_share("found_kept", found_kept, 1.0)?;
        }
        if let Some(contamination) = self.threshold.contamination {
            check_share("contamination", contamination, 0.5)?;
        }
        if let Some(alarms) = self.threshold.alarms_per_day
            && !(alarms > 0.0 && alarms.is_finite())
        {
            return Err(ConfigError::AlarmsPerDay(alarms));
        }
        // With the data comes a better plan; names and arguments can be checked without.
        crate::features::plan(&self.schema, &self.features, &["value"], &[])?;
        self.detector.forest(0).check()?;
        if let Kinds::Given(kinds) = &self.detector.kind {
            let twice = (1..kinds.len()).any(|place| kinds[..place].contains(&kinds[place]));
            if kinds.is_empty() || kinds.len() > PARTS_MAX / 2 || twice {
                return Err(ConfigError::Kinds(kinds.len()));
            }
        }
        self.stream_rules(0)?;
        Ok(ValidConfig { written: self })
    }

    /// Complete stream rules; `warm_up_events` is used where none is set.
    pub fn stream_rules(&self, warm_up_events: u32) -> Result<StreamRules, ConfigError> {
        let set = self.stream.clone().unwrap_or_default();
        let default = StreamRules::default();
        let rules = StreamRules {
            lateness_s: set.lateness_s.unwrap_or(default.lateness_s),
            skew_max_s: set.skew_max_s.unwrap_or(default.skew_max_s),
            warm_up_events: set.warm_up_events.unwrap_or(warm_up_events),
            entities_max: set.entities_max.unwrap_or(default.entities_max),
        };
        let usable = |value: f64| value.is_finite() && value >= 0.0;
        if !usable(rules.lateness_s) {
            return Err(ConfigError::Stream("lateness_s"));
        }
        if !usable(rules.skew_max_s) {
            return Err(ConfigError::Stream("skew_max_s"));
        }
        if !(1..=ENTITIES_MAX_LIMIT).contains(&rules.entities_max) {
            return Err(ConfigError::Stream("entities_max"));
        }
        Ok(rules)
    }
}

fn check_share(key: &'static str, value: f64, below: f64) -> Result<(), ConfigError> {
    if value > 0.0 && value < below {
        Ok(())
    } else {
        Err(ConfigError::Share { key, value, below })
    }
}

fn first_version() -> String {
    "1".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "name = \"pump\"\n[schema]\nnumeric = [\"pressure\"]\n";

    #[test]
    fn a_minimal_file_is_enough_and_survives_a_round_trip() {
        let config = Config::parse(MINIMAL).unwrap();
        assert_eq!(Config::parse(&config.to_toml()).unwrap(), config);
        assert_eq!(config.clone().check().unwrap().written, config);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("name = 1", "line 1"),
            ("name = \"pump\"\nnmae = 2\n[schema]\nnumeric = [\"a\"]", "nmae"),
            ("name = \"Pump 1\"\n[schema]\nnumeric = [\"a\"]", "Pump 1"),
            ("name = \"p\"\n[schema]\nnumeric = []", "[schema]"),
            (
                "name = \"p\"\n[schema]\nnumeric = [\"a\"]\n[threshold]\nfalse_alarm_rate = 2.0",
                "false_alarm_rate",
            ),
            ("name = \"p\"\n[schema]\nnumeric = [\"a\"]\n[detector]\ntrees = 0", "[detector]"),
            (
                "name = \"p\"\n[schema]\nnumeric = [\"a\"]\n[features]\nnumeric = [\"valeu\"]",
                "[features]",
            ),
            (
                "name = \"p\"\n[schema]\nnumeric = [\"a\"]\n[stream]\nlateness_s = -1.0",
                "lateness_s",
            ),
        ];
        for (text, part) in cases {
            let error = Config::parse(text).and_then(Config::check).unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
