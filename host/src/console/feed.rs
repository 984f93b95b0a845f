//! The latest verdicts, for whoever looks: bounded, and never in the way of the stream.

use async_trait::async_trait;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use twinge_contract::abi::Outcome;
use twinge_stream::outlet::{Finding, Outlet};
use twinge_stream::sink::SinkError;

/// Verdicts that are kept.
const POINTS_MAX: usize = 600;
/// Anomalies and dead letters that are kept whole.
const FINDINGS_MAX: usize = 60;

/// The latest verdicts of all detectors; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Findings so far; each has its number.
    seen: u64,
    points: VecDeque<Point>,
    findings: VecDeque<(u64, Box<RawValue>)>,
    lag_ms: BTreeMap<String, i64>,
}

/// A verdict as a chart shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Point {
    number: u64,
    #[serde(serialize_with = "as_text")]
    detector: Arc<str>,
    entity: String,
    score: f64,
    verdict: Outcome,
}

/// What came since somebody looked.
#[derive(Debug, Serialize)]
pub(super) struct Update {
    /// The number to ask from next time.
    pub(super) seen: u64,
    /// Findings that came and went in between.
    missed: u64,
    points: Vec<Point>,
    /// Anomalies and dead letters, as sinks get them.
    findings: Vec<Box<RawValue>>,
    /// From arrival to verdict, by detector.
    lag_ms: BTreeMap<String, i64>,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Each change leaves the lists whole, so a thread that died did no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came after finding `seen`; nothing if nothing did.
    pub(super) fn since(&self, seen: u64) -> Option<Update> {
        let kept = self.lock();
        if kept.seen <= seen {
            return None;
        }
        let points: Vec<_> =
            kept.points.iter().filter(|point| point.number > seen).cloned().collect();
        let findings = kept.findings.iter().filter(|(number, _)| *number > seen);
        let first = kept.points.front().map_or(kept.seen, |point| point.number);
        Some(Update {
            seen: kept.seen,
            missed: first.saturating_sub(seen + 1),
            points,
            findings: findings.map(|(_, json)| json.clone()).collect(),
            lag_ms: kept.lag_ms.clone(),
        })
    }
}

/// Gives the findings of one detector on one partition to the feed.
#[derive(Debug)]
pub(super) struct FeedOutlet {
    feed: Feed,
    detector: Arc<str>,
}

impl FeedOutlet {
    pub(super) fn new(feed: Feed, detector: &str) -> Self {
        Self { feed, detector: detector.into() }
    }
}

#[async_trait]
impl Outlet for FeedOutlet {
    fn take(&mut self, finding: &Finding<'_>, json: &[u8]) {
        let mut kept = self.feed.lock();
        kept.seen += 1;
        let number = kept.seen;
        let is_told = match finding {
            Finding::Verdict(verdict, arrival) => {
                let lag_ms = now_ms().saturating_sub(arrival.ingested_ms);
                match kept.lag_ms.get_mut(&*self.detector) {
                    Some(known) => *known = lag_ms,
                    None => drop(kept.lag_ms.insert(self.detector.to_string(), lag_ms)),
                }
                let data = &verdict.data;
                let point = Point {
                    number,
                    detector: Arc::clone(&self.detector),
                    entity: verdict.subject.clone(),
                    score: data.score,
                    verdict: data.verdict,
                };
                push(&mut kept.points, point, POINTS_MAX);
                data.verdict == Outcome::Anomalous
            }
            Finding::DeadLetter(..) | Finding::Silence(_) | Finding::Drift(_) => true,
        };
        // What sinks get is JSON; were it not, the console would rather show nothing.
        let text = is_told.then(|| String::from_utf8_lossy(json).into_owned());
        if let Some(Ok(json)) = text.map(RawValue::from_string) {
            push(&mut kept.findings, (number, json), FINDINGS_MAX);
        }
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

fn push<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(item);
}

fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinge_contract::verdict::{DeadLetter, Origin};
    use twinge_runner::Arrival;

    fn letters(feed: &Feed, count: usize) {
        let mut outlet = FeedOutlet::new(feed.clone(), "pumps");
        let origin = Origin { source: "s".into(), partition: "0".into(), offset: 0 };
        let letter = DeadLetter::new("pumps", origin, "not-json", "x".into(), b"{");
        let arrival =
            Arrival { offset: 0, ingested_ms: 0, key: None, attributes: None, bytes: b"{".into() };
        for number in 0..count {
            let json = format!("{{\"number\":{number}}}");
            outlet.take(&Finding::DeadLetter(&letter, &arrival), json.as_bytes());
        }
    }

    #[test]
    fn a_look_gives_what_is_new_and_the_next_one_nothing() {
        let feed = Feed::default();
        assert!(feed.since(0).is_none());
        letters(&feed, 2);
        let update = feed.since(0).unwrap();
        assert_eq!((update.seen, update.findings.len()), (2, 2));
        assert!(feed.since(2).is_none());
        letters(&feed, 1);
        let update = feed.since(2).unwrap();
        assert_eq!(update.findings.len(), 1);
        assert_eq!(update.findings[0].get(), "{\"number\":0}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let feed = Feed::default();
        letters(&feed, FINDINGS_MAX * 3);
        let update = feed.since(0).unwrap();
        assert_eq!(update.findings.len(), FINDINGS_MAX);
        assert_eq!(update.findings[0].get(), format!("{{\"number\":{}}}", FINDINGS_MAX * 2));
    }
}
