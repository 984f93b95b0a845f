//! The section `[retrain]` of a `detector.toml`.

use crate::usage::Usage;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use twinge_experiments::judge::Gates;
use twinge_fit::Config;

/// How `trainer retrain` makes a challenger, and on what it is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetrainSettings {
    /// Share of the rows, the latest ones, that nothing is learned from and both are judged on.
    pub(crate) judge_share: f64,
    /// With labels of false alarms: the share of the alarms that nobody called false which must still
    /// be raised when the threshold rises on their account.
    pub(crate) found_kept: f64,
    /// Labels of false alarms in the training data from which on the threshold may rise.
    pub(crate) false_alarms_min: usize,
    /// How long the lease holds without being renewed, in minutes.
    pub(crate) lease_minutes: u32,
    /// What a challenger must reach.
    pub(crate) gates: Gates,
}

impl Default for RetrainSettings {
    fn default() -> Self {
        Self {
            judge_share: 0.25,
            found_kept: 0.9,
            false_alarms_min: 20,
            lease_minutes: 15,
            gates: Gates::default(),
        }
    }
}

impl RetrainSettings {
    /// The settings of a configuration, checked.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        let written = config.retrain.clone().unwrap_or_default();
        let settings: Self = toml::Value::Table(written)
            .try_into()
            .map_err(|error| Usage(format!("section [retrain]: {error}")))?;
        let checks = [
            ("judge_share", settings.judge_share, 0.05..=0.9),
            ("found_kept", settings.found_kept, 0.5..=0.9999),
            ("lease_minutes", f64::from(settings.lease_minutes), 1.0..=60.0),
        ];
        for (key, value, range) in checks {
            if !range.contains(&value) {
                let (low, high) = (range.start(), range.end());
                let reason = format!("{value} is out of range: choose {low} to {high}");
                return Err(Usage(format!("key `retrain.{key}`: {reason}")).into());
            }
        }
        settings.gates.check().map_err(|error| Usage(error.to_string()))?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<RetrainSettings> {
        let text = format!("name = \"pump\"\n[schema]\nnumeric = [\"a\"]\n{text}");
        RetrainSettings::of(&Config::parse(&text)?)
    }

    #[test]
    fn settings_have_defaults_and_mistakes_are_named() {
        assert_eq!(read("").unwrap(), RetrainSettings::default());
        let some = read("[retrain]\njudge_share = 0.5\n[retrain.gates]\nrows_min = 9").unwrap();
        assert_eq!((some.judge_share, some.gates.rows_min), (0.5, 9));
        for (text, told) in [
            ("[retrain]\njudge_share = 1.0", "judge_share"),
            ("[retrain]\njudge_shar = 0.5", "judge_shar"),
            ("[retrain.gates]\nagreement_min = 2.0", "agreement_min"),
            ("[retrain.gates]\nagreement = 0.9", "agreement"),
            ("[retrain]\nlease_minutes = 0", "lease_minutes"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn how_it_is_retrained_is_no_part_of_what_is_trained() {
        let text = "name = \"pump\"\n[schema]\nnumeric = [\"a\"]\n[retrain]\njudge_share = 0.5";
        assert!(!Config::parse(text).unwrap().to_toml().contains("judge_share"));
    }
}
