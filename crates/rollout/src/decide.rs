//! Whether a challenger goes on, waits or goes back, from what devices report of it.
//!
//! A stage has *needs*: time, devices and events, without which it waits. Its *limits* send the
//! challenger back: at once where chance can be ruled out, and by the plain figures when the stage
//! has had all it needs, so that nothing stays undecided. Figures count for the whole fleet or not
//! at all; what is known of a single device is in the table of `trainer fleet`.

use crate::evidence::Evidence;
use crate::limits::{Judged, limits};
use crate::words::{count, minutes, percent};
use crate::{Action, Decision, Fact, Situation, Stage};

/// What should happen with a challenger.
///
/// A rollout that is held waits, whatever devices report. A stage that no known device is in goes
/// by what the devices in shadow report, so that small fleets come through.
pub fn decide(situation: &Situation<'_>) -> Decision {
    let Some(stage) = situation.rollout.stage(situation.policy) else {
        let sentence = "wait: the policy has no stages; set one that has".to_owned();
        return Decision { action: Action::Wait, sentence, facts: Vec::new() };
    };
    let evidence = Evidence::gather(situation, stage);
    let needs = needs(situation, stage, &evidence);
    let ready = needs.iter().all(|need| need.passed);
    let limits = limits(situation, &evidence, ready);
    let (action, reason) = conclude(situation, stage, &evidence, &needs, &limits);
    let verb = match action {
        Action::Wait => "wait",
        Action::Advance => "go on",
        Action::Promote => "promote it",
        Action::Withdraw => "withdraw it",
    };
    let place = place(situation, stage);
    let facts = needs.into_iter().chain(limits.into_iter().map(|judged| judged.fact)).collect();
    Decision { action, sentence: format!("{verb}, {place}: {reason}"), facts }
}

fn conclude(
    situation: &Situation<'_>,
    stage: &Stage,
    evidence: &Evidence,
    needs: &[Fact],
    limits: &[Judged],
) -> (Action, String) {
    if let Some(reason) = &situation.rollout.hold {
        return (Action::Wait, format!("it is held ({reason}) until somebody releases it"));
    }
    let texts = |facts: Vec<&Fact>| {
        facts.into_iter().map(|fact| fact.text.as_str()).collect::<Vec<_>>().join("; ")
    };
    let against: Vec<_> =
        limits.iter().filter(|judged| judged.condemns).map(|judged| &judged.fact).collect();
    if !against.is_empty() {
        return (Action::Withdraw, texts(against));
    }
    let limits = limits.iter().map(|judged| &judged.fact);
    let open: Vec<_> = needs.iter().chain(limits).filter(|fact| !fact.passed).collect();
    if !open.is_empty() {
        return (Action::Wait, texts(open));
    }
    let stages = situation.policy.stages.len();
    let last = usize::from(situation.rollout.stage) + 1 >= stages;
    let action = if last { Action::Promote } else { Action::Advance };
    (action, praise(situation, stage, evidence))
}

fn praise(situation: &Situation<'_>, stage: &Stage, evidence: &Evidence) -> String {
    let sums = if stage.acts() && !evidence.empty { evidence.acting } else { evidence.shadow };
    let rate = |anomalies: f64| percent(anomalies / sums.compared);
    let minutes = minutes(elapsed_seconds(situation));
    let (events, devices) = (count(evidence.events), count(evidence.covered as f64));
    let (ours, theirs) = (rate(sums.anomalies), rate(sums.champion_anomalies));
    let figures = format!(
        "in {minutes} it was compared on {events} events by {devices} devices, raised alarms on \
         {ours} of them and the champion on {theirs}, and kept every limit"
    );
    if evidence.empty {
        return format!("no known device is in this stage's share, so shadow must do: {figures}");
    }
    figures
}

fn place(situation: &Situation<'_>, stage: &Stage) -> String {
    let stages = situation.policy.stages.len();
    let number = (usize::from(situation.rollout.stage) + 1).min(stages);
    format!("stage {} ({number} of {stages})", stage.name)
}

fn needs(situation: &Situation<'_>, stage: &Stage, evidence: &Evidence) -> Vec<Fact> {
    let gate = &situation.policy.gate;
    let need = |name, measured: Option<f64>, limit: f64, text| {
        let passed = measured.is_some_and(|measured| measured >= limit);
        Fact { name, measured, limit, passed, text }
    };
    let elapsed = elapsed_seconds(situation);
    let soak = stage.soak_seconds as f64;
    let soak_text = format!("{} of at least {} have passed", minutes(elapsed), minutes(soak));
    let (covered, cohort) = (evidence.covered, evidence.cohort);
    let coverage = (cohort > 0).then(|| covered as f64 / cohort as f64);
    let who = if stage.acts() && !evidence.empty { "to act on it" } else { "to shadow it" };
    let coverage_text = if cohort == 0 {
        format!("no known device is {who}; set a larger share, or start devices that report")
    } else {
        let least = percent(gate.reporting_min.fraction());
        format!(
            "{} of the {} devices that are {who} have reported lately from within the stage, at \
             least {least} must",
            count(covered as f64),
            count(cohort as f64)
        )
    };
    let (events, least) = (evidence.events, gate.events_min as f64);
    let events_text =
        format!("{} of at least {} events have been compared", count(events), count(least));
    vec![
        need("soak", Some(elapsed), soak, soak_text),
        need("coverage", coverage, gate.reporting_min.fraction(), coverage_text),
        need("events", Some(events), least, events_text),
    ]
}

/// How long the stage has lasted, seconds.
fn elapsed_seconds(situation: &Situation<'_>) -> f64 {
    let elapsed_ms = situation.now_ms.saturating_sub(situation.rollout.entered_ms);
    elapsed_ms.max(0) as f64 / 1000.0
}
