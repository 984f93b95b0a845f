//! What the spool remembers beside its entries: how far they were released, what was dropped,
//! and which sequence numbers were given. Does not know when it is written.

use serde::{Deserialize, Serialize};

use crate::drops::Dropped;
use crate::sealed;

/// No number in a file is believed beyond this: a spool counts on from what it finds, and none comes
/// half as far by itself.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

const MAGIC_AND_VERSION: [u8; 8] = *b"TWINGES\x01";

/// The file `state`, by postcard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Sequence numbers below this one may have been given.
    pub(crate) sequence_reserved: u64,
    /// Operating time in seconds.
    pub(crate) second: u64,
    /// Entries released, all in all.
    pub(crate) released: u64,
    pub(crate) lanes: [LaneState; 2],
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LaneState {
    /// Entries up to this sequence number were released or dropped.
    pub(crate) cursor: u64,
    pub(crate) dropped: Dropped,
    /// Dictionaries with lower numbers may exist.
    pub(crate) dictionary_next: u32,
}

impl State {
    pub(crate) fn to_file(&self) -> Vec<u8> {
        let content = postcard::to_stdvec(self).expect("postcard writes plain integers to memory");
        sealed::seal(MAGIC_AND_VERSION, &content)
    }

    /// `None` when the file is damaged or of another version, or counts beyond [`NUMBER_MAX`].
    pub(crate) fn from_file(file: &[u8]) -> Option<Self> {
        let state: Self = postcard::from_bytes(sealed::unseal(MAGIC_AND_VERSION, file)?).ok()?;
        let of_lane = |lane: &LaneState| {
            let Dropped { room, age, damage } = lane.dropped;
            [lane.cursor, room, age, damage]
        };
        let numbers = [state.sequence_reserved, state.second, state.released];
        let numbers = state.lanes.iter().flat_map(of_lane).chain(numbers);
        numbers.max().is_some_and(|largest| largest <= NUMBER_MAX).then_some(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_cannot_be_counted_on_from_are_not_believed() {
        let largest = State { sequence_reserved: NUMBER_MAX, ..State::default() };
        assert_eq!(State::from_file(&largest.to_file()), Some(largest));
        let set: [fn(&mut State, u64); 5] = [
            |state, number| state.sequence_reserved = number,
            |state, number| state.second = number,
            |state, number| state.released = number,
            |state, number| state.lanes[1].cursor = number,
            |state, number| state.lanes[0].dropped.damage = number,
        ];
        for set in set {
            for number in [NUMBER_MAX + 1, u64::MAX] {
                let mut state = State::default();
                set(&mut state, number);
                assert_eq!(State::from_file(&state.to_file()), None, "{state:?}");
            }
        }
    }
}
