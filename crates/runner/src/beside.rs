//! The slot beside the acting one: what it runs as, whether it is warm, and how the two compare.

use crate::entities::EntityTable;
use crate::slot::{Judgement, Slot};
use crate::snapshot::{BesideSnapshot, Step};
use twinge_contract::abi::Outcome;
use twinge_engine::Module;
use twinge_rollout::{Comparison, Part, WATCH_STEP, Watch};
use twinge_trust::Digest;

/// A module that is to take over is looked at after every so many offsets, never in between, so
/// that the place of a swap does not depend on how the stream was cut into batches.
pub(crate) const SWAP_STEP: u64 = 256;

/// Share of the acting module's counted verdicts that the other must reach to be warm.
const WARM_SHARE: f64 = 0.95;

/// Missed deadlines after which a module beside the acting one goes: each holds up the events.
const MISSES_MAX: u32 = 3;

/// The module beside the acting one.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) slot: Slot,
    pub(crate) part: Part,
    /// Whether it gave as many verdicts that count as the acting module, at the last look.
    pub(crate) is_warm: bool,
    /// The offset at which a fallback is no longer needed, unless it is kept.
    pub(crate) until: Option<u64>,
    pub(crate) comparison: Comparison,
    pub(crate) watch: Watch,
    step: Step,
    /// Calls that missed their deadline.
    misses: u32,
}

impl Beside {
    /// A module that has seen nothing, from `offset` on.
    pub(crate) fn new(slot: Slot, part: Part, acting: Digest, offset: u64) -> Self {
        let comparison = Comparison::new(acting, slot.module().digest());
        let step = Step { since: offset, ..Step::default() };
        let watch = Watch::default();
        Self { slot, part, is_warm: false, until: None, comparison, watch, step, misses: 0 }
    }

    /// The module that acted before, for an instant return within a number of events. What was
    /// compared while it acted is another story: the comparison begins anew.
    pub(crate) fn fallback(former: Slot, acting: Digest, offset: u64, window_events: u64) -> Self {
        let beside = Self::new(former, Part::Fallback, acting, offset);
        Self { is_warm: true, until: Some(offset.saturating_add(window_events)), ..beside }
    }

    /// The offset before which nothing is looked at, seen from `offset`.
    pub(crate) fn next_look(&self, offset: u64) -> u64 {
        let step = if self.part == Part::Fallback { WATCH_STEP } else { SWAP_STEP };
        (offset / step + 1) * step
    }

    /// Counts a missed deadline, which may be the machine's fault; whether there were too many.
    pub(crate) fn has_missed_too_often(&mut self) -> bool {
        self.misses += 1;
        self.misses >= MISSES_MAX
    }

    /// Compares what the two said of the same events.
    pub(crate) fn compare(&mut self, acting: &mut Slot, ours: &[Judgement], theirs: &[Judgement]) {
        for (ours, theirs) in ours.iter().zip(theirs) {
            self.compare_one(acting, ours, theirs);
        }
        for (side, slot) in
            [(&mut self.comparison.acting, acting), (&mut self.comparison.other, &mut self.slot)]
        {
            side.events += ours.len() as u64;
            side.busy_us += slot.take_busy_us();
        }
    }

    fn compare_one(&mut self, acting: &Slot, ours: &Judgement, theirs: &Judgement) {
        let (our_row, their_row) = match (ours.row(), theirs.row()) {
            (Some(ours), Some(theirs)) => (ours, theirs),
            (None, Some(_)) if ours.has_failed() => {
                self.comparison.acting.failures += 1;
                self.watch.block().failures += 1;
                return;
            }
            (Some(row), None) if theirs.has_failed() => {
                self.step.acting_counted += u64::from(counts(acting.outcome(row)));
                self.comparison.other.failures += 1;
                // A missed deadline is counted by calls, not by the events in them.
                let is_slow = matches!(theirs, Judgement::Failed { slow: true, .. });
                self.watch.block().other_failures += u32::from(!is_slow);
                return;
            }
            _ => return,
        };
        let (our, their) = (acting.outcome(our_row), self.slot.outcome(their_row));
        self.step.scored += 1;
        self.step.acting_counted += u64::from(counts(our));
        self.step.own_counted += u64::from(counts(their));
        if !(counts(our) && counts(their)) {
            return;
        }
        let (our_alarm, their_alarm) = (our == Outcome::Anomalous, their == Outcome::Anomalous);
        let block = self.watch.block();
        block.compared += 1;
        block.acting_alone += u32::from(our_alarm && !their_alarm);
        block.other_alone += u32::from(their_alarm && !our_alarm);
        self.comparison.compared += 1;
        let sides = [
            (&mut self.comparison.acting, our_alarm, their_alarm, acting.score_of(our_row)),
            (&mut self.comparison.other, their_alarm, our_alarm, self.slot.score_of(their_row)),
        ];
        for (side, alarm, other_alarm, score) in sides {
            side.anomalies += u64::from(alarm);
            side.alone += u64::from(alarm && !other_alarm);
            side.scores.note(score);
        }
    }

    /// At the end of each step, decides whether the module is warm. Answers whether it was looked
    /// at.
    pub(crate) fn look_at_warmth(&mut self, offset: u64) -> bool {
        if offset / SWAP_STEP == self.step.since / SWAP_STEP {
            return false;
        }
        // A step that began in its middle or held few events shows nothing. Where even the acting
        // module is warming up for ever, there is nothing to wait for.
        let has_worked =
            self.step.scored >= SWAP_STEP / 2 && self.step.since.is_multiple_of(SWAP_STEP);
        if has_worked {
            self.is_warm =
                self.step.own_counted as f64 >= WARM_SHARE * self.step.acting_counted as f64;
        }
        self.step = Step { since: offset / SWAP_STEP * SWAP_STEP, ..Step::default() };
        has_worked
    }

    pub(crate) fn snapshot(&mut self, full: bool) -> BesideSnapshot {
        BesideSnapshot {
            entities: self.slot.entities.snapshot(full),
            part: self.part,
            is_warm: self.is_warm,
            until: self.until,
            comparison: self.comparison.clone(),
            watch: self.watch.clone(),
            step: self.step,
        }
    }

    /// `None` when the table does not fit the module.
    pub(crate) fn restore(
        module: &Module,
        entities: EntityTable,
        latest: &BesideSnapshot,
    ) -> Option<Self> {
        let slot = Slot::with_entities(module, entities);
        let compared = latest.comparison.other.digest == module.digest();
        compared.then(|| Self {
            slot,
            part: latest.part,
            is_warm: latest.is_warm,
            until: latest.until,
            comparison: latest.comparison.clone(),
            watch: latest.watch.clone(),
            step: latest.step,
            misses: 0,
        })
    }
}

fn counts(outcome: Outcome) -> bool {
    outcome != Outcome::WarmingUp
}
