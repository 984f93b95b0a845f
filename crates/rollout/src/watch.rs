//! A device's own eye on the module that acts, beside the one it could return to.
//!
//! Only what the two say of the same events counts, so an incident that both see is no reason to
//! return. Counted in offsets, not in time, so that a restart comes to the same decision.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Gate;

/// A device looks after every so many offsets.
pub const WATCH_STEP: u64 = 32;

/// It looks at so many steps at once.
pub const WATCH_BLOCKS: usize = 4;

/// The latest steps, newest last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch(VecDeque<Block>);

/// What the two said within a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Events that both judged.
    pub compared: u32,
    /// Alarms of the acting module alone.
    pub acting_alone: u32,
    /// Alarms of the other alone.
    pub other_alone: u32,
    /// Events that only the acting module failed on.
    pub failures: u32,
    /// Events that only the other module failed on.
    pub other_failures: u32,
}

/// No count of a step is believed beyond this: a step has a few hundred events.
const BLOCK_COUNT_MAX: u32 = 1 << 20;

impl Watch {
    /// Whether it can have come from looking: one that was read from a file may hold anything.
    pub fn is_plausible(&self) -> bool {
        let largest = |block: &Block| {
            let Block { compared, acting_alone, other_alone, failures, other_failures } = *block;
            compared.max(acting_alone).max(other_alone).max(failures).max(other_failures)
        };
        self.0.len() <= WATCH_BLOCKS && self.0.iter().all(|block| largest(block) <= BLOCK_COUNT_MAX)
    }

    /// The step that is going on.
    pub fn block(&mut self) -> &mut Block {
        if self.0.is_empty() {
            self.0.push_back(Block::default());
        }
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// Begins the next step.
    pub fn next(&mut self) {
        self.0.push_back(Block::default());
        while self.0.len() > WATCH_BLOCKS {
            self.0.pop_front();
        }
    }

    /// Why the other module is not worth running beside the acting one, or nothing.
    pub fn verdict_on_other(&self, gate: &Gate) -> Option<String> {
        let failures = self.0.iter().map(|block| block.other_failures).sum::<u32>();
        (failures >= gate.return_failures).then(|| {
            format!(
                "it failed on {failures} events in a row or nearly, beside a module that did not"
            )
        })
    }

    /// Why the acting module should make room for the other one, or nothing.
    ///
    /// Alarms of one alone count against it beyond those of the other alone: two modules that only
    /// see different things are for the fleet's gate to judge.
    pub fn verdict(&self, gate: &Gate) -> Option<String> {
        let sum = |of: fn(&Block) -> u32| self.0.iter().map(of).sum::<u32>();
        let (compared, failures) = (sum(|block| block.compared), sum(|block| block.failures));
        let (ours, theirs) = (sum(|block| block.acting_alone), sum(|block| block.other_alone));
        if failures >= gate.return_failures {
            return Some(format!(
                "it failed on {failures} of the latest {} events, and the other module on none of them",
                compared + failures
            ));
        }
        if ours >= gate.return_alone.saturating_add(4 * theirs) {
            return Some(format!(
                "it raised {ours} alarms in the latest {compared} events that the other module did not see, against {theirs}"
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(blocks: &[Block]) -> Watch {
        let mut watch = Watch::default();
        for block in blocks {
            watch.next();
            *watch.block() = *block;
        }
        watch
    }

    #[test]
    fn counts_that_no_step_comes_to_are_not_plausible() {
        let most = Block { compared: BLOCK_COUNT_MAX, ..Block::default() };
        assert!(Watch::default().is_plausible());
        assert!(watch(&[most; 9]).is_plausible());
        let beyond = Block { other_alone: BLOCK_COUNT_MAX + 1, ..most };
        assert!(!watch(&[most, beyond]).is_plausible());
        assert!(!Watch(vec![most; WATCH_BLOCKS + 1].into()).is_plausible());
    }

    #[test]
    fn only_what_one_alone_does_counts() {
        let gate = Gate::default();
        let both = Block { compared: 32, ..Block::default() };
        let alone = Block { acting_alone: 16, ..both };
        let failing = Block { failures: 2, ..both };
        let mixed = Block { other_alone: 5, ..alone };
        assert_eq!(watch(&[]).verdict(&gate), None);
        assert_eq!(watch(&[both; 9]).verdict(&gate), None);
        assert_eq!(watch(&[alone]).verdict(&gate), None);
        assert!(watch(&[alone, alone]).verdict(&gate).unwrap().contains("32 alarms"));
        assert!(watch(&[failing, failing]).verdict(&gate).unwrap().contains("failed on 4"));
        assert_eq!(watch(&[failing, both, both, both, failing]).verdict(&gate), None);
        assert_eq!(watch(&[mixed; 4]).verdict(&gate), None);
    }
}
