//! What an event must contain for a detector to score it.

use crate::abi::FIELDS_MAX;
use crate::time::TimeFormat;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The fields that a detector reads from an event. What it does not name is ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// Field whose value names the entity; without one, all events belong to a single entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// Field that holds the event time; without one, every event is taken as of time zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// How the time is written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub time_format: TimeFormat,
    /// Fields that hold numbers, in the order of the module's inputs.
    #[serde(default)]
    pub numeric: Vec<String>,
    /// Fields that hold categories, following the numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categorical: Vec<String>,
    /// Field that holds a label (1, true or any kind of anomaly against 0, false, normal or
    /// empty): used in training and evaluation, never by the detector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// The entity of events whose schema names no entity field.
pub const SINGLE_ENTITY: &str = "all";

impl Schema {
    /// Number of input fields of a row.
    pub fn width(&self) -> usize {
        self.numeric.len() + self.categorical.len()
    }

    /// Names of the input fields, in the order of a row.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.numeric.iter().chain(&self.categorical).map(String::as_str)
    }

    /// Whether input `index` holds a category.
    pub fn is_categorical(&self, index: usize) -> bool {
        index >= self.numeric.len()
    }

    /// Refuses a schema without inputs, with too many, or with a name in two places.
    pub fn check(&self) -> Result<(), SchemaError> {
        if self.width() == 0 {
            return Err(SchemaError::NoFields);
        }
        if self.width() > FIELDS_MAX as usize {
            return Err(SchemaError::TooManyFields(self.width()));
        }
        let mut seen = std::collections::BTreeSet::new();
        let special = [&self.entity, &self.time, &self.label].into_iter().flatten();
        for name in special.map(String::as_str).chain(self.fields()) {
            if name.is_empty() {
                return Err(SchemaError::EmptyName);
            }
            if !seen.insert(name) {
                return Err(SchemaError::NamedTwice(name.to_owned()));
            }
        }
        Ok(())
    }
}

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// Neither numbers nor categories.
    #[error("schema names no input: give at least one field under `numeric` or `categorical`")]
    NoFields,
    /// More inputs than a module can have.
    #[error("schema names {0} inputs, and a module has at most {FIELDS_MAX}: drop some")]
    TooManyFields(usize),
    /// A field with an empty name.
    #[error("schema names a field with an empty name: remove it or name it")]
    EmptyName,
    /// A field has two roles.
    #[error(
        "schema names field `{0}` twice: a field has one role among entity, time, label and inputs"
    )]
    NamedTwice(String),
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_default(format: &TimeFormat) -> bool {
    *format == TimeFormat::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_with_a_name_in_two_places_is_refused() {
        let schema = Schema {
            entity: Some("a".into()),
            numeric: vec!["b".into(), "a".into()],
            ..Schema::default()
        };
        assert_eq!(schema.check(), Err(SchemaError::NamedTwice("a".into())));
        assert_eq!(Schema::default().check(), Err(SchemaError::NoFields));
    }
}
