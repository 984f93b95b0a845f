//! The agent's own figures for Prometheus, read when they are asked for.

use crate::agent::Agent;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts};
use std::sync::Arc;
use twinge_stream::Metrics;

/// Reads figures of an agent into gauges each time somebody asks.
struct AgentCollector {
    agent: Arc<Agent>,
    spool_entries: IntGaugeVec,
    spool_bytes: IntGaugeVec,
    spool_dropped: IntGaugeVec,
    uplink: IntGaugeVec,
    source_up: IntGaugeVec,
    actions: IntGaugeVec,
}

/// Adds an agent's figures to those of its program.
pub(crate) fn register(metrics: &Metrics, agent: Arc<Agent>) {
    let gauge = |name: &str, help: &str, labels: &[&str]| {
        IntGaugeVec::new(Opts::new(name, help), labels).expect("names and labels are valid")
    };
    let collector = AgentCollector {
        agent,
        spool_entries: gauge("twinge_spool_entries", "Entries that wait.", &["importance"]),
        spool_bytes: gauge("twinge_spool_bytes", "Bytes on disk.", &["importance"]),
        spool_dropped: gauge(
            "twinge_spool_dropped_total",
            "Entries that were dropped since the spool was begun.",
            &["importance", "cause"],
        ),
        uplink: gauge(
            "twinge_uplink_records_total",
            "Records that went up, or were refused there.",
            &["result"],
        ),
        source_up: gauge("twinge_part_up", "Whether a source or uplink works.", &["part"]),
        actions: gauge("twinge_actions_total", "Actions on the spot.", &["result"]),
    };
    if let Err(error) = metrics.registry().register(Box::new(collector)) {
        tracing::warn!(%error, "the agent's own figures are not among the metrics");
    }
}

impl AgentCollector {
    fn gauges(&self) -> [&IntGaugeVec; 6] {
        let Self { spool_entries, spool_bytes, spool_dropped, uplink, source_up, actions, .. } =
            self;
        [spool_entries, spool_bytes, spool_dropped, uplink, source_up, actions]
    }

    fn read(&self) {
        let set = |gauge: &IntGaugeVec, labels: &[&str], value: u64| {
            gauge.with_label_values(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        if let Some(figures) = self.agent.spool_figures() {
            for (name, lane) in [("normal", &figures.normal), ("anomalous", &figures.anomalous)] {
                set(&self.spool_entries, &[name], lane.entries);
                set(&self.spool_bytes, &[name], lane.disk_bytes);
                let dropped = lane.dropped;
                for (cause, count) in
                    [("room", dropped.room), ("age", dropped.age), ("damage", dropped.damage)]
                {
                    set(&self.spool_dropped, &[name, cause], count);
                }
            }
        }
        if let Some(uplink) = self.agent.uplink_figures() {
            set(&self.uplink, &["sent"], uplink.sent);
            set(&self.uplink, &["refused"], uplink.refused);
            set(&self.uplink, &["failed-batches"], uplink.failures);
        }
        let status = self.agent.status();
        for part in status.sources.iter().chain(&status.uplink) {
            set(&self.source_up, &[&part.what], u64::from(part.is_well));
        }
        for result in ["done", "failed", "held_back"] {
            let counts = status.actions.iter().filter_map(|action| action[result].as_u64());
            set(&self.actions, &[result], counts.sum());
        }
    }
}

impl Collector for AgentCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.gauges().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.gauges().into_iter().flat_map(Collector::collect).collect()
    }
}
