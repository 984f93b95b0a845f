//! What a checkpoint holds of a runner. Knows nothing of where it is stored.

use crate::directive::Orders;
use crate::entities::EntitySnapshot;
use crate::window::WindowSnapshot;
use serde::{Deserialize, Serialize};
use twinge_rollout::{Comparison, Part, Watch};

/// State of a runner, or what changed of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunnerSnapshot {
    pub(crate) is_full: bool,
    pub(crate) next_offset: u64,
    pub(crate) acting: EntitySnapshot,
    pub(crate) beside: Option<BesideSnapshot>,
    pub(crate) orders: Orders,
    pub(crate) window: WindowSnapshot,
}

/// State of the module beside the acting one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BesideSnapshot {
    pub(crate) entities: EntitySnapshot,
    pub(crate) part: Part,
    pub(crate) is_warm: bool,
    pub(crate) until: Option<u64>,
    pub(crate) comparison: Comparison,
    pub(crate) watch: Watch,
    pub(crate) step: Step,
}

/// What came since the last look at warmth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) since: u64,
    pub(crate) scored: u64,
    pub(crate) acting_counted: u64,
    pub(crate) own_counted: u64,
}
