//! What is remembered of an entity: words of its state, each group with one rule.

use crate::channel::{self, Event};
use crate::inputs::{LATEST_MS, Pipeline, SEEN, scaled_input};
use crate::steps::larger;

/// What is remembered of an entity; its number is its place in [`Tracker::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Tracker {
    /// Exponentially weighted mean and variance of an input: words are the values seen, mean and
    /// variance; the parameter is the gain, and the first values count in full (gain at least 1/n).
    Average = 0,
    /// The input's last value: words are whether there is one, and it.
    Previous = 1,
    /// Events so far, decaying with time: one word; the parameter is the time constant in ms.
    Count = 2,
    /// A channel: it judges the input and remembers it in one step; see [`channel::ratio`].
    Ratio = 3,
    /// See [`channel::season`].
    Season = 4,
    /// See [`channel::shift`].
    Shift = 5,
    /// See [`channel::rarity`].
    Rarity = 6,
    /// See [`channel::turbulence`].
    Turbulence = 7,
    /// See [`channel::wander`].
    Wander = 8,
}

/// Most words of a channel.
const CHANNEL_WORDS_MAX: usize = 512;

/// A tracker in a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tracked<'a> {
    pub(crate) tracker: Tracker,
    pub(crate) input: usize,
    pub(crate) word: usize,
    pub(crate) parameters: &'a [f64],
}

impl Tracker {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Average,
        Self::Previous,
        Self::Count,
        Self::Ratio,
        Self::Season,
        Self::Shift,
        Self::Rarity,
        Self::Turbulence,
        Self::Wander,
    ];

    /// Parameters that it takes.
    pub fn parameters(self) -> usize {
        match self {
            Self::Average | Self::Count => 1,
            Self::Previous => 0,
            Self::Season | Self::Shift | Self::Rarity | Self::Turbulence => {
                channel::SCALE_PARAMETERS
            }
            Self::Ratio => channel::ratio::PARAMETERS,
            Self::Wander => channel::wander::PARAMETERS,
        }
    }

    /// Words of state that it takes.
    pub fn words(self) -> u32 {
        match self {
            Self::Average => 3,
            Self::Previous => 2,
            Self::Count => 1,
            Self::Ratio => channel::ratio::WORDS,
            Self::Season => channel::season::WORDS,
            Self::Shift => channel::shift::WORDS,
            Self::Rarity => channel::rarity::WORDS,
            Self::Turbulence => channel::turbulence::WORDS,
            Self::Wander => channel::wander::WORDS,
        }
    }

    /// Whether it judges and remembers in one step.
    pub fn is_channel(self) -> bool {
        !matches!(self, Self::Average | Self::Previous | Self::Count)
    }

    pub(crate) fn from_code(code: u32) -> Option<Self> {
        Self::ALL.get(code as usize).copied()
    }
}

impl<'a> Tracked<'a> {
    /// Tracker number `index`; `None` when there is none or its parameters are not all there.
    pub(crate) fn of(model: &Pipeline<'a>, index: usize) -> Option<Self> {
        let [code, input, word, first] = *model.trackers.get(index)?;
        let tracker = Tracker::from_code(code)?;
        let end = (first as usize).checked_add(tracker.parameters())?;
        let parameters = model.tracker_parameters.get(first as usize..end)?;
        Some(Self { tracker, input: input as usize, word: word as usize, parameters })
    }

    /// The tracker's words in a state.
    fn words<'s>(&self, state: &'s mut [f64]) -> &'s mut [f64] {
        &mut state[self.word..self.word + self.tracker.words() as usize]
    }

    /// What a channel says of an event, which it remembers unless it is late.
    ///
    /// A state that is not the channel's own work (damaged, or of another module) may give no
    /// number: the channel then starts over.
    pub(crate) fn surprise(&self, event: &Event, state: &mut [f64], late: bool) -> f64 {
        let words = self.words(state);
        if late { self.surprise_aside(event, words) } else { self.surprise_of(event, words) }
    }

    /// The same with words that stay as they are; apart, since a copy needs much room.
    #[inline(never)]
    fn surprise_aside(&self, event: &Event, words: &[f64]) -> f64 {
        let mut copy = [0.0; CHANNEL_WORDS_MAX];
        let copy = &mut copy[..words.len()];
        copy.copy_from_slice(words);
        self.surprise_of(event, copy)
    }

    fn surprise_of(&self, event: &Event, words: &mut [f64]) -> f64 {
        let surprise = self.step(event, words);
        if surprise.is_finite() {
            return surprise;
        }
        words.fill(0.0);
        0.0
    }

    fn step(&self, event: &Event, words: &mut [f64]) -> f64 {
        let parameters = self.parameters;
        let standardised = || channel::standardised(parameters, event.value);
        match self.tracker {
            Tracker::Ratio => channel::ratio::step(parameters, event, words),
            Tracker::Wander => channel::wander::step(parameters, event, words),
            Tracker::Season => channel::season::step(event, parameters[1], words),
            Tracker::Shift => channel::shift::step(standardised(), words),
            Tracker::Rarity => channel::rarity::step(standardised(), words),
            Tracker::Turbulence => channel::turbulence::step(standardised(), words),
            Tracker::Average | Tracker::Previous | Tracker::Count => 0.0,
        }
    }
}

/// Updates all trackers that do not do so themselves, and the words that every state has.
pub(crate) fn remember(model: &Pipeline<'_>, time_ms: f64, inputs: &[f64], state: &mut [f64]) {
    let seen = state[SEEN] > 0.0;
    let elapsed_ms = if seen { larger(time_ms - state[LATEST_MS], 0.0) } else { 0.0 };
    for index in 0..model.trackers.len() {
        let Some(tracked) = Tracked::of(model, index) else { continue };
        match (tracked.tracker, scaled_input(model, tracked.input, inputs)) {
            (Tracker::Count, _) => {
                let count = &mut state[tracked.word];
                *count = *count * libm::exp(-elapsed_ms / tracked.parameters[0]) + 1.0;
            }
            (Tracker::Previous, Some(value)) => {
                tracked.words(state).copy_from_slice(&[1.0, value]);
            }
            (Tracker::Average, Some(value)) => {
                update_average(tracked.words(state), tracked.parameters[0], value);
            }
            _ => {}
        }
    }
    state[SEEN] += 1.0;
    state[LATEST_MS] = if seen { larger(state[LATEST_MS], time_ms) } else { time_ms };
}

/// One step of the exponentially weighted mean and variance (Finch 2009, "Incremental calculation
/// of weighted mean and variance", section 9).
fn update_average(words: &mut [f64], gain: f64, value: f64) {
    words[0] += 1.0;
    let gain = larger(1.0 / words[0], gain);
    let difference = value - words[1];
    let step = gain * difference;
    words[1] += step;
    words[2] = (1.0 - gain) * (words[2] + difference * step);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_equal_the_slow_definition_while_all_values_count() {
        let values = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0];
        let mut words = [0.0; 3];
        for value in values {
            update_average(&mut words, 0.01, value);
        }
        let mean = values.iter().sum::<f64>() / 6.0;
        let variance =
            values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / 6.0;
        assert!(
            (words[1] - mean).abs() < 1e-12 && (words[2] - variance).abs() < 1e-12,
            "{words:?}"
        );
    }
}
