//! Drift is a finding too: what comes in, or what is said of it, is not what it was in training.
//!
//! A lane looks at the events of its acting module; above a rate, at every second, fourth and so on
//! by their offsets. What was seen is kept in a file beside the state. How drift is told from chance
//! is twinge-drift's business.

use crate::chain::chain;
use std::path::PathBuf;
use std::sync::Arc;
use twinge_contract::abi::Outcome;
use twinge_contract::drift::{Drift, Drifted, Told};
use twinge_contract::manifest::Manifest;
use twinge_contract::verdict::Origin;
use twinge_drift::watch::DriftState;
use twinge_drift::{Change, DriftSettings, DriftWatch, Evaluation, Mark, Observation, Stride};
use twinge_platform::Disk;
use twinge_rollout::DriftSummary;
use twinge_runner::{Arrival, Place, Reading, Record};

/// Time between two notes of what was seen, ms: a device's flash wears.
const SAVE_MS: u64 = 300_000;

/// A watch for drift on a partition, and the file that keeps what it has seen.
#[derive(Debug)]
pub struct LaneDrift {
    settings: DriftSettings,
    disk: Arc<dyn Disk>,
    file: PathBuf,
    stride: Stride,
    module: String,
    version: String,
    /// Nothing where the module does not tell what it was trained on.
    watch: Option<DriftWatch>,
    /// What was kept by the run before, until it is known of which module.
    kept: Option<Kept>,
    saved: u64,
    has_news: bool,
}

/// What outlives a restart: the module's digest and what was seen under it.
type Kept = (String, DriftState);

/// What a delivery brought to light.
#[derive(Debug, Default)]
pub struct DriftNews {
    /// What begins and ends, in order.
    pub found: Vec<Drift>,
    /// What the windows that ended showed, each with the module's version.
    pub evaluations: Vec<(String, Evaluation)>,
    /// A version that is watched no more, and its fields.
    pub left: Vec<(String, Vec<String>)>,
}

impl LaneDrift {
    /// Goes on from what `file` keeps, at `now` (monotonic, ms), or begins anew.
    pub fn open(settings: DriftSettings, disk: Arc<dyn Disk>, file: PathBuf, now: u64) -> Self {
        let kept = disk.read(&file).ok();
        let kept = kept.and_then(|bytes| postcard::from_bytes(&bytes).ok());
        Self {
            settings,
            disk,
            file,
            stride: Stride::new(settings.rate_max),
            module: String::new(),
            version: String::new(),
            watch: None,
            kept,
            saved: now,
            has_news: false,
        }
    }

    /// Which of these arrivals are to be looked at.
    pub(crate) fn wanted(&mut self, arrivals: &[Arrival]) -> Vec<u64> {
        let stride = &mut self.stride;
        let taken = arrivals.iter().filter(|one| stride.takes(one.offset, one.ingested_ms));
        taken.map(|one| one.offset).collect()
    }

    /// Looks at the events that were read, under the acting module whose manifest and digest these
    /// are by now. `now_ms` is the time since 1970, where it tells how late verdicts are.
    pub(crate) fn note(
        &mut self,
        arrivals: &[Arrival],
        records: &[Record],
        readings: &[Reading],
        (manifest, acting): (&Manifest, &str),
        place: &Place,
        now_ms: Option<i64>,
    ) -> DriftNews {
        let mut news = DriftNews::default();
        let mut readings = readings.iter().peekable();
        for (arrival, record) in arrivals.iter().zip(records) {
            let Some(reading) = readings.next_if(|one| one.offset == arrival.offset) else {
                continue;
            };
            let Record::Verdict(verdict) = record else { continue };
            let mark = Mark { offset: arrival.offset, ingested_ms: arrival.ingested_ms };
            if verdict.data.module != self.module {
                // What another module says, such as one that stands by, is not looked at.
                if verdict.data.module != acting {
                    continue;
                }
                self.watch_module(manifest, acting, place, mark, &mut news);
            }
            let Some(watch) = &mut self.watch else { continue };
            let late_ms = i64::try_from(self.settings.late_ms).unwrap_or(i64::MAX);
            let is_judged = matches!(verdict.data.verdict, Outcome::Normal | Outcome::Anomalous);
            // Of the module's own scores, whatever factor a channel puts on them.
            let score = verdict.data.score;
            let seen = Observation {
                mark,
                time_ms: reading.time_ms,
                entity: &verdict.subject,
                inputs: &reading.inputs,
                verdict: is_judged.then_some((score, score >= 1.0)),
                is_late: now_ms.map(|now| now.saturating_sub(mark.ingested_ms) > late_ms),
            };
            if let Some(evaluation) = watch.note(&seen) {
                news.found
                    .extend(evaluation.changes.iter().map(|change| self.finding(change, place)));
                news.evaluations.push((self.version.clone(), evaluation));
            }
        }
        self.has_news |= !news.found.is_empty();
        news
    }

    /// Another module acts from `mark` on: what drifted from the one before is over.
    fn watch_module(
        &mut self,
        manifest: &Manifest,
        digest: &str,
        place: &Place,
        mark: Mark,
        news: &mut DriftNews,
    ) {
        if let Some(mut watch) = self.watch.take() {
            let ended = watch.close(mark);
            news.found.extend(ended.iter().map(|change| self.finding(change, place)));
            let fields = watch.fields().map(str::to_owned).collect();
            news.left.push((self.version.clone(), fields));
        }
        (self.module, self.version) = (digest.to_owned(), manifest.version.clone());
        self.watch = match DriftWatch::new(manifest, self.settings) {
            Ok(watch) => watch,
            Err(error) => {
                tracing::warn!(
                    detector = place.detector,
                    module = digest,
                    error = chain(&error),
                    "drift cannot be watched for"
                );
                None
            }
        };
        if let (Some(watch), Some((module, state))) = (&mut self.watch, self.kept.take())
            && module == self.module
            && !watch.resume(state)
        {
            tracing::warn!(detector = place.detector, file = %self.file.display(), "what was seen before the restart cannot be read; drift is watched for anew");
        }
    }

    /// What has drifted and is told.
    pub(crate) fn active(&self) -> Vec<DriftSummary> {
        let active = self.watch.as_ref().map(DriftWatch::active).unwrap_or_default();
        let summary = |one: twinge_drift::Drifting| DriftSummary {
            field: one.field,
            measure: one.measure.to_string(),
            against: one.against.as_str().to_owned(),
            value: one.value,
            expected: one.expected,
            since_ms: one.since.ingested_ms,
            partitions: 1,
        };
        active.into_iter().map(summary).collect()
    }

    /// Keeps what was seen, once in a while or where something was told, at `now` (monotonic, ms).
    /// What is told must be held by then: events that come again are not looked at twice.
    pub(crate) fn save_if_due(&mut self, now: u64) {
        if self.has_news || now.saturating_sub(self.saved) >= SAVE_MS {
            self.save(now);
        }
    }

    /// The same at once.
    pub(crate) fn save(&mut self, now: u64) {
        (self.saved, self.has_news) = (now, false);
        let Some(watch) = &self.watch else { return };
        let kept = postcard::to_allocvec(&(&self.module, watch.state()));
        let kept = kept.expect("a watch holds nothing that postcard lacks");
        if let Err(error) = self.disk.replace(&self.file, &kept) {
            tracing::warn!(%error, file = %self.file.display(), "what was seen of drift cannot be kept; after a restart it is watched for anew");
        }
    }

    fn finding(&self, change: &Change, place: &Place) -> Drift {
        let told = Told {
            begins: change.begins,
            field: change.field.clone(),
            found: Drifted {
                of: change.subject.as_str().to_owned(),
                against: change.against.as_str().to_owned(),
                measure: change.measure.to_string(),
                value: change.value,
                expected: change.expected,
                threshold: change.least,
                probability: change.probability,
                window_events: change.window_events,
                effective_events: change.effective_events,
            },
            since_ms: change.since.ingested_ms,
            at_ms: change.at.ingested_ms,
        };
        let origin = Origin {
            source: place.source.clone(),
            partition: place.partition.clone(),
            offset: change.at.offset,
        };
        Drift::new(&place.detector, told, origin, &self.version, self.module.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinge_contract::manifest::{DetectorInfo, DriftReference, Lineage, ThresholdInfo};
    use twinge_contract::schema::Schema;
    use twinge_contract::verdict::{Severity, Verdict, VerdictData};
    use twinge_drift::training::{Column, Row, reference};
    use twinge_platform::SimulatedDisk;

    /// A value of the unit interval; those in a row spread over it evenly.
    fn value(number: u64) -> f64 {
        (number as f64 * 0.618_033_988_749_895).fract()
    }

    fn manifest(version: &str, shift: f64) -> Manifest {
        let values: Vec<f64> = (0..4000).map(|number| value(number) + shift).collect();
        let row = |row: u32| Row { row, place: row, time_ms: f64::NAN, entity: 0 };
        let rows: Vec<Row> = (0..4000).map(row).collect();
        let (sample, reference) =
            reference(&[Column::Numbers { field: "x", values: &values }], &rows);
        Manifest {
            abi: 1,
            name: "d".into(),
            version: version.into(),
            schema: Schema { numeric: vec!["x".into()], ..Schema::default() },
            state_bytes: 0,
            stream: twinge_contract::manifest::StreamRules::default(),
            detector: DetectorInfo {
                kind: String::new(),
                settings: std::collections::BTreeMap::new(),
                features: Vec::new(),
                why: Vec::new(),
            },
            threshold: ThresholdInfo {
                false_alarm_rate: 0.001,
                calibration_rows: 1,
                raw_score: 1.0,
            },
            metrics: std::collections::BTreeMap::new(),
            lineage: Lineage {
                data_digest: String::new(),
                rows: 4000,
                config_digest: String::new(),
                seed: 0,
                runtime_digest: String::new(),
            },
            reference,
            drift: Some(DriftReference { sample, scores: None, anchor: None }),
            notes: Vec::new(),
        }
    }

    fn place() -> Place {
        Place { detector: "d".into(), source: "s".into(), partition: "0".into(), redelivers: false }
    }

    /// Delivers events from `from` on with a verdict of `module`, and answers with what was told.
    fn deliver(
        lane: &mut LaneDrift,
        from: u64,
        shift: f64,
        module: &str,
        acting: &Manifest,
    ) -> DriftNews {
        let offsets = from..from + 4000;
        let arrival = |offset: u64| Arrival {
            offset,
            ingested_ms: offset.cast_signed() * 10,
            key: None,
            attributes: None,
            bytes: Vec::new(),
        };
        let verdict = |offset: u64| Verdict {
            specversion: "1.0".into(),
            kind: "".into(),
            id: String::new(),
            source: "".into(),
            subject: "all".into(),
            time: None,
            data: VerdictData {
                verdict: Outcome::Normal,
                score: 0.5,
                severity: Severity::None,
                late: false,
                continues: false,
                attribution: Vec::new(),
                sensitivity: None,
                version: "".into(),
                module: module.into(),
                origin: Origin { source: "s".into(), partition: "0".into(), offset },
            },
        };
        let arrivals: Vec<Arrival> = offsets.clone().map(arrival).collect();
        let records: Vec<Record> =
            offsets.map(|offset| Record::Verdict(Box::new(verdict(offset)))).collect();
        let reading =
            |offset| Reading { offset, time_ms: None, inputs: vec![value(offset) + shift] };
        let readings: Vec<Reading> = lane.wanted(&arrivals).into_iter().map(reading).collect();
        let acting = (acting, acting.version.as_str());
        lane.note(&arrivals, &records, &readings, acting, &place(), None)
    }

    #[test]
    fn a_drift_ends_with_the_module_that_it_is_a_drift_from() {
        let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(1));
        let open =
            || LaneDrift::open(DriftSettings::default(), Arc::clone(&disk), "/drift.bin".into(), 0);
        let (old, new) = (manifest("old", 0.0), manifest("new", 0.5));
        let mut lane = open();
        assert!(deliver(&mut lane, 0, 0.0, "old", &old).found.is_empty());
        let told = deliver(&mut lane, 4000, 0.5, "old", &old).found;
        assert!(matches!(told.as_slice(), [one] if one.data.verdict == "drift-begins"), "{told:?}");
        // Verdicts of one that stands by change nothing.
        let news = deliver(&mut lane, 8000, 0.5, "other", &old);
        assert!(news.found.is_empty() && news.evaluations.is_empty());
        lane.save(0);
        // After a restart it is known, and ends when the one takes over that was trained on it.
        let mut lane = open();
        assert!(deliver(&mut lane, 12_000, 0.5, "old", &old).found.is_empty());
        assert_eq!(lane.active().len(), 1);
        let news = deliver(&mut lane, 16_000, 0.5, "new", &new);
        let [end] = news.found.as_slice() else { panic!("it ends: {news:?}") };
        assert_eq!((end.data.verdict.as_str(), end.data.module.as_str()), ("drift-ends", "old"));
        assert_eq!(news.left, [("old".to_owned(), vec!["x".to_owned()])]);
        assert!(news.evaluations.iter().all(|(version, _)| version == "new"));
        assert!(lane.active().is_empty());
    }
}
