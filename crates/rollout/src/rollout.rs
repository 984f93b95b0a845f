//! Where one challenger stands on its way, and what that means for a device.

use serde::{Deserialize, Serialize};

use crate::{Policy, Stage, position};

/// How far the challenger of a channel has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rollout {
    /// What device names are hashed with; another one for each rollout.
    pub salt: String,
    /// The stage of the policy, from zero.
    pub stage: u16,
    /// When the stage began, in milliseconds since 1970.
    pub entered_ms: i64,
    /// Why nobody goes on with it by itself, if it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
}

/// What a device is to do with a challenger.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Duty {
    /// Nothing.
    #[default]
    None,
    /// Score it beside the champion, and act on nothing of it.
    Shadow,
    /// Act on its verdicts once it is warm, with the champion beside it.
    Act,
}

/// Who a device is, as far as a rollout asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// The ring it is in, if its operator put it into one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring: Option<String>,
}

impl Rollout {
    /// The stage in a policy; a number beyond the last stage means the last.
    pub fn stage<'a>(&self, policy: &'a Policy) -> Option<&'a Stage> {
        policy.stages.get(usize::from(self.stage)).or_else(|| policy.stages.last())
    }

    /// What `device` is to do with the challenger.
    pub fn duty(&self, policy: &Policy, device: &Device) -> Duty {
        let Some(stage) = self.stage(policy) else { return Duty::None };
        let position = position(&self.salt, &device.name);
        let in_ring = device.ring.as_ref().is_some_and(|ring| stage.rings.contains(ring));
        if in_ring || position < stage.act.hundredths() {
            Duty::Act
        } else if position < stage.shadow.hundredths() {
            Duty::Shadow
        } else {
            Duty::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cohorts_only_grow_and_rings_count() {
        let policy = Policy::default();
        for number in 0..500 {
            let device = Device { name: format!("device-{number}"), ring: None };
            let duty = |stage| Rollout { stage, ..Rollout::default() }.duty(&policy, &device);
            assert_eq!(duty(0), Duty::Shadow);
            assert!((0..4).map(duty).is_sorted());
        }
        let device = Device { name: "lab".into(), ring: Some("canary".into()) };
        let at = |stage| Rollout { stage, ..Rollout::default() }.duty(&policy, &device);
        assert_eq!((at(0), at(1), at(99)), (Duty::Shadow, Duty::Act, Duty::Act));
    }
}
