//! What is counted on the way through the rows of a dataset. Where they come from is not known here.

use super::quality::Watch;
use super::statistics::{Categories, FieldsOfRows, Numbers, Statistics};
use crate::columns::{Fields, Row};
use std::collections::{BTreeMap, BTreeSet};

/// Entities that are told apart at most.
const ENTITIES_MAX: usize = 1_000_000;

/// What is counted on the way through the rows.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) entities: BTreeSet<[u8; 16]>,
    pub(super) fields: Vec<FieldsOfRows>,
    pub(super) numbers: BTreeMap<String, Numbers>,
    pub(super) categories: BTreeMap<String, Categories>,
    pub(super) watch: Watch,
}

impl Tally {
    pub(super) fn add(&mut self, fields: &Fields, row: &Row) {
        self.watch.add(row);
        if row.verdict == "dead-letter" {
            return;
        }
        self.rows += 1;
        if let Some(entity) = &row.entity
            && self.entities.len() < ENTITIES_MAX
        {
            self.entities.insert(twinge_contract::verdict::identity_hash(&[entity.as_bytes()]));
        }
        match self.fields.iter_mut().find(|known| known.fields == *fields) {
            Some(known) => known.rows += 1,
            None => self.fields.push(FieldsOfRows { fields: fields.clone(), rows: 1 }),
        }
        for (name, value) in fields.numeric.iter().zip(&row.numbers) {
            entry(&mut self.numbers, name).add(*value);
        }
        for (name, value) in fields.categorical.iter().zip(&row.categories) {
            entry(&mut self.categories, name).add(value.as_deref());
        }
    }

    pub(super) fn statistics(&self) -> BTreeMap<String, Statistics> {
        let numbers = self.numbers.iter().map(|(name, field)| (name.clone(), field.statistics()));
        let categories =
            self.categories.iter().map(|(name, field)| (name.clone(), field.statistics()));
        numbers.chain(categories).collect()
    }
}

/// The value of a name, without a copy of the name for each row.
fn entry<'m, V: Default>(map: &'m mut BTreeMap<String, V>, name: &str) -> &'m mut V {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), V::default());
    }
    map.get_mut(name).expect("it was put there")
}
