//! What the console shows of the pumps, and what is worth a sentence.

use serde_json::{Value, json};
use twinge_contract::time::to_rfc3339;
use twinge_rollout::DriftSummary;
use twinge_runner::Status;
use twinge_stream::pump::Report;

/// Share of dead letters from which events and schema do not fit each other.
const DEAD_SHARE: f64 = 0.05;
/// Verdicts below which a share tells nothing.
const EVENTS_MIN: u64 = 100;

/// All runners, and alerts; `may_send` tells whether a token is set and events can come in here.
pub(super) fn overview(reports: &[Report], may_send: bool) -> Value {
    let runners: Vec<&Status> = reports.iter().flat_map(|report| &report.runners).collect();
    json!({ "runners": runners, "alerts": alerts(reports), "may_send": may_send })
}

/// Sentences on what somebody should look at.
fn alerts(reports: &[Report]) -> Vec<String> {
    let mut alerts = Vec::new();
    if reports.is_empty() {
        alerts.push("The host is starting: no partition is read yet.".to_owned());
    }
    for report in reports {
        alerts.extend(report.trouble.iter().map(|trouble| format!("Not ready: {trouble}.")));
        for status in &report.runners {
            alerts.extend(alerts_of(status));
        }
        alerts.extend(report.drifts.iter().map(|(detector, drift)| drifting(detector, drift)));
    }
    alerts
}

/// A sentence on what no longer looks as it did.
fn drifting(detector: &str, drift: &DriftSummary) -> String {
    let DriftSummary { field, measure, value, expected, since_ms, .. } = drift;
    let since = to_rfc3339(*since_ms);
    let before = match drift.against.as_str() {
        "anchor" => "what the first module of its line was trained on",
        _ => "training",
    };
    let what = match measure.as_str() {
        "latency" => format!("{:.0} % of the verdicts come late", value * 100.0),
        "verdict-rate" => format!(
            "{:.1} % of the verdicts are anomalous, and {:.1} % were of rows held back in training",
            value * 100.0,
            expected * 100.0
        ),
        "missing" => format!(
            "`{field}` is missing in {:.1} % of the events, and was in {:.1} % of {before}",
            value * 100.0,
            expected * 100.0
        ),
        "unseen" => format!(
            "{:.1} % of `{field}` are categories that were rare or unknown in {before}",
            value * 100.0
        ),
        _ => format!("`{field}` has drifted from {before} ({measure} {value:.2})"),
    };
    format!("{detector}: {what}, since {since}.")
}

fn alerts_of(status: &Status) -> Vec<String> {
    let place = format!("{}, partition {}", status.place.detector, status.place.partition);
    let counts = &status.counts;
    let mut alerts = Vec::new();
    let dead_share = counts.dead_letters as f64 / counts.events.max(1) as f64;
    if counts.events >= EVENTS_MIN && dead_share > DEAD_SHARE {
        alerts.push(format!(
            "{place}: {:.0} % of the events are dead letters. Do they have the fields of the schema?",
            dead_share * 100.0
        ));
    }
    if counts.missed_deadlines > 0 {
        alerts.push(format!(
            "{place}: the module missed its deadline {} times.",
            counts.missed_deadlines
        ));
    }
    for condemned in &status.condemned {
        alerts.push(format!(
            "{place}: module {} was left: {}.",
            condemned.digest.short(),
            condemned.reason
        ));
    }
    alerts
}

#[cfg(test)]
mod tests {
    use super::*;
    use made_up::status;

    /// A status like one that a runner gives.
    mod made_up {
        use twinge_runner::{Counts, Place, Status};
        use twinge_trust::Digest;

        pub(super) fn status(counts: Counts) -> Status {
            Status {
                place: Place {
                    detector: "pumps".into(),
                    source: "s".into(),
                    partition: "0".into(),
                    redelivers: false,
                },
                serial: None,
                champion: Digest::of(b"module"),
                version: "1".into(),
                candidate: None,
                candidate_version: None,
                part: None,
                is_warm: false,
                comparison: None,
                condemned: Vec::new(),
                offset: 0,
                entities: 0,
                evicted: 0,
                counts,
            }
        }
    }

    #[test]
    fn drifts_become_sentences() {
        let check = |field: &str, measure: &str, against: &str, part: &str| {
            let drift = DriftSummary {
                field: field.into(),
                measure: measure.into(),
                against: against.into(),
                value: 0.25,
                expected: 0.001,
                since_ms: 1000,
                partitions: 1,
            };
            let drifts = vec![("pumps".to_owned(), drift)];
            let found = alerts(&[Report { drifts, ..Report::default() }]);
            let [sentence] = found.as_slice() else { panic!("one sentence: {found:?}") };
            assert!(sentence.starts_with("pumps: ") && sentence.contains(part), "{sentence}");
            assert!(sentence.ends_with("since 1970-01-01T00:00:01Z."), "{sentence}");
        };
        check("flow", "psi", "training", "`flow` has drifted from training (psi 0.25)");
        check("flow", "ks", "anchor", "from what the first module of its line was trained on");
        check("flow", "missing", "training", "in 25.0 % of the events, and was in 0.1 %");
        check("colour", "unseen", "training", "25.0 % of `colour`");
        check("verdict", "verdict-rate", "training", "25.0 % of the verdicts are anomalous");
        check("latency", "latency", "training", "25 % of the verdicts come late");
    }

    #[test]
    fn what_is_wrong_becomes_a_sentence() {
        use twinge_runner::Counts;
        let check = |counts: Counts, trouble: Option<&str>, expected: &[&str]| {
            let report = Report {
                runners: vec![status(counts)],
                trouble: trouble.map(str::to_owned),
                ..Report::default()
            };
            let found = alerts(&[report]);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (sentence, part) in found.iter().zip(expected) {
                assert!(sentence.contains(part), "{sentence}");
            }
        };
        let well = Counts { events: 1000, dead_letters: 10, ..Counts::default() };
        check(well, None, &[]);
        check(Counts { events: 20, dead_letters: 20, ..well }, None, &[]);
        check(Counts { dead_letters: 100, ..well }, None, &["10 % of the events"]);
        check(Counts { missed_deadlines: 3, ..well }, Some("disk"), &["disk", "deadline 3 times"]);
        assert!(alerts(&[])[0].contains("starting"));
    }
}
