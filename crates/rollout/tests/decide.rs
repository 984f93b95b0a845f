//! What is decided in which situation, and that no report can break it.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use twinge_rollout::{
    Action, Comparison, Condemned, Contender, Decision, Desired, Device, Duty, Gate, Health,
    Policy, Report, Rollout, Side, Situation, decide,
};
use twinge_trust::Digest;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const ENTERED_MS: i64 = 1_000 * HOUR_MS;
/// Of the property tests; a failure prints the input that it comes down to.
const SEED: u64 = 2_611;

const SINCE: u64 = 7;

/// A situation that can be changed piece by piece; as it is made, all is well.
#[derive(Clone, Debug)]
struct World {
    policy: Policy,
    rollout: Rollout,
    champion: Contender,
    challenger: Contender,
    reports: Vec<Report>,
    now_ms: i64,
}

fn contender(name: &str) -> Contender {
    Contender { digest: Digest::of(name.as_bytes()), false_alarm_rate: Some(0.02) }
}

/// Devices in a stage, after its soak time, each with 500 events in which either module raised 20
/// alarms, 18 of them the same.
fn world(stage: u16, devices: usize) -> World {
    salted("salt-0", stage, devices)
}

/// The same with as many devices to act as the stage may have at most.
fn exact_world(stage: u16, devices: usize) -> World {
    let full = |world: &World| {
        let acting = world.reports.iter().filter(|report| report.desired.duty == Duty::Act);
        acting.count() == world.policy.stages[usize::from(stage)].act.of(devices)
    };
    let salts = (0..1000).map(|number| salted(&format!("salt-{number}"), stage, devices));
    salts.into_iter().find(full).expect("one salt in a few has it")
}

fn salted(salt: &str, stage: u16, devices: usize) -> World {
    let rollout = Rollout { salt: salt.into(), stage, entered_ms: ENTERED_MS, hold: None };
    let mut world = World {
        policy: Policy::default(),
        rollout,
        champion: contender("champion"),
        challenger: contender("challenger"),
        reports: Vec::new(),
        now_ms: ENTERED_MS + HOUR_MS,
    };
    world.reports = (0..devices).map(|number| world.report(number)).collect();
    world
}

impl World {
    fn report(&self, number: usize) -> Report {
        let device = Device { name: format!("device-{number}"), ring: None };
        let duty = self.rollout.duty(&self.policy, &device);
        let side = |contender: Contender| Side {
            anomalies: 20,
            alone: 2,
            events: 500,
            busy_us: 5_000,
            ..Side::new(contender.digest)
        };
        let (ours, theirs) = (side(self.challenger), side(self.champion));
        let (acting, other) = if duty == Duty::Act { (ours, theirs) } else { (theirs, ours) };
        Report {
            detector: "pump".into(),
            channel: "stable".into(),
            sent_ms: self.now_ms - MINUTE_MS,
            desired: Desired {
                serial: SINCE + u64::from(self.rollout.stage),
                root: 1,
                champion: self.champion.digest,
                challenger: Some(self.challenger.digest),
                duty,
            },
            device,
            running: Vec::new(),
            comparison: Some(Comparison { compared: 500, acting, other }),
            condemned: Vec::new(),
            health: Health::default(),
            drifts: Vec::new(),
        }
    }

    fn decide(&self) -> Decision {
        decide(&Situation {
            policy: &self.policy,
            rollout: &self.rollout,
            since: SINCE,
            champion: self.champion,
            challenger: self.challenger,
            reports: &self.reports,
            now_ms: self.now_ms,
        })
    }

    fn change(mut self, change: impl Fn(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Changes the reports of devices with a duty.
    fn each(mut self, duty: Duty, change: impl Fn(&mut Report)) -> Self {
        self.reports.iter_mut().filter(|report| report.desired.duty == duty).for_each(change);
        self
    }

    /// Changes what the challenger did, and the champion, on every device.
    fn figures(mut self, change: impl Fn(&mut Side, &mut Side)) -> Self {
        let challenger = self.challenger.digest;
        for report in &mut self.reports {
            let Comparison { acting, other, .. } = comparison(report);
            let ours_acts = acting.digest == challenger;
            let (ours, theirs) = if ours_acts { (acting, other) } else { (other, acting) };
            change(ours, theirs);
        }
        self
    }

    fn after(mut self, elapsed_ms: i64) -> Self {
        let later_ms = ENTERED_MS + elapsed_ms - self.now_ms;
        self.now_ms += later_ms;
        self.reports.iter_mut().for_each(|report| report.sent_ms += later_ms);
        self
    }

    fn hold(self) -> Self {
        self.change(|world| world.rollout.hold = Some("the pumps are being serviced".into()))
    }

    fn gate(self, change: impl Fn(&mut Gate)) -> Self {
        self.change(|world| change(&mut world.policy.gate))
    }

    fn reference(self, challenger: f64, champion: f64) -> Self {
        self.change(|world| {
            world.challenger.false_alarm_rate = Some(challenger);
            world.champion.false_alarm_rate = Some(champion);
        })
    }
}

fn comparison(report: &mut Report) -> &mut Comparison {
    report.comparison.as_mut().expect("it was made with one")
}

fn check(name: &str, world: &World, action: Action, word: &str) {
    let decision = world.decide();
    assert_eq!(decision.action, action, "{name}: {}", decision.sentence);
    assert!(decision.sentence.contains(word), "{name}: {word:?} in {}", decision.sentence);
}

/// It reported when the stage had begun, and never again.
fn quiet(report: &mut Report) {
    report.sent_ms = ENTERED_MS + MINUTE_MS;
}

/// Alarms on `ours` and `theirs` of 500 events, as many of them the same as can be.
fn alarms(ours: u64, theirs: u64) -> impl Fn(&mut Side, &mut Side) {
    move |our_side, their_side| {
        (our_side.anomalies, our_side.alone) = (ours, ours.saturating_sub(theirs));
        (their_side.anomalies, their_side.alone) = (theirs, theirs.saturating_sub(ours));
    }
}

fn condemn(report: &mut Report) {
    let digest = contender("challenger").digest;
    report.condemned = vec![Condemned { digest, since: SINCE, reason: "it traps".into() }];
}

fn swap_back(report: &mut Report) {
    let comparison = comparison(report);
    std::mem::swap(&mut comparison.acting, &mut comparison.other);
}

#[test]
fn a_good_challenger_goes_through_all_stages() {
    check("shadow", &world(0, 200), Action::Advance, "go on, stage shadow (1 of 4): in 60 minutes");
    check("canary", &world(1, 2000), Action::Advance, "alarms on 4 % of them and the champion on");
    check("early", &world(2, 2000), Action::Advance, "kept every limit");
    check("half", &world(3, 2000), Action::Promote, "promote it, stage half (4 of 4)");
    check("beyond the last", &world(99, 2000), Action::Promote, "half (4 of 4)");
}

#[test]
fn what_is_missing_is_waited_for() {
    let fleet = || world(2, 2000);
    let cases = [
        ("a hold", fleet().hold(), "pumps are being serviced"),
        ("time", fleet().after(59 * MINUTE_MS), "59 minutes of at least 60 minutes"),
        ("a start", fleet().after(-HOUR_MS), "0 seconds of at least 60 minutes"),
        ("events", fleet().gate(|gate| gate.events_min = 1_000_000), "at least 1,000,000 events"),
        ("devices", world(0, 0), "no known device is to shadow it"),
        ("stages", fleet().change(|world| world.policy.stages.clear()), "no stages"),
        (
            "the network",
            fleet().each(Duty::Act, quiet).each(Duty::Shadow, quiet),
            "reported lately",
        ),
        (
            "news",
            fleet().after(10 * MINUTE_MS).each(Duty::Act, |report| report.sent_ms = ENTERED_MS - 1),
            "; 0 of the",
        ),
        ("this attempt", fleet().each(Duty::Act, |report| report.desired.serial = 6), ": 0 of the"),
        (
            "this challenger",
            fleet().each(Duty::Act, |report| report.desired.challenger = None),
            ": 0 of the",
        ),
        (
            "devices that know their duty",
            fleet().each(Duty::Act, |report| report.desired.duty = Duty::Shadow),
            ": 0 of the",
        ),
        (
            "a right clock",
            fleet().each(Duty::Act, |report| report.sent_ms += HOUR_MS),
            ": 0 of the",
        ),
        ("warm devices", fleet().each(Duty::Act, swap_back), ": 0 of at least 1,000 events"),
        (
            "this champion",
            fleet().figures(|_, theirs| theirs.digest = Digest::of(b"yore")),
            ": 0 of at least 1,000 events",
        ),
    ];
    for (name, world, word) in cases {
        check(name, &world, Action::Wait, word);
    }
}

#[test]
fn a_bad_challenger_goes_back_before_the_soak_time_is_over() {
    let early = |stage| world(stage, 2000).after(5 * MINUTE_MS);
    let some = |report: &mut Report| {
        if report.device.name.ends_with('7') {
            condemn(report);
        }
    };
    let trap = |report: &mut Report| comparison(report).acting.failures = 3;
    let cases = [
        ("alarms on everything", early(0).figures(alarms(500, 20)), "alarms on 100 %"),
        ("thrice the alarms", early(1).figures(alarms(60, 20)), "alarms on 12 %"),
        ("blind", early(2).figures(alarms(0, 100)), "disagree on 20 %"),
        ("worse in an incident", early(0).figures(alarms(400, 150)), "alarms on 80 %"),
        ("traps", early(0).figures(|ours, _| ours.failures = 1), "failed 2,000 times"),
        ("traps where it acts", early(1).each(Duty::Act, trap), "failed"),
        ("slow", early(0).figures(|ours, _| ours.busy_us *= 5), "5 times as long"),
        ("devices help themselves", early(3).each(Duty::Act, some), "by themselves"),
        ("far above its reference", early(0).reference(0.001, 0.02), "0.1 % of normal ones"),
    ];
    for (name, world, word) in cases {
        check(name, &world, Action::Withdraw, word);
        check(name, &world.hold(), Action::Wait, "held");
    }
}

#[test]
fn an_incident_that_both_see_is_no_reason_to_go_back() {
    let incident = || world(2, 2000).figures(alarms(300, 310));
    check("an incident", &incident(), Action::Advance, "alarms on 60 %");
    check("with references", &incident().reference(0.002, 0.002), Action::Advance, "60 %");
    check("no reference", &incident().reference(0.0, f64::NAN), Action::Advance, "60 %");
    check(
        "a calm champion",
        &incident().reference(0.002, 0.5),
        Action::Withdraw,
        "0.2 % of normal",
    );
}

#[test]
fn little_evidence_waits_and_the_end_of_a_stage_decides() {
    let three = |report: &mut Report| comparison(report).compared = 3;
    let one_of_three = world(0, 1).figures(alarms(1, 0)).each(Duty::Shadow, three);
    check("1 alarm in 3", &one_of_three, Action::Wait, "alarms on 33.3 % of 3 events");
    let trap = world(0, 200).change(|world| {
        comparison(&mut world.reports[0]).other.failures = 1;
    });
    check("a trap", &trap.clone().after(5 * MINUTE_MS), Action::Wait, "failed 1 times");
    check("a trap in the end", &trap, Action::Withdraw, "failed 1 times");
}

#[test]
fn a_killing_release_is_told_from_a_cut_network() {
    let half = |report: &mut Report| {
        if report.device.name.ends_with(['1', '3', '5', '7', '9']) {
            quiet(report);
        }
    };
    let killed = world(2, 2000).each(Duty::Act, quiet);
    check("all are dead", &killed, Action::Withdraw, "have said nothing for 15 minutes");
    check("half are dead", &world(2, 2000).each(Duty::Act, half), Action::Withdraw, "nothing");
    let cut = world(2, 2000).each(Duty::Act, half).each(Duty::Shadow, half);
    check("half are cut off", &cut, Action::Wait, "reported lately");
    // One canary among 150 devices: chance can take one.
    let one = |elapsed_ms| exact_world(1, 150).after(elapsed_ms).each(Duty::Act, quiet);
    check("one is quiet", &one(HOUR_MS), Action::Wait, "1 of 1 devices that run it");
    check("not for long", &one(2 * HOUR_MS), Action::Wait, "1 of 1 devices that run it");
    check("one stays so", &one(3 * HOUR_MS), Action::Withdraw, "1 of 1 devices that run it");
    let gone = |report: &mut Report| report.sent_ms = ENTERED_MS - HOUR_MS;
    check("gone before", &one(3 * HOUR_MS).each(Duty::Act, gone), Action::Wait, "0 of the 1");
}

#[test]
fn a_stage_without_devices_does_not_block() {
    let small = || exact_world(1, 20);
    check("small", &small(), Action::Advance, "no known device is in this stage's share");
    check("too early", &small().after(MINUTE_MS), Action::Wait, "60 seconds of at least");
    check("bad", &small().figures(alarms(100, 20)), Action::Withdraw, "alarms on 20 %");
    let ring = small().change(|world| {
        world.reports[0].device.ring = Some("canary".into());
    });
    check("a ring", &ring, Action::Wait, "0 of the 1 devices that are to act on it");
}

#[test]
fn one_device_does_not_speak_for_all() {
    let loud = |figures: fn(&mut Side)| {
        world(0, 200).figures(alarms(100, 20)).change(|world| {
            let comparison = comparison(&mut world.reports[0]);
            comparison.compared = u64::MAX / 2;
            for side in [&mut comparison.acting, &mut comparison.other] {
                (side.events, side.anomalies, side.alone) = (u64::MAX, 0, 0);
                figures(side);
            }
        })
    };
    check("praises", &loud(|_| {}), Action::Withdraw, "of 109,500 events");
    check("contradicts itself", &loud(|side| side.alone = 1), Action::Withdraw, "of 99,500 events");
    let twice = world(0, 1).gate(|gate| gate.events_min = 501).change(|world| {
        let report = world.reports[0].clone();
        world.reports.extend(vec![report; 99]);
    });
    check("repeats itself", &twice, Action::Wait, "500 of at least 501 events");
}

#[test]
fn a_decision_can_be_printed() {
    let decision = world(1, 2000).decide();
    let json = serde_json::to_value(&decision).unwrap();
    assert_eq!(json["action"], "advance");
    let names: Vec<_> = decision.facts.iter().map(|fact| fact.name).collect();
    let expected = [
        "soak",
        "coverage",
        "events",
        "alarm-rate",
        "reference",
        "disagreement",
        "failures",
        "latency",
        "condemned",
        "silence",
    ];
    assert_eq!(names, expected);
    for fact in decision.facts {
        assert!(fact.passed && fact.measured.is_some_and(f64::is_finite), "{fact:?}");
    }
}

fn any_figure() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), 0..2_000_u64, any::<u64>()]
}

fn any_time() -> impl Strategy<Value = i64> {
    let near = ENTERED_MS - HOUR_MS..ENTERED_MS + 3 * HOUR_MS;
    prop_oneof![Just(i64::MIN), Just(i64::MAX), near, any::<i64>()]
}

/// The same cases every time.
fn cases() -> ProptestConfig {
    ProptestConfig {
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn nothing_that_devices_say_breaks_a_decision(
        figures in prop::collection::vec((any_time(), prop::array::uniform10(any_figure())), 0..40),
        times in (any_time(), any_time()),
        stage in 0_u16..6,
        rates in (any::<f64>(), any::<f64>()),
    ) {
        let mut world = world(stage, figures.len()).reference(rates.0, rates.1);
        (world.now_ms, world.rollout.entered_ms) = times;
        for (report, (sent_ms, figures)) in world.reports.iter_mut().zip(figures) {
            report.sent_ms = sent_ms;
            report.desired.serial = figures[0];
            let comparison = comparison(report);
            comparison.compared = figures[1];
            for (side, figures) in
                [(&mut comparison.acting, &figures[2..6]), (&mut comparison.other, &figures[6..])]
            {
                (side.anomalies, side.alone) = (figures[0], figures[0] / 2);
                (side.failures, side.events, side.busy_us) = (figures[1], figures[2], figures[3]);
            }
        }
        let decision = world.decide();
        prop_assert!(!decision.sentence.is_empty());
        for fact in &decision.facts {
            prop_assert!(fact.measured.is_none_or(f64::is_finite), "{:?}", fact);
        }
        let kept = decision.facts.iter().all(|fact| fact.passed);
        prop_assert_eq!(kept, matches!(decision.action, Action::Advance | Action::Promote));
    }

    #[test]
    fn order_and_repetition_do_not_matter(
        seed in any::<u64>(), stage in 0_u16..4, ours in 0_u64..100, theirs in 0_u64..100,
    ) {
        let world = world(stage, 60).figures(alarms(ours, theirs));
        let mut other = world.clone();
        other.reports.rotate_left((seed % 60) as usize);
        let again = other.reports[(seed % 7) as usize].clone();
        let older = Report { sent_ms: again.sent_ms - 1, comparison: None, ..again.clone() };
        other.reports.extend([again, older]);
        prop_assert_eq!(world.decide(), other.decide());
    }

    /// More alarms, with all else the same, never bring a challenger further.
    #[test]
    fn worse_is_never_better(stage in 0_u16..4, better in 20_u64..250, more in 0_u64..250) {
        let action = |ours| world(stage, 60).figures(alarms(ours, 20)).decide().action;
        let (before, after) = (action(better), action(better + more));
        prop_assert!(before != Action::Withdraw || after == Action::Withdraw);
    }
}
