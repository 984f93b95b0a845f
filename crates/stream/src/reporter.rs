//! What this device reports under fleet/: what it was told to run, what it runs, and how it is.

use crate::device::DeviceIdentity;
use crate::report::Reports;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use twinge_platform::Clock;
use twinge_registry::{Name, Registry};
use twinge_rollout::{Comparison, Desired, DriftSummary, Health, Part, Report, Running};
use twinge_runner::Status;

/// What a follower has heard last, for the report; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    desired: Option<Desired>,
    refused: Option<String>,
}

/// Reports on one detector.
#[derive(Debug)]
pub(crate) struct Reporter {
    pub(crate) registry: Registry,
    pub(crate) detector: Name,
    pub(crate) channel: Name,
    pub(crate) identity: DeviceIdentity,
    pub(crate) heard: Heard,
    pub(crate) reports: Reports,
    pub(crate) clock: Arc<dyn Clock>,
    /// How often it looks whether something changed, and how often it reports whatever happens.
    pub(crate) poll: Duration,
    pub(crate) every: Duration,
}

impl Heard {
    /// Notes what a channel says, and why it or a part of it is not followed.
    pub(crate) fn note(&self, desired: Option<Desired>, refused: Option<String>) {
        let mut state = self.lock();
        if desired.is_some() {
            state.desired = desired;
        }
        state.refused = refused;
    }

    fn get(&self) -> State {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is made of assignments, so a thread that died left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    /// Reports until `stop` is cancelled: at once when something changed, else now and then. A
    /// registry that is away delays reports and nothing else.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut last: Option<(Report, Instant)> = None;
        let mut told_trouble = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.poll.min(self.every)) => {}
            }
            let Some(report) = self.report() else { continue };
            let is_due = last.as_ref().is_none_or(|(before, sent)| {
                sent.elapsed() >= self.every || has_changed(before, &report)
            });
            if !is_due {
                continue;
            }
            let sent = tokio::select! {
                () = stop.cancelled() => return,
                sent = self.send(&report) => sent,
            };
            match sent {
                Ok(()) => (last, told_trouble) = (Some((report, Instant::now())), false),
                Err(error) if !told_trouble => {
                    tracing::warn!(detector = %self.detector, error, "report cannot be sent; it is tried again");
                    told_trouble = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Nothing before a channel was heard and a module runs.
    fn report(&self) -> Option<Report> {
        let State { desired, refused } = self.heard.get();
        let reports = self.reports.all();
        let trouble = reports.iter().find_map(|report| report.trouble.clone());
        let drifts = drifts(&reports, self.detector.as_str());
        let runners = reports.into_iter().flat_map(|report| report.runners);
        let runners: Vec<Status> =
            runners.filter(|status| status.place.detector == self.detector.as_str()).collect();
        if runners.is_empty() {
            return None;
        }
        let sum = |of: fn(&Status) -> u64| runners.iter().map(of).sum();
        Some(Report {
            detector: self.detector.to_string(),
            channel: self.channel.to_string(),
            device: self.identity.device().clone(),
            sent_ms: self.clock.now_ms(),
            desired: desired?,
            running: running(&runners),
            comparison: comparison(&runners),
            condemned: condemned(&runners),
            health: Health {
                events: sum(|status| status.counts.events),
                anomalies: sum(|status| status.counts.anomalies),
                dead_letters: sum(|status| status.counts.dead_letters),
                refused,
                trouble,
            },
            drifts,
        })
    }

    async fn send(&self, report: &Report) -> Result<(), String> {
        let payload = serde_json::to_vec(report).map_err(|error| error.to_string())?;
        let envelope = self.identity.sign(Report::PAYLOAD_TYPE, payload);
        let device = &report.device.name;
        let put = self.registry.put_report(&self.detector, device, &envelope).await;
        put.map_err(|error| crate::chain::chain(&error))
    }
}

/// Whether something happened that somebody may be waiting to see.
fn has_changed(before: &Report, now: &Report) -> bool {
    let news = |report: &Report| {
        let Health { refused, trouble, .. } = report.health.clone();
        let drifting = |drift: &DriftSummary| (drift.field.clone(), drift.against.clone());
        let drifts: Vec<_> = report.drifts.iter().map(drifting).collect();
        let Report { desired, running, condemned, .. } = report.clone();
        (desired, running, condemned, refused, trouble, drifts)
    };
    news(before) != news(now)
}

/// Modules by what they run as, each with the number of partitions.
fn running(runners: &[Status]) -> Vec<Running> {
    let mut running: BTreeMap<_, Running> = BTreeMap::new();
    for status in runners {
        let acting = (status.champion, status.version.clone(), Part::Acting);
        let beside = status.candidate.zip(status.part).map(|(digest, part)| {
            (digest, status.candidate_version.clone().unwrap_or_default(), part)
        });
        for (digest, version, part) in [Some(acting), beside].into_iter().flatten() {
            let new = Running { digest, version, part, partitions: 0 };
            running.entry((part, digest)).or_insert(new).partitions += 1;
        }
    }
    running.into_values().collect()
}

/// The comparison of the two modules that most partitions compare, added up.
fn comparison(runners: &[Status]) -> Option<Comparison> {
    let mut sums: BTreeMap<_, (usize, Comparison)> = BTreeMap::new();
    for one in runners.iter().filter_map(|status| status.comparison.as_ref()) {
        let pair = (one.acting.digest, one.other.digest);
        let new = || (0, Comparison::new(pair.0, pair.1));
        let (partitions, sum) = sums.entry(pair).or_insert_with(new);
        *partitions += 1;
        sum.compared += one.compared;
        sum.acting.add(&one.acting);
        sum.other.add(&one.other);
    }
    sums.into_values().max_by_key(|(partitions, _)| *partitions).map(|(_, sum)| sum)
}

/// Drifts of a detector, those of several partitions as one each.
fn drifts(reports: &[crate::report::Report], detector: &str) -> Vec<DriftSummary> {
    let mut all: BTreeMap<(String, String), DriftSummary> = BTreeMap::new();
    let own = reports.iter().flat_map(|report| &report.drifts).filter(|(of, _)| of == detector);
    for (_, drift) in own {
        let key = (drift.field.clone(), drift.against.clone());
        match all.get_mut(&key) {
            Some(known) => {
                known.partitions += drift.partitions;
                known.since_ms = known.since_ms.min(drift.since_ms);
            }
            None => drop(all.insert(key, drift.clone())),
        }
    }
    all.into_values().collect()
}

fn condemned(runners: &[Status]) -> Vec<twinge_rollout::Condemned> {
    let mut all = Vec::new();
    for condemned in runners.iter().flat_map(|status| &status.condemned) {
        if !all.contains(condemned) {
            all.push(condemned.clone());
        }
    }
    all
}
