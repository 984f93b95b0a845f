//! The kinds of anomaly: their names, worlds, planted fields and how long each lasts.
//!
//! What a kind does to the values of an event is told by its world's module.

use std::fmt;
use std::str::FromStr;

use crate::World;

/// The label of an anomalous event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Anomaly {
    /// What kind of anomaly the event is part of.
    pub kind: AnomalyKind,
    /// The planted field: the one whose value makes the event anomalous.
    pub field: &'static str,
}

/// The kinds of anomaly of all worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AnomalyKind {
    /// Cards: one payment many times the card's own usual amount.
    AmountSpike,
    /// Cards: online payments in quick succession, each larger than the one before.
    CardBurst,
    /// Cards: a payment in a foreign country, thousands of kilometres from home.
    FarAway,
    /// Sensors: one reading far too hot.
    Spike,
    /// Sensors: the temperature climbs slowly, reading by reading.
    Drift,
    /// Sensors: the pressure repeats exactly.
    Stuck,
    /// Sensors: strong vibration although the motor draws little current.
    BrokenCorrelation,
    /// Sensors: readings in quick succession with very strong vibration.
    Burst,
    /// Flows: one source tries very many ports with hardly a byte each.
    PortScan,
    /// Flows: a huge upload.
    Exfiltration,
    /// Flows: very many small packets in no time.
    Flood,
}

impl World {
    /// The kinds of anomaly that can occur in this world.
    pub fn anomaly_kinds(self) -> impl Iterator<Item = AnomalyKind> {
        AnomalyKind::ALL.into_iter().filter(move |kind| kind.world() == self)
    }
}

impl AnomalyKind {
    /// Every kind of every world.
    pub const ALL: [Self; 11] = [
        Self::AmountSpike,
        Self::CardBurst,
        Self::FarAway,
        Self::Spike,
        Self::Drift,
        Self::Stuck,
        Self::BrokenCorrelation,
        Self::Burst,
        Self::PortScan,
        Self::Exfiltration,
        Self::Flood,
    ];

    /// The name used in labels and on command lines, such as `amount_spike`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AmountSpike => "amount_spike",
            Self::CardBurst => "card_burst",
            Self::FarAway => "far_away",
            Self::Spike => "spike",
            Self::Drift => "drift",
            Self::Stuck => "stuck",
            Self::BrokenCorrelation => "broken_correlation",
            Self::Burst => "burst",
            Self::PortScan => "port_scan",
            Self::Exfiltration => "exfiltration",
            Self::Flood => "flood",
        }
    }

    /// The world in which this kind occurs.
    pub const fn world(self) -> World {
        match self {
            Self::AmountSpike | Self::CardBurst | Self::FarAway => World::Cards,
            Self::Spike | Self::Drift | Self::Stuck | Self::BrokenCorrelation | Self::Burst => {
                World::Sensors
            }
            Self::PortScan | Self::Exfiltration | Self::Flood => World::Flows,
        }
    }

    /// The planted field: the one whose value makes an event of this kind anomalous.
    pub const fn field(self) -> &'static str {
        match self {
            Self::AmountSpike | Self::CardBurst => "amount",
            Self::FarAway => "distance_km",
            Self::Spike | Self::Drift => "temperature_c",
            Self::Stuck => "pressure_kpa",
            Self::BrokenCorrelation | Self::Burst => "vibration_mm_s",
            Self::PortScan => "distinct_ports",
            Self::Exfiltration => "bytes_out",
            Self::Flood => "packets",
        }
    }

    pub(crate) const fn course(self) -> Course {
        use Pace::{Rushed, Usual};
        match self {
            Self::AmountSpike | Self::FarAway | Self::Spike => Course::new(6.0, 1, 1, Usual),
            Self::CardBurst | Self::Burst => Course::new(2.0, 5, 9, Rushed),
            Self::Drift => Course::new(1.0, 24, 40, Usual),
            Self::Stuck => Course::new(1.0, 12, 24, Usual),
            Self::BrokenCorrelation => Course::new(2.0, 4, 8, Usual),
            Self::PortScan => Course::new(2.0, 3, 8, Rushed),
            Self::Exfiltration => Course::new(5.0, 1, 3, Usual),
            Self::Flood => Course::new(1.0, 5, 12, Rushed),
        }
    }
}

/// How often an anomaly of a kind begins and how it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// How often the kind begins, relative to the other kinds of its world.
    pub(crate) weight: f64,
    /// The fewest events it lasts.
    pub(crate) shortest: u32,
    /// The most events it lasts.
    pub(crate) longest: u32,
    pub(crate) pace: Pace,
}

/// When the events of an anomaly come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// They are the entity's own next events.
    Usual,
    /// They come on top of the entity's own events, in quick succession.
    Rushed,
}

impl Course {
    const fn new(weight: f64, shortest: u32, longest: u32, pace: Pace) -> Self {
        Self { weight, shortest, longest, pace }
    }

    /// The mean number of events.
    pub(crate) fn length_mean(self) -> f64 {
        f64::midpoint(f64::from(self.shortest), f64::from(self.longest))
    }
}

/// One event's place in an anomaly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) kind: AnomalyKind,
    /// 0 for the anomaly's first event.
    pub(crate) index: u32,
    /// The number of events of the whole anomaly.
    pub(crate) length: u32,
    /// How strong the whole anomaly is within its kind's range: 0 weakest, 1 strongest.
    pub(crate) strength: f64,
}

impl Step {
    /// The step after this one, unless this is the last.
    pub(crate) fn next(self) -> Option<Self> {
        let index = self.index + 1;
        (index < self.length).then_some(Self { index, ..self })
    }

    /// A value between the two by strength: the range that the documentation states.
    pub(crate) fn size(self, weakest: f64, strongest: f64) -> f64 {
        weakest + (strongest - weakest) * self.strength
    }

    /// How far the anomaly has come: more than 0, and 1 at its last event.
    pub(crate) fn progress(self) -> f64 {
        f64::from(self.index + 1) / f64::from(self.length)
    }
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for AnomalyKind {
    type Err = UnknownAnomalyKind;

    fn from_str(name: &str) -> Result<Self, UnknownAnomalyKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownAnomalyKind(name.to_owned()))
    }
}

/// A name that is no kind of anomaly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("find an anomaly named \"{0}\": docs/generator.md lists the kinds of each world")]
pub struct UnknownAnomalyKind(String);
