//! Counts of what was given up, and when they are told. Does not decide what goes.

use serde::{Deserialize, Serialize};

use crate::entry::Importance;

/// At most one warning in this time.
const TELL_MS: u64 = 60_000;

/// Why an entry was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    Room,
    Age,
    Damage,
}

/// Entries of one importance that were dropped, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// For lack of room, on disk or in memory.
    pub room: u64,
    /// Older than `age_seconds_max`.
    pub age: u64,
    /// Damaged on disk, or compressed with a dictionary that is damaged or missing.
    pub damage: u64,
}

impl Dropped {
    /// All causes together.
    pub fn total(&self) -> u64 {
        self.room + self.age + self.damage
    }

    pub(crate) fn add(&mut self, cause: Cause, count: u64) {
        match cause {
            Cause::Room => self.room += count,
            Cause::Age => self.age += count,
            Cause::Damage => self.damage += count,
        }
    }
}

/// Gathers drops and tells their sum now and then.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    told_ms: Option<u64>,
    untold: [Dropped; 2],
}

impl Teller {
    pub(crate) fn note(&mut self, importance: Importance, cause: Cause, count: u64) {
        self.untold[importance.index()].add(cause, count);
    }

    /// Tells what was gathered if a minute has passed since the last time.
    pub(crate) fn tell(&mut self, monotonic_ms: u64) {
        let is_early = self.told_ms.is_some_and(|told| monotonic_ms < told + TELL_MS);
        if is_early || self.untold.iter().all(|dropped| dropped.total() == 0) {
            return;
        }
        let [normal, anomalous] = std::mem::take(&mut self.untold);
        self.told_ms = Some(monotonic_ms);
        tracing::warn!(
            normal_room = normal.room,
            normal_age = normal.age,
            normal_damage = normal.damage,
            anomalous_room = anomalous.room,
            anomalous_age = anomalous.age,
            anomalous_damage = anomalous.damage,
            "the spool dropped entries that were not sent: raise its bounds or mend the connection"
        );
    }
}
