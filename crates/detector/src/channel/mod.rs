//! Channels: what judges a number by the entity's own past and remembers it in one step.
//!
//! A channel's answer is a surprise, about `-log10` of how probable so large a value is. It is a
//! feature like any other, and a part sums up those that a detector looks at.

pub mod rarity;
pub mod ratio;
pub mod season;
pub mod shift;
pub mod tail;
pub mod turbulence;
pub mod wander;

use crate::inputs::VALUE_MAX;

/// An event as a channel sees it.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// Its time in milliseconds since 1970.
    pub time_ms: f64,
    /// The number.
    pub value: f64,
}

/// Parameters of the channels that look at numbers by location and scale: the centre, and one over
/// the standard deviation.
pub const SCALE_PARAMETERS: usize = 2;

/// A number in standard deviations from the centre.
pub(crate) fn standardised(parameters: &[f64], value: f64) -> f64 {
    let z = (value - parameters[0]) * parameters[1];
    z.clamp(-VALUE_MAX, VALUE_MAX)
}
