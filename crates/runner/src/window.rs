//! A bounded memory of event identities, for sources that may deliver an event twice.

use hashbrown::HashSet;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Identities remembered.
pub(crate) const CAPACITY: usize = 65_536;

/// The latest identities, oldest first.
#[derive(Debug, Default)]
pub(crate) struct IdentityWindow {
    order: VecDeque<[u8; 16]>,
    known: HashSet<[u8; 16]>,
    added: Vec<[u8; 16]>,
}

/// A window or what was added to it, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WindowSnapshot {
    /// Identities in order of arrival.
    pub(crate) identities: Vec<[u8; 16]>,
}

impl IdentityWindow {
    /// Remembers an identity; false when it is known.
    pub(crate) fn insert(&mut self, identity: [u8; 16]) -> bool {
        if !self.known.insert(identity) {
            return false;
        }
        self.order.push_back(identity);
        self.added.push(identity);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    pub(crate) fn snapshot(&mut self, is_full: bool) -> WindowSnapshot {
        let added = std::mem::take(&mut self.added);
        let identities = if is_full { self.order.iter().copied().collect() } else { added };
        WindowSnapshot { identities }
    }

    pub(crate) fn restore<'a>(snapshots: impl Iterator<Item = &'a WindowSnapshot>) -> Self {
        let mut window = Self::default();
        for identity in snapshots.flat_map(|snapshot| &snapshot.identities) {
            window.insert(*identity);
        }
        window.added.clear();
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_forgets_the_oldest_first() {
        let identity = |number: usize| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            bytes
        };
        let mut window = IdentityWindow::default();
        for number in 0..=CAPACITY {
            assert!(window.insert(identity(number)));
        }
        assert!(!window.insert(identity(1)), "still known");
        let full = window.snapshot(true);
        let mut restored = IdentityWindow::restore([&full].into_iter());
        assert!(restored.insert(identity(0)), "forgotten");
        assert!(!restored.insert(identity(CAPACITY)));
    }
}
