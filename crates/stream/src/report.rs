//! What pumps should run, and what they say of themselves. Who asks is not known here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use twinge_rollout::DriftSummary;
use twinge_runner::{Directive, Status};

/// What each detector should run, by the detector's name.
pub type Wanted = BTreeMap<String, Directive>;

/// What others may know of a pump.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// One for each runner.
    pub runners: Vec<Status>,
    /// Why it is not ready, or nothing.
    pub trouble: Option<String>,
    /// What has drifted, by detector.
    pub drifts: Vec<(String, DriftSummary)>,
}

/// What the pumps of a program are doing; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<Mutex<BTreeMap<String, (Report, Instant)>>>);

impl Reports {
    /// Says what a pump is doing.
    pub fn set(&self, name: &str, report: Report) {
        self.lock().insert(name.to_owned(), (report, Instant::now()));
    }

    /// A pump shows that it lives.
    pub fn beat(&self, name: &str) {
        if let Some((_, beat)) = self.lock().get_mut(name) {
            *beat = Instant::now();
        }
    }

    /// How long the pump has shown nothing that has shown nothing for longest.
    pub fn oldest_beat(&self) -> Duration {
        self.lock().values().map(|(_, beat)| beat.elapsed()).max().unwrap_or_default()
    }

    /// A pump is there no more.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// What all pumps are doing, by name.
    pub fn all(&self) -> Vec<Report> {
        self.lock().values().map(|(report, _)| report.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Report, Instant)>> {
        // Each change is one insertion or removal, so a thread that died left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
