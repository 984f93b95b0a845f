//! The stream itself: joins arrivals, anomalies and the values of a world into events.

use crate::anomaly::Step;
use crate::arrivals::{Arrival, Arrivals};
use crate::cards::Cards;
use crate::flows::Flows;
use crate::planter::Planter;
use crate::random::{Purpose, Random};
use crate::sensors::Sensors;
use crate::{Anomaly, AnomalyKind, Event, InjectError, Params, Shift, ValidParams, Value, World};

/// An endless iterator over events, in the order of event time. Memory grows with the number of
/// entities, not with the number of events.
#[derive(Clone, Debug)]
pub struct Stream {
    world: World,
    missing_share: f64,
    shift: Option<Shift>,
    arrivals: Arrivals,
    upcoming: Arrival,
    planter: Planter,
    behaviour: Behaviour,
    values: Random,
    missing: Random,
    next_id: u64,
}

#[derive(Clone, Debug)]
enum Behaviour {
    Cards(Cards),
    Sensors(Sensors),
    Flows(Flows),
}

impl ValidParams {
    /// A new stream from its first event on.
    pub fn stream(&self) -> Stream {
        Stream::new(self.params())
    }
}

impl Stream {
    pub(crate) fn new(params: &Params) -> Self {
        let mut arrivals = Arrivals::new(params);
        Self {
            world: params.world,
            missing_share: params.missing_share,
            shift: params.shift,
            upcoming: arrivals.next(),
            arrivals,
            planter: Planter::new(params),
            behaviour: Behaviour::new(params),
            values: Random::new(params.seed, Purpose::Values),
            missing: Random::new(params.seed, Purpose::Missing),
            next_id: 0,
        }
    }

    /// The world that the events come from.
    pub fn world(&self) -> World {
        self.world
    }

    /// Asks for an anomaly of a kind. It begins with the next event of an entity that has had ten
    /// events or more, or, after 200 events without one, of any entity; several are begun one
    /// after the other. It comes on top of `anomaly_share`, but its events count as labelled, so
    /// that afterwards fewer begin by themselves.
    pub fn inject(&mut self, kind: AnomalyKind) -> Result<(), InjectError> {
        self.planter.ask(kind)
    }

    fn next_event(&mut self) -> Event {
        let (arrival, step) = self.next_arrival();
        let mut values = self.behaviour.values(arrival, step, &mut self.values);
        if let Some(shift) = self.shift.filter(|shift| self.next_id >= shift.after) {
            shift.apply(self.world, &mut values);
        }
        let label = step.map(|step| Anomaly { kind: step.kind, field: step.kind.field() });
        self.leave_out(&mut values, label);
        let id = self.next_id;
        self.next_id += 1;
        let entity = self.world.entity_name(arrival.entity);
        Event { id, time_ms: arrival.time_ms, entity, values, label }
    }

    /// Whichever comes first: the next event of a rushed anomaly or an entity's own event.
    fn next_arrival(&mut self) -> (Arrival, Option<Step>) {
        if let Some((arrival, step)) = self.planter.take_rushed(self.upcoming.time_ms) {
            return (arrival, Some(step));
        }
        let arrival = std::mem::replace(&mut self.upcoming, self.arrivals.next());
        (arrival, self.planter.step(arrival))
    }

    fn leave_out(&mut self, values: &mut [Value], label: Option<Anomaly>) {
        if self.missing_share == 0.0 {
            return;
        }
        for (field, value) in self.world.fields().iter().zip(values) {
            // A label whose reason is left out would ask for the impossible.
            let planted = label.is_some_and(|anomaly| anomaly.field == field.name);
            if self.missing.chance(self.missing_share) && !planted {
                *value = Value::Missing;
            }
        }
    }
}

impl Iterator for Stream {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        Some(self.next_event())
    }
}

impl Behaviour {
    fn new(params: &Params) -> Self {
        match params.world {
            World::Cards => Self::Cards(Cards::new(params.seed)),
            World::Sensors => Self::Sensors(Sensors::new(params.seed)),
            World::Flows => Self::Flows(Flows::new(params.seed)),
        }
    }

    fn values(&mut self, arrival: Arrival, step: Option<Step>, random: &mut Random) -> Vec<Value> {
        match self {
            Self::Cards(cards) => cards.values(arrival, step, random),
            Self::Sensors(sensors) => sensors.values(arrival, step, random),
            Self::Flows(flows) => flows.values(arrival, step, random),
        }
    }
}
