//! The acting module, the one beside it, and the order of events between them.

mod records;
mod restart;
mod switching;

use crate::beside::Beside;
use crate::directive::{Directive, Orders};
use crate::place::Place;
use crate::record::{Arrival, Reading, Record};
use crate::slot::{Judgement, Patience, Slot};
use crate::status::{Counts, Status};
use crate::window::IdentityWindow;
use twinge_contract::audit::Audit;
use twinge_contract::event::{Event, EventError};
use twinge_contract::manifest::Manifest;
use twinge_engine::Module;
use twinge_rollout::Part;
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
}

/// The next record, unless this place was a duplicate.
trait NextUnless: Iterator {
    fn next_if_not(&mut self, skip: bool) -> Option<Self::Item> {
        if skip { None } else { self.next() }
    }
}

impl<I: Iterator> NextUnless for I {}
