//! `detector.toml`: what to train, checked whole before any data is read.

use crate::features::{FeatureSpec, FeatureSpecError};
use crate::forest::{ForestError, IsolationForestParams};
use linfa::ParamGuard;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;
use twinge_contract::manifest::{StreamRules, is_detector_name};
use twinge_contract::schema::{Schema, SchemaError};

/// A `detector.toml` as it is written.
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
    /// The detector.
    #[serde(default)]
    pub detector: DetectorSettings,
    /// The threshold.
    #[serde(default)]
    pub threshold: ThresholdSettings,
    /// Rules of the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamSettings>,
}

/// Features by the input they look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeatureSettings {
    /// For every numeric field, such as `["value", "deviation(20)", "difference"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numeric: Option<Vec<String>>,
    /// Of the event's time, such as `["gap", "rate(3600)", "day"]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Vec<String>>,
    /// For single fields, in place of those under `numeric`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Vec<String>>,
}

impl FeatureSettings {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The detector's kind and settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorSettings {
    /// Kind of detector.
    pub kind: DetectorKind,
    /// Trees of an isolation forest.
    pub trees: u32,
    /// Rows that each tree is grown on.
    pub sample_rows: u32,
}

/// Kinds of detectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectorKind {
    /// Isolation forest, and the tail of each feature beside it.
    #[default]
    ForestAndTails,
    /// Isolation forest alone.
    IsolationForest,
}

impl DetectorKind {
    /// The word in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ForestAndTails => "forest-and-tails",
            Self::IsolationForest => "isolation-forest",
        }
    }
}

impl DetectorSettings {
    /// The forest that these settings describe, for a seed.
    pub fn forest(&self, seed: u64) -> IsolationForestParams {
        IsolationForestParams::new(seed).trees(self.trees).sample_rows(self.sample_rows)
    }
}

impl Default for DetectorSettings {
    fn default() -> Self {
        Self { kind: DetectorKind::default(), trees: 100, sample_rows: 256 }
    }
}

/// How many false alarms are acceptable, and on what data that is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThresholdSettings {
    /// Share of normal events that may be called anomalous.
    pub false_alarm_rate: f64,
    /// Share of the rows held back from fitting to set the threshold on: the last ones of a
    /// stream, random ones of a table.
    pub held_back: f64,
}

impl Default for ThresholdSettings {
    fn default() -> Self {
        Self { false_alarm_rate: 0.001, held_back: 0.3 }
    }
}

/// Rules of the stream that are set; the others follow from the features.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamSettings {
    /// Seconds; see [`StreamRules::lateness_s`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lateness_s: Option<f64>,
    /// Seconds; see [`StreamRules::skew_max_s`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skew_max_s: Option<f64>,
    /// See [`StreamRules::warm_up_events`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up_events: Option<u32>,
    /// See [`StreamRules::entities_max`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entities_max: Option<u32>,
}

/// A configuration that training can rely on.
#[derive(Clone, Debug)]
pub struct ValidConfig {
    /// As it was written.
    pub written: Config,
    /// Features to compute, in order.
    pub features: Vec<FeatureSpec>,
    /// Complete stream rules.
    pub stream: StreamRules,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not the TOML it should be; the message tells line and key.
    #[error("detector.toml is not usable: {0}")]
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
    /// A stream rule outside its range.
    #[error(
        "key `stream.{0}` is out of range: it must be finite and not negative, and `entities_max` at least 1"
    )]
    Stream(&'static str),
}

impl Config {
    /// Reads a configuration; unknown keys are errors.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Toml(error.to_string()))
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
        check_share("held_back", self.threshold.held_back, 0.9)?;
        let features = crate::features::plan(&self.schema, &self.features)?;
        self.detector.forest(0).check()?;
        let stream = self.stream_rules(&features)?;
        Ok(ValidConfig { written: self, features, stream })
    }

    fn stream_rules(&self, features: &[FeatureSpec]) -> Result<StreamRules, ConfigError> {
        let set = self.stream.clone().unwrap_or_default();
        let default = StreamRules::default();
        let rules = StreamRules {
            lateness_s: set.lateness_s.unwrap_or(default.lateness_s),
            skew_max_s: set.skew_max_s.unwrap_or(default.skew_max_s),
            warm_up_events: set.warm_up_events.unwrap_or_else(|| {
                features.iter().map(FeatureSpec::warm_up_events).max().unwrap_or(0)
            }),
            entities_max: set.entities_max.unwrap_or(default.entities_max),
        };
        let usable = |value: f64| value.is_finite() && value >= 0.0;
        if !usable(rules.lateness_s) {
            return Err(ConfigError::Stream("lateness_s"));
        }
        if !usable(rules.skew_max_s) {
            return Err(ConfigError::Stream("skew_max_s"));
        }
        if rules.entities_max == 0 {
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
        let valid = config.check().unwrap();
        assert_eq!(valid.features.len(), 1, "a table without entity and time has plain values");
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
