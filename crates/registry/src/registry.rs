//! The registry: modules, channels and what devices report, over any [`Store`].
//!
//! Each of these has a file of its own beside this one: modules.rs, steps.rs, reports.rs,
//! artefacts.rs, roots.rs. Modules are written before the statement and both before the channel, so
//! that whatever a channel points at is there; a crash in between leaves objects that nothing points
//! at.
//!
//! Knows no clock, and does not know when a challenger deserves to be promoted.

use std::sync::Arc;

use crate::Store;

/// Modules and channels in one store.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) store: Arc<dyn Store>,
}

impl Registry {
    /// A registry in a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store beneath, for what lies beside modules and channels.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}
