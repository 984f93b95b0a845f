//! All that is known when a rollout is looked at. What follows from it is not known here.

use twinge_trust::Digest;

use crate::{Policy, Report, Rollout};

/// All that is known when a rollout is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What the promoter set.
    pub policy: &'a Policy,
    /// Where the challenger stands.
    pub rollout: &'a Rollout,
    /// The serial with which the challenger was put on its way; reports of an earlier attempt
    /// with the same module do not count.
    pub since: u64,
    /// The module that is to be replaced.
    pub champion: Contender,
    /// The module that is to replace it.
    pub challenger: Contender,
    /// What devices of this detector and channel report, in any order, verified by the caller.
    pub reports: &'a [Report],
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
}

/// One of the two modules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contender {
    /// The module.
    pub digest: Digest,
    /// Share of false alarms on the data that it was made with, if its manifest tells.
    pub false_alarm_rate: Option<f64>,
}
