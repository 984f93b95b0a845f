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

/// No number in a checkpoint is believed beyond this: a runner counts on from what it finds, and none
/// comes half as far by itself.
const COUNT_MAX: u64 = 1 << 62;

impl RunnerSnapshot {
    /// Whether a runner can have written it, as far as numbers tell. Without this, a sensitivity that
    /// is no number would make every later verdict normal.
    pub(crate) fn is_plausible(&self) -> bool {
        let table = |entities: &EntitySnapshot| entities.events.max(entities.evicted);
        let beside = self.beside.as_ref();
        let sensitivity = self.orders.sensitivity;
        self.next_offset.max(table(&self.acting)) <= COUNT_MAX
            && sensitivity.is_finite()
            && sensitivity > 0.0
            && beside.is_none_or(|beside| {
                let Step { since, scored, acting_counted, own_counted } = beside.step;
                let counts = [table(&beside.entities), since, scored, acting_counted, own_counted];
                counts.iter().all(|count| *count <= COUNT_MAX)
                    && beside.comparison.is_plausible()
                    && beside.watch.is_plausible()
            })
    }
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
