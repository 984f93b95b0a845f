//! What a promoter sets once for a channel: the stages of every rollout and the gate between
//! them.

use serde::{Deserialize, Serialize};

use crate::Percent;

/// Most stages of a policy.
pub const STAGES_MAX: usize = 16;

/// How new modules are rolled out on a channel. Only a promoter may change it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// The stages in order, the first of which acts nowhere; after the last comes the promotion.
    pub stages: Vec<Stage>,
    /// What a stage must show before the next.
    pub gate: Gate,
}

/// One stage of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stage {
    /// Its name, such as `shadow` or `canary`.
    pub name: String,
    /// Share of devices that score the challenger in shadow, besides those on which it acts.
    pub shadow: Percent,
    /// Share of devices on which the challenger's verdicts count.
    pub act: Percent,
    /// Rings of devices on which the challenger acts whatever the share.
    pub rings: Vec<String>,
    /// How long the stage lasts at least.
    pub soak_seconds: u64,
}

/// What devices' reports must show, and where a device helps itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gate {
    /// Events that champion and challenger must both have judged, over all reporting devices of
    /// the stage, since the stage began.
    pub events_min: u64,
    /// Share of the stage's known devices that must have reported from within the stage.
    pub reporting_min: Percent,
    /// A device that has said nothing for so long is silent.
    pub silence_seconds: u64,
    /// How much larger the silent share may be among devices on which the challenger acts than
    /// among the others; beyond it the rollout goes back.
    pub silence_excess_max: Percent,
    /// The challenger's share of alarms may be so many times the champion's on the same events,
    pub rate_ratio_max: f64,
    /// plus so much.
    pub rate_excess_max: Percent,
    /// The challenger's share of alarms may be so many times the false-alarm rate it was made
    /// with, unless the champion's is as far above its own: then something happens out there.
    pub reference_ratio_max: f64,
    /// Share of events on which the two may disagree.
    pub disagreement_max: Percent,
    /// Share of events that the challenger may fail on where the champion does not.
    pub failures_max: Percent,
    /// Time for an event in the challenger against the champion.
    pub latency_ratio_max: f64,
    /// Share of the devices on which the challenger acted that may have gone back by themselves.
    pub condemned_max: Percent,
    /// Events for which a device keeps the former module running beside the one that took over,
    /// for an instant return.
    pub window_events: u64,
    /// Failures of the acting module alone, within [`WATCH_BLOCKS`](crate::WATCH_BLOCKS) times
    /// [`WATCH_STEP`](crate::WATCH_STEP) events, at which a device returns.
    pub return_failures: u32,
    /// Alarms of the acting module alone, within the same events, at which a device returns.
    pub return_alone: u32,
}

/// Why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use policy: {place} {reason}")]
pub struct PolicyError {
    /// The stage or the field.
    pub place: String,
    /// What is wrong and what to do.
    pub reason: &'static str,
}

impl Default for Policy {
    fn default() -> Self {
        let stage = |name: &str, act: u8, rings: &[&str]| Stage {
            name: name.to_owned(),
            shadow: Percent::ALL,
            act: Percent::new(act),
            rings: rings.iter().map(ToString::to_string).collect(),
            soak_seconds: 3600,
        };
        Self {
            stages: vec![
                stage("shadow", 0, &[]),
                stage("canary", 1, &["canary"]),
                stage("early", 10, &["canary", "early"]),
                stage("half", 50, &["canary", "early"]),
            ],
            gate: Gate::default(),
        }
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            events_min: 1000,
            reporting_min: Percent::new(80),
            silence_seconds: 900,
            silence_excess_max: Percent::new(10),
            rate_ratio_max: 2.0,
            rate_excess_max: Percent::new(1),
            reference_ratio_max: 10.0,
            disagreement_max: Percent::new(5),
            failures_max: Percent::new(0),
            latency_ratio_max: 4.0,
            condemned_max: Percent::new(2),
            window_events: 100_000,
            return_failures: 3,
            return_alone: 32,
        }
    }
}

impl Policy {
    /// Whether the policy makes sense: stages that only grow, from one that acts nowhere.
    pub fn check(&self) -> Result<(), PolicyError> {
        let error = |place: &str, reason| Err(PolicyError { place: place.to_owned(), reason });
        let Some(first) = self.stages.first() else {
            return error("stages:", "there is none; give at least one that acts nowhere");
        };
        if self.stages.len() > STAGES_MAX {
            return error("stages:", "there are more than 16; leave some out");
        }
        if first.acts() {
            return error(&first.name, "is the first stage and acts; begin with one that does not");
        }
        if first.shadow == Percent::NONE {
            return error(&first.name, "has no device in shadow; give it a share of them");
        }
        for pair in self.stages.windows(2) {
            let kept = pair[0].rings.iter().all(|ring| pair[1].rings.contains(ring));
            if pair[1].act < pair[0].act || !kept {
                let reason = "acts on fewer devices than the stage before it; let stages grow";
                return error(&pair[1].name, reason);
            }
            if !pair[1].acts() {
                return error(&pair[1].name, "acts nowhere; only the first stage may");
            }
        }
        self.gate.check()
    }
}

impl Stage {
    /// Whether the challenger's verdicts count anywhere.
    pub fn acts(&self) -> bool {
        self.act > Percent::NONE || !self.rings.is_empty()
    }
}

impl Gate {
    fn check(&self) -> Result<(), PolicyError> {
        let ratios = [
            ("gate.rate_ratio_max", self.rate_ratio_max),
            ("gate.reference_ratio_max", self.reference_ratio_max),
            ("gate.latency_ratio_max", self.latency_ratio_max),
        ];
        for (place, ratio) in ratios {
            if !(ratio.is_finite() && ratio >= 1.0) {
                let reason = "must be a finite number, at least 1";
                return Err(PolicyError { place: place.to_owned(), reason });
            }
        }
        for (place, count) in [
            ("gate.events_min", self.events_min),
            ("gate.return_failures", u64::from(self.return_failures)),
            ("gate.return_alone", u64::from(self.return_alone)),
        ] {
            if count == 0 {
                let reason = "must be at least 1";
                return Err(PolicyError { place: place.to_owned(), reason });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_told() {
        assert_eq!(Policy::default().check(), Ok(()));
        let with = |change: &dyn Fn(&mut Policy)| {
            let mut policy = Policy::default();
            change(&mut policy);
            policy.check().unwrap_err().to_string()
        };
        assert!(with(&|policy| policy.stages.clear()).contains("none"));
        assert!(with(&|policy| drop(policy.stages.remove(0))).contains("first stage and acts"));
        assert!(with(&|policy| policy.stages[2].act = Percent::NONE).contains("fewer"));
        assert!(with(&|policy| policy.stages[3].rings.clear()).contains("fewer"));
        assert!(with(&|policy| policy.stages[0].shadow = Percent::NONE).contains("shadow"));
        assert!(with(&|policy| policy.gate.rate_ratio_max = f64::NAN).contains("rate_ratio_max"));
        assert!(with(&|policy| policy.gate.events_min = 0).contains("events_min"));
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let policy: Policy = serde_json::from_str(r#"{"gate": {"events_min": 5}}"#).unwrap();
        assert_eq!(policy.stages, Policy::default().stages);
        assert_eq!(policy.gate, Gate { events_min: 5, ..Gate::default() });
    }
}
