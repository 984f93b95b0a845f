//! Which of a runner's two modules acts: what it is told, and what it sees by itself. What either of
//! them says of an event is not known here.

use super::Runner;
use crate::beside::Beside;
use crate::directive::{Assigned, Directive};
use crate::slot::{Judgement, Slot};
use twinge_rollout::Part;

impl Runner {
    /// Whether [`direct`](Self::direct) would change nothing.
    pub fn follows(&self, directive: &Directive) -> bool {
        let orders = &self.orders;
        let same_orders = (orders.serial, &orders.gate, orders.sensitivity)
            == (directive.serial, &directive.gate, directive.sensitivity);
        let (acting, other) = self.digests();
        let (act, beside) = orders.aim(directive, acting);
        let acts = act.is_none_or(|act| act.digest() == acting);
        if !acts {
            let comes = self.beside.as_ref().is_some_and(|other| other.part == Part::WarmingUp);
            return same_orders && comes && other == act.map(Assigned::digest);
        }
        same_orders && self.is_beside(beside)
    }

    /// Whether what runs beside the acting module is what should.
    fn is_beside(&self, wanted: Option<(&Assigned, Part)>) -> bool {
        match (&self.beside, wanted) {
            (None, None) => true,
            (Some(other), Some((wanted, part))) => {
                let same = other.slot.module().digest() == wanted.digest();
                let kept = part != Part::Fallback || other.until.is_none();
                same && other.part == part && kept || self.stands_by(part)
            }
            (Some(_), None) => self.stands_by(Part::Shadow),
            (None, Some(_)) => false,
        }
    }

    /// Whether a former module stands by that must not make room for one of `part` yet.
    fn stands_by(&self, part: Part) -> bool {
        part != Part::Fallback
            && self
                .beside
                .as_ref()
                .is_some_and(|other| other.part == Part::Fallback && other.until.is_some())
    }

    /// Does what it is told from here on. A module that is warm beside the acting one takes over at
    /// once, another one warms up first; a module that this runner has left by itself is not taken
    /// again, unless it was put on its way anew.
    ///
    /// Take a checkpoint before the next arrivals are processed, so that a crash cannot forget at
    /// which offset this happened.
    pub fn direct(&mut self, directive: &Directive) {
        if self.follows(directive) {
            return;
        }
        self.needs_full_snapshot = true;
        self.orders.serial = directive.serial;
        self.orders.gate = directive.gate.clone();
        self.set_sensitivity(directive.sensitivity);
        let orders = self.orders.clone();
        let (act, beside) = orders.aim(directive, self.acting.module().digest());
        if let Some(act) = act
            && !self.take_up(act)
        {
            return;
        }
        self.put_beside(beside);
    }

    /// Whether `act` acts now; if not, it is on its way.
    fn take_up(&mut self, act: &Assigned) -> bool {
        if act.digest() == self.acting.module().digest() {
            self.orders.acting_since = act.since;
            return true;
        }
        if self.beside_digest() != Some(act.digest()) {
            self.begin_beside(act, Part::WarmingUp);
            return false;
        }
        self.orders.beside_since = act.since;
        let beside = self.beside.as_mut().expect("it was found to be that module");
        let stood_by = beside.part == Part::Fallback;
        beside.part = Part::WarmingUp;
        if stood_by {
            // What acted was withdrawn: that waits for no warmth, and there is no way back to it.
            self.swap();
            self.beside = None;
        } else if beside.is_warm {
            self.swap();
        }
        self.beside.as_ref().is_none_or(|beside| beside.part != Part::WarmingUp)
    }

    fn put_beside(&mut self, wanted: Option<(&Assigned, Part)>) {
        let Some((wanted, part)) = wanted else {
            match &mut self.beside {
                // What was kept for as long as a rollout went on stays for the window after it.
                Some(other) if other.part == Part::Fallback => {
                    let end = self.next_offset.saturating_add(self.orders.gate.window_events);
                    other.until.get_or_insert(end);
                }
                _ => self.beside = None,
            }
            return;
        };
        let same = self.beside_digest() == Some(wanted.digest());
        if !same && self.stands_by(part) {
            return;
        }
        if !same {
            self.begin_beside(wanted, part);
        }
        self.orders.beside_since = wanted.since;
        if let Some(other) = &mut self.beside {
            (other.part, other.until) = (part, None);
        }
    }

    fn begin_beside(&mut self, assigned: &Assigned, part: Part) {
        let mut slot = Slot::new(&assigned.module, self.entities_max);
        slot.work_at(&self.place);
        slot.set_sensitivity(self.orders.sensitivity);
        if self.audits.is_some() {
            slot.keep_prior_states();
        }
        let acting = self.acting.module().digest();
        self.beside = Some(Beside::new(slot, part, acting, self.next_offset));
        self.orders.beside_since = assigned.since;
    }

    pub(super) fn set_sensitivity(&mut self, sensitivity: f64) {
        self.orders.sensitivity = sensitivity;
        self.acting.set_sensitivity(sensitivity);
        if let Some(beside) = &mut self.beside {
            beside.slot.set_sensitivity(sensitivity);
        }
    }

    /// The module beside takes over, and the acting one stands by in its place.
    fn swap(&mut self) {
        let Some(beside) = self.beside.take() else { return };
        let former = std::mem::replace(&mut self.acting, beside.slot);
        let (acting, window) = (self.acting.module().digest(), self.orders.gate.window_events);
        self.beside = Some(Beside::fallback(former, acting, self.next_offset, window));
        std::mem::swap(&mut self.orders.acting_since, &mut self.orders.beside_since);
        self.counts.swaps += 1;
        self.needs_full_snapshot = true;
    }

    /// Leaves the acting module for the one that stands by, and remembers why.
    fn leave(&mut self, reason: String) {
        let (left, since) = (self.acting.module().digest(), self.orders.acting_since);
        self.swap();
        self.orders.condemn(left, since, reason, self.acting.module().digest());
        self.beside = None;
        self.counts.returns += 1;
    }

    /// Drops the module beside, and remembers why.
    fn drop_beside(&mut self, reason: String) {
        if let Some(other) = self.beside_digest() {
            let acting = self.acting.module().digest();
            self.orders.condemn(other, self.orders.beside_since, reason, acting);
        }
        self.beside = None;
        self.needs_full_snapshot = true;
    }

    /// A missed deadline is not waited for again: it cost time, and whether it happens depends on
    /// the machine, so nothing is gained by looking at fixed offsets.
    pub(super) fn look_at_deadlines(&mut self, ours: &[Judgement], theirs: &[Judgement]) {
        let slow = |judgements: &[Judgement]| {
            let slow =
                |judgement: &Judgement| matches!(judgement, Judgement::Failed { slow: true, .. });
            judgements.iter().any(slow)
        };
        self.counts.missed_deadlines += u64::from(slow(ours)) + u64::from(slow(theirs));
        let Some(beside) = &mut self.beside else { return };
        let stands_by = beside.part == Part::Fallback;
        // A fallback stays whatever it takes: without it, a stop of the rollout leads nowhere.
        if !stands_by && slow(theirs) && beside.has_missed_too_often() {
            let reason = "it missed its deadline again and again, and the acting module did not";
            self.drop_beside(reason.to_owned());
        } else if stands_by && slow(ours) {
            self.leave("it missed its deadline twice, and the other module did not".to_owned());
        }
    }

    /// At fixed offsets, looks at how the two compare: a warm module takes over that was told to, a
    /// bad one goes, and a fallback that is no longer needed too.
    pub(super) fn look(&mut self, offset: u64) {
        let Some(beside) = &mut self.beside else { return };
        if beside.next_look(self.next_offset.saturating_sub(1)) > offset {
            return;
        }
        let verdict = beside.watch.verdict(&self.orders.gate);
        let on_other = beside.watch.verdict_on_other(&self.orders.gate);
        beside.watch.next();
        let looked = beside.look_at_warmth(offset);
        match beside.part {
            Part::Fallback if verdict.is_some() => self.leave(verdict.unwrap_or_default()),
            Part::Fallback if beside.until.is_some_and(|until| offset >= until) => {
                self.beside = None;
                self.needs_full_snapshot = true;
            }
            Part::Fallback => {}
            _ if on_other.is_some() => self.drop_beside(on_other.unwrap_or_default()),
            Part::WarmingUp if looked && beside.is_warm => self.swap(),
            _ => {}
        }
    }
}
