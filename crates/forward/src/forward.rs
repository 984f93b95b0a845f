//! What goes towards the cloud: findings, and as much of the events behind them as is wanted, into
//! the spool.

use crate::refused::RefusedFile;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use twinge_contract::abi::Outcome;
use twinge_contract::verdict::Verdict;
use twinge_runner::Arrival;
use twinge_spool::{Entry, Importance, Spool};
use twinge_stream::outlet::{Finding, Outlet};
use twinge_stream::sink::SinkError;
use twinge_uplink::Bell;

/// CloudEvents type of an event that is sent on as it came.
pub const EVENT_TYPE: &str = "io.twinge.event.v1";

/// What goes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// Anomalous verdicts, silences, drifts and dead letters.
    Anomalies,
    /// All verdicts.
    #[default]
    Verdicts,
    /// All verdicts, the events of anomalous ones, and one in so many of the others.
    Samples,
    /// All verdicts and all events.
    Everything,
}

/// Fills the spool.
#[derive(Debug)]
pub struct Forwarder {
    rule: Rule,
    spool: Arc<Mutex<Spool>>,
    bell: Bell,
    refused: Arc<RefusedFile>,
    entry_bytes_max: usize,
    pending: VecDeque<Entry>,
}

/// What goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which findings and events.
    pub forward: Forward,
    /// One in so many events of verdicts that are not anomalous.
    pub sample: u32,
}

impl Forwarder {
    /// Fills `spool` by a rule and rings `bell`; what is too large for it goes to `refused`.
    pub fn new(
        rule: Rule,
        spool: Arc<Mutex<Spool>>,
        bell: Bell,
        refused: Arc<RefusedFile>,
        entry_bytes_max: usize,
    ) -> Self {
        Self { rule, spool, bell, refused, entry_bytes_max, pending: VecDeque::new() }
    }

    fn wants_event(&self, verdict: &Verdict) -> bool {
        match self.rule.forward {
            Forward::Anomalies | Forward::Verdicts => false,
            Forward::Everything => true,
            Forward::Samples => is_anomalous(verdict) || is_sampled(&verdict.id, self.rule.sample),
        }
    }

    /// Gives the first entry, which fits, to the spool.
    fn append(&mut self) {
        let Some(entry) = self.pending.pop_front() else { return };
        let is_urgent = entry.importance == Importance::Anomalous;
        match lock(&self.spool).append(entry) {
            Ok(_) => self.bell.ring(is_urgent),
            Err(error) => tracing::error!(%error, "an entry was not spooled"),
        }
    }

    fn push(&mut self, importance: Importance, key: Option<&str>, bytes: Vec<u8>) {
        self.pending.push_back(Entry { importance, key: key.map(str::to_owned), bytes });
    }
}

#[async_trait]
impl Outlet for Forwarder {
    fn take(&mut self, finding: &Finding<'_>, json: &[u8]) {
        match finding {
            Finding::Verdict(verdict, arrival) => {
                let importance = importance(verdict);
                if self.wants_event(verdict) {
                    self.push(importance, Some(&verdict.subject), event(verdict, arrival));
                }
                if importance == Importance::Anomalous || self.rule.forward != Forward::Anomalies {
                    self.push(importance, Some(&verdict.subject), json.to_vec());
                }
            }
            Finding::DeadLetter(letter, _) => {
                self.push(Importance::Normal, letter.subject.as_deref(), json.to_vec());
            }
            Finding::Silence(silence) => {
                self.push(Importance::Anomalous, Some(&silence.subject), json.to_vec());
            }
            Finding::Drift(drift) => {
                self.push(Importance::Anomalous, Some(&drift.subject), json.to_vec());
            }
        }
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        while let Some(entry) = self.pending.front() {
            let bytes = entry.bytes.len() + entry.key.as_ref().map_or(0, String::len);
            if bytes <= self.entry_bytes_max {
                self.append();
                continue;
            }
            self.refused.write(&entry.bytes, "larger than the spool takes")?;
            self.pending.pop_front();
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), SinkError> {
        lock(&self.spool).sync().map_err(|error| spool_error(error.into()))
    }
}

/// The spool; never held over an await.
pub fn lock(spool: &Mutex<Spool>) -> MutexGuard<'_, Spool> {
    // A spool is whole between calls, whatever happened to the thread that held it.
    spool.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spool_error(source: Box<dyn std::error::Error + Send + Sync>) -> SinkError {
    SinkError { place: "the spool".into(), source }
}

/// What the spool keeps longest.
fn importance(verdict: &Verdict) -> Importance {
    if is_anomalous(verdict) { Importance::Anomalous } else { Importance::Normal }
}

fn is_anomalous(verdict: &Verdict) -> bool {
    verdict.data.verdict == Outcome::Anomalous
}

/// Chosen by the verdict's id, so that a verdict that is given again chooses again the same.
fn is_sampled(id: &str, one_in: u32) -> bool {
    let start = id.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    start.is_some_and(|start| start % one_in == 0)
}

/// An event as it came, as a CloudEvent.
fn event(verdict: &Verdict, arrival: &Arrival) -> Vec<u8> {
    #[derive(Serialize)]
    struct Event<'a> {
        specversion: &'a str,
        r#type: &'a str,
        id: String,
        source: &'a str,
        subject: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        time: Option<&'a str>,
        datacontenttype: &'a str,
        data: &'a RawValue,
    }
    let event = Event {
        specversion: "1.0",
        r#type: EVENT_TYPE,
        // Beside its verdict's, and as stable.
        id: format!("{}-event", verdict.id),
        source: &verdict.source,
        subject: &verdict.subject,
        time: verdict.time.as_deref(),
        datacontenttype: "application/json",
        data: serde_json::from_slice(&arrival.bytes).expect("what got a verdict is JSON"),
    };
    serde_json::to_vec(&event).expect("an event holds texts and JSON only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_the_same_again_and_about_as_many_as_asked() {
        let ids = (0..10_000_u64).map(|number| {
            twinge_contract::verdict::verdict_id(
                "s",
                "0",
                &twinge_contract::verdict::Identity::Offset(number),
                "m",
            )
        });
        let ids: Vec<String> = ids.collect();
        let count = ids.iter().filter(|id| is_sampled(id, 100)).count();
        assert!((60..140).contains(&count), "{count}");
        assert!(ids.iter().all(|id| is_sampled(id, 1)));
    }
}
