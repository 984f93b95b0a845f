//! Which partition each entity was seen in: one that is in two has two states, and each knows half.

use hashbrown::{DefaultHashBuilder, HashMap};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, PoisonError};

/// Entities remembered; beyond them, new ones are not looked at.
const ENTITIES_MAX: usize = 1 << 20;

/// Which partition each entity was seen in; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sightings(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    hasher: DefaultHashBuilder,
    /// Hash of an entity to the number of its partition. Two entities with one hash may hide each
    /// other; that is no harm to a warning.
    partitions: HashMap<u64, u32>,
    names: Vec<String>,
}

impl Sightings {
    /// Notes entities of a partition, and answers with how many of them were in another before,
    /// and one of those with that other partition.
    pub fn note<'a>(
        &self,
        partition: &str,
        entities: impl Iterator<Item = &'a str>,
    ) -> Option<(usize, &'a str, String)> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = seen.number(partition);
        let mut moved: Option<(usize, &str, u32)> = None;
        for entity in entities {
            let hash = seen.hasher.hash_one(entity);
            let before = match seen.partitions.get(&hash) {
                None if seen.partitions.len() == ENTITIES_MAX => continue,
                _ => seen.partitions.insert(hash, here),
            };
            if let Some(before) = before.filter(|before| *before != here) {
                let (count, ..) = moved.unwrap_or_default();
                moved = Some((count + 1, entity, before));
            }
        }
        moved.map(|(count, entity, before)| (count, entity, seen.names[before as usize].clone()))
    }
}

impl Seen {
    fn number(&mut self, partition: &str) -> u32 {
        let known = self.names.iter().position(|name| name == partition);
        let place = known.unwrap_or_else(|| {
            self.names.push(partition.to_owned());
            self.names.len() - 1
        });
        place as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_in_two_partitions_is_noticed() {
        let sightings = Sightings::default();
        assert_eq!(sightings.note("0", ["a", "b"].into_iter()), None);
        assert_eq!(sightings.note("0", ["a", "b"].into_iter()), None);
        assert_eq!(sightings.note("1", ["c", "a"].into_iter()), Some((1, "a", "0".into())));
    }
}
