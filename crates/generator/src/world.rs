//! The three worlds by name; what their events carry is not known here.

use std::fmt;
use std::str::FromStr;

/// What a stream is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum World {
    /// Card payments; the entity is a card.
    Cards,
    /// Readings of machines; the entity is a sensor.
    Sensors,
    /// Network flows; the entity is the address that opened the flow.
    Flows,
}

impl World {
    /// Every world.
    pub const ALL: [Self; 3] = [Self::Cards, Self::Sensors, Self::Flows];

    /// The name used in files and on command lines: `cards`, `sensors` or `flows`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cards => "cards",
            Self::Sensors => "sensors",
            Self::Flows => "flows",
        }
    }

    /// The name of the field that tells whose event it is.
    pub const fn entity_field(self) -> &'static str {
        match self {
            Self::Cards => "card",
            Self::Sensors => "sensor",
            Self::Flows => "source_ip",
        }
    }

    /// The name of the field that holds the event time.
    pub const fn time_field(self) -> &'static str {
        "time"
    }

    /// The name of the entity with this index, such as `card-000017`.
    pub(crate) fn entity_name(self, index: u32) -> String {
        match self {
            Self::Cards => format!("card-{index:06}"),
            Self::Sensors => format!("sensor-{index:06}"),
            Self::Flows => {
                let [_, high, middle, low] = index.to_be_bytes();
                format!("10.{high}.{middle}.{low}")
            }
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for World {
    type Err = UnknownWorld;

    fn from_str(name: &str) -> Result<Self, UnknownWorld> {
        let found = Self::ALL.into_iter().find(|world| world.name() == name);
        found.ok_or_else(|| UnknownWorld(name.to_owned()))
    }
}

/// A name that is no world's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no world \"{0}\": say cards, sensors or flows")]
pub struct UnknownWorld(String);
