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

use crate::pipeline::VALUE_MAX;
use crate::tracker::{Tracked, Tracker};

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
fn standardised(parameters: &[f64], value: f64) -> f64 {
    let z = (value - parameters[0]) * parameters[1];
    z.clamp(-VALUE_MAX, VALUE_MAX)
}

/// Most words of a channel.
const WORDS_MAX: usize = 512;

/// What the channel says of an event, which it remembers unless it is late.
///
/// A state that is not the channel's own work (damaged, or of another module) may give no number:
/// the channel then starts over.
pub(crate) fn surprise(tracked: &Tracked<'_>, event: &Event, state: &mut [f64], late: bool) -> f64 {
    let words = tracked.words(state);
    let mut copy = [0.0; WORDS_MAX];
    let words = if late {
        let copy = &mut copy[..words.len()];
        copy.copy_from_slice(words);
        copy
    } else {
        words
    };
    let surprise = step(tracked, event, words);
    if surprise.is_finite() {
        return surprise;
    }
    words.fill(0.0);
    0.0
}

fn step(tracked: &Tracked<'_>, event: &Event, words: &mut [f64]) -> f64 {
    let parameters = tracked.parameters;
    match tracked.tracker {
        Tracker::Ratio => ratio::step(parameters, event, words),
        Tracker::Wander => wander::step(parameters, event, words),
        Tracker::Season => season::step(event, parameters[1], words),
        Tracker::Shift => shift::step(standardised(parameters, event.value), words),
        Tracker::Rarity => rarity::step(standardised(parameters, event.value), words),
        Tracker::Turbulence => turbulence::step(standardised(parameters, event.value), words),
        Tracker::Average | Tracker::Previous | Tracker::Count => 0.0,
    }
}
