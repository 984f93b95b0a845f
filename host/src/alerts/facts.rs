//! Conditions that nobody finds in an event: how long events wait, what cannot be written, modules
//! that were left, shares of dead letters.

use super::desk::{Desk, Kept};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use twinge_alerts::{Fact, Finding};
use twinge_contract::alert::{Alert, AlertKind};
use twinge_contract::verdict::Severity;
use twinge_stream::Metrics;
use twinge_stream::pump::{Report, Reports};

const EVERY: Duration = Duration::from_secs(1);

/// Looks once a second, until `stop` is cancelled.
pub(super) async fn watch(
    desk: Arc<Desk>,
    reports: Reports,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut last_trouble = String::new();
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        let reports = reports.all();
        let lags = metrics.lags();
        let worked = desk.work(|kept, now| look(kept, &reports, &lags, desk.lag_max_ms(), now));
        let trouble = worked.err().map(|error| twinge_stream::assembly::chain(&error));
        // Told once, for as long as it stays the same.
        if let Some(trouble) = trouble.as_ref().filter(|trouble| **trouble != last_trouble) {
            tracing::error!(error = trouble, "alerts cannot be kept, and are not sent");
        }
        last_trouble = trouble.unwrap_or_default();
    }
}

fn look(
    kept: &mut Kept,
    reports: &[Report],
    lags: &[(String, String, f64)],
    lag_max_ms: i64,
    now: i64,
) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for fact in kept.shares.facts(now) {
        alerts.extend(kept.book.note(&fact, now));
    }
    for (detector, partition, lag_s) in lags {
        alerts.extend(kept.book.note(&lag(detector, partition, *lag_s, lag_max_ms), now));
    }
    for report in reports {
        for fact in troubles(report) {
            alerts.extend(kept.book.note(&fact, now));
        }
        for fact in drifts(report) {
            alerts.extend(kept.book.note(&fact, now));
        }
        for finding in returned(report, now) {
            alerts.extend(kept.book.take(&finding, now).alerts);
        }
    }
    alerts.extend(kept.book.tick(now));
    alerts
}

fn lag(detector: &str, partition: &str, lag_s: f64, lag_max_ms: i64) -> Fact {
    let most_s = lag_max_ms as f64 / 1000.0;
    Fact {
        kind: AlertKind::Lag,
        detector: detector.to_owned(),
        entity: format!("partition {partition}"),
        severity: if lag_s > 10.0 * most_s { Severity::High } else { Severity::Medium },
        message: format!(
            "events of partition {partition} wait {lag_s:.0} s to be scored, and may wait {most_s:.0}"
        ),
        value: Some(lag_s),
        is_on: lag_s > most_s,
    }
}

/// Whether a pump can do its work, for each of its detectors.
fn troubles(report: &Report) -> impl Iterator<Item = Fact> {
    report.runners.iter().map(|runner| Fact {
        kind: AlertKind::Health,
        detector: runner.place.detector.clone(),
        entity: format!("partition {}", runner.place.partition),
        severity: Severity::High,
        message: report.trouble.clone().unwrap_or_default(),
        value: None,
        is_on: report.trouble.is_some(),
    })
}

/// What no longer looks as it did in training; one that has ended is not heard of any more.
fn drifts(report: &Report) -> impl Iterator<Item = Fact> {
    report.drifts.iter().map(|(detector, drift)| Fact {
        kind: AlertKind::Drift,
        detector: detector.clone(),
        entity: drift.field.clone(),
        severity: Severity::Medium,
        message: format!(
            "`{}` no longer looks as it did in {}: {} is {:.3} where {:.3} was expected",
            drift.field, drift.against, drift.measure, drift.value, drift.expected
        ),
        value: Some(drift.value),
        is_on: true,
    })
}

/// Modules that a runner left because they were bad.
fn returned(report: &Report, now: i64) -> impl Iterator<Item = Finding> {
    report.runners.iter().flat_map(move |runner| {
        runner.condemned.iter().map(move |condemned| {
            let detector = &runner.place.detector;
            Finding {
                kind: AlertKind::Health,
                detector: detector.clone(),
                entity: "module".into(),
                id: format!("{} left {detector}", condemned.digest),
                at_ms: now,
                severity: Severity::High,
                score: None,
                attribution: Vec::new(),
                message: format!(
                    "module {} was left for the one beside it: {}",
                    condemned.digest.short(),
                    condemned.reason
                ),
                place: None,
            }
        })
    })
}
