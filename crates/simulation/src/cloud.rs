//! What lies beyond the links: the registry's storage, the hosts' storage, a hub and what came out of
//! it, and what devices sent up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use twinge_registry::MemoryStore;

/// The cloud, which never fails itself: the ways to it do.
#[derive(Debug, Default)]
pub(crate) struct Cloud {
    pub(crate) registry: Arc<MemoryStore>,
    pub(crate) checkpoints: Arc<MemoryStore>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Events by partition, each with the time at which it came in.
    pub(crate) hub: Vec<Vec<(i64, Vec<u8>)>>,
    /// The largest epoch of a reader of each partition: those of smaller ones are cut off.
    pub(crate) epochs: Vec<u64>,
    /// Verdicts and dead letters of hosts.
    pub(crate) verdicts: Vec<u8>,
    pub(crate) dead_letters: Vec<u8>,
    /// What came up, by device.
    pub(crate) inbox: BTreeMap<String, Vec<Vec<u8>>>,
    /// Which host a partition is for.
    pub(crate) owners: Vec<usize>,
}

impl Cloud {
    pub(crate) fn new(partitions: usize) -> Self {
        let hub = vec![Vec::new(); partitions];
        let (owners, epochs) = (vec![0; partitions], vec![0; partitions]);
        let state = State { hub, epochs, owners, ..State::default() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    /// Never held over an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
