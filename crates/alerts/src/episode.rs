//! One episode: what is known of findings that belong together.

use crate::EVERYTHING;
use crate::settings::Rules;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use twinge_contract::alert::{Alert, AlertData, AlertEnd, AlertKind, AlertState, episode_id};
use twinge_contract::time::to_rfc3339;
use twinge_contract::verdict::{Contribution, Severity};

/// What an episode is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) kind: AlertKind,
    pub(crate) detector: String,
    pub(crate) entity: String,
}

impl Key {
    /// The key of many entities of a detector at once.
    pub(crate) fn storm(kind: AlertKind, detector: &str) -> Self {
        Self { kind, detector: detector.to_owned(), entity: EVERYTHING.into() }
    }

    pub(crate) fn is_storm(&self) -> bool {
        self.entity == EVERYTHING
    }
}

/// What joins an episode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Joining<'a> {
    pub(crate) id: &'a str,
    pub(crate) entity: &'a str,
    pub(crate) at_ms: i64,
    pub(crate) severity: Severity,
    pub(crate) score: Option<f64>,
    pub(crate) attribution: &'a [Contribution],
    pub(crate) message: &'a str,
    /// A schedule covers it.
    pub(crate) is_silenced: bool,
    /// Somebody is to be told of it.
    pub(crate) is_loud: bool,
}

/// An open episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Episode {
    pub(crate) id: String,
    finding: String,
    first_ms: i64,
    pub(crate) last_ms: i64,
    /// When it was last added to, by the clock: findings may be old when they are made.
    pub(crate) heard_ms: i64,
    pub(crate) count: u64,
    silenced: u64,
    severity: Severity,
    peak_score: Option<f64>,
    attribution: Vec<Contribution>,
    message: String,
    /// Entities that take part in a storm, as far as they are remembered.
    pub(crate) members: BTreeSet<String>,
    /// What it is about is wrong at this moment: of conditions only.
    pub(crate) is_on: bool,
    told: Option<Told>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Told {
    number: u64,
    at_ms: i64,
    severity: Severity,
    count: u64,
    pause_ms: i64,
}

impl Episode {
    /// An episode that `joining` begins.
    pub(crate) fn begin(key: &Key, joining: &Joining<'_>) -> Self {
        Self {
            id: episode_id(key.kind, &key.detector, &key.entity, joining.id),
            finding: joining.id.to_owned(),
            first_ms: joining.at_ms,
            last_ms: joining.at_ms,
            heard_ms: 0,
            count: 0,
            silenced: 0,
            severity: Severity::None,
            peak_score: None,
            attribution: Vec::new(),
            message: joining.message.to_owned(),
            members: BTreeSet::new(),
            is_on: false,
            told: None,
        }
    }

    /// Adds a finding at `now_ms`.
    pub(crate) fn join(&mut self, key: &Key, joining: &Joining<'_>, rules: &Rules, now_ms: i64) {
        self.count += 1;
        self.silenced += u64::from(joining.is_silenced);
        self.first_ms = self.first_ms.min(joining.at_ms);
        self.last_ms = self.last_ms.max(joining.at_ms);
        self.heard_ms = now_ms;
        self.severity = self.severity.max(joining.severity);
        if self.is_peak(joining.score) {
            self.peak_score = joining.score;
            self.attribution =
                joining.attribution.iter().take(rules.attribution_max).cloned().collect();
            joining.message.clone_into(&mut self.message);
        }
        if key.is_storm() && self.members.len() < rules.members_max {
            self.members.insert(joining.entity.to_owned());
        }
    }

    /// A condition still holds at `now_ms`, and this is how bad it is.
    pub(crate) fn hold(&mut self, joining: &Joining<'_>, now_ms: i64) {
        self.heard_ms = now_ms;
        self.last_ms = self.last_ms.max(joining.at_ms);
        self.severity = self.severity.max(joining.severity);
        if self.is_peak(joining.score) {
            self.peak_score = joining.score;
        }
        joining.message.clone_into(&mut self.message);
    }

    fn is_peak(&self, score: Option<f64>) -> bool {
        match (score, self.peak_score) {
            (Some(score), Some(peak)) => score > peak,
            (score, _) => score.is_some(),
        }
    }

    pub(crate) fn is_told(&self) -> bool {
        self.told.is_some()
    }

    /// What somebody should be told at `now_ms`, if anything; `is_loud` when the last finding was.
    pub(crate) fn tell(
        &mut self,
        key: &Key,
        is_loud: bool,
        rules: &Rules,
        now_ms: i64,
    ) -> Option<Alert> {
        let Some(told) = &mut self.told else {
            return is_loud.then(|| {
                self.told = Some(Told {
                    number: 0,
                    at_ms: now_ms,
                    severity: self.severity,
                    count: self.count,
                    pause_ms: rules.update_first_ms,
                });
                self.alert(key, AlertState::Opened, None, rules, now_ms)
            });
        };
        // After a clock was set back, the pause begins anew.
        told.at_ms = told.at_ms.min(now_ms);
        let is_worse = is_loud && self.severity > told.severity;
        let is_due = now_ms.saturating_sub(told.at_ms) >= told.pause_ms
            && (self.count > told.count || self.is_on);
        if !is_worse && !is_due {
            return None;
        }
        *told = Told {
            number: told.number + 1,
            at_ms: now_ms,
            severity: self.severity,
            count: self.count,
            pause_ms: told.pause_ms.saturating_mul(2).min(rules.update_max_ms),
        };
        Some(self.alert(key, AlertState::Updated, None, rules, now_ms))
    }

    /// The last word, where there was a first.
    pub(crate) fn end(
        &self,
        key: &Key,
        end: AlertEnd,
        rules: &Rules,
        now_ms: i64,
    ) -> Option<Alert> {
        self.is_told().then(|| self.alert(key, AlertState::Resolved, Some(end), rules, now_ms))
    }

    fn alert(
        &self,
        key: &Key,
        state: AlertState,
        end: Option<AlertEnd>,
        rules: &Rules,
        now_ms: i64,
    ) -> Alert {
        let data = AlertData {
            kind: key.kind,
            detector: key.detector.clone(),
            state,
            episode: self.id.clone(),
            severity: self.severity,
            first: to_rfc3339(self.first_ms),
            last: to_rfc3339(self.last_ms),
            count: self.count,
            silenced: self.silenced,
            entities: key
                .is_storm()
                .then_some(self.members.len() as u64)
                .filter(|count| *count > 1),
            peak_score: self.peak_score,
            attribution: self.attribution.clone(),
            finding: self.finding.clone(),
            message: self.message.clone(),
            end,
            runbook: rules.runbook(key.kind),
        };
        let number = self.told.as_ref().map_or(0, |told| told.number);
        Alert::new(key.entity.clone(), data, number, now_ms)
    }
}
