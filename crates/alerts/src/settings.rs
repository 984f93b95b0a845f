//! `[alerts]` of a configuration file, and the rules that come of it.

use crate::outbox::Retries;
use crate::quality::QualityRules;
use crate::schedule::{ScheduleError, Silence, SilenceSettings};
use serde::Deserialize;
use std::path::PathBuf;
use thiserror::Error;
use twinge_contract::alert::AlertKind;
use twinge_contract::verdict::Severity;

/// A year, in seconds: no setting is longer.
const SECONDS_MAX: f64 = 31_536_000.0;

/// Whom findings are told to, and how often. The table alone, with nothing in it, writes them to the
/// log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertSettings {
    /// Whether alerts go to the log [default: where there is no other place].
    pub log: Option<bool>,
    /// The hub that alerts go to, as `hub:NAME`.
    pub hub: Option<String>,
    /// Where alerts are posted.
    pub webhook: Vec<WebhookSettings>,
    /// Least severity that is told; not `"none"` [default: `"low"`].
    pub severity_min: Option<Severity>,
    /// Seconds without a finding after which an episode has ended [default: 900].
    pub gap_seconds: Option<f64>,
    /// Seconds for which a condition must be well before it counts as cleared [default: 60].
    pub clear_seconds: Option<f64>,
    /// Seconds between the first word of an episode and the second; then twice as many, and so on
    /// [default: 60].
    pub update_seconds: Option<f64>,
    /// Seconds between two words of an episode at most [default: 3600].
    pub update_seconds_max: Option<f64>,
    /// Entities with an open episode beyond which others become one alert of everything
    /// [default: 20].
    pub storm_entities: Option<usize>,
    /// Episodes that are open at most [default: 10000].
    pub episodes_max: Option<usize>,
    /// Days after which a silent entity is not expected any more [default: 7].
    pub forget_days: Option<f64>,
    /// Address that the names of runbooks are appended to.
    pub runbooks: Option<String>,
    /// Share of the events that may be dead letters, 0 to 1 [default: 0.05].
    pub dead_letter_share_max: Option<f64>,
    /// Seconds over which that share is taken [default: 300].
    pub dead_letter_seconds: Option<f64>,
    /// Seconds that events may wait to be scored [default: 300].
    pub lag_seconds_max: Option<f64>,
    /// When nobody is to be told.
    pub silence: Vec<SilenceSettings>,
}

/// An address that alerts are posted to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSettings {
    /// Its name in logs and metrics.
    pub name: String,
    /// The address that alerts are posted to.
    pub url: String,
    /// File with the secret that posts are signed with.
    pub secret_file: Option<PathBuf>,
    /// Variable of the environment that holds the secret.
    pub secret_env: Option<String>,
    /// Least severity that goes there [default: that of all alerts].
    pub severity_min: Option<Severity>,
}

/// Rules of a book.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Least severity that somebody is told of.
    pub severity_min: Severity,
    /// Time without a finding after which an episode has ended, ms.
    pub gap_ms: i64,
    /// Time for which a condition must be well to count as cleared, ms.
    pub clear_ms: i64,
    /// Time between the first word of an episode and the second, ms.
    pub update_first_ms: i64,
    /// Longest time between two words while something happens, ms.
    pub update_max_ms: i64,
    /// Open episodes of a kind and detector beyond which there is one of everything.
    pub storm_entities: usize,
    /// Open episodes at most, told or not.
    pub episodes_max: usize,
    /// Entities of a storm that are remembered.
    pub members_max: usize,
    /// Ids that are remembered.
    pub ids_max: usize,
    /// Contributions that are told.
    pub attribution_max: usize,
    /// Time after which a silent entity is not expected any more, ms.
    pub forget_ms: i64,
    /// Address that the names of runbooks are appended to.
    pub runbooks: Option<String>,
    /// When nobody is to be told.
    pub silences: Vec<Silence>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            severity_min: Severity::Low,
            gap_ms: 900_000,
            clear_ms: 60_000,
            update_first_ms: 60_000,
            update_max_ms: 3_600_000,
            storm_entities: 20,
            episodes_max: 10_000,
            members_max: 1000,
            ids_max: 8192,
            attribution_max: 5,
            forget_ms: 7 * 86_400_000,
            runbooks: None,
            silences: Vec::new(),
        }
    }
}

impl Rules {
    /// What to read about a kind of alert: its name, or a link.
    pub fn runbook(&self, kind: AlertKind) -> String {
        let name = kind.as_str();
        self.runbooks.as_ref().map_or_else(|| name.to_owned(), |base| format!("{base}{name}"))
    }
}

/// Why `[alerts]` cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// A figure is out of range.
    #[error("`alerts.{key}` must lie between {least} and {most}")]
    Range {
        /// The key.
        key: &'static str,
        /// Least value.
        least: f64,
        /// Largest value.
        most: f64,
    },
    /// `none` is not a severity of a finding.
    #[error("`alerts.severity_min` is none, which everything is: take low, medium or high")]
    Severity,
    /// The updates cannot grow.
    #[error("`alerts.update_seconds_max` is less than `alerts.update_seconds`: exchange them")]
    Updates,
    /// Not a hub.
    #[error("`alerts.hub` is `{0}`: write it as hub:NAME")]
    Hub(String),
    /// A webhook without a name, or with another's.
    #[error(
        "each [[alerts.webhook]] has a `name` of its own, of letters, digits and -: {0:?} is not"
    )]
    WebhookName(String),
    /// A webhook with two secrets.
    #[error("webhook `{0}` has two secrets: give `secret_file` or `secret_env`")]
    TwoSecrets(String),
    /// A silence that cannot be used.
    #[error("[[alerts.silence]] number {number} cannot be used")]
    Silence {
        /// Its number, from 1.
        number: usize,
        /// Why.
        #[source]
        source: ScheduleError,
    },
}

impl AlertSettings {
    /// The rules of the book.
    pub fn rules(&self) -> Result<Rules, SettingsError> {
        let default = Rules::default();
        if self.severity_min == Some(Severity::None) {
            return Err(SettingsError::Severity);
        }
        let update_first_ms = ms("update_seconds", self.update_seconds, default.update_first_ms)?;
        let rules = Rules {
            severity_min: self.severity_min.unwrap_or(default.severity_min),
            gap_ms: ms("gap_seconds", self.gap_seconds, default.gap_ms)?,
            clear_ms: ms("clear_seconds", self.clear_seconds, default.clear_ms)?,
            update_first_ms,
            update_max_ms: ms(
                "update_seconds_max",
                self.update_seconds_max,
                default.update_max_ms.max(update_first_ms),
            )?,
            storm_entities: count("storm_entities", self.storm_entities, default.storm_entities)?,
            episodes_max: count("episodes_max", self.episodes_max, default.episodes_max)?,
            forget_ms: ms(
                "forget_days",
                self.forget_days.map(|days| days * 86_400.0),
                default.forget_ms,
            )?,
            runbooks: self.runbooks.clone(),
            silences: self.silences()?,
            ..default
        };
        if rules.update_max_ms < rules.update_first_ms {
            return Err(SettingsError::Updates);
        }
        self.check_sinks()?;
        Ok(rules)
    }

    /// When the share of dead letters is too large.
    pub fn quality(&self) -> Result<QualityRules, SettingsError> {
        let default = QualityRules::default();
        let share_max = self.dead_letter_share_max.unwrap_or(default.share_max);
        if !(0.0..=1.0).contains(&share_max) {
            let key = "dead_letter_share_max";
            return Err(SettingsError::Range { key, least: 0.0, most: 1.0 });
        }
        let window_ms = ms("dead_letter_seconds", self.dead_letter_seconds, default.window_ms)?;
        Ok(QualityRules { window_ms, share_max, ..default })
    }

    /// Time that events may wait to be scored, ms.
    pub fn lag_max_ms(&self) -> Result<i64, SettingsError> {
        ms("lag_seconds_max", self.lag_seconds_max, 300_000)
    }

    /// How often sinks are tried.
    pub fn retries(&self) -> Retries {
        Retries::default()
    }

    fn silences(&self) -> Result<Vec<Silence>, SettingsError> {
        let numbered = self.silence.iter().zip(1..);
        let checked = numbered.map(|(silence, number)| {
            silence.checked().map_err(|source| SettingsError::Silence { number, source })
        });
        checked.collect()
    }

    fn check_sinks(&self) -> Result<(), SettingsError> {
        if let Some(hub) = &self.hub
            && hub.strip_prefix("hub:").is_none_or(str::is_empty)
        {
            return Err(SettingsError::Hub(hub.clone()));
        }
        let mut names = std::collections::BTreeSet::from(["hub", "log"]);
        for webhook in &self.webhook {
            let name = webhook.name.as_str();
            let is_plain = (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            if !is_plain || !names.insert(name) {
                return Err(SettingsError::WebhookName(name.to_owned()));
            }
            if webhook.secret_file.is_some() && webhook.secret_env.is_some() {
                return Err(SettingsError::TwoSecrets(name.to_owned()));
            }
        }
        Ok(())
    }
}

fn ms(key: &'static str, seconds: Option<f64>, default: i64) -> Result<i64, SettingsError> {
    match seconds {
        None => Ok(default),
        Some(seconds) if (1.0..=SECONDS_MAX).contains(&seconds) => Ok((seconds * 1000.0) as i64),
        Some(_) => Err(SettingsError::Range { key, least: 1.0, most: SECONDS_MAX }),
    }
}

fn count(key: &'static str, count: Option<usize>, default: usize) -> Result<usize, SettingsError> {
    match count {
        None => Ok(default),
        Some(count) if (1..=1_000_000).contains(&count) => Ok(count),
        Some(_) => Err(SettingsError::Range { key, least: 1.0, most: 1_000_000.0 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Rules, String> {
        let settings: AlertSettings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.rules().map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_said_means_the_defaults() {
        assert_eq!(rules("").unwrap(), Rules::default());
    }

    #[test]
    fn what_is_written_is_what_counts() {
        let rules = rules(
            "severity_min = 'medium'
             gap_seconds = 60
             hub = 'hub:alerts'
             runbooks = 'https://example.com/alerts#'
             [[webhook]]
             name = 'ops'
             url = 'https://example.com/hook'
             [[silence]]
             match = { entity = 'test-*' }
             weekly = ['daily 00:00-24:00']
             reason = 'not a real one'",
        );
        let rules = rules.unwrap();
        assert_eq!((rules.severity_min, rules.gap_ms), (Severity::Medium, 60_000));
        assert_eq!(
            rules.runbook(AlertKind::DataQuality),
            "https://example.com/alerts#data-quality"
        );
        assert!(rules.silences[0].covers(AlertKind::Lag, "d", "test-1", 0));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (text, word) in [
            ("gap_seconds = 0", "gap_seconds"),
            ("gap_seconds = nan", "gap_seconds"),
            ("storm_entities = 0", "storm_entities"),
            ("severity_min = 'none'", "severity_min"),
            ("severity_min = 'dire'", "dire"),
            ("update_seconds = 100\nupdate_seconds_max = 10", "exchange"),
            ("hub = 'alerts'", "hub:NAME"),
            ("[[webhook]]\nurl = 'https://example.com'", "name"),
            ("[[webhook]]\nname = 'log'", "name"),
            ("[[webhook]]\nname = 'a'\nsecret_file = 'x'\nsecret_env = 'X'", "two secrets"),
            ("[[silence]]\nreason = 'x'", "number 1"),
            ("gap = 1", "gap"),
        ] {
            let error = rules(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
