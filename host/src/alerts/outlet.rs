//! What a lane finds, on its way to the desk.

use super::desk::Desk;
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::sync::Arc;
use twinge_alerts::Finding as AlertFinding;
use twinge_contract::abi::Outcome;
use twinge_stream::outlet::{Finding, Outlet};
use twinge_stream::sink::SinkError;

/// Gathers the findings of one detector on one partition until they are committed.
#[derive(Debug)]
pub(super) struct AlertOutlet {
    desk: Arc<Desk>,
    detector: String,
    findings: Vec<AlertFinding>,
    /// Entities that sent, while something is silent.
    seen: BTreeSet<String>,
    events: u64,
    letters: u64,
}

impl AlertOutlet {
    pub(super) fn new(desk: Arc<Desk>, detector: &str) -> Self {
        let detector = detector.to_owned();
        Self { desk, detector, findings: Vec::new(), seen: BTreeSet::new(), events: 0, letters: 0 }
    }
}

#[async_trait]
impl Outlet for AlertOutlet {
    fn take(&mut self, finding: &Finding<'_>, _json: &[u8]) {
        match finding {
            Finding::Verdict(verdict, arrival) => {
                self.events += 1;
                if self.desk.has_silent() {
                    self.seen.insert(verdict.subject.clone());
                }
                if verdict.data.verdict == Outcome::Anomalous {
                    let at_ms = arrival.ingested_ms;
                    self.findings.push(AlertFinding::anomaly(&self.detector, verdict, at_ms));
                }
            }
            Finding::DeadLetter(..) => {
                self.events += 1;
                self.letters += 1;
            }
            // What drifts is a condition, and stands in the report of its pump.
            Finding::Drift(_) => {}
            Finding::Silence(silence) => {
                let now = self.desk.now_ms();
                self.findings.push(AlertFinding::silence(&self.detector, silence, now));
            }
        }
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        let findings = std::mem::take(&mut self.findings);
        let seen = std::mem::take(&mut self.seen);
        let (events, letters) =
            (std::mem::take(&mut self.events), std::mem::take(&mut self.letters));
        let detector = &self.detector;
        // What the desk has once it keeps in memory, so a failed write is made up for by the next.
        self.desk.work(|kept, now| {
            if events > 0 {
                kept.shares.note(detector, events, letters, now);
            }
            let mut alerts = Vec::new();
            for entity in &seen {
                alerts.extend(kept.book.seen(detector, entity, now));
            }
            for finding in &findings {
                alerts.extend(kept.book.take(finding, now).alerts);
            }
            alerts
        })
    }

    async fn sync(&mut self) -> Result<(), SinkError> {
        self.desk.sync()
    }
}
