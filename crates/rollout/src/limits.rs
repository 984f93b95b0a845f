//! The limits of a gate: what sends a challenger back, and when.

use crate::bound::Proportion;
use crate::evidence::{Evidence, Sums};
use crate::words::{count, minutes, percent, times};
use crate::{Fact, Gate, Situation};

/// Silence that lasts is not put down to chance where it comes less often than in so many cases.
const SILENCE_CHANCE_MAX: f64 = 0.05;

/// A fact, and whether it sends the challenger back.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) fact: Fact,
    pub(crate) condemns: bool,
}

/// All of them. `ready` says that the stage has had all it needs, so that the plain figures count;
/// before, only what chance does not explain.
pub(crate) fn limits(situation: &Situation<'_>, evidence: &Evidence, ready: bool) -> Vec<Judged> {
    type Limit = fn(&Situation<'_>, &Sums, bool) -> Judged;
    let of_events: [Limit; 5] = [alarm_rate, reference, disagreement, failures, latency];
    // Where it acts and where it is in shadow are looked at apart: there are many more of one.
    let worse = |limit: &Limit| {
        let of = |sums: &Sums| limit(situation, sums, ready);
        let [acting, shadow] = [&evidence.acting, &evidence.shadow].map(of);
        let badness = |judged: &Judged| (judged.condemns, !judged.fact.passed);
        let acting_known = acting.fact.measured.is_some();
        if badness(&shadow) > badness(&acting) || !acting_known { shadow } else { acting }
    };
    let mut limits: Vec<Judged> = of_events.iter().map(worse).collect();
    limits.push(condemned(&situation.policy.gate, evidence, ready));
    limits.push(silence(&situation.policy.gate, evidence));
    limits
}

/// Against the champion's on the same events, so that an incident counts for both.
fn alarm_rate(situation: &Situation<'_>, sums: &Sums, ready: bool) -> Judged {
    let gate = &situation.policy.gate;
    let ours = Proportion::new(sums.anomalies, sums.compared);
    let theirs = Proportion::new(sums.champion_anomalies, sums.compared);
    let excess = gate.rate_excess_max.fraction();
    let allowed = |theirs: f64| (theirs * gate.rate_ratio_max + excess).min(1.0);
    let limit = allowed(theirs.share().unwrap_or_default());
    let certain = ours.lower() > allowed(theirs.upper());
    let text = |share: f64| {
        format!(
            "it raised alarms on {} of {} events and the champion on {}, at most {} are allowed",
            percent(share),
            count(sums.compared),
            percent(theirs.share().unwrap_or_default()),
            percent(limit)
        )
    };
    judge("alarm-rate", ours.share(), limit, certain || ready, text)
}

/// Against the share of false alarms that it was made with. Not held against it when the champion
/// is as far above its own, since then something happens out there; nor below the share that may
/// always come on top, as real anomalies are no false alarms.
fn reference(situation: &Situation<'_>, sums: &Sums, ready: bool) -> Judged {
    let gate = &situation.policy.gate;
    let known = |rate: Option<f64>| rate.filter(|rate| rate.is_finite() && *rate > 0.0);
    let Some(made_with) = known(situation.challenger.false_alarm_rate) else {
        let text = |_: f64| String::new();
        let unknown = judge("reference", None, gate.reference_ratio_max, false, text);
        let text = "the false-alarm rate it was made with is not known".to_owned();
        return Judged { fact: Fact { text, ..unknown.fact }, ..unknown };
    };
    let ours = Proportion::new(sums.anomalies, sums.compared);
    let theirs = Proportion::new(sums.champion_anomalies, sums.compared).share();
    let above = known(situation.champion.false_alarm_rate).zip(theirs);
    let above = above.map_or(0.0, |(made_with, theirs)| theirs / made_with);
    let ratio = gate.reference_ratio_max.max(above * gate.rate_ratio_max);
    let limit = (made_with * ratio).max(gate.rate_excess_max.fraction()).min(1.0);
    let text = |share: f64| {
        format!(
            "it raised alarms on {} of {} events, and on {} of normal ones when it was made, while \
             the champion raised {} times as many as when it was made; at most {} are allowed",
            percent(share),
            count(sums.compared),
            percent(made_with),
            times(above),
            percent(limit)
        )
    };
    judge("reference", ours.share(), limit, ours.lower() > limit || ready, text)
}

fn disagreement(situation: &Situation<'_>, sums: &Sums, ready: bool) -> Judged {
    let limit = situation.policy.gate.disagreement_max.fraction();
    let apart = Proportion::new(sums.disagreements, sums.compared);
    let text = |share: f64| {
        format!(
            "it and the champion disagree on {} of {} events, at most {} are allowed",
            percent(share),
            count(sums.compared),
            percent(limit)
        )
    };
    judge("disagreement", apart.share(), limit, apart.lower() > limit || ready, text)
}

/// Where none is allowed, the first would be proof; it takes as many as send a device back, since
/// a deadline can be missed once for no fault of the module.
fn failures(situation: &Situation<'_>, sums: &Sums, ready: bool) -> Judged {
    let gate = &situation.policy.gate;
    let limit = gate.failures_max.fraction();
    let failed = Proportion::new(sums.failures, sums.tried);
    let several = sums.failures_counted >= u64::from(gate.return_failures);
    let certain = several && failed.lower() > limit;
    let text = |share: f64| {
        format!(
            "it failed {} times where the champion did not, on {} of events, at most {} are \
             allowed",
            count(sums.failures_counted as f64),
            percent(share),
            percent(limit)
        )
    };
    judge("failures", failed.share(), limit, certain || ready, text)
}

/// Time has no simple bound, so it waits for as many events as the stage wants.
fn latency(situation: &Situation<'_>, sums: &Sums, ready: bool) -> Judged {
    let gate = &situation.policy.gate;
    let each =
        |busy_us: f64, events: f64| (busy_us > 0.0 && events > 0.0).then(|| busy_us / events);
    let (ours, theirs) =
        (each(sums.busy_us, sums.events), each(sums.champion_busy_us, sums.champion_events));
    let ratio = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
    let enough = sums.events.min(sums.champion_events) >= gate.events_min as f64;
    let text = |ratio: f64| {
        format!(
            "it takes {:.0} microseconds for an event, {} times as long as the champion, at most \
             {} times are allowed",
            ours.unwrap_or_default(),
            times(ratio),
            times(gate.latency_ratio_max)
        )
    };
    judge("latency", ratio, gate.latency_ratio_max, enough || ready, text)
}

fn condemned(gate: &Gate, evidence: &Evidence, ready: bool) -> Judged {
    let limit = gate.condemned_max.fraction();
    let left = evidence.condemned;
    let text = |_: f64| {
        format!(
            "{} of {} devices that acted on it returned to the champion by themselves, at most {} \
             may",
            count(left.count),
            count(left.of),
            percent(limit)
        )
    };
    judge("condemned", left.share(), limit, left.lower() > limit || ready, text)
}

/// A network that is cut silences all alike; a module that kills its device silences its own.
///
/// With one or two devices chance cannot be ruled out. If they stay silent for long, and few of
/// the others are silent, that is taken for an answer.
fn silence(gate: &Gate, evidence: &Evidence) -> Judged {
    let limit = gate.silence_excess_max.fraction();
    let (own, others) = (evidence.silent, evidence.silent_others);
    let beyond = |own: Proportion| {
        own.share().zip(others.share()).map(|(own, others)| (own - others).max(0.0))
    };
    let certain = own.lower() - others.upper() > limit;
    let long = evidence.long_silent;
    let others_speak = others.share().is_some_and(|others| others <= limit);
    let for_long = others_speak
        && beyond(long).is_some_and(|excess| excess > limit)
        && long.chance_beside(others) < SILENCE_CHANCE_MAX;
    let text = |_: f64| {
        format!(
            "{} of {} devices that run it have said nothing for {}, and {} of {} others; at most \
             {} more of them may",
            count(own.count),
            count(own.of),
            minutes(gate.silence_seconds as f64),
            count(others.count),
            count(others.of),
            percent(limit)
        )
    };
    judge("silence", beyond(own), limit, certain || for_long, text)
}

/// `counts` says whether a limit that is not kept sends the challenger back already.
fn judge(
    name: &'static str,
    measured: Option<f64>,
    limit: f64,
    counts: bool,
    text: impl Fn(f64) -> String,
) -> Judged {
    let passed = measured.is_none_or(|measured| measured <= limit);
    let text = measured.map_or_else(|| "nothing is known yet".to_owned(), text);
    Judged { fact: Fact { name, measured, limit, passed, text }, condemns: !passed && counts }
}
