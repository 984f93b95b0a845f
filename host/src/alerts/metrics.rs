//! What is counted of alerts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use twinge_alerts::Counts;
use twinge_contract::alert::{Alert, AlertKind, AlertState};
use twinge_contract::verdict::Severity;

/// Figures of alerts, for Prometheus. All of them are there from the start, at zero.
#[derive(Clone, Debug)]
pub(super) struct AlertMetrics {
    alerts: IntCounterVec,
    open: IntGauge,
    silenced: IntCounter,
    failures: IntCounterVec,
    dropped: IntCounterVec,
}

impl AlertMetrics {
    pub(super) fn new(sinks: &[String]) -> Result<Self, prometheus::Error> {
        let this = Self {
            alerts: IntCounterVec::new(
                Opts::new("twinge_alerts_total", "Episodes that people were told of."),
                &["kind", "severity"],
            )?,
            open: IntGauge::new("twinge_alerts_open", "Episodes that were told and go on.")?,
            silenced: IntCounter::new(
                "twinge_alerts_silenced_total",
                "Findings that a schedule silenced.",
            )?,
            failures: IntCounterVec::new(
                Opts::new("twinge_alert_failures_total", "Failed tries to send an alert."),
                &["sink"],
            )?,
            dropped: IntCounterVec::new(
                Opts::new("twinge_alerts_dropped_total", "Alerts that were never sent."),
                &["sink"],
            )?,
        };
        for kind in AlertKind::ALL {
            for severity in [Severity::Low, Severity::Medium, Severity::High] {
                this.alerts.with_label_values(&[kind.as_str(), word(severity)]).inc_by(0);
            }
        }
        for sink in sinks {
            this.failures.with_label_values(&[sink.as_str()]).inc_by(0);
            this.dropped.with_label_values(&[sink.as_str()]).inc_by(0);
        }
        Ok(this)
    }

    pub(super) fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.alerts.clone()))?;
        registry.register(Box::new(self.open.clone()))?;
        registry.register(Box::new(self.silenced.clone()))?;
        registry.register(Box::new(self.failures.clone()))?;
        registry.register(Box::new(self.dropped.clone()))
    }

    /// Counts what is told.
    pub(super) fn told(&self, alert: &Alert) {
        if alert.data.state == AlertState::Opened {
            let labels = [alert.data.kind.as_str(), word(alert.data.severity)];
            self.alerts.with_label_values(&labels).inc();
        }
    }

    /// Brings the figures of the book up to date.
    pub(super) fn book(&self, before: Counts, now: Counts, open: usize) {
        self.silenced.inc_by(now.silenced.saturating_sub(before.silenced));
        self.open.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    pub(super) fn failed(&self, sink: &str) {
        self.failures.with_label_values(&[sink]).inc();
    }

    pub(super) fn dropped(&self, sink: &str, count: u64) {
        self.dropped.with_label_values(&[sink]).inc_by(count);
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::None => "none",
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
    }
}
