//! When drift is told.

use serde::Deserialize;
use thiserror::Error;

/// When drift is told: inputs or scores that are not as they were in training.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftSettings {
    /// Whether it is told; without the table, wherever events are not replayed from a file.
    pub enabled: bool,
    /// Events of a window; with each, what was before it counts half.
    pub window_events: u32,
    /// Events that a window must weigh before it is judged.
    pub minimum_events: u32,
    /// Windows in a row that an alarm needs, and that must be calm for it to end.
    pub persistence: u32,
    /// Probability that a window in which nothing has drifted crosses any of its bounds.
    pub probability: f64,
    /// Population stability index below which nothing is told.
    pub least_psi: f64,
    /// Largest difference of cumulative shares below which nothing is told.
    pub least_ks: f64,
    /// Change of a share (missing, unseen, anomalous) below which nothing is told.
    pub least_share: f64,
    /// A verdict this long after its event came in is late, ms.
    pub late_ms: u64,
    /// Share of verdicts that may be late.
    pub late_share: f64,
    /// Events a second up to which all are looked at; of more, every second, fourth and so on.
    pub rate_max: u32,
}

impl Default for DriftSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            window_events: 1000,
            minimum_events: 1000,
            persistence: 2,
            probability: 0.001,
            least_psi: 0.1,
            least_ks: 0.1,
            least_share: 0.02,
            late_ms: 10_000,
            late_share: 0.05,
            rate_max: 2000,
        }
    }
}

/// A setting that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("[drift] {0} must lie between {1} and {2}")]
pub struct SettingsError(&'static str, &'static str, &'static str);

impl DriftSettings {
    /// Whether they make sense.
    pub fn check(&self) -> Result<(), SettingsError> {
        let counts = [
            ("window_events", u64::from(self.window_events), 100, "100", 1_000_000, "1000000"),
            ("minimum_events", u64::from(self.minimum_events), 30, "30", 2_000_000, "2000000"),
            ("persistence", u64::from(self.persistence), 1, "1", 100, "100"),
            ("late_ms", self.late_ms, 1, "1", 86_400_000, "86400000"),
            ("rate_max", u64::from(self.rate_max), 1, "1", 1_000_000, "1000000"),
        ];
        for (name, value, least, least_text, most, most_text) in counts {
            if !(least..=most).contains(&value) {
                return Err(SettingsError(name, least_text, most_text));
            }
        }
        if u64::from(self.minimum_events) * 2 > u64::from(self.window_events) * 3 {
            // What halves with every window never weighs two of them.
            return Err(SettingsError(
                "minimum_events",
                "30",
                "one and a half times window_events",
            ));
        }
        let shares = [
            ("probability", self.probability, 1e-12, "1e-12", 0.2, "0.2"),
            ("least_psi", self.least_psi, 0.0, "0", 10.0, "10"),
            ("least_ks", self.least_ks, 0.0, "0", 1.0, "1"),
            ("least_share", self.least_share, 0.0, "0", 1.0, "1"),
            ("late_share", self.late_share, 0.0001, "0.0001", 0.9999, "0.9999"),
        ];
        for (name, value, least, least_text, most, most_text) in shares {
            if !(least..=most).contains(&value) {
                return Err(SettingsError(name, least_text, most_text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let default = DriftSettings::default();
        default.check().unwrap();
        let cases = [
            (DriftSettings { window_events: 99, ..default }, "[drift] window_events"),
            (DriftSettings { minimum_events: 1501, ..default }, "[drift] minimum_events"),
            (DriftSettings { persistence: 0, ..default }, "[drift] persistence"),
            (DriftSettings { probability: f64::NAN, ..default }, "[drift] probability"),
            (DriftSettings { least_ks: -0.1, ..default }, "[drift] least_ks"),
        ];
        for (settings, message) in cases {
            let error = settings.check().unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
