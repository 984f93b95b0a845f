//! Which reports say something of a challenger in its present stage, and what they add up to.
//!
//! A device's word is its own: nothing here believes a device about another. What contradicts
//! itself is left out, and nobody outweighs the fleet.

use twinge_trust::Digest;

use crate::bound::Proportion;
use crate::{Duty, Report, Rollout, Side, Situation, Stage};

/// A device's clock may be so far ahead; a report from later than that has no place in time.
const CLOCK_AHEAD_MS_MAX: i64 = 5 * 60 * 1000;

/// A device that has not been heard of for so long, 7 days, is no longer one of the fleet.
const KNOWN_MS: i64 = 7 * 24 * 3600 * 1000;

/// A device counts for at most so many events, or for as many as the gate wants of the whole stage
/// if these are more: one busy host, or one that lies, must not speak for all the others.
const WEIGHT_EVENTS: u64 = 10_000;

/// An event takes at most so long, microseconds: a minute.
const EVENT_US_MAX: u64 = 60_000_000;

/// What the fleet shows of a challenger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    /// The stage is to act, and no known device is in its cohort.
    pub(crate) empty: bool,
    /// Devices of the cohort.
    pub(crate) cohort: usize,
    /// Those that reported from within the stage, and still do.
    pub(crate) covered: usize,
    /// Events compared since the stage began.
    pub(crate) events: f64,
    /// What was seen where the challenger acts.
    pub(crate) acting: Sums,
    /// What was seen where it is in shadow.
    pub(crate) shadow: Sums,
    /// Devices that left the challenger by themselves, among those that were to act on it.
    pub(crate) condemned: Proportion,
    /// Silent devices of the cohort, among those that were there when the stage began.
    pub(crate) silent: Proportion,
    /// The same for all other devices.
    pub(crate) silent_others: Proportion,
    /// Those that have been silent for so long that it is no passing trouble.
    pub(crate) long_silent: Proportion,
}

/// Figures of several devices, each with its weight.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) compared: f64,
    pub(crate) anomalies: f64,
    pub(crate) champion_anomalies: f64,
    pub(crate) disagreements: f64,
    /// Events that one of them failed on are not compared, but were tried.
    pub(crate) tried: f64,
    pub(crate) failures: f64,
    /// Failures by number, whatever the weight.
    pub(crate) failures_counted: u64,
    pub(crate) events: f64,
    pub(crate) busy_us: f64,
    pub(crate) champion_events: f64,
    pub(crate) champion_busy_us: f64,
}

/// A device of the fleet, by its latest report.
struct Known<'a> {
    report: &'a Report,
    duty: Duty,
    /// It had less to do in the stage before.
    newcomer: bool,
    /// The report speaks of this rollout.
    told: bool,
    /// It was sent within the stage by a device that knows what the stage asks of it.
    within: bool,
    presence: Presence,
    age_ms: i64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It was silent before the stage began, which then is not to blame, or its clock is wrong.
    Gone,
    /// It fell silent since.
    Silent,
    Speaks,
}

impl Evidence {
    /// Adds up what counts.
    pub(crate) fn gather(situation: &Situation<'_>, stage: &Stage) -> Self {
        let known = known(situation);
        let empty = stage.acts() && !known.iter().any(|device| device.duty == Duty::Act);
        let main = if stage.acts() && !empty { Duty::Act } else { Duty::Shadow };
        let (cohort, others): (Vec<_>, Vec<_>) =
            known.iter().partition(|device| device.duty == main);
        let mut evidence = Self {
            empty,
            cohort: cohort.len(),
            covered: cohort.iter().filter(|device| device.is_heard()).count(),
            condemned: condemned(situation, &known),
            silent: silent(&cohort, 0),
            silent_others: silent(&others, 0),
            long_silent: silent(&cohort, patience_ms(situation, stage)),
            ..Self::default()
        };
        // Counts are since the two run beside each other, so only who is new to the stage began
        // to count in it. Where nobody is new, all that was seen must do.
        let some_new = cohort.iter().any(|device| device.newcomer);
        for device in known.iter().filter(|device| device.within) {
            let Some((ours, theirs, compared)) = figures(situation, device.report) else {
                continue;
            };
            let weight = weight(compared, ours, situation.policy.gate.events_min);
            let acts = acts(device.report, &situation.challenger.digest);
            let sums = if acts { &mut evidence.acting } else { &mut evidence.shadow };
            sums.add(compared, ours, theirs, weight);
            let does_its_duty = device.duty == main && acts == (main == Duty::Act);
            if does_its_duty && (device.newcomer || !some_new) {
                evidence.events += compared as f64 * weight;
            }
        }
        evidence
    }
}

impl Sums {
    fn add(&mut self, compared: u64, ours: &Side, theirs: &Side, weight: f64) {
        let weigh = |count: u64| count as f64 * weight;
        self.compared += weigh(compared);
        self.anomalies += weigh(ours.anomalies);
        self.champion_anomalies += weigh(theirs.anomalies);
        self.disagreements += weigh(ours.alone) + weigh(theirs.alone);
        self.tried += weigh(compared) + weigh(ours.failures);
        self.failures += weigh(ours.failures);
        self.failures_counted = self.failures_counted.saturating_add(ours.failures);
        self.events += weigh(ours.events);
        self.busy_us += weigh(ours.busy_us);
        self.champion_events += weigh(theirs.events);
        self.champion_busy_us += weigh(theirs.busy_us);
    }
}

impl Known<'_> {
    fn is_heard(&self) -> bool {
        self.within && self.presence == Presence::Speaks
    }
}

/// The fleet: each device once, by the latest of its reports that can have been sent by now. One
/// whose clock is ahead belongs to it, and is not heard.
fn known<'a>(situation: &Situation<'a>) -> Vec<Known<'a>> {
    let earliest = situation.now_ms.saturating_sub(KNOWN_MS);
    let mut reports: Vec<&'a Report> =
        situation.reports.iter().filter(|report| report.sent_ms >= earliest).collect();
    reports.sort_by(|left, right| {
        let newest = |report: &Report| {
            let compared = report.comparison.as_ref().map(|comparison| comparison.compared);
            (!is_ahead(report, situation), report.sent_ms, report.desired.serial, compared)
        };
        let names = left.device.name.cmp(&right.device.name);
        names.then_with(|| newest(right).cmp(&newest(left)))
    });
    reports.dedup_by(|later, kept| later.device.name == kept.device.name);
    reports.into_iter().map(|report| look_at(report, situation)).collect()
}

fn is_ahead(report: &Report, situation: &Situation<'_>) -> bool {
    report.sent_ms > situation.now_ms.saturating_add(CLOCK_AHEAD_MS_MAX)
}

fn look_at<'a>(report: &'a Report, situation: &Situation<'_>) -> Known<'a> {
    let Situation { policy, rollout, now_ms, .. } = *situation;
    let duty = rollout.duty(policy, &report.device);
    let before = rollout.stage.checked_sub(1).map_or(Duty::None, |stage| {
        // The number may lie beyond the last stage, and means that one then.
        let last = policy.stages.len().saturating_sub(1) as u16;
        let stage = stage.min(last.saturating_sub(1));
        Rollout { stage, ..rollout.clone() }.duty(policy, &report.device)
    });
    let silence_ms = in_ms(policy.gate.silence_seconds);
    let desired = &report.desired;
    let told = desired.challenger == Some(situation.challenger.digest)
        && desired.serial >= situation.since;
    let ahead = is_ahead(report, situation);
    let age_ms = now_ms.saturating_sub(report.sent_ms);
    let presence = if ahead {
        Presence::Gone
    } else if age_ms <= silence_ms {
        Presence::Speaks
    } else if report.sent_ms >= rollout.entered_ms.saturating_sub(silence_ms) {
        Presence::Silent
    } else {
        Presence::Gone
    };
    Known {
        report,
        duty,
        newcomer: duty > before,
        told,
        within: told && !ahead && report.sent_ms >= rollout.entered_ms && desired.duty == duty,
        presence,
        age_ms,
    }
}

/// The challenger's figures and the champion's, if the report has them and they can be true.
fn figures<'a>(situation: &Situation<'_>, report: &'a Report) -> Option<(&'a Side, &'a Side, u64)> {
    let comparison = report.comparison.as_ref()?;
    let (ours, theirs) = comparison.sides(&situation.challenger.digest)?;
    let events = ours.events.max(theirs.events);
    let possible = |side: &Side| {
        side.alone <= side.anomalies
            && side.anomalies <= comparison.compared
            && comparison.compared <= side.events
            && side.failures <= events
            && side.busy_us / EVENT_US_MAX <= side.events
    };
    let possible = theirs.digest == situation.champion.digest && possible(ours) && possible(theirs);
    possible.then_some((ours, theirs, comparison.compared))
}

fn weight(compared: u64, ours: &Side, events_min: u64) -> f64 {
    let tried = compared as f64 + ours.failures as f64;
    let most = WEIGHT_EVENTS.max(events_min) as f64;
    if tried > most { most / tried } else { 1.0 }
}

fn condemned(situation: &Situation<'_>, known: &[Known<'_>]) -> Proportion {
    let left = |report: &Report| {
        report.condemned.iter().any(|condemned| {
            condemned.digest == situation.challenger.digest && condemned.since == situation.since
        })
    };
    let told = known.iter().filter(|device| device.told);
    let asked: Vec<_> = told.filter(|device| device.duty == Duty::Act).collect();
    let count = asked.iter().filter(|device| left(device.report)).count();
    Proportion::of_devices(count, asked.len())
}

/// The silent among those that were there when the stage began, for longer than some time.
fn silent(devices: &[&Known<'_>], longer_than_ms: i64) -> Proportion {
    let are = |presence| devices.iter().filter(move |device| device.presence == presence);
    let long = are(Presence::Silent).filter(|device| device.age_ms > longer_than_ms).count();
    let there = are(Presence::Silent).count() + are(Presence::Speaks).count();
    Proportion::of_devices(long, there)
}

/// Silence for so long is no passing trouble: twice the time in which a stage must show itself.
fn patience_ms(situation: &Situation<'_>, stage: &Stage) -> i64 {
    in_ms(stage.soak_seconds.max(situation.policy.gate.silence_seconds).saturating_mul(2))
}

fn in_ms(seconds: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX)
}

fn acts(report: &Report, challenger: &Digest) -> bool {
    report.comparison.as_ref().is_some_and(|comparison| comparison.acting.digest == *challenger)
}
