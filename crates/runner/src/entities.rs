//! The states of entities, bounded in number; the least recently seen, by event order, makes room.

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;

const NONE: u32 = u32::MAX;

/// A bounded table from entity to state.
///
/// Every admission counts one event; the order of admissions is the order of eviction, so the same
/// events leave the same table whatever batches they came in.
#[derive(Debug)]
pub struct EntityTable {
    state_bytes: usize,
    capacity: usize,
    hasher: DefaultHashBuilder,
    places: HashTable<u32>,
    entries: Vec<Entry>,
    states: Vec<u8>,
    newest: u32,
    oldest: u32,
    events: u64,
    evicted: u64,
    changes: Changes,
}

#[derive(Debug)]
struct Entry {
    key: Box<str>,
    last_seen: u64,
    newer: u32,
    older: u32,
    dirty: bool,
}

/// What happened since the last snapshot.
#[derive(Debug, Default)]
struct Changes {
    dirty: Vec<u32>,
    removed: Vec<Box<str>>,
}

/// Where an admitted entity is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Its place, until it is evicted.
    pub place: u32,
    /// Whether it was not in the table before: its state is all zeros.
    pub is_new: bool,
}

/// A table or what changed in it, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitySnapshot {
    /// Whether it stands alone; otherwise it goes on top of the snapshot before it.
    pub is_full: bool,
    /// Events admitted so far.
    pub events: u64,
    /// Entities evicted so far.
    pub evicted: u64,
    /// Entities gone since the snapshot before.
    pub removed: Vec<String>,
    /// Entities new or changed: key, number of its latest event, state.
    pub entries: Vec<(String, u64, Vec<u8>)>,
}

impl EntityTable {
    /// A table of at most `capacity` entities with `state_bytes` each.
    pub fn new(state_bytes: usize, capacity: u32) -> Self {
        Self {
            state_bytes,
            capacity: capacity.clamp(1, NONE - 1) as usize,
            hasher: DefaultHashBuilder::default(),
            places: HashTable::new(),
            entries: Vec::new(),
            states: Vec::new(),
            newest: NONE,
            oldest: NONE,
            events: 0,
            evicted: 0,
            changes: Changes::default(),
        }
    }

    /// Counts an event of `key` and makes it the most recently seen.
    pub fn admit(&mut self, key: &str) -> Admission {
        self.events += 1;
        let hash = self.hasher.hash_one(key);
        let known =
            self.places.find(hash, |place| &*self.entries[*place as usize].key == key).copied();
        let (place, is_new) = match known {
            Some(place) => {
                self.unlink(place);
                (place, false)
            }
            None => (self.insert(key, hash), true),
        };
        self.link_newest(place);
        let entry = &mut self.entries[place as usize];
        entry.last_seen = self.events;
        if !entry.dirty {
            entry.dirty = true;
            self.changes.dirty.push(place);
        }
        Admission { place, is_new }
    }

    /// The state at a place.
    pub fn state(&self, place: u32) -> &[u8] {
        let start = place as usize * self.state_bytes;
        &self.states[start..start + self.state_bytes]
    }

    /// Replaces the state at a place that was admitted since the last snapshot.
    pub fn set_state(&mut self, place: u32, state: &[u8]) {
        let start = place as usize * self.state_bytes;
        self.states[start..start + self.state_bytes].copy_from_slice(state);
    }

    /// Number of entities.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Entities evicted so far.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Everything, or what changed since the last snapshot, which is then forgotten.
    pub fn snapshot(&mut self, is_full: bool) -> EntitySnapshot {
        let changes = std::mem::take(&mut self.changes);
        for place in &changes.dirty {
            self.entries[*place as usize].dirty = false;
        }
        let places: Vec<u32> =
            if is_full { (0..self.entries.len() as u32).collect() } else { changes.dirty };
        let entry = |place: &u32| {
            let entry = &self.entries[*place as usize];
            (entry.key.to_string(), entry.last_seen, self.state(*place).to_vec())
        };
        EntitySnapshot {
            is_full,
            events: self.events,
            evicted: self.evicted,
            removed: if is_full {
                vec![]
            } else {
                changes.removed.iter().map(ToString::to_string).collect()
            },
            entries: places.iter().map(entry).collect(),
        }
    }

    /// The table that a full snapshot and those after it describe; `None` when they do not fit
    /// together or the state size.
    pub fn restore(
        state_bytes: usize,
        capacity: u32,
        snapshots: &[EntitySnapshot],
    ) -> Option<Self> {
        let (first, last) = (snapshots.first()?, snapshots.last()?);
        if !first.is_full || snapshots[1..].iter().any(|snapshot| snapshot.is_full) {
            return None;
        }
        let mut entries = std::collections::BTreeMap::new();
        for snapshot in snapshots {
            for key in &snapshot.removed {
                entries.remove(key.as_str());
            }
            for (key, last_seen, state) in &snapshot.entries {
                entries.insert(key.as_str(), (*last_seen, state));
            }
        }
        let mut by_age: Vec<_> =
            entries.into_iter().map(|(key, (last_seen, state))| (last_seen, key, state)).collect();
        by_age.sort_unstable();
        let mut table = Self::new(state_bytes, capacity);
        for (last_seen, key, state) in by_age {
            if state.len() != state_bytes || table.entries.len() == table.capacity {
                return None;
            }
            let place = table.admit(key).place;
            table.entries[place as usize].last_seen = last_seen;
            table.set_state(place, state);
        }
        table.snapshot(false);
        (table.events, table.evicted) = (last.events, last.evicted);
        Some(table)
    }

    fn insert(&mut self, key: &str, hash: u64) -> u32 {
        let place = if self.entries.len() < self.capacity {
            let place = self.entries.len() as u32;
            self.entries.push(Entry {
                key: key.into(),
                last_seen: 0,
                newer: NONE,
                older: NONE,
                dirty: false,
            });
            self.states.resize(self.states.len() + self.state_bytes, 0);
            place
        } else {
            self.evict_oldest(key)
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.places
            .insert_unique(hash, place, |place| hasher.hash_one(&*entries[*place as usize].key));
        place
    }

    /// Gives the place of the least recently seen entity to `key`, with a state of zeros.
    fn evict_oldest(&mut self, key: &str) -> u32 {
        let place = self.oldest;
        self.unlink(place);
        let gone = std::mem::replace(&mut self.entries[place as usize].key, key.into());
        let hash = self.hasher.hash_one(&*gone);
        // Its place is found by number: the entry has its new key already.
        if let Ok(found) = self.places.find_entry(hash, |other| *other == place) {
            found.remove();
        }
        self.changes.removed.push(gone);
        self.evicted += 1;
        let start = place as usize * self.state_bytes;
        self.states[start..start + self.state_bytes].fill(0);
        place
    }

    fn unlink(&mut self, place: u32) {
        let Entry { newer, older, .. } = self.entries[place as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, place: u32) {
        let second = self.newest;
        let entry = &mut self.entries[place as usize];
        (entry.newer, entry.older) = (NONE, second);
        match second {
            NONE => self.oldest = place,
            second => self.entries[second as usize].newer = place,
        }
        self.newest = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The slow, obvious table: a list in order of last use.
    #[derive(Default)]
    struct Obvious {
        entries: Vec<(String, Vec<u8>)>,
        evicted: u64,
    }

    impl Obvious {
        fn admit(&mut self, key: &str, capacity: usize) -> bool {
            let known = self.entries.iter().position(|(other, _)| other == key);
            let entry = match known {
                Some(place) => self.entries.remove(place),
                None => (key.to_owned(), vec![0; 2]),
            };
            if known.is_none() && self.entries.len() == capacity {
                self.entries.remove(0);
                self.evicted += 1;
            }
            self.entries.push(entry);
            known.is_none()
        }
    }

    fn contents(table: &EntityTable) -> Vec<(String, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut place = table.oldest;
        while place != NONE {
            entries
                .push((table.entries[place as usize].key.to_string(), table.state(place).to_vec()));
            place = table.entries[place as usize].newer;
        }
        entries
    }

    proptest! {
        #[test]
        fn the_table_equals_the_obvious_one_also_after_snapshots(
            keys in proptest::collection::vec(0u8..12, 1..200),
            capacity in 1u32..9,
            snapshot_at in proptest::collection::vec(0usize..200, 0..6),
        ) {
            let mut table = EntityTable::new(2, capacity);
            let mut obvious = Obvious::default();
            let mut snapshots = vec![table.snapshot(true)];
            for (step, key) in keys.iter().enumerate() {
                let key = format!("k{key}");
                let admission = table.admit(&key);
                prop_assert_eq!(admission.is_new, obvious.admit(&key, capacity as usize));
                let state = [step as u8, 7];
                table.set_state(admission.place, &state);
                obvious.entries.last_mut().unwrap().1 = state.to_vec();
                if snapshot_at.contains(&step) {
                    snapshots.push(table.snapshot(false));
                }
            }
            prop_assert_eq!(contents(&table), obvious.entries);
            prop_assert_eq!(table.evicted(), obvious.evicted);
            snapshots.push(table.snapshot(false));
            let restored = EntityTable::restore(2, capacity, &snapshots).unwrap();
            prop_assert_eq!(contents(&restored), contents(&table));
            prop_assert_eq!((restored.events, restored.evicted), (table.events, table.evicted));
        }
    }
}
