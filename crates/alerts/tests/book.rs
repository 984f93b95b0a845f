//! What the book tells of findings, case by case and by properties.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};
use twinge_alerts::book::{AlertBook, Fact, Finding, Place, Saved};
use twinge_alerts::outbox::{Outbox, Retries};
use twinge_alerts::schedule::SilenceSettings;
use twinge_alerts::settings::Rules;
use twinge_contract::alert::{Alert, AlertEnd, AlertKind, AlertState};
use twinge_contract::verdict::{Contribution, Severity};

const MINUTE: i64 = 60_000;

fn anomaly(entity: &str, id: &str, at_ms: i64, score: f64) -> Finding {
    Finding {
        kind: AlertKind::Anomaly,
        detector: "pumps".into(),
        entity: entity.into(),
        id: id.into(),
        at_ms,
        severity: match score {
            score if score >= 2.0 => Severity::High,
            score if score >= 1.5 => Severity::Medium,
            _ => Severity::Low,
        },
        score: Some(score),
        attribution: vec![Contribution { field: format!("of {score}"), share: 1.0 }],
        message: format!("score {score}"),
        place: None,
    }
}

fn silent(entity: &str, id: &str) -> Finding {
    Finding { kind: AlertKind::Silence, score: None, ..anomaly(entity, id, 0, 1.5) }
}

fn lag(is_on: bool) -> Fact {
    Fact {
        kind: AlertKind::Lag,
        detector: "pumps".into(),
        entity: "3".into(),
        severity: Severity::Medium,
        message: "late".into(),
        value: Some(400.0),
        is_on,
    }
}

fn states(alerts: &[Alert]) -> Vec<AlertState> {
    alerts.iter().map(|alert| alert.data.state).collect()
}

fn again(book: &AlertBook, now_ms: i64) -> AlertBook {
    let json = serde_json::to_string(&book.save()).expect("a book is JSON");
    let saved: Saved = serde_json::from_str(&json).expect("it was saved");
    AlertBook::restore(book.rules().clone(), saved, now_ms)
}

#[test]
fn an_episode_is_told_at_once_then_ever_more_rarely_and_at_its_end() {
    let mut book = AlertBook::new(Rules::default());
    let mut told = Vec::new();
    // A finding every ten seconds for three hours.
    for number in 0..1080 {
        let now = number * 10_000;
        let taken = book.take(&anomaly("p1", &format!("{number}"), now, 1.2), now);
        told.extend(taken.alerts.into_iter().map(|alert| (now / MINUTE, alert)));
        told.extend(book.tick(now).into_iter().map(|alert| (now / MINUTE, alert)));
    }
    let minutes: Vec<_> = told.iter().map(|(minute, _)| *minute).collect();
    assert_eq!(minutes, [0, 1, 3, 7, 15, 31, 63, 123]);
    let end = book.tick(1079 * 10_000 + Rules::default().gap_ms + 1);
    assert_eq!(states(&end), [AlertState::Resolved]);
    assert_eq!((end[0].data.count, end[0].data.end), (1080, Some(AlertEnd::Quiet)));
    assert_eq!(book.open(), 0);
}

#[test]
fn what_becomes_worse_is_told_at_once_and_the_peak_is_kept() {
    let mut book = AlertBook::new(Rules::default());
    let mut take = |id: &str, score| book.take(&anomaly("p1", id, 0, score), 0).alerts;
    assert_eq!(states(&take("a", 1.2)), [AlertState::Opened]);
    let worse = take("b", 2.5);
    assert_eq!(states(&worse), [AlertState::Updated]);
    assert_eq!(worse[0].data.severity, Severity::High);
    assert!(take("c", 1.1).is_empty());
    let end = book.tick(20 * MINUTE);
    let data = &end[0].data;
    assert_eq!((data.peak_score, data.count), (Some(2.5), 3));
    assert_eq!(data.attribution[0].field, "of 2.5");
    assert_eq!((data.finding.as_str(), data.runbook.as_str()), ("a", "anomaly"));
}

#[test]
fn findings_that_come_late_keep_to_the_episodes_of_their_own_time() {
    let mut book = AlertBook::new(Rules::default());
    let now = 1_000 * MINUTE;
    // Two episodes an hour apart, both scored in the same second after an outage.
    let one = book.take(&anomaly("p1", "a", 0, 1.2), now);
    let two = book.take(&anomaly("p1", "b", 60 * MINUTE, 1.2), now);
    assert_eq!(states(&two.alerts), [AlertState::Resolved, AlertState::Opened]);
    assert_ne!(one.episode, two.episode);
    assert!(book.tick(now + MINUTE).is_empty(), "the second is not over because it is old");
}

#[test]
fn many_entities_at_once_are_one_alert_of_everything() {
    let rules = Rules { storm_entities: 3, ..Rules::default() };
    let mut book = AlertBook::new(rules);
    let mut opened = Vec::new();
    for number in 0..500 {
        let entity = format!("p{number}");
        opened.extend(book.take(&anomaly(&entity, &entity, 0, 1.2), 0).alerts);
    }
    let subjects: Vec<_> = opened.iter().map(|alert| alert.subject.as_str()).collect();
    assert_eq!(subjects, ["p0", "p1", "p2", "*"]);
    let ends = book.tick(20 * MINUTE);
    let storm = ends.iter().find(|alert| alert.subject == "*").unwrap();
    assert_eq!((storm.data.count, storm.data.entities), (497, Some(497)));
}

#[test]
fn a_silent_entity_is_told_until_it_returns() {
    let mut book = AlertBook::new(Rules::default());
    assert_eq!(states(&book.take(&silent("p1", "s1"), 0).alerts), [AlertState::Opened]);
    assert!(book.tick(24 * 60 * MINUTE).is_empty(), "silence goes on");
    assert!(book.seen("pumps", "p2", MINUTE).is_empty());
    assert!(book.seen("cards", "p1", MINUTE).is_empty());
    let back = book.seen("pumps", "p1", MINUTE);
    assert_eq!(back[0].data.end, Some(AlertEnd::Returned));
    assert!(!book.has_silent("pumps"));
    // Of everything: any event ends it.
    book.take(&silent("*", "s2"), 0);
    assert_eq!(states(&book.seen("pumps", "p7", MINUTE)), [AlertState::Resolved]);
    book.take(&silent("p1", "s3"), 0);
    let forgotten = book.tick(8 * 24 * 60 * MINUTE);
    assert_eq!(forgotten[0].data.end, Some(AlertEnd::Forgotten));
}

#[test]
fn a_storm_of_silence_ends_with_the_last_that_returns() {
    let mut book = AlertBook::new(Rules { storm_entities: 1, ..Rules::default() });
    for entity in ["p1", "p2", "p3"] {
        book.take(&silent(entity, entity), 0);
    }
    assert!(book.seen("pumps", "p2", 1).is_empty());
    assert_eq!(book.seen("pumps", "p3", 2)[0].subject, "*");
    assert_eq!(book.seen("pumps", "p1", 3)[0].subject, "p1");
    assert_eq!(book.open(), 0);
}

#[test]
fn a_condition_is_told_while_it_holds_and_when_it_has_cleared() {
    let mut book = AlertBook::new(Rules::default());
    assert_eq!(states(&book.note(&lag(true), 0)), [AlertState::Opened]);
    // A moment in which it is well does not end it.
    assert!(book.note(&lag(false), 1000).is_empty());
    assert!(book.note(&lag(true), 2000).is_empty());
    assert_eq!(states(&book.note(&lag(true), 61_000)), [AlertState::Updated]);
    book.note(&lag(false), 62_000);
    let end = book.tick(122_000);
    assert_eq!(end[0].data.end, Some(AlertEnd::Cleared));
    assert_eq!(end[0].data.count, 2, "it began twice");
    assert_eq!(book.tick(999_000), []);
}

#[test]
fn a_silenced_episode_is_told_when_the_silence_ends() {
    let silence = SilenceSettings::default();
    assert!(silence.checked().is_err());
    let silence: SilenceSettings =
        toml::from_str("until = '1970-01-01T00:10:00Z'\nreason = 'works'").unwrap();
    let rules = Rules { silences: vec![silence.checked().unwrap()], ..Rules::default() };
    let mut book = AlertBook::new(rules);
    assert!(book.take(&anomaly("p1", "a", 0, 3.0), 0).alerts.is_empty());
    assert!(book.take(&anomaly("p1", "b", 9 * MINUTE, 3.0), 9 * MINUTE).alerts.is_empty());
    let told = book.take(&anomaly("p1", "c", 10 * MINUTE, 3.0), 10 * MINUTE).alerts;
    assert_eq!(states(&told), [AlertState::Opened]);
    assert_eq!((told[0].data.count, told[0].data.silenced), (3, 2));
    assert_eq!(book.counts().silenced, 2);
    // What was silenced from beginning to end is never told.
    assert!(book.take(&anomaly("p2", "d", 0, 3.0), 0).alerts.is_empty());
    assert!(book.tick(60 * MINUTE).iter().all(|alert| alert.subject == "p1"));
}

#[test]
fn a_restart_neither_repeats_nor_loses() {
    let mut book = AlertBook::new(Rules::default());
    let place = |offset| Some(Place { stream: "s\n0".into(), offset });
    let first = Finding { place: place(10), ..anomaly("p1", "a", 0, 1.2) };
    let opened = book.take(&first, 0).alerts;
    let mut book = again(&book, 5000 * MINUTE);
    // The events after the last checkpoint come again.
    assert!(book.take(&first, 5000 * MINUTE).alerts.is_empty());
    assert!(book.tick(5001 * MINUTE).is_empty(), "nobody listened in between");
    let end = book.tick(5016 * MINUTE);
    assert_eq!(end[0].data.episode, opened[0].data.episode);
    // Beyond what ids are remembered for, the place in the stream still tells.
    let mut book = AlertBook::new(Rules { ids_max: 1, ..Rules::default() });
    for offset in 0..10 {
        book.take(
            &Finding { place: place(offset), ..anomaly("p", &format!("{offset}"), 0, 1.2) },
            0,
        );
    }
    let mut book = again(&book, 0);
    let repeated = Finding { place: place(0), ..anomaly("p", "0", 0, 1.2) };
    assert_eq!(book.take(&repeated, 0).episode, None);
}

#[test]
fn an_outbox_tries_again_with_pauses_and_makes_room_among_updates() {
    let retries =
        Retries { waiting_max: 2, tries_max: 3, pause_first_ms: 1000, pause_max_ms: 1500 };
    let mut book = AlertBook::new(Rules::default());
    let opened = book.take(&anomaly("p1", "a", 0, 1.2), 0).alerts.remove(0);
    let worse = book.take(&anomaly("p1", "b", 0, 3.0), 0).alerts.remove(0);
    let end = book.tick(60 * MINUTE).remove(0);
    let mut outbox = Outbox::default();
    assert_eq!(outbox.push(opened.clone(), &retries) + outbox.push(worse, &retries), 0);
    assert_eq!(outbox.push(end.clone(), &retries), 1, "the update makes room");
    assert_eq!(outbox.next(0, &retries), Some(&opened));
    assert!(!outbox.failed(&opened.id, 0, &retries));
    assert_eq!(outbox.next(999, &retries), None);
    assert_eq!(outbox.next(1000, &retries), Some(&opened));
    assert!(!outbox.failed(&opened.id, 1000, &retries));
    assert_eq!(outbox.next(2499, &retries), None);
    assert_eq!(outbox.next(-10_000, &retries), Some(&opened), "a clock was set back");
    assert!(outbox.failed(&opened.id, 2500, &retries), "given up");
    assert_eq!(outbox.next(2500, &retries), Some(&end));
    outbox.done(&end.id);
    assert!(outbox.is_empty() && outbox.next(9999, &retries).is_none());
    assert_eq!(outbox.dropped(), 2);
}

/// What happens to a book.
#[derive(Clone, Debug)]
enum Step {
    Find { kind: AlertKind, entity: u8, score: f64, delay: i64 },
    Repeat(prop::sample::Index),
    Seen(u8),
    Lag { partition: u8, is_on: bool },
    Pass(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![4 => Just(AlertKind::Anomaly), 1 => Just(AlertKind::Silence)];
    prop_oneof![
        8 => (kind, 0..12u8, 1.0..3.0f64, 0..3 * MINUTE)
            .prop_map(|(kind, entity, score, delay)| Step::Find { kind, entity, score, delay }),
        2 => any::<prop::sample::Index>().prop_map(Step::Repeat),
        1 => (0..12u8).prop_map(Step::Seen),
        2 => (0..3u8, any::<bool>()).prop_map(|(partition, is_on)| Step::Lag { partition, is_on }),
        3 => (0..20 * MINUTE).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let severity = prop::sample::select(vec![Severity::Low, Severity::Medium, Severity::High]);
    (severity, 1..6usize, 1..12usize, any::<bool>()).prop_map(
        |(severity_min, storm_entities, episodes_max, has_silence)| {
            let silence: SilenceSettings = toml::from_str(
                "match = { entity = '*1*' }\nweekly = ['daily 00:30-01:30']\nreason = 'works'",
            )
            .expect("it is TOML");
            let silences = has_silence.then(|| silence.checked().expect("it is usable"));
            let silences = Vec::from_iter(silences);
            Rules {
                severity_min,
                storm_entities,
                episodes_max,
                silences,
                members_max: 5,
                ..Rules::default()
            }
        },
    )
}

/// A book under test, and a simple account of what it did.
struct Account {
    book: AlertBook,
    now: i64,
    findings: Vec<Finding>,
    /// Findings by episode.
    episodes: BTreeMap<String, u64>,
    alerts: Vec<Alert>,
    silenced: u64,
}

impl Account {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Find { kind, entity, score, delay } => {
                let id = format!("{}", self.findings.len());
                let at = self.now - delay;
                let finding =
                    Finding { kind: *kind, ..anomaly(&format!("p{entity}"), &id, at, *score) };
                let covers = |silence: &twinge_alerts::schedule::Silence| {
                    silence.covers(*kind, "pumps", &finding.entity, at)
                };
                self.silenced += u64::from(self.book.rules().silences.iter().any(covers));
                let taken = self.book.take(&finding, self.now);
                let episode = taken.episode.expect("it is new");
                *self.episodes.entry(episode).or_default() += 1;
                self.alerts.extend(taken.alerts);
                self.findings.push(finding);
            }
            Step::Repeat(index) if !self.findings.is_empty() => {
                let taken = self.book.take(&index.get(&self.findings).clone(), self.now);
                assert_eq!((taken.episode, taken.alerts), (None, vec![]));
            }
            Step::Repeat(_) => {}
            Step::Seen(entity) => {
                self.alerts.extend(self.book.seen("pumps", &format!("p{entity}"), self.now));
            }
            Step::Lag { partition, is_on } => {
                let fact = Fact { entity: partition.to_string(), ..lag(*is_on) };
                self.alerts.extend(self.book.note(&fact, self.now));
            }
            Step::Pass(time) => self.now += time,
            Step::Restart => self.book = again(&self.book, self.now),
        }
        self.alerts.extend(self.book.tick(self.now));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(20_260_131),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_finding_belongs_to_one_episode_and_no_alert_comes_twice(
        rules in rules(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let most = rules.episodes_max + 6;
        let book = AlertBook::new(rules);
        let mut account = Account {
            book, now: 0, findings: vec![], episodes: BTreeMap::new(), alerts: vec![], silenced: 0,
        };
        for step in &steps {
            account.apply(step);
            prop_assert!(account.book.len() <= most);
        }
        let end = account.now + 100 * 24 * 60 * MINUTE;
        account.alerts.extend(account.book.tick(end));
        prop_assert!(account.book.is_empty());

        let alerts = &account.alerts;
        let ids: BTreeSet<_> = alerts.iter().map(|alert| &alert.id).collect();
        prop_assert_eq!(ids.len(), alerts.len(), "an alert was given twice");
        let mut by_episode: BTreeMap<&str, Vec<&Alert>> = BTreeMap::new();
        for alert in alerts {
            by_episode.entry(&alert.data.episode).or_default().push(alert);
        }
        for (episode, alerts) in &by_episode {
            let states: Vec<_> = alerts.iter().map(|alert| alert.data.state).collect();
            prop_assert_eq!(states.first(), Some(&AlertState::Opened));
            prop_assert_eq!(states.last(), Some(&AlertState::Resolved));
            prop_assert!(states[1..states.len() - 1].iter().all(|state| *state == AlertState::Updated));
            let last = &alerts[alerts.len() - 1].data;
            if let Some(count) = account.episodes.get(*episode) {
                prop_assert_eq!(last.count, *count, "what was told is not what was found");
            }
        }
        let known: u64 = account.episodes.values().sum();
        prop_assert_eq!(known, account.findings.len() as u64);
        let silenced: u64 = account.book.counts().silenced;
        // Conditions of `lag` are silenced as well, and counted.
        prop_assert!(silenced >= account.silenced);
    }
}
