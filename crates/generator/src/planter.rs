//! Decides which events are anomalous: when an anomaly begins, of which kind, and how it goes on.
//!
//! It knows nothing of values; a world turns a [`Step`] into them.

use std::collections::{BTreeMap, VecDeque};

use crate::anomaly::{Pace, Step};
use crate::arrivals::Arrival;
use crate::random::{Purpose, Random};
use crate::{AnomalyKind, Params, World};

/// The most anomalies that can be asked for and still wait for their first event.
pub const MAX_INJECTIONS: usize = 64;

/// An entity is known after this many events. Anomalies prefer known entities, because nobody can
/// tell what is unusual for one that was never seen.
const KNOWN_AFTER: u8 = 10;

/// An anomaly that was asked for waits this many events for a known entity, then takes any.
const PATIENCE: u32 = 200;

/// The mean gap in a rushed anomaly: this, or a tenth of the entity's own mean gap if less.
const RUSH_MS: f64 = 5000.0;

/// An asked-for anomaly could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// The kind belongs to another world.
    #[error("inject {kind} into the world {world}: it belongs to the world {}", kind.world())]
    OtherWorld {
        /// The kind that was asked for.
        kind: AnomalyKind,
        /// The world of the stream.
        world: World,
    },
    /// [`MAX_INJECTIONS`] anomalies wait already.
    #[error(
        "inject {0}: {MAX_INJECTIONS} anomalies wait already; take events from the stream first"
    )]
    Full(AnomalyKind),
}

/// The anomalies of one stream.
#[derive(Clone, Debug)]
pub(crate) struct Planter {
    random: Random,
    world: World,
    share: f64,
    kinds: Vec<(AnomalyKind, f64)>,
    /// The mean number of events of an anomaly, over all kinds.
    length_mean: f64,
    /// Anomalies at the usual pace: the next step of each entity that has one.
    running: BTreeMap<u32, Step>,
    /// Rushed anomalies: their next events by time, then by a number that makes keys unique.
    rushed: BTreeMap<(i64, u64), (Arrival, Step)>,
    asked: VecDeque<Asked>,
    /// How many events each entity has had, up to [`KNOWN_AFTER`].
    seen: Vec<u8>,
    emitted: u64,
    labelled: u64,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    kind: AnomalyKind,
    waited: u32,
}

impl Planter {
    pub(crate) fn new(params: &Params) -> Self {
        let kinds: Vec<_> =
            params.world.anomaly_kinds().map(|kind| (kind, kind.course().weight)).collect();
        Self {
            random: Random::new(params.seed, Purpose::Anomalies),
            world: params.world,
            share: params.anomaly_share,
            length_mean: length_mean(&kinds),
            kinds,
            running: BTreeMap::new(),
            rushed: BTreeMap::new(),
            asked: VecDeque::new(),
            seen: vec![0; params.entities as usize],
            emitted: 0,
            labelled: 0,
        }
    }

    /// Asks for an anomaly, to begin with the next event of some entity.
    pub(crate) fn ask(&mut self, kind: AnomalyKind) -> Result<(), InjectError> {
        if kind.world() != self.world {
            return Err(InjectError::OtherWorld { kind, world: self.world });
        }
        if self.asked.len() >= MAX_INJECTIONS {
            return Err(InjectError::Full(kind));
        }
        self.asked.push_back(Asked { kind, waited: 0 });
        Ok(())
    }

    /// The next event of a rushed anomaly, if one is due by this time.
    pub(crate) fn take_rushed(&mut self, until_ms: i64) -> Option<(Arrival, Step)> {
        let first = self.rushed.first_entry()?;
        if first.key().0 > until_ms {
            return None;
        }
        let (arrival, step) = first.remove();
        self.emitted += 1;
        self.take_step(arrival, step);
        Some((arrival, step))
    }

    /// What an entity's own event is part of, if anything.
    pub(crate) fn step(&mut self, arrival: Arrival) -> Option<Step> {
        self.emitted += 1;
        let known = self.see(arrival.entity);
        let step = match self.running.remove(&arrival.entity) {
            Some(step) => step,
            None => self.begin(known)?,
        };
        self.take_step(arrival, step);
        Some(step)
    }

    /// Counts an entity's event; true if the entity was known before it.
    fn see(&mut self, entity: u32) -> bool {
        let count = &mut self.seen[entity as usize];
        let known = *count >= KNOWN_AFTER;
        if !known {
            *count += 1;
        }
        known
    }

    /// The first step of a new anomaly, if one begins here.
    fn begin(&mut self, known: bool) -> Option<Step> {
        let kind = self.asked_kind(known).or_else(|| self.own_kind(known))?;
        let course = kind.course();
        let length = self.random.whole(course.shortest, course.longest);
        Some(Step { kind, index: 0, length, strength: self.random.unit() })
    }

    fn asked_kind(&mut self, known: bool) -> Option<AnomalyKind> {
        let first = self.asked.front_mut()?;
        if !known && first.waited < PATIENCE {
            first.waited += 1;
            return None;
        }
        self.asked.pop_front().map(|asked| asked.kind)
    }

    /// Begins anomalies at random, more often when labels are behind the wanted share and less
    /// often when they are ahead. Far behind, entities need not be known: with very many entities
    /// few ever are.
    fn own_kind(&mut self, known: bool) -> Option<AnomalyKind> {
        let wanted = self.share * self.emitted as f64;
        let behind = (wanted - self.labelled as f64) / (10.0 + 0.05 * wanted);
        if !known && behind < 2.0 {
            return None;
        }
        let probability = self.share / self.length_mean * (1.0 + behind).clamp(0.0, 4.0);
        self.random.chance(probability).then(|| self.random.pick_weighted(&self.kinds))
    }

    /// Counts a step that an event takes now, and sees to it that the next one follows.
    fn take_step(&mut self, arrival: Arrival, step: Step) {
        self.labelled += 1;
        let Some(next) = step.next() else { return };
        match step.kind.course().pace {
            Pace::Usual => {
                self.running.insert(arrival.entity, next);
            }
            Pace::Rushed => {
                let gap_mean_ms = RUSH_MS.min(arrival.interval_ms / 10.0);
                let gap_ms = gap_mean_ms * self.random.between(0.5, 1.5);
                let time_ms = arrival.time_ms + (gap_ms as i64).max(1);
                self.rushed.insert((time_ms, self.emitted), (Arrival { time_ms, ..arrival }, next));
            }
        }
    }
}

fn length_mean(kinds: &[(AnomalyKind, f64)]) -> f64 {
    let total: f64 = kinds.iter().map(|(_, weight)| weight).sum();
    let events: f64 = kinds.iter().map(|(kind, weight)| weight * kind.course().length_mean()).sum();
    events / total
}
