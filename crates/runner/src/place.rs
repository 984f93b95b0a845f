//! Where a runner works.

use serde::{Deserialize, Serialize};
use twinge_contract::text::SharedText;
use twinge_contract::verdict::Origin;

/// What a runner works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Name of the detector.
    pub detector: String,
    /// The source.
    pub source: SharedText,
    /// The partition.
    pub partition: SharedText,
    /// Whether the source may deliver an event again under another offset.
    pub redelivers: bool,
}

impl Place {
    /// No place at all: what is scored there gives no verdicts that anybody sees.
    pub(crate) fn nowhere(detector: &str) -> Self {
        let nothing = SharedText::from("");
        Self {
            detector: detector.to_owned(),
            source: nothing.clone(),
            partition: nothing,
            redelivers: true,
        }
    }

    pub(crate) fn origin(&self, offset: u64) -> Origin {
        Origin { source: self.source.clone(), partition: self.partition.clone(), offset }
    }
}
