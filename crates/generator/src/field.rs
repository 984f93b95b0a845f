//! What the events of each world carry; how the values come about is not known here.

use crate::World;

/// One feature of a world's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The column and JSON member name; a unit comes last in it.
    pub name: &'static str,
    /// Whether its values are numbers or words.
    pub kind: FieldKind,
    /// What it means, in one line.
    pub doc: &'static str,
}

/// Whether a field holds numbers or words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// Numbers.
    Numeric,
    /// Words out of a short list.
    Categorical,
}

const CARDS: &[Field] = &[
    Field::numeric("amount", "what was paid, in the card's own currency"),
    Field::numeric("distance_km", "from the card's home to the merchant; 0 if online"),
    Field::numeric("merchant_risk", "the acquirer's risk score of the merchant, 0 to 100"),
    Field::categorical("category", "what the merchant sells, one of 12"),
    Field::categorical("country", "where the merchant is, one of 15 ISO 3166 codes"),
    Field::categorical("channel", "chip, contactless, online or atm"),
];

const SENSORS: &[Field] = &[
    Field::numeric("temperature_c", "of the housing: a daily cycle, the load and slow noise"),
    Field::numeric("vibration_mm_s", "root mean square velocity; rises with the load"),
    Field::numeric("pressure_kpa", "in the line, with slow noise"),
    Field::numeric("current_a", "of the motor; rises with the load"),
    Field::categorical("mode", "idle, run or boost; sets the load"),
];

const FLOWS: &[Field] = &[
    Field::numeric("duration_s", "from the first packet to the last"),
    Field::numeric("bytes_out", "sent by the source"),
    Field::numeric("bytes_in", "received by the source"),
    Field::numeric("packets", "in both directions"),
    Field::numeric("distinct_ports", "destination ports the source used in this flow record"),
    Field::categorical("protocol", "tcp, udp or icmp"),
    Field::categorical("service", "http, https, dns, ssh, smtp, ntp or other"),
];

impl World {
    /// The features of an event, in the order of [`Event::values`](crate::Event::values).
    pub const fn fields(self) -> &'static [Field] {
        match self {
            Self::Cards => CARDS,
            Self::Sensors => SENSORS,
            Self::Flows => FLOWS,
        }
    }
}

impl Field {
    pub(crate) const fn numeric(name: &'static str, doc: &'static str) -> Self {
        Self { name, kind: FieldKind::Numeric, doc }
    }

    pub(crate) const fn categorical(name: &'static str, doc: &'static str) -> Self {
        Self { name, kind: FieldKind::Categorical, doc }
    }
}
