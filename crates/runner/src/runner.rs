//! The champion, the candidate in its shadow, and the order of events between them.

use crate::checkpoint::{CandidateSnapshot, RunnerSnapshot};
use crate::entities::EntityTable;
use crate::record::{Arrival, Record};
use crate::slot::{Judgement, Slot, dead_letter};
use crate::window::IdentityWindow;
use serde::{Deserialize, Serialize};
use twinge_contract::abi::Outcome;
use twinge_contract::event::{Event, EventError};
use twinge_contract::verdict::{Identity, Origin};
use twinge_engine::Module;
use twinge_trust::Digest;

/// A candidate is looked at after every so many offsets, never in between, so that the place of a
/// swap does not depend on how the stream was cut into batches.
const SWAP_STEP: u64 = 256;

/// Share of the champion's counted verdicts that a candidate must reach to be warm.
const WARM_SHARE: f64 = 0.95;

/// What a runner works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Name of the detector.
    pub detector: String,
    /// The source.
    pub source: String,
    /// The partition.
    pub partition: String,
    /// Whether the source may deliver an event again under another offset.
    pub redelivers: bool,
}

impl Place {
    pub(crate) fn origin(&self, offset: u64) -> Origin {
        Origin { source: self.source.clone(), partition: self.partition.clone(), offset }
    }
}

/// A running detector on one partition.
#[derive(Debug)]
pub struct Runner {
    place: Place,
    entities_max: Option<u32>,
    next_offset: u64,
    window: IdentityWindow,
    champion: Slot,
    candidate: Option<Candidate>,
    counts: Counts,
    /// The next snapshot must stand alone.
    needs_full_snapshot: bool,
}

#[derive(Debug)]
struct Candidate {
    slot: Slot,
    since: u64,
    /// Events scored, and verdicts other than warming-up, since the last look.
    scored: u64,
    champion_counted: u64,
    own_counted: u64,
    compared: u64,
    agreed: u64,
}

/// What a runner has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Arrivals taken.
    pub events: u64,
    /// Verdicts given.
    pub verdicts: u64,
    /// Verdicts `anomalous` among them.
    pub anomalies: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Events that had been delivered before.
    pub duplicates: u64,
    /// Swaps of the champion.
    pub swaps: u64,
}

/// A runner's state in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Where it works.
    pub place: Place,
    /// Digest of the champion.
    pub champion: Digest,
    /// Version of the champion in its maker's words.
    pub version: String,
    /// Digest of the module that warms up in shadow.
    pub candidate: Option<Digest>,
    /// Share of events on which champion and candidate say the same, once compared.
    pub agreement: Option<f64>,
    /// The next offset.
    pub offset: u64,
    /// Entities remembered.
    pub entities: usize,
    /// Entities evicted so far.
    pub evicted: u64,
    /// What it has done.
    pub counts: Counts,
}

impl Runner {
    /// A runner that begins at offset zero with no memory.
    pub fn new(place: Place, champion: &Module, entities_max: Option<u32>) -> Self {
        Self::begin_at(place, champion, entities_max, 0)
    }

    /// A runner that begins at a later offset with no memory.
    pub fn begin_at(
        place: Place,
        champion: &Module,
        entities_max: Option<u32>,
        next_offset: u64,
    ) -> Self {
        Self {
            champion: Slot::new(champion, entities_max),
            place,
            entities_max,
            next_offset,
            window: IdentityWindow::default(),
            candidate: None,
            counts: Counts::default(),
            needs_full_snapshot: true,
        }
    }

    /// The next offset that it wants; earlier arrivals are passed over.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Goes on at a later offset: what lies before it is not to be had.
    pub fn skip_to(&mut self, offset: u64) {
        self.next_offset = self.next_offset.max(offset);
    }

    /// Where it works.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The digests of champion and candidate.
    pub fn digests(&self) -> (Digest, Option<Digest>) {
        let candidate = self.candidate.as_ref().map(|candidate| candidate.slot.module().digest());
        (self.champion.module().digest(), candidate)
    }

    /// State in figures.
    pub fn status(&self) -> Status {
        let (champion, candidate) = self.digests();
        let compared = self.candidate.as_ref().filter(|candidate| candidate.compared > 0);
        Status {
            place: self.place.clone(),
            champion,
            version: self.champion.module().manifest().version.clone(),
            candidate,
            agreement: compared
                .map(|candidate| candidate.agreed as f64 / candidate.compared as f64),
            offset: self.next_offset,
            entities: self.champion.entities.len(),
            evicted: self.champion.entities.evicted(),
            counts: self.counts,
        }
    }

    /// Lets a module warm up in shadow and take over once it is warm. What was in shadow before is
    /// dropped; the champion itself cancels it, and what is in shadow already goes on.
    ///
    /// Take a checkpoint before the next arrivals are processed, so that a crash cannot forget at
    /// which offset this happened.
    pub fn offer(&mut self, module: &Module) {
        if self.digests().1 == Some(module.digest()) {
            return;
        }
        self.needs_full_snapshot = true;
        if module.digest() == self.champion.module().digest() {
            self.candidate = None;
            return;
        }
        self.candidate = Some(Candidate {
            slot: Slot::new(module, self.entities_max),
            since: self.next_offset,
            scored: 0,
            champion_counted: 0,
            own_counted: 0,
            compared: 0,
            agreed: 0,
        });
    }

    /// Processes arrivals in order and gives a record for each that it had not passed before.
    pub fn process(&mut self, arrivals: &[Arrival]) -> Vec<Record> {
        let mut records = Vec::with_capacity(arrivals.len());
        let mut rest = arrivals;
        while let Some(first) = rest.first() {
            let end = match self.candidate {
                // Up to the next offset at which the candidate is looked at.
                Some(_) => {
                    let look = (first.offset / SWAP_STEP + 1) * SWAP_STEP;
                    rest.iter().position(|arrival| arrival.offset >= look).unwrap_or(rest.len())
                }
                None => rest.len(),
            };
            let (part, later) = rest.split_at(end);
            self.process_part(part, &mut records);
            rest = later;
        }
        records
    }

    fn process_part(&mut self, arrivals: &[Arrival], records: &mut Vec<Record>) {
        let fresh = arrivals.partition_point(|arrival| arrival.offset < self.next_offset);
        let arrivals = &arrivals[fresh..];
        let Some(last) = arrivals.last() else { return };
        // The shadow swaps before an event, never after: whatever was looked at lies behind it.
        self.look_at_candidate(arrivals[0].offset);
        let mut events: Vec<Result<Event, EventError>> =
            arrivals.iter().map(|arrival| self.champion.read(arrival)).collect();
        let duplicates = self.find_duplicates(&events);
        let kept: Vec<&Arrival> = arrivals
            .iter()
            .zip(&duplicates)
            .filter(|(_, duplicate)| !**duplicate)
            .map(|(arrival, _)| arrival)
            .collect();
        let mut keep = duplicates.iter().map(|duplicate| !duplicate);
        events.retain(|_| keep.next().unwrap_or(true));
        let judgements = self.champion.score(events);
        self.shadow(&kept, &judgements);
        let mut judged = kept.into_iter().zip(judgements);
        for duplicate in duplicates {
            let record = match judged.next_if_not(duplicate) {
                Some((arrival, judgement)) => self.record(arrival, judgement),
                None => Record::Duplicate,
            };
            self.count(&record);
            records.push(record);
        }
        self.next_offset = last.offset + 1;
    }

    /// Which events were delivered before. Sources that keep offsets never deliver twice.
    fn find_duplicates(&mut self, events: &[Result<Event, EventError>]) -> Vec<bool> {
        let redelivers = self.place.redelivers;
        events
            .iter()
            .map(|event| match event {
                Ok(Event { identity: Some(identity), .. }) if redelivers => {
                    !self.window.insert(*identity)
                }
                _ => false,
            })
            .collect()
    }

    fn record(&self, arrival: &Arrival, judgement: Judgement) -> Record {
        match judgement {
            Judgement::Scored { row, event } => {
                let identity = match event.identity {
                    Some(identity) if self.place.redelivers => Identity::Hash(identity),
                    _ => Identity::Offset(arrival.offset),
                };
                Record::Verdict(Box::new(self.champion.verdict(
                    row,
                    &event,
                    &identity,
                    &self.place,
                    arrival.offset,
                )))
            }
            Judgement::Dead { reason, message } => {
                Record::DeadLetter(Box::new(dead_letter(&self.place, arrival, reason, message)))
            }
        }
    }

    fn count(&mut self, record: &Record) {
        self.counts.events += 1;
        match record {
            Record::Verdict(verdict) => {
                self.counts.verdicts += 1;
                self.counts.anomalies += u64::from(verdict.data.verdict == Outcome::Anomalous);
            }
            Record::DeadLetter(_) => self.counts.dead_letters += 1,
            Record::Duplicate => self.counts.duplicates += 1,
        }
    }

    /// Scores the same events with the candidate and compares; nothing is acted on.
    fn shadow(&mut self, arrivals: &[&Arrival], champion: &[Judgement]) {
        let Some(candidate) = &mut self.candidate else { return };
        let events = arrivals.iter().map(|arrival| candidate.slot.read(arrival)).collect();
        let judgements = candidate.slot.score(events);
        for pair in champion.iter().zip(&judgements) {
            let Judgement::Scored { row, .. } = pair.0 else { continue };
            let ours = self.champion.outcome(*row);
            let counted = ours != Outcome::WarmingUp;
            candidate.champion_counted += u64::from(counted);
            let Judgement::Scored { row, .. } = pair.1 else { continue };
            let theirs = candidate.slot.outcome(*row);
            candidate.scored += 1;
            candidate.own_counted += u64::from(theirs != Outcome::WarmingUp);
            if counted && theirs != Outcome::WarmingUp {
                candidate.compared += 1;
                candidate.agreed += u64::from(ours == theirs);
            }
        }
    }

    /// At each step, swaps when the candidate was warm since the step before.
    fn look_at_candidate(&mut self, offset: u64) {
        let Some(candidate) = &mut self.candidate else { return };
        if offset / SWAP_STEP == candidate.since / SWAP_STEP {
            return;
        }
        let warm = candidate.own_counted as f64 >= WARM_SHARE * candidate.champion_counted as f64;
        // A step that began in its middle or held few events shows nothing. Where even the champion
        // is warming up for ever, there is nothing to wait for.
        let has_worked =
            candidate.scored >= SWAP_STEP / 2 && candidate.since.is_multiple_of(SWAP_STEP);
        candidate.since = offset / SWAP_STEP * SWAP_STEP;
        (candidate.scored, candidate.champion_counted, candidate.own_counted) = (0, 0, 0);
        if warm
            && has_worked
            && let Some(candidate) = self.candidate.take()
        {
            self.champion = candidate.slot;
            self.counts.swaps += 1;
            self.needs_full_snapshot = true;
        }
    }

    /// Everything that a restart needs, or what changed of it since the last snapshot.
    pub(crate) fn snapshot(&mut self, full: bool) -> RunnerSnapshot {
        let full = std::mem::take(&mut self.needs_full_snapshot) || full;
        RunnerSnapshot {
            is_full: full,
            next_offset: self.next_offset,
            champion: self.champion.entities.snapshot(full),
            candidate: self.candidate.as_mut().map(|candidate| CandidateSnapshot {
                entities: candidate.slot.entities.snapshot(full),
                since: candidate.since,
                scored: candidate.scored,
                champion_counted: candidate.champion_counted,
                candidate_counted: candidate.own_counted,
                compared: candidate.compared,
                agreed: candidate.agreed,
            }),
            window: self.window.snapshot(full),
        }
    }

    /// The last snapshot was not stored, so what it said is not known to anyone.
    pub(crate) fn snapshot_was_lost(&mut self) {
        self.needs_full_snapshot = true;
    }

    /// Whether the next snapshot has to stand alone.
    pub(crate) fn wants_full_snapshot(&self) -> bool {
        self.needs_full_snapshot
    }

    /// The runner that snapshots describe; `None` when they do not fit together or the modules.
    pub(crate) fn restore(
        place: Place,
        champion: &Module,
        candidate: Option<&Module>,
        entities_max: Option<u32>,
        snapshots: &[RunnerSnapshot],
    ) -> Option<Self> {
        let last = snapshots.last()?;
        let table = |module: &Module, parts: Vec<crate::entities::EntitySnapshot>| {
            let manifest = module.manifest();
            let capacity = entities_max.unwrap_or(manifest.stream.entities_max);
            EntityTable::restore(manifest.state_bytes as usize, capacity, &parts)
        };
        let champion_parts = snapshots.iter().map(|snapshot| snapshot.champion.clone()).collect();
        let champion_slot = Slot::with_entities(champion, table(champion, champion_parts)?);
        let candidate = match (candidate, &last.candidate) {
            (Some(module), Some(latest)) => {
                let parts = snapshots
                    .iter()
                    .filter_map(|s| s.candidate.as_ref())
                    .map(|c| c.entities.clone())
                    .collect();
                Some(Candidate {
                    slot: Slot::with_entities(module, table(module, parts)?),
                    since: latest.since,
                    scored: latest.scored,
                    champion_counted: latest.champion_counted,
                    own_counted: latest.candidate_counted,
                    compared: latest.compared,
                    agreed: latest.agreed,
                })
            }
            (None, None) => None,
            _ => return None,
        };
        Some(Self {
            place,
            entities_max,
            next_offset: last.next_offset,
            window: IdentityWindow::restore(snapshots.iter().map(|snapshot| &snapshot.window)),
            champion: champion_slot,
            candidate,
            counts: Counts::default(),
            needs_full_snapshot: false,
        })
    }
}

/// The next judged arrival, unless this place was a duplicate.
trait NextUnless: Iterator {
    fn next_if_not(&mut self, skip: bool) -> Option<Self::Item> {
        if skip { None } else { self.next() }
    }
}

impl<I: Iterator> NextUnless for I {}
