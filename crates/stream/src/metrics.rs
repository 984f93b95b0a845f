//! What is counted, for Prometheus.

use prometheus::{Encoder, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};
use twinge_drift::{Against, Evaluation};
use twinge_runner::{Place, Status};

/// The program's metrics; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    events: IntCounterVec,
    verdicts: IntCounterVec,
    dead_letters: IntCounterVec,
    duplicates: IntCounterVec,
    swaps: IntCounterVec,
    returns: IntCounterVec,
    missed_deadlines: IntCounterVec,
    evicted: IntCounterVec,
    entities: IntGaugeVec,
    offset: IntGaugeVec,
    serial: IntGaugeVec,
    checkpoints: IntCounterVec,
    sink_failures: IntCounterVec,
    wanderers: IntCounterVec,
    device_rights: IntCounterVec,
    silences: IntCounterVec,
    silent: IntGaugeVec,
    drift: DriftMetrics,
    lag: GaugeVec,
    labels: IntCounterVec,
    inferences: IntCounterVec,
}

/// What is measured of drift.
#[derive(Clone, Debug)]
struct DriftMetrics {
    psi: GaugeVec,
    ks: GaugeVec,
    js: GaugeVec,
    missing: GaugeVec,
    unseen: GaugeVec,
    anchor_psi: GaugeVec,
    alarms: IntCounterVec,
    active: IntGaugeVec,
    verdict_rate: GaugeVec,
    late: GaugeVec,
}

const FIELD: [&str; 4] = ["detector", "version", "partition", "field"];

const RUNNER: [&str; 3] = ["detector", "version", "partition"];

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)
                .expect("names and labels are valid");
            registry.register(Box::new(counter.clone())).expect("names are given once");
            counter
        };
        let count = |name: &str, help: &str, labels: &[&str]| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)
                .expect("names and labels are valid");
            registry.register(Box::new(gauge.clone())).expect("names are given once");
            gauge
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge =
                GaugeVec::new(Opts::new(name, help), labels).expect("names and labels are valid");
            registry.register(Box::new(gauge.clone())).expect("names are given once");
            gauge
        };
        Self {
            lag: gauge(
                "twinge_lag_seconds",
                "Time that the last event waited to be scored; 0 while none waits.",
                &RUNNER,
            ),
            labels: counter("twinge_labels_total", "Labels that people gave.", &["label"]),
            inferences: counter(
                "twinge_inferences_total",
                "Requests to the model endpoint.",
                &["detector", "result"],
            ),
            events: counter("twinge_events_total", "Events taken from a source.", &RUNNER),
            verdicts: counter(
                "twinge_verdicts_total",
                "Verdicts given.",
                &["detector", "version", "partition", "verdict"],
            ),
            dead_letters: counter(
                "twinge_dead_letters_total",
                "Events that got no verdict.",
                &["detector", "version", "partition", "reason"],
            ),
            duplicates: counter(
                "twinge_duplicates_total",
                "Events that had been delivered before.",
                &RUNNER,
            ),
            swaps: counter("twinge_swaps_total", "Modules that began to act.", &RUNNER),
            returns: counter(
                "twinge_returns_total",
                "Bad modules that were left for the one beside them.",
                &RUNNER,
            ),
            missed_deadlines: counter(
                "twinge_missed_deadlines_total",
                "Calls of modules that took too long.",
                &RUNNER,
            ),
            evicted: counter(
                "twinge_entities_evicted_total",
                "Entities forgotten to make room.",
                &RUNNER,
            ),
            entities: count("twinge_entities", "Entities remembered.", &RUNNER),
            offset: count("twinge_offset", "The next offset of the source.", &RUNNER),
            serial: count(
                "twinge_channel_serial",
                "The channel document that is followed.",
                &RUNNER,
            ),
            checkpoints: counter(
                "twinge_checkpoints_total",
                "Checkpoints taken.",
                &["detector", "partition"],
            ),
            sink_failures: counter(
                "twinge_sink_failures_total",
                "Failed tries to write records.",
                &["detector"],
            ),
            wanderers: counter(
                "twinge_entities_in_two_partitions_total",
                "Events of an entity that was in another partition before.",
                &RUNNER,
            ),
            device_rights: counter(
                "twinge_device_rights_total",
                "Requests of devices for rights on the registry.",
                &["result"],
            ),
            silences: counter(
                "twinge_silences_total",
                "Entities that stopped sending for longer than is usual.",
                &RUNNER,
            ),
            silent: count("twinge_silent_entities", "Entities that are silent now.", &RUNNER),
            drift: DriftMetrics::new(&registry),
            registry,
        }
    }
}

impl DriftMetrics {
    fn new(registry: &Registry) -> Self {
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            let gauge =
                GaugeVec::new(Opts::new(name, help), labels).expect("names and labels are valid");
            registry.register(Box::new(gauge.clone())).expect("names are given once");
            gauge
        };
        let alarms = IntCounterVec::new(
            Opts::new("twinge_drift_alarms_total", "Drifts that began."),
            &RUNNER,
        )
        .expect("names and labels are valid");
        registry.register(Box::new(alarms.clone())).expect("names are given once");
        let active = IntGaugeVec::new(
            Opts::new("twinge_drift_active", "Drifts that have not ended."),
            &RUNNER,
        )
        .expect("names and labels are valid");
        registry.register(Box::new(active.clone())).expect("names are given once");
        Self {
            psi: gauge("twinge_drift_psi", "Population stability index since training.", &FIELD),
            ks: gauge(
                "twinge_drift_ks",
                "Largest difference of cumulative shares since training.",
                &FIELD,
            ),
            js: gauge("twinge_drift_js", "Jensen-Shannon distance since training.", &FIELD),
            missing: gauge(
                "twinge_drift_missing_share",
                "Share of events in which the field is missing.",
                &FIELD,
            ),
            unseen: gauge(
                "twinge_drift_unseen_share",
                "Share of values that are categories not seen in training.",
                &FIELD,
            ),
            anchor_psi: gauge(
                "twinge_drift_anchor_psi",
                "Population stability index since the first module of the line.",
                &FIELD,
            ),
            alarms,
            active,
            verdict_rate: gauge(
                "twinge_verdict_rate",
                "Share of verdicts that are anomalous, of late.",
                &RUNNER,
            ),
            late: gauge(
                "twinge_late_verdict_share",
                "Share of verdicts that came too late, of late.",
                &RUNNER,
            ),
        }
    }

    fn of_fields(&self) -> [&GaugeVec; 6] {
        [&self.psi, &self.ks, &self.js, &self.missing, &self.unseen, &self.anchor_psi]
    }
}

impl Metrics {
    /// Tells what a window showed.
    pub fn drift(&self, place: &Place, version: &str, evaluation: &Evaluation) {
        let (drift, runner) = (&self.drift, [&*place.detector, version, &*place.partition]);
        for (against, _, measures) in &evaluation.measures {
            let labels = [runner[0], runner[1], runner[2], &measures.field];
            if *against == Against::Anchor {
                drift.anchor_psi.with_label_values(&labels).set(measures.psi);
                continue;
            }
            drift.psi.with_label_values(&labels).set(measures.psi);
            drift.js.with_label_values(&labels).set(measures.js);
            drift.missing.with_label_values(&labels).set(measures.missing[0]);
            if let Some(ks) = measures.ks {
                drift.ks.with_label_values(&labels).set(ks);
            }
            if let Some([unseen, _]) = measures.unseen {
                drift.unseen.with_label_values(&labels).set(unseen);
            }
        }
        let active = i64::try_from(evaluation.active).unwrap_or(i64::MAX);
        drift.active.with_label_values(&runner).set(active);
        if let Some(rate) = evaluation.verdict_rate {
            drift.verdict_rate.with_label_values(&runner).set(rate);
        }
        if let Some(share) = evaluation.late_share {
            drift.late.with_label_values(&runner).set(share);
        }
    }

    /// Counts one drift that began.
    pub fn drift_alarm(&self, place: &Place, version: &str) {
        let runner = [&*place.detector, version, &*place.partition];
        self.drift.alarms.with_label_values(&runner).inc();
    }

    /// A version is watched no more: what it showed last would stand for ever.
    pub fn forget_drift(&self, place: &Place, version: &str, fields: &[String]) {
        let runner = [&*place.detector, version, &*place.partition];
        // An error says that there was no such series, which is what is wanted.
        for gauge in self.drift.of_fields() {
            for field in fields {
                gauge.remove_label_values(&[runner[0], runner[1], runner[2], field]).ok();
            }
        }
        self.drift.active.remove_label_values(&runner).ok();
        self.drift.verdict_rate.remove_label_values(&runner).ok();
        self.drift.late.remove_label_values(&runner).ok();
    }

    /// Counts verdicts of one kind.
    pub fn verdicts(&self, status: &Status, verdict: &str, count: u64) {
        let place = &status.place;
        self.verdicts
            .with_label_values(&[&*place.detector, &status.version, &place.partition, verdict])
            .inc_by(count);
    }

    /// Counts one dead letter.
    pub fn dead_letter(&self, status: &Status, reason: &str) {
        let place = &status.place;
        self.dead_letters
            .with_label_values(&[&*place.detector, &status.version, &place.partition, reason])
            .inc();
    }

    /// Brings the figures of a runner up to date, `before` being those told last.
    pub fn runner(&self, before: &Status, now: &Status) {
        let labels = [now.place.detector.as_str(), now.version.as_str(), &now.place.partition];
        self.events.with_label_values(&labels).inc_by(now.counts.events - before.counts.events);
        self.duplicates
            .with_label_values(&labels)
            .inc_by(now.counts.duplicates - before.counts.duplicates);
        self.swaps.with_label_values(&labels).inc_by(now.counts.swaps - before.counts.swaps);
        self.returns.with_label_values(&labels).inc_by(now.counts.returns - before.counts.returns);
        self.missed_deadlines
            .with_label_values(&labels)
            .inc_by(now.counts.missed_deadlines - before.counts.missed_deadlines);
        if let Some(serial) = now.serial {
            self.serial.with_label_values(&labels).set(i64::try_from(serial).unwrap_or(i64::MAX));
        }
        // A new champion has a table of its own, whose count of evictions may be smaller.
        self.evicted.with_label_values(&labels).inc_by(now.evicted.saturating_sub(before.evicted));
        self.entities
            .with_label_values(&labels)
            .set(i64::try_from(now.entities).unwrap_or(i64::MAX));
        self.offset.with_label_values(&labels).set(i64::try_from(now.offset).unwrap_or(i64::MAX));
    }

    /// Counts one checkpoint.
    pub fn checkpoint(&self, detector: &str, partition: &str) {
        self.checkpoints.with_label_values(&[detector, partition]).inc();
    }

    /// Counts one failed try to write.
    pub fn sink_failure(&self, detector: &str) {
        self.sink_failures.with_label_values(&[detector]).inc();
    }

    /// Counts events of entities that changed their partition, and answers with the count before.
    pub fn wanderers(&self, status: &Status, count: u64) -> u64 {
        let place = &status.place;
        let labels = [place.detector.as_str(), status.version.as_str(), &place.partition];
        let counter = self.wanderers.with_label_values(&labels);
        let before = counter.get();
        counter.inc_by(count);
        before
    }

    /// Counts one request of a device for rights.
    pub fn device_rights(&self, result: &str) {
        self.device_rights.with_label_values(&[result]).inc();
    }

    /// How long the last event waited.
    pub fn lag(&self, status: &Status, lag_ms: i64) {
        self.lag.with_label_values(&runner_labels(status)).set(lag_ms.max(0) as f64 / 1000.0);
    }

    /// Detector, partition and seconds of each lag that is known.
    pub fn lags(&self) -> Vec<(String, String, f64)> {
        let families = prometheus::core::Collector::collect(&self.lag);
        let metrics = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
        let of = |metric: &prometheus::proto::Metric, name: &str| {
            let label = metric.get_label().iter().find(|label| label.name() == name);
            label.map(|label| label.value().to_owned()).unwrap_or_default()
        };
        let lag = |metric| {
            (of(metric, "detector"), of(metric, "partition"), metric.get_gauge().get_value())
        };
        metrics.map(lag).collect()
    }

    /// Counts one label.
    pub fn label(&self, label: &str) {
        self.labels.with_label_values(&[label]).inc();
    }

    /// Counts one request to the model endpoint.
    pub fn inference(&self, detector: &str, result: &str) {
        self.inferences.with_label_values(&[detector, result]).inc();
    }

    /// Figures of a runner that nothing has happened to yet: rules that look for a change need a
    /// beginning.
    pub fn begin(&self, status: &Status) {
        let detector = status.place.detector.as_str();
        self.sink_failures.with_label_values(&[detector]).inc_by(0);
        self.checkpoints.with_label_values(&[detector, &status.place.partition]).inc_by(0);
        self.drift.active.with_label_values(&runner_labels(status)).set(0);
        self.drift.alarms.with_label_values(&runner_labels(status)).inc_by(0);
        self.runner(status, status);
    }

    /// Counts one silence.
    pub fn silence(&self, status: &Status) {
        self.silences.with_label_values(&runner_labels(status)).inc();
    }

    /// The number of entities that are silent now.
    pub fn silent(&self, status: &Status, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.silent.with_label_values(&runner_labels(status)).set(count);
    }

    /// The registry, for what a program adds.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# metrics cannot be told: {error}\n"),
        }
    }
}

fn runner_labels(status: &Status) -> [&str; 3] {
    [&status.place.detector, &status.version, &status.place.partition]
}
