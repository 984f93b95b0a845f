//! What a runner keeps over a restart, and the runner that comes of it. Where it is kept is not known
//! here.

use super::Runner;
use crate::beside::Beside;
use crate::entities::{EntitySnapshot, EntityTable};
use crate::place::Place;
use crate::slot::Slot;
use crate::snapshot::RunnerSnapshot;
use crate::status::Counts;
use crate::window::IdentityWindow;
use twinge_engine::Module;

impl Runner {
    /// Everything that a restart needs, or what changed of it since the last snapshot.
    pub(crate) fn snapshot(&mut self, full: bool) -> RunnerSnapshot {
        let full = std::mem::take(&mut self.needs_full_snapshot) || full;
        RunnerSnapshot {
            is_full: full,
            next_offset: self.next_offset,
            acting: self.acting.entities.snapshot(full),
            beside: self.beside.as_mut().map(|beside| beside.snapshot(full)),
            orders: self.orders.clone(),
            window: self.window.snapshot(full),
        }
    }

    /// The last snapshot was not stored, so what it said is not known to anyone.
    pub(crate) fn snapshot_was_lost(&mut self) {
        self.needs_full_snapshot = true;
    }

    /// Whether the next snapshot has to stand alone.
    pub(crate) fn wants_full_snapshot(&self) -> bool {
        self.needs_full_snapshot
    }

    /// The runner that snapshots describe; `None` when they do not fit together or the modules.
    pub(crate) fn restore(
        place: Place,
        acting: &Module,
        beside: Option<&Module>,
        entities_max: Option<u32>,
        snapshots: &[RunnerSnapshot],
    ) -> Option<Self> {
        let last = snapshots.last()?;
        let table = |module: &Module, parts: Vec<EntitySnapshot>| {
            let manifest = module.manifest();
            let capacity = entities_max.unwrap_or(manifest.stream.entities_max);
            EntityTable::restore(manifest.state_bytes as usize, capacity, &parts)
        };
        let parts = snapshots.iter().map(|snapshot| snapshot.acting.clone()).collect();
        let acting = Slot::with_entities(acting, table(acting, parts)?);
        let beside = match (beside, &last.beside) {
            (Some(module), Some(latest)) => {
                let parts = snapshots.iter().filter_map(|snapshot| snapshot.beside.as_ref());
                let parts = parts.map(|beside| beside.entities.clone()).collect();
                Some(Beside::restore(module, table(module, parts)?, latest)?)
            }
            // A module beside that is not to be had any more is no reason to stop.
            (None, _) => None,
            (Some(_), None) => return None,
        };
        let lost = beside.is_none() && last.beside.is_some();
        let mut this = Self {
            place,
            entities_max,
            next_offset: last.next_offset,
            window: IdentityWindow::restore(snapshots.iter().map(|snapshot| &snapshot.window)),
            acting,
            beside,
            orders: last.orders.clone(),
            counts: Counts::default(),
            audits: None,
            wanted: Vec::new(),
            readings: Vec::new(),
            needs_full_snapshot: lost,
        };
        this.acting.work_at(&this.place);
        if let Some(beside) = &mut this.beside {
            beside.slot.work_at(&this.place);
        }
        this.set_sensitivity(last.orders.sensitivity);
        Some(this)
    }
}
