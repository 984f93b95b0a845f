//! One module with its entities: reads arrivals, scores them, keeps the states.

use crate::entities::EntityTable;
use crate::place::Place;
use crate::record::Arrival;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use twinge_contract::abi::Outcome;
use twinge_contract::audit::AuditData;
use twinge_contract::event::{Event, EventError, EventReader};
use twinge_contract::manifest::Manifest;
use twinge_contract::text::SharedText;
use twinge_contract::verdict::{
    Contribution, DeadLetter, Identity, Severity, VERDICT_TYPE, Verdict, VerdictData, VerdictIds,
    verdict_time,
};
use twinge_engine::{Batch, Budget, CallError, Module, Scorer};

/// Contributions told in a verdict at most, and the least share of the score that one must have.
const CONTRIBUTIONS_MAX: usize = 8;
const CONTRIBUTION_SHARE_MIN: f32 = 0.01;

/// Missed deadlines in the search for the events behind one: enough to find one event, or two, in
/// any batch. A module that never ends costs this many deadlines a batch, and no more.
const DEADLINES_MAX: u32 = 32;

/// Largest event, in bytes: that of Event Hubs' standard tier.
pub(crate) const EVENT_BYTES_MAX: usize = 1 << 20;

/// A module at work.
#[derive(Debug)]
pub struct Slot {
    scorer: Scorer,
    reader: EventReader,
    manifest: Arc<Manifest>,
    letterhead: Letterhead,
    pub(crate) entities: EntityTable,
    batch: Batch,
    /// Which working state of the batch each place of the table has, and which place each working
    /// state belongs to.
    working: Vec<Option<u32>>,
    owners: Vec<u32>,
    /// The factor on scores before they are compared with 1.
    sensitivity: f64,
    /// Working states as they were before the batch, kept where verdicts may have to be explained.
    before: Option<Vec<u8>>,
    /// Time in calls that was told already.
    told: Duration,
    /// Rows of the batch that the module failed on.
    failed: Vec<usize>,
}

/// What all verdicts of a slot on one partition share.
#[derive(Debug)]
struct Letterhead {
    place: Place,
    ids: VerdictIds,
    specversion: SharedText,
    kind: SharedText,
    source: SharedText,
    version: SharedText,
    module: SharedText,
}

impl Letterhead {
    fn new(place: &Place, module: &Module) -> Self {
        let digest = module.digest().to_string();
        Self {
            ids: VerdictIds::new(&place.source, &place.partition, &digest),
            specversion: "1.0".into(),
            kind: VERDICT_TYPE.into(),
            source: format!("/twinge/{}", place.detector).into(),
            version: module.manifest().version.as_str().into(),
            module: digest.into(),
            place: place.clone(),
        }
    }
}

/// How much time an event that makes a module fail is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// There is no other module: a missed deadline is tried once more with ten times the time, and
    /// the events behind a failure are found by halving.
    Full,
    /// Another module stands by: after the second missed deadline, all events of the batch are
    /// given up.
    Once,
    /// Nothing is acted on: after the first.
    None,
}

/// What a slot says of an arrival.
#[derive(Debug)]
pub enum Judgement {
    /// It was scored.
    Scored {
        /// Its row in the slot's batch, until the next call.
        row: usize,
        /// The event.
        event: Event,
    },
    /// The module failed on it.
    Failed {
        /// It missed its deadline.
        slow: bool,
        /// A sentence for people.
        message: String,
    },
    /// It cannot be scored by any module.
    Dead {
        /// A word for programs.
        reason: &'static str,
        /// A sentence for people.
        message: String,
    },
}

impl Judgement {
    /// The row, if there is a verdict.
    pub(crate) fn row(&self) -> Option<usize> {
        match self {
            Self::Scored { row, .. } => Some(*row),
            _ => None,
        }
    }

    /// Whether it is the module's fault that there is no verdict.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

impl Slot {
    /// A slot that has seen nothing; the number of entities is the manifest's unless given.
    pub fn new(module: &Module, entities_max: Option<u32>) -> Self {
        let manifest = Arc::clone(module.manifest());
        let capacity = entities_max.unwrap_or(manifest.stream.entities_max);
        let table = EntityTable::new(manifest.state_bytes as usize, capacity);
        Self::with_entities(module, table)
    }

    pub(crate) fn with_entities(module: &Module, entities: EntityTable) -> Self {
        let scorer = Scorer::new(module);
        let manifest = Arc::clone(module.manifest());
        Self {
            batch: scorer.batch(),
            reader: EventReader::new(&manifest.schema),
            letterhead: Letterhead::new(&Place::nowhere(&manifest.name), module),
            manifest,
            scorer,
            entities,
            working: Vec::new(),
            owners: Vec::new(),
            sensitivity: 1.0,
            before: None,
            told: Duration::ZERO,
            failed: Vec::new(),
        }
    }

    /// Verdicts from now on are on events of `place`.
    pub(crate) fn work_at(&mut self, place: &Place) {
        self.reader.identify(place.redelivers);
        self.letterhead = Letterhead::new(place, self.scorer.module());
    }

    /// Compares scores with 1 after multiplying them by this.
    pub fn set_sensitivity(&mut self, sensitivity: f64) {
        self.sensitivity = sensitivity;
    }

    /// Keeps from now on what it takes to explain verdicts.
    pub(crate) fn keep_prior_states(&mut self) {
        self.before.get_or_insert_default();
    }

    /// Time in calls since it was asked the last time, microseconds.
    pub(crate) fn take_busy_us(&mut self) -> u64 {
        let new = self.scorer.busy().saturating_sub(self.told).as_micros() as u64;
        self.told += Duration::from_micros(new);
        new
    }

    pub(crate) fn module(&self) -> &Module {
        self.scorer.module()
    }

    pub(crate) fn read(&self, arrival: &Arrival) -> Result<Event, EventError> {
        if arrival.bytes.len() > EVENT_BYTES_MAX {
            return Err(EventError::TooLarge {
                bytes: arrival.bytes.len(),
                bytes_max: EVENT_BYTES_MAX,
            });
        }
        let event = match &arrival.attributes {
            Some(attributes) => self.reader.read_with(&arrival.bytes, attributes)?,
            None => self.reader.read(&arrival.bytes)?,
        };
        let ahead_ms = event.time_ms.map_or(0, |time| time.saturating_sub(arrival.ingested_ms));
        if ahead_ms as f64 > self.manifest.stream.skew_max_s * 1000.0 {
            return Err(EventError::FromTheFuture(ahead_ms / 1000));
        }
        Ok(event)
    }

    /// Scores events in order, each seeing the states that those before it left.
    pub fn score(&mut self, events: Vec<Result<Event, EventError>>) -> Vec<Judgement> {
        self.score_with(events, Patience::Full)
    }

    /// The same, with less patience.
    pub(crate) fn score_with(
        &mut self,
        events: Vec<Result<Event, EventError>>,
        patience: Patience,
    ) -> Vec<Judgement> {
        self.batch.clear();
        self.owners.clear();
        let mut judgements = Vec::with_capacity(events.len());
        for event in events {
            judgements.push(match event {
                Ok(event) => Judgement::Scored { row: self.admit(&event), event },
                Err(error) => {
                    Judgement::Dead { reason: error.reason(), message: error.to_string() }
                }
            });
        }
        if let Some(before) = &mut self.before {
            self.batch.copy_states_to(before);
        }
        let culprits = self.call(patience);
        self.keep_states();
        self.failed = culprits.iter().map(|(row, _)| *row).collect();
        for judgement in &mut judgements {
            if let Judgement::Scored { row, .. } = judgement
                && let Some((_, error)) = culprits.iter().find(|(culprit, _)| culprit == row)
            {
                let message = format!("detector failed on this event alone: {error}");
                let slow = *error == CallError::Deadline;
                *judgement = Judgement::Failed { slow, message };
            }
        }
        judgements
    }

    /// Adds an event's row. An entity that was evicted and comes back within the batch gets a new
    /// working state, as it would had the events come one by one.
    fn admit(&mut self, event: &Event) -> usize {
        let admission = self.entities.admit(&event.entity);
        let place = admission.place as usize;
        if self.working.len() <= place {
            self.working.resize(place + 1, None);
        }
        let working = match self.working[place] {
            Some(working) if !admission.is_new => working,
            _ => {
                let state = (!admission.is_new).then(|| self.entities.state(admission.place));
                let working = self.batch.push_state(state);
                self.working[place] = Some(working);
                self.owners.push(admission.place);
                working
            }
        };
        self.batch.push(event.time_ms.unwrap_or(0) as f64, working, &event.inputs);
        self.batch.rows() - 1
    }

    /// Scores the batch; rows that make the module fail are found by halving and left out.
    fn call(&mut self, patience: Patience) -> Vec<(usize, CallError)> {
        let mut culprits = Vec::new();
        if self.batch.rows() == 0 {
            return culprits;
        }
        // Above 1, a factor makes anomalies of what the module would not explain by itself.
        let explain_all = self.sensitivity > 1.0;
        let mut result = self.scorer.score(&mut self.batch, explain_all, Budget::Usual);
        // A slow machine is not a bad event: once more, with ten times the time.
        if result == Err(CallError::Deadline) && patience != Patience::None {
            result = self.scorer.score(&mut self.batch, explain_all, Budget::Retry);
        }
        if let Err(error) = result {
            let searches = patience == Patience::Full || error != CallError::Deadline;
            let mut misses_left = if searches { DEADLINES_MAX } else { 0 };
            self.search(0..self.batch.rows(), &error, &mut misses_left, &mut culprits);
        }
        culprits
    }

    /// Finds the rows that fail, in a part that failed as a whole.
    fn search(
        &mut self,
        rows: Range<usize>,
        error: &CallError,
        misses_left: &mut u32,
        culprits: &mut Vec<(usize, CallError)>,
    ) {
        if rows.len() == 1 || *misses_left == 0 {
            culprits.extend(rows.map(|row| (row, error.clone())));
            return;
        }
        let middle = rows.start + rows.len() / 2;
        for half in [rows.start..middle, middle..rows.end] {
            let mut part = self.batch.part(half.clone());
            match self.scorer.score(&mut part, self.sensitivity > 1.0, Budget::Usual) {
                Ok(()) => self.batch.take_part(&part, half.start),
                Err(error) => {
                    *misses_left =
                        misses_left.saturating_sub(u32::from(error == CallError::Deadline));
                    self.search(half, &error, misses_left, culprits);
                }
            }
        }
    }

    fn keep_states(&mut self) {
        for (working, place) in self.owners.iter().enumerate() {
            // Only the last working state of a place is its entity's; earlier ones were evicted.
            if self.working[*place as usize] == Some(working as u32) {
                self.entities.set_state(*place, self.batch.state(working as u32));
            }
        }
        for place in &self.owners {
            self.working[*place as usize] = None;
        }
    }

    /// The outcome of a row just scored.
    pub fn outcome(&self, row: usize) -> Outcome {
        match self.batch.outcome(row) {
            outcome @ (Outcome::WarmingUp | Outcome::Invalid) => outcome,
            outcome if self.sensitivity == 1.0 => outcome,
            _ if self.batch.score(row) * self.sensitivity >= 1.0 => Outcome::Anomalous,
            _ => Outcome::Normal,
        }
    }

    /// The state that the entity of each of these rows had before it, in the batch just scored.
    /// Rows ascend; the events of an entity before a row of the same batch are scored again.
    pub(crate) fn prior_states(&mut self, rows: &[usize]) -> Vec<Option<Vec<u8>>> {
        let before = self.before.take().unwrap_or_default();
        let mut known: BTreeMap<u32, (usize, Option<Vec<u8>>)> = BTreeMap::new();
        let mut priors = Vec::with_capacity(rows.len());
        for row in rows {
            let entity = self.batch.entity(*row);
            let first = || (0, Some(self.batch.state_in(&before, entity).to_vec()));
            let (from, state) = known.entry(entity).or_insert_with(first);
            let earlier: Vec<usize> = (*from..*row)
                .filter(|earlier| self.batch.entity(*earlier) == entity)
                .filter(|earlier| !self.failed.contains(earlier))
                .collect();
            if let Some(bytes) = state.take() {
                *state = replay(&mut self.scorer, &self.batch, &earlier, bytes);
            }
            *from = *row;
            priors.push(state.clone());
        }
        self.before = Some(before);
        priors
    }

    /// The score of a row just scored.
    pub fn score_of(&self, row: usize) -> f64 {
        self.batch.score(row)
    }

    /// The verdict on a row of the batch just scored.
    pub(crate) fn verdict(
        &self,
        row: usize,
        event: &Event,
        identity: &Identity,
        offset: u64,
    ) -> Verdict {
        let (outcome, score) = (self.outcome(row), self.batch.score(row));
        let shared = &self.letterhead;
        Verdict {
            specversion: shared.specversion.clone(),
            kind: shared.kind.clone(),
            id: shared.ids.of(identity),
            source: shared.source.clone(),
            subject: event.entity.clone(),
            time: verdict_time(event.time_ms),
            data: VerdictData {
                verdict: outcome,
                score,
                severity: Severity::of(outcome, score * self.sensitivity),
                late: self.batch.is_late(row),
                continues: self.batch.continues(row),
                attribution: if outcome == Outcome::Anomalous {
                    self.attribution(row)
                } else {
                    Vec::new()
                },
                sensitivity: (self.sensitivity != 1.0).then_some(self.sensitivity),
                version: shared.version.clone(),
                module: shared.module.clone(),
                origin: shared.place.origin(offset),
            },
        }
    }

    /// Reaches the verdict of an audit record again, from the event and the state before it that
    /// the record holds; what this slot remembers plays no part and stays. An error says why there
    /// is no verdict.
    pub fn replay(&mut self, audit: &AuditData) -> Result<Verdict, String> {
        let (recorded, origin) = (&audit.verdict, &audit.verdict.data.origin);
        let arrival = Arrival {
            offset: origin.offset,
            ingested_ms: audit.ingested_ms,
            key: None,
            attributes: audit.attributes.clone(),
            bytes: audit.event.clone(),
        };
        // Whether the source could deliver again, the record does not say; its id does.
        self.work_at(&Place {
            detector: self.manifest.name.clone(),
            source: origin.source.clone(),
            partition: origin.partition.clone(),
            redelivers: true,
        });
        let event = self.read(&arrival).map_err(|error| error.to_string())?;
        let (found, needed) = (audit.prior_state.len(), self.manifest.state_bytes as usize);
        if found != needed {
            return Err(format!("the state before has {found} bytes, and the module's {needed}"));
        }
        self.sensitivity = recorded.data.sensitivity.unwrap_or(1.0);
        self.batch.clear();
        let working = self.batch.push_state(Some(&audit.prior_state));
        self.batch.push(event.time_ms.unwrap_or(0) as f64, working, &event.inputs);
        let scored = self.scorer.score(&mut self.batch, self.sensitivity > 1.0, Budget::Retry);
        scored.map_err(|error| format!("the module fails on the event: {error}"))?;
        let verdict = |identity| self.verdict(0, &event, &identity, origin.offset);
        let by_offset = verdict(Identity::Offset(origin.offset));
        let by_hash = event.identity.map(Identity::Hash).map(verdict);
        Ok(by_hash.filter(|verdict| verdict.id == recorded.id).unwrap_or(by_offset))
    }

    /// What each field, and then time, made of the score of a row just scored.
    pub fn shares(&self, row: usize) -> &[f32] {
        self.batch.attribution(row)
    }

    /// What made the score of a row just scored, largest first.
    pub fn attribution(&self, row: usize) -> Vec<Contribution> {
        let shares = self.batch.attribution(row);
        let least = shares.iter().sum::<f32>() * CONTRIBUTION_SHARE_MIN;
        let names = self.manifest.schema.fields().chain(["time"]);
        let mut contributions: Vec<Contribution> = names
            .zip(shares)
            .filter(|(_, share)| **share > least)
            .map(|(field, share)| Contribution { field: field.to_owned(), share: *share })
            .collect();
        contributions.sort_by(|a, b| b.share.total_cmp(&a.share));
        contributions.truncate(CONTRIBUTIONS_MAX);
        contributions
    }
}

/// The state that comes of some rows of a batch, which are of one entity; nothing if the module
/// fails on them now, which it did not before.
fn replay(scorer: &mut Scorer, batch: &Batch, rows: &[usize], state: Vec<u8>) -> Option<Vec<u8>> {
    if rows.is_empty() {
        return Some(state);
    }
    let mut again = batch.of_one(rows, &state);
    scorer.score(&mut again, false, Budget::Retry).ok()?;
    Some(again.state(0).to_vec())
}

/// The dead letter for an arrival.
pub(crate) fn dead_letter(
    place: &Place,
    arrival: &Arrival,
    reason: &str,
    message: String,
) -> DeadLetter {
    let origin = place.origin(arrival.offset);
    let mut letter = DeadLetter::new(&place.detector, origin, reason, message, &arrival.bytes);
    letter.subject.clone_from(&arrival.key);
    letter
}
