//! Where a runner works.

use serde::{Deserialize, Serialize};
use twinge_contract::verdict::Origin;

/// What a runner works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Name of the detector.
    pub detector: String,
    /// The source.
    pub source: String,
    /// The partition.
    pub partition: String,
    /// Whether the source may deliver an event again under another offset.
    pub redelivers: bool,
}

impl Place {
    pub(crate) fn origin(&self, offset: u64) -> Origin {
        Origin { source: self.source.clone(), partition: self.partition.clone(), offset }
    }
}
