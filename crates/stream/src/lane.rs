//! A detector on a partition: its runner, and where what it finds goes.

use crate::drift::LaneDrift;
use crate::metrics::Metrics;
use crate::outlet::{Finding, Outlet};
use crate::sightings::Sightings;
use crate::silence::{SilenceSettings, SilenceWatch};
use crate::sink::{Sink, SinkError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use twinge_contract::silence::Silence;
use twinge_contract::verdict::{Origin, VerdictWriter};
use twinge_platform::Disk;
use twinge_rollout::DriftSummary;
use twinge_runner::{Arrival, Record, Runner, Status};
use twinge_trust::Digest;

/// Time between two notes of the gaps between events, ms: they are learned slowly, and a device's
/// flash wears.
const SAVE_SILENCE_MS: u64 = 300_000;

/// A runner with its sinks.
#[derive(Debug)]
pub struct Lane {
    pub(crate) runner: Runner,
    outputs: LaneOutputs,
    silence: Option<LaneSilence>,
    drift: Option<LaneDrift>,
    pub(crate) told: Status,
    /// The modules whose schemas the outlets know.
    learned: Option<(Digest, Option<Digest>)>,
    writer: VerdictWriter,
    /// The record that is being written.
    line: Vec<u8>,
}

/// Where what a lane finds goes.
#[derive(Debug)]
pub struct LaneOutputs {
    /// Verdicts, silences and drifts.
    pub verdicts: Box<dyn Sink>,
    /// Events that got none.
    pub dead_letters: Box<dyn Sink>,
    /// Anomalies with all that it takes to replay them, where they are kept.
    pub audits: Option<Box<dyn Sink>>,
    /// What a program adds.
    pub outlets: Vec<Box<dyn Outlet>>,
}

/// A watch for silence, and the file that keeps what it knows.
#[derive(Debug)]
pub struct LaneSilence {
    watch: SilenceWatch,
    disk: Arc<dyn Disk>,
    file: PathBuf,
    saved: u64,
}

impl LaneSilence {
    /// Goes on from what `file` keeps, at `now` (monotonic, ms), or begins anew.
    pub fn open(settings: SilenceSettings, disk: Arc<dyn Disk>, file: PathBuf, now: u64) -> Self {
        let kept = disk.read(&file).ok();
        let watch = kept.and_then(|bytes| SilenceWatch::restore(settings, &bytes, now));
        let watch = watch.unwrap_or_else(|| SilenceWatch::new(settings));
        Self { watch, disk, file, saved: now }
    }

    fn save(&mut self, now: u64) {
        self.saved = now;
        if let Err(error) = self.disk.replace(&self.file, &self.watch.save(now)) {
            tracing::warn!(%error, file = %self.file.display(), "the gaps between events cannot be kept; after a restart they are learned anew");
        }
    }
}

impl Lane {
    /// A lane.
    pub fn new(
        runner: Runner,
        outputs: LaneOutputs,
        silence: Option<LaneSilence>,
        drift: Option<LaneDrift>,
    ) -> Self {
        Self {
            told: runner.status(),
            runner,
            outputs,
            silence,
            drift,
            learned: None,
            writer: VerdictWriter::default(),
            line: Vec::new(),
        }
    }

    fn sinks(&mut self) -> impl Iterator<Item = &mut Box<dyn Sink>> {
        let outputs = &mut self.outputs;
        [&mut outputs.verdicts, &mut outputs.dead_letters].into_iter().chain(&mut outputs.audits)
    }

    /// Scores arrivals that come at `now` (monotonic, ms), and gives what was found to the outputs.
    /// `now_ms` is the time since 1970, where the time that verdicts take means anything.
    pub(crate) fn process(
        &mut self,
        arrivals: &[Arrival],
        (now, now_ms): (u64, Option<i64>),
        sightings: &Sightings,
        metrics: &Metrics,
    ) {
        self.teach();
        let next = self.runner.next_offset();
        let fresh = &arrivals[arrivals.partition_point(|arrival| arrival.offset < next)..];
        if let Some(drift) = &mut self.drift {
            self.runner.keep_readings(drift.wanted(fresh));
        }
        let records = self.runner.process(arrivals);
        self.look_for_wanderers(&records, sightings, metrics);
        self.note_gaps(fresh, &records, now);
        self.write(fresh, &records, metrics);
        self.look_for_drift(fresh, &records, now_ms, metrics);
    }

    /// Says to outlets what the modules read that act or may do so before the next delivery.
    fn teach(&mut self) {
        let digests = self.runner.digests();
        if self.learned == Some(digests) {
            return;
        }
        for (module, manifest) in self.runner.manifests() {
            let module = module.to_string();
            for outlet in &mut self.outputs.outlets {
                outlet.learn(&module, &manifest.schema);
            }
        }
        self.learned = Some(digests);
    }

    /// Nothing more will come.
    pub(crate) async fn close(&mut self) {
        for outlet in &mut self.outputs.outlets {
            outlet.close().await;
        }
    }

    /// Hands over everything that was given.
    pub(crate) async fn commit(&mut self) -> Result<(), (String, SinkError)> {
        let detector = self.runner.place().detector.clone();
        for sink in self.sinks() {
            sink.commit().await.map_err(|error| (detector.clone(), error))?;
        }
        for outlet in &mut self.outputs.outlets {
            outlet.commit().await.map_err(|error| (detector.clone(), error))?;
        }
        Ok(())
    }

    /// Whether an outlet waits for a sync, though no event may come for long.
    pub(crate) fn is_due(&self) -> bool {
        self.outputs.outlets.iter().any(|outlet| outlet.is_due())
    }

    /// Waits until everything that was handed over is held.
    pub(crate) async fn sync(&mut self) -> Result<(), (String, SinkError)> {
        let detector = self.runner.place().detector.clone();
        for sink in self.sinks() {
            sink.sync().await.map_err(|error| (detector.clone(), error))?;
        }
        for outlet in &mut self.outputs.outlets {
            outlet.sync().await.map_err(|error| (detector.clone(), error))?;
        }
        Ok(())
    }

    /// Reports entities that were in another partition before.
    fn look_for_wanderers(&self, records: &[Record], sightings: &Sightings, metrics: &Metrics) {
        let place = &self.told.place;
        let entities = records.iter().filter_map(|record| match record {
            Record::Verdict(verdict) => Some(verdict.subject.as_str()),
            _ => None,
        });
        // Detectors may see different entities in one event, so each has sightings of its own.
        let partition = format!("{} {}", place.detector, place.partition);
        if let Some((count, entity, before)) = sightings.note(&partition, entities) {
            let is_first = metrics.wanderers(&self.told, count as u64) == 0;
            if is_first {
                tracing::warn!(
                    entity,
                    here = partition,
                    before,
                    "an entity was seen in two partitions, and its state is in two halves: send events with the entity as partition key; further ones are counted in twinge_entities_in_two_partitions_total"
                );
            }
        }
    }

    fn note_gaps(&mut self, fresh: &[Arrival], records: &[Record], now: u64) {
        let Some(silence) = &mut self.silence else { return };
        for (arrival, record) in fresh.iter().zip(records) {
            if let Record::Verdict(verdict) = record {
                silence.watch.note(now, arrival.ingested_ms, &verdict.subject, arrival.offset);
            }
        }
    }

    fn write(&mut self, fresh: &[Arrival], records: &[Record], metrics: &Metrics) {
        let Self { outputs, writer, line, .. } = self;
        let mut verdicts = BTreeMap::new();
        for (arrival, record) in fresh.iter().zip(records) {
            line.clear();
            let finding = match record {
                Record::Verdict(verdict) => {
                    *verdicts.entry(verdict.data.verdict.as_str()).or_default() += 1;
                    writer.write(verdict, line).expect(WRITABLE);
                    outputs.verdicts.write(Some(&verdict.subject), line);
                    Finding::Verdict(verdict, arrival)
                }
                Record::DeadLetter(letter) => {
                    metrics.dead_letter(&self.told, &letter.data.reason);
                    serde_json::to_writer(&mut *line, letter).expect(WRITABLE);
                    outputs.dead_letters.write(letter.subject.as_deref(), line);
                    Finding::DeadLetter(letter, arrival)
                }
                Record::Duplicate => continue,
            };
            for outlet in &mut outputs.outlets {
                outlet.take(&finding, line);
            }
        }
        for (verdict, count) in verdicts {
            metrics.verdicts(&self.told, verdict, count);
        }
        if let Some(audits) = &mut outputs.audits {
            for audit in self.runner.take_audits() {
                audits.write(Some(&audit.subject), &json(&audit));
            }
        }
    }

    /// Gives the outputs what has become silent by `now` (monotonic, ms); answers with whether
    /// anything has.
    pub(crate) fn look_for_silence(&mut self, now: u64, metrics: &Metrics) -> bool {
        let Some(silence) = &mut self.silence else { return false };
        let found = silence.watch.look(now);
        metrics.silent(&self.told, silence.watch.silent());
        if now.saturating_sub(silence.saved) >= SAVE_SILENCE_MS || !found.is_empty() {
            silence.save(now);
        }
        for finding in &found {
            let place = &self.told.place;
            let origin = Origin {
                source: place.source.clone(),
                partition: place.partition.clone(),
                offset: finding.offset,
            };
            let (version, module) = (&self.told.version, self.told.champion.to_string());
            let stopped = finding.stopped.clone();
            let silence = Silence::new(&place.detector, stopped, origin, version, module);
            tracing::warn!(
                detector = place.detector,
                entity = silence.subject,
                last = silence.time,
                usual_gap_s = silence.data.usual_gap_s,
                "no event for longer than is usual"
            );
            metrics.silence(&self.told);
            let json = json(&silence);
            self.outputs.verdicts.write(Some(&silence.subject), &json);
            for outlet in &mut self.outputs.outlets {
                outlet.take(&Finding::Silence(&silence), &json);
            }
        }
        !found.is_empty()
    }

    /// Gives the outputs what has drifted, or does no more.
    fn look_for_drift(
        &mut self,
        fresh: &[Arrival],
        records: &[Record],
        now_ms: Option<i64>,
        metrics: &Metrics,
    ) {
        let Some(drift) = &mut self.drift else { return };
        let readings = self.runner.take_readings();
        if readings.is_empty() {
            return;
        }
        let (acting, place) = (self.runner.digests().0.to_string(), &self.told.place);
        let acting = (self.runner.manifest(), acting.as_str());
        let news = drift.note(fresh, records, &readings, acting, place, now_ms);
        for (version, fields) in &news.left {
            metrics.forget_drift(place, version, fields);
        }
        for (version, evaluation) in &news.evaluations {
            metrics.drift(place, version, evaluation);
        }
        for drift in &news.found {
            let found = &drift.data.found;
            tracing::warn!(
                detector = place.detector,
                field = drift.subject,
                measure = found.measure,
                value = found.value,
                expected = found.expected,
                against = found.against,
                since = drift.data.since,
                "{}",
                if drift.data.verdict == "drift-begins" {
                    "it no longer looks as it did in training"
                } else {
                    "a drift has ended"
                }
            );
            if drift.data.verdict == "drift-begins" {
                metrics.drift_alarm(place, &drift.data.version);
            }
            let json = json(drift);
            self.outputs.verdicts.write(Some(&drift.subject), &json);
            for outlet in &mut self.outputs.outlets {
                outlet.take(&Finding::Drift(drift), &json);
            }
        }
    }

    /// What has drifted and is told.
    pub(crate) fn drifts(&self) -> Vec<DriftSummary> {
        self.drift.as_ref().map(LaneDrift::active).unwrap_or_default()
    }

    /// Keeps what was seen of drift, where it is time to; outputs hold what was told.
    pub(crate) fn save_drift_if_due(&mut self, now: u64) {
        if let Some(drift) = &mut self.drift {
            drift.save_if_due(now);
        }
    }

    /// Keeps what was seen of drift.
    pub(crate) fn save_drift(&mut self, now: u64) {
        if let Some(drift) = &mut self.drift {
            drift.save(now);
        }
    }

    /// Keeps what is known of the gaps between events.
    pub(crate) fn save_silence(&mut self, now: u64) {
        if let Some(silence) = &mut self.silence {
            silence.save(now);
        }
    }
}

/// Why a record always has a JSON.
const WRITABLE: &str = "records hold finite numbers and texts only";

fn json<T: serde::Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect(WRITABLE)
}
