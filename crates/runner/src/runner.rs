//! The acting module, the one beside it, and the order of events between them.

use crate::beside::Beside;
use crate::directive::{Assigned, Directive, Orders};
use crate::entities::{EntitySnapshot, EntityTable};
use crate::place::Place;
use crate::record::{Arrival, Reading, Record};
use crate::slot::{Judgement, Patience, Slot, dead_letter};
use crate::snapshot::RunnerSnapshot;
use crate::window::IdentityWindow;
use serde::Serialize;
use twinge_contract::abi::Outcome;
use twinge_contract::audit::{Audit, AuditData};
use twinge_contract::event::{Event, EventError};
use twinge_contract::manifest::Manifest;
use twinge_contract::verdict::Identity;
use twinge_engine::Module;
use twinge_rollout::{Comparison, Condemned, Part};
use twinge_trust::Digest;

/// A running detector on one partition.
#[derive(Debug)]
pub struct Runner {
    place: Place,
    entities_max: Option<u32>,
    next_offset: u64,
    window: IdentityWindow,
    acting: Slot,
    beside: Option<Beside>,
    orders: Orders,
    counts: Counts,
    /// Audit records of the latest verdicts, where they are kept.
    audits: Option<Vec<Audit>>,
    /// Offsets of events whose inputs are wanted, ascending, and those inputs.
    wanted: Vec<u64>,
    readings: Vec<Reading>,
    /// The next snapshot must stand alone.
    needs_full_snapshot: bool,
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
    /// Times that another module began to act.
    pub swaps: u64,
    /// Those among them by which the runner helped itself, away from a bad module.
    pub returns: u64,
    /// Calls in which a module missed its deadline for good.
    pub missed_deadlines: u64,
}

/// A runner's state in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Where it works.
    pub place: Place,
    /// The serial of the channel document that it follows, if it does.
    pub serial: Option<u64>,
    /// Digest of the acting module.
    pub champion: Digest,
    /// Version of the acting module in its maker's words.
    pub version: String,
    /// The module beside it.
    pub candidate: Option<Digest>,
    /// Its version.
    pub candidate_version: Option<String>,
    /// What that runs as.
    pub part: Option<Part>,
    /// Whether it could take over at once.
    pub is_warm: bool,
    /// How the two compare.
    pub comparison: Option<Comparison>,
    /// Modules that were left, and why.
    pub condemned: Vec<Condemned>,
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
    /// A runner of one module that begins at offset zero with no memory.
    pub fn new(place: Place, module: &Module, entities_max: Option<u32>) -> Self {
        Self::begin_at(place, &Directive::only(module), entities_max, 0)
    }

    /// A runner that begins at an offset with no memory.
    pub fn begin_at(
        place: Place,
        directive: &Directive,
        entities_max: Option<u32>,
        next_offset: u64,
    ) -> Self {
        let mut this = Self {
            acting: Slot::new(&directive.act.module, entities_max),
            place,
            entities_max,
            next_offset,
            window: IdentityWindow::default(),
            beside: None,
            orders: Orders::new(directive),
            counts: Counts::default(),
            audits: None,
            wanted: Vec::new(),
            readings: Vec::new(),
            needs_full_snapshot: true,
        };
        this.acting.work_at(&this.place);
        this.acting.set_sensitivity(directive.sensitivity);
        this.direct(directive);
        this
    }

    /// Keeps audit records of anomalies from now on; see [`take_audits`](Self::take_audits).
    pub fn keep_audits(&mut self) {
        self.audits.get_or_insert_default();
        self.acting.keep_prior_states();
        if let Some(beside) = &mut self.beside {
            beside.slot.keep_prior_states();
        }
    }

    /// The audit records of the anomalies since it was asked the last time.
    pub fn take_audits(&mut self) -> Vec<Audit> {
        self.audits.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Keeps what is read of the events at these offsets, which ascend, in the next
    /// [`process`](Self::process); see [`take_readings`](Self::take_readings).
    pub fn keep_readings(&mut self, offsets: Vec<u64>) {
        self.wanted = offsets;
    }

    /// What was read of the events that were asked for and got a verdict, in order.
    pub fn take_readings(&mut self) -> Vec<Reading> {
        self.wanted.clear();
        std::mem::take(&mut self.readings)
    }

    /// What the acting module tells of itself.
    pub fn manifest(&self) -> &Manifest {
        self.acting.module().manifest()
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

    /// The digests of the acting module and the one beside it.
    pub fn digests(&self) -> (Digest, Option<Digest>) {
        (self.acting.module().digest(), self.beside_digest())
    }

    /// What the acting module and the one beside it say about themselves.
    pub fn manifests(&self) -> impl Iterator<Item = (Digest, &Manifest)> {
        let slots =
            [&self.acting].into_iter().chain(self.beside.as_ref().map(|beside| &beside.slot));
        slots.map(|slot| (slot.module().digest(), &**slot.module().manifest()))
    }

    /// Calls so far in which a module missed its deadline: what followed from that depends on the
    /// machine, and is not found out again from the same events.
    pub fn missed_deadlines(&self) -> u64 {
        self.counts.missed_deadlines
    }

    /// State in figures.
    pub fn status(&self) -> Status {
        let (champion, candidate) = self.digests();
        let beside = self.beside.as_ref();
        Status {
            place: self.place.clone(),
            serial: self.orders.serial,
            champion,
            version: self.acting.module().manifest().version.clone(),
            candidate,
            candidate_version: beside.map(|beside| beside.slot.module().manifest().version.clone()),
            part: beside.map(|beside| beside.part),
            is_warm: beside.is_some_and(|beside| beside.is_warm),
            comparison: beside.map(|beside| beside.comparison.clone()),
            condemned: self.orders.condemned.clone(),
            offset: self.next_offset,
            entities: self.acting.entities.len(),
            evicted: self.acting.entities.evicted(),
            counts: self.counts,
        }
    }

    /// Whether [`direct`](Self::direct) would change nothing.
    pub fn follows(&self, directive: &Directive) -> bool {
        let orders = &self.orders;
        let same_orders = (orders.serial, &orders.gate, orders.sensitivity)
            == (directive.serial, &directive.gate, directive.sensitivity);
        let (acting, other) = self.digests();
        let (act, beside) = orders.aim(directive, acting);
        let acts = act.is_none_or(|act| act.digest() == acting);
        if !acts {
            let comes = self.beside.as_ref().is_some_and(|other| other.part == Part::WarmingUp);
            return same_orders && comes && other == act.map(Assigned::digest);
        }
        same_orders && self.is_beside(beside)
    }

    /// Whether what runs beside the acting module is what should.
    fn is_beside(&self, wanted: Option<(&Assigned, Part)>) -> bool {
        match (&self.beside, wanted) {
            (None, None) => true,
            (Some(other), Some((wanted, part))) => {
                let same = other.slot.module().digest() == wanted.digest();
                let kept = part != Part::Fallback || other.until.is_none();
                same && other.part == part && kept || self.stands_by(part)
            }
            (Some(_), None) => self.stands_by(Part::Shadow),
            (None, Some(_)) => false,
        }
    }

    /// Whether a former module stands by that must not make room for one of `part` yet.
    fn stands_by(&self, part: Part) -> bool {
        part != Part::Fallback
            && self
                .beside
                .as_ref()
                .is_some_and(|other| other.part == Part::Fallback && other.until.is_some())
    }

    /// Does what it is told from here on. A module that is warm beside the acting one takes over at
    /// once, another one warms up first; a module that this runner has left by itself is not taken
    /// again, unless it was put on its way anew.
    ///
    /// Take a checkpoint before the next arrivals are processed, so that a crash cannot forget at
    /// which offset this happened.
    pub fn direct(&mut self, directive: &Directive) {
        if self.follows(directive) {
            return;
        }
        self.needs_full_snapshot = true;
        self.orders.serial = directive.serial;
        self.orders.gate = directive.gate.clone();
        self.set_sensitivity(directive.sensitivity);
        let orders = self.orders.clone();
        let (act, beside) = orders.aim(directive, self.acting.module().digest());
        if let Some(act) = act
            && !self.take_up(act)
        {
            return;
        }
        self.put_beside(beside);
    }

    /// Whether `act` acts now; if not, it is on its way.
    fn take_up(&mut self, act: &Assigned) -> bool {
        if act.digest() == self.acting.module().digest() {
            self.orders.acting_since = act.since;
            return true;
        }
        if self.beside_digest() != Some(act.digest()) {
            self.begin_beside(act, Part::WarmingUp);
            return false;
        }
        self.orders.beside_since = act.since;
        let beside = self.beside.as_mut().expect("it was found to be that module");
        let stood_by = beside.part == Part::Fallback;
        beside.part = Part::WarmingUp;
        if stood_by {
            // What acted was withdrawn: that waits for no warmth, and there is no way back to it.
            self.swap();
            self.beside = None;
        } else if beside.is_warm {
            self.swap();
        }
        self.beside.as_ref().is_none_or(|beside| beside.part != Part::WarmingUp)
    }

    fn put_beside(&mut self, wanted: Option<(&Assigned, Part)>) {
        let Some((wanted, part)) = wanted else {
            match &mut self.beside {
                // What was kept for as long as a rollout went on stays for the window after it.
                Some(other) if other.part == Part::Fallback => {
                    let end = self.next_offset.saturating_add(self.orders.gate.window_events);
                    other.until.get_or_insert(end);
                }
                _ => self.beside = None,
            }
            return;
        };
        let same = self.beside_digest() == Some(wanted.digest());
        if !same && self.stands_by(part) {
            return;
        }
        if !same {
            self.begin_beside(wanted, part);
        }
        self.orders.beside_since = wanted.since;
        if let Some(other) = &mut self.beside {
            (other.part, other.until) = (part, None);
        }
    }

    fn begin_beside(&mut self, assigned: &Assigned, part: Part) {
        let mut slot = Slot::new(&assigned.module, self.entities_max);
        slot.work_at(&self.place);
        slot.set_sensitivity(self.orders.sensitivity);
        if self.audits.is_some() {
            slot.keep_prior_states();
        }
        let acting = self.acting.module().digest();
        self.beside = Some(Beside::new(slot, part, acting, self.next_offset));
        self.orders.beside_since = assigned.since;
    }

    fn set_sensitivity(&mut self, sensitivity: f64) {
        self.orders.sensitivity = sensitivity;
        self.acting.set_sensitivity(sensitivity);
        if let Some(beside) = &mut self.beside {
            beside.slot.set_sensitivity(sensitivity);
        }
    }

    /// The module beside takes over, and the acting one stands by in its place.
    fn swap(&mut self) {
        let Some(beside) = self.beside.take() else { return };
        let former = std::mem::replace(&mut self.acting, beside.slot);
        let (acting, window) = (self.acting.module().digest(), self.orders.gate.window_events);
        self.beside = Some(Beside::fallback(former, acting, self.next_offset, window));
        std::mem::swap(&mut self.orders.acting_since, &mut self.orders.beside_since);
        self.counts.swaps += 1;
        self.needs_full_snapshot = true;
    }

    /// Leaves the acting module for the one that stands by, and remembers why.
    fn leave(&mut self, reason: String) {
        let (left, since) = (self.acting.module().digest(), self.orders.acting_since);
        self.swap();
        self.orders.condemn(left, since, reason, self.acting.module().digest());
        self.beside = None;
        self.counts.returns += 1;
    }

    /// Drops the module beside, and remembers why.
    fn drop_beside(&mut self, reason: String) {
        if let Some(other) = self.beside_digest() {
            let acting = self.acting.module().digest();
            self.orders.condemn(other, self.orders.beside_since, reason, acting);
        }
        self.beside = None;
        self.needs_full_snapshot = true;
    }

    fn beside_digest(&self) -> Option<Digest> {
        self.beside.as_ref().map(|beside| beside.slot.module().digest())
    }

    /// Shows the acting module arrivals from before its beginning, in order, so that it knows its
    /// entities. Nothing is told of them, and one that comes again is a duplicate.
    pub fn warm(&mut self, arrivals: &[Arrival]) {
        let mut events: Vec<Result<Event, EventError>> =
            arrivals.iter().map(|arrival| self.acting.read(arrival)).collect();
        let mut keep = self.find_duplicates(&events).into_iter().map(|duplicate| !duplicate);
        events.retain(|_| keep.next().unwrap_or(true));
        drop(self.acting.score_with(events, Patience::Full));
        self.needs_full_snapshot = true;
    }

    /// Processes arrivals in order and gives a record for each that it had not passed before.
    pub fn process(&mut self, arrivals: &[Arrival]) -> Vec<Record> {
        let mut records = Vec::with_capacity(arrivals.len());
        let fresh = arrivals.partition_point(|arrival| arrival.offset < self.next_offset);
        let mut rest = &arrivals[fresh..];
        while let Some(first) = rest.first() {
            // Modules change before an event, never after: what was looked at lies behind it.
            self.look(first.offset);
            let end = match &self.beside {
                // Up to the next offset at which the two are looked at.
                Some(beside) => {
                    let look = beside.next_look(first.offset);
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
        let Some(last) = arrivals.last() else { return };
        let mut events: Vec<Result<Event, EventError>> =
            arrivals.iter().map(|arrival| self.acting.read(arrival)).collect();
        let duplicates = self.find_duplicates(&events);
        let kept: Vec<&Arrival> = arrivals
            .iter()
            .zip(&duplicates)
            .filter(|(_, duplicate)| !**duplicate)
            .map(|(arrival, _)| arrival)
            .collect();
        let mut keep = duplicates.iter().map(|duplicate| !duplicate);
        events.retain(|_| keep.next().unwrap_or(true));
        let (judgements, others) = self.score(&kept, events);
        let verdicts = self.verdicts(&kept, &judgements, &others);
        self.next_offset = last.offset + 1;
        self.look_at_deadlines(&judgements, &others);
        let mut verdicts = verdicts.into_iter();
        for duplicate in duplicates {
            let record = verdicts.next_if_not(duplicate).unwrap_or(Record::Duplicate);
            self.count(&record);
            records.push(record);
        }
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

    /// What both modules say of the same events; of the other nothing is acted on, unless the
    /// acting one fails.
    fn score(
        &mut self,
        arrivals: &[&Arrival],
        events: Vec<Result<Event, EventError>>,
    ) -> (Vec<Judgement>, Vec<Judgement>) {
        let Some(beside) = &mut self.beside else {
            return (self.acting.score_with(events, Patience::Full), Vec::new());
        };
        let stands_by = beside.part == Part::Fallback;
        let patience = if stands_by { Patience::Once } else { Patience::Full };
        let judgements = self.acting.score_with(events, patience);
        let events = arrivals.iter().map(|arrival| beside.slot.read(arrival)).collect();
        let others = beside.slot.score_with(events, Patience::None);
        beside.compare(&mut self.acting, &judgements, &others);
        (judgements, others)
    }

    /// A record for each event, in order. Where the acting module failed and the one that stands by
    /// did not, the latter's verdict counts.
    fn verdicts(
        &mut self,
        arrivals: &[&Arrival],
        judgements: &[Judgement],
        others: &[Judgement],
    ) -> Vec<Record> {
        let stands_by = self.beside.as_ref().is_some_and(|beside| beside.part == Part::Fallback);
        let mut records = Vec::with_capacity(judgements.len());
        for (place, (arrival, judgement)) in arrivals.iter().zip(judgements).enumerate() {
            let other = others.get(place).filter(|other| stands_by && other.row().is_some());
            let (slot, judgement) = match (judgement, other, &self.beside) {
                (Judgement::Failed { .. }, Some(other), Some(beside)) => (&beside.slot, other),
                _ => (&self.acting, judgement),
            };
            records.push(self.record(slot, arrival, judgement));
            if let Judgement::Scored { event, .. } = judgement
                && self.wanted.binary_search(&arrival.offset).is_ok()
            {
                let (offset, time_ms) = (arrival.offset, event.time_ms);
                self.readings.push(Reading { offset, time_ms, inputs: event.inputs.clone() });
            }
        }
        if self.audits.is_some() {
            self.audit(arrivals, &records, judgements, others);
        }
        records
    }

    fn record(&self, slot: &Slot, arrival: &Arrival, judgement: &Judgement) -> Record {
        match judgement {
            Judgement::Scored { row, event } => {
                let identity = match event.identity {
                    Some(identity) if self.place.redelivers => Identity::Hash(identity),
                    _ => Identity::Offset(arrival.offset),
                };
                let verdict = slot.verdict(*row, event, &identity, arrival.offset);
                Record::Verdict(Box::new(verdict))
            }
            Judgement::Failed { message, .. } => {
                let message = message.clone();
                let letter = dead_letter(&self.place, arrival, "detector-failed", message);
                Record::DeadLetter(Box::new(letter))
            }
            Judgement::Dead { reason, message } => {
                let letter = dead_letter(&self.place, arrival, reason, message.clone());
                Record::DeadLetter(Box::new(letter))
            }
        }
    }

    /// Keeps what it takes to reach each anomaly's verdict again.
    fn audit(
        &mut self,
        arrivals: &[&Arrival],
        records: &[Record],
        judgements: &[Judgement],
        others: &[Judgement],
    ) {
        let Some(audits) = &mut self.audits else { return };
        let beside = self.beside.as_ref().map(|beside| beside.slot.module().digest().to_string());
        let acting = self.acting.module().digest().to_string();
        let slots = [Some(&mut self.acting), self.beside.as_mut().map(|beside| &mut beside.slot)];
        for (slot, judgements) in slots.into_iter().zip([judgements, others]) {
            let Some(slot) = slot else { continue };
            let digest = slot.module().digest().to_string();
            let by_slot = records.iter().zip(judgements).zip(arrivals);
            let anomalies = by_slot.filter_map(|((record, judgement), arrival)| match record {
                Record::Verdict(verdict)
                    if verdict.data.module == digest
                        && verdict.data.verdict == Outcome::Anomalous =>
                {
                    Some((judgement.row()?, verdict, arrival))
                }
                _ => None,
            });
            let anomalies: Vec<_> = anomalies.collect();
            let rows: Vec<usize> = anomalies.iter().map(|(row, ..)| *row).collect();
            for ((_, verdict, arrival), prior) in anomalies.iter().zip(slot.prior_states(&rows)) {
                let Some(prior_state) = prior else { continue };
                audits.push(Audit::new(AuditData {
                    verdict: (**verdict).as_ref().clone(),
                    event: arrival.bytes.clone(),
                    attributes: arrival.attributes.clone(),
                    ingested_ms: arrival.ingested_ms,
                    prior_state,
                    serial: self.orders.serial,
                    beside: beside.clone().filter(|_| digest == acting),
                }));
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

    /// A missed deadline is not waited for again: it cost time, and whether it happens depends on
    /// the machine, so nothing is gained by looking at fixed offsets.
    fn look_at_deadlines(&mut self, ours: &[Judgement], theirs: &[Judgement]) {
        let slow = |judgements: &[Judgement]| {
            let slow =
                |judgement: &Judgement| matches!(judgement, Judgement::Failed { slow: true, .. });
            judgements.iter().any(slow)
        };
        self.counts.missed_deadlines += u64::from(slow(ours)) + u64::from(slow(theirs));
        let Some(beside) = &mut self.beside else { return };
        let stands_by = beside.part == Part::Fallback;
        // A fallback stays whatever it takes: without it, a stop of the rollout leads nowhere.
        if !stands_by && slow(theirs) && beside.has_missed_too_often() {
            let reason = "it missed its deadline again and again, and the acting module did not";
            self.drop_beside(reason.to_owned());
        } else if stands_by && slow(ours) {
            self.leave("it missed its deadline twice, and the other module did not".to_owned());
        }
    }

    /// At fixed offsets, looks at how the two compare: a warm module takes over that was told to, a
    /// bad one goes, and a fallback that is no longer needed too.
    fn look(&mut self, offset: u64) {
        let Some(beside) = &mut self.beside else { return };
        if beside.next_look(self.next_offset.saturating_sub(1)) > offset {
            return;
        }
        let verdict = beside.watch.verdict(&self.orders.gate);
        let on_other = beside.watch.verdict_on_other(&self.orders.gate);
        beside.watch.next();
        let looked = beside.look_at_warmth(offset);
        match beside.part {
            Part::Fallback if verdict.is_some() => self.leave(verdict.unwrap_or_default()),
            Part::Fallback if beside.until.is_some_and(|until| offset >= until) => {
                self.beside = None;
                self.needs_full_snapshot = true;
            }
            Part::Fallback => {}
            _ if on_other.is_some() => self.drop_beside(on_other.unwrap_or_default()),
            Part::WarmingUp if looked && beside.is_warm => self.swap(),
            _ => {}
        }
    }

    /// Everything that a restart needs, or what changed of it since the last snapshot.
    pub(crate) fn snapshot(&mut self, full: bool) -> RunnerSnapshot {
        let full = std::mem::take(&mut self.needs_full_snapshot) || full;
        RunnerSnapshot {
            is_full: full,
            next_offset: self.next_offset,
            acting: self.acting.entities.snapshot(full),
            beside: self.beside.as_mut().map(|beside| beside.snapshot(full)),
            orders: self.orders.clone(),
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
        acting: &Module,
        beside: Option<&Module>,
        entities_max: Option<u32>,
        snapshots: &[RunnerSnapshot],
    ) -> Option<Self> {
        let last = snapshots.last()?;
        let table = |module: &Module, parts: Vec<EntitySnapshot>| {
            let manifest = module.manifest();
            let capacity = entities_max.unwrap_or(manifest.stream.entities_max);
            EntityTable::restore(manifest.state_bytes as usize, capacity, &parts)
        };
        let parts = snapshots.iter().map(|snapshot| snapshot.acting.clone()).collect();
        let acting = Slot::with_entities(acting, table(acting, parts)?);
        let beside = match (beside, &last.beside) {
            (Some(module), Some(latest)) => {
                let parts = snapshots.iter().filter_map(|snapshot| snapshot.beside.as_ref());
                let parts = parts.map(|beside| beside.entities.clone()).collect();
                Some(Beside::restore(module, table(module, parts)?, latest)?)
            }
            // A module beside that is not to be had any more is no reason to stop.
            (None, _) => None,
            (Some(_), None) => return None,
        };
        let lost = beside.is_none() && last.beside.is_some();
        let mut this = Self {
            place,
            entities_max,
            next_offset: last.next_offset,
            window: IdentityWindow::restore(snapshots.iter().map(|snapshot| &snapshot.window)),
            acting,
            beside,
            orders: last.orders.clone(),
            counts: Counts::default(),
            audits: None,
            wanted: Vec::new(),
            readings: Vec::new(),
            needs_full_snapshot: lost,
        };
        this.acting.work_at(&this.place);
        if let Some(beside) = &mut this.beside {
            beside.slot.work_at(&this.place);
        }
        this.set_sensitivity(last.orders.sensitivity);
        Some(this)
    }
}

/// The next record, unless this place was a duplicate.
trait NextUnless: Iterator {
    fn next_if_not(&mut self, skip: bool) -> Option<Self::Item> {
        if skip { None } else { self.next() }
    }
}

impl<I: Iterator> NextUnless for I {}
