//! The fields of a composite, one after the other. Does not know of which.

use super::error::AmqpError;
use super::value::{DecodeError, Value};

type Result<T> = std::result::Result<T, DecodeError>;

/// The fields of a composite in order; those left out are null.
pub(super) struct Fields(pub(super) std::vec::IntoIter<Value>);

impl Fields {
    pub(super) fn parse(value: Value) -> Result<(u64, Self)> {
        let descriptor = value.descriptor().ok_or(DecodeError::Field("descriptor"))?;
        match value {
            Value::Described(_, list) => match *list {
                Value::List(fields) => Ok((descriptor, Self(fields.into_iter()))),
                _ => Err(DecodeError::Field("fields")),
            },
            _ => Err(DecodeError::Field("descriptor")),
        }
    }

    pub(super) fn next(&mut self) -> Value {
        self.0.next().unwrap_or(Value::Null)
    }

    pub(super) fn uint(&mut self, name: &'static str) -> Result<Option<u32>> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Uint(number) => Ok(Some(number)),
            Value::Ushort(number) => Ok(Some(number.into())),
            _ => Err(DecodeError::Field(name)),
        }
    }

    pub(super) fn required(&mut self, name: &'static str) -> Result<u32> {
        self.uint(name)?.ok_or(DecodeError::Field(name))
    }

    pub(super) fn ushort(&mut self, name: &'static str) -> Result<Option<u16>> {
        let number = self.uint(name)?;
        number.map(|number| u16::try_from(number).or(Err(DecodeError::Field(name)))).transpose()
    }

    pub(super) fn ulong(&mut self, name: &'static str) -> Result<Option<u64>> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Ulong(number) => Ok(Some(number)),
            _ => Err(DecodeError::Field(name)),
        }
    }

    pub(super) fn ubyte(&mut self, name: &'static str) -> Result<Option<u8>> {
        match self.next() {
            Value::Null => Ok(None),
            Value::Ubyte(number) => Ok(Some(number)),
            _ => Err(DecodeError::Field(name)),
        }
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool> {
        match self.next() {
            Value::Null => Ok(false),
            Value::Bool(flag) => Ok(flag),
            _ => Err(DecodeError::Field(name)),
        }
    }

    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        match self.next() {
            Value::Null => Ok(None),
            value => value.into_text().map(Some).ok_or(DecodeError::Field(name)),
        }
    }

    pub(super) fn map(&mut self, name: &'static str) -> Result<Vec<(Value, Value)>> {
        match self.next() {
            Value::Null => Ok(Vec::new()),
            Value::Map(pairs) => Ok(pairs),
            _ => Err(DecodeError::Field(name)),
        }
    }

    pub(super) fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }
}

pub(super) fn optional<T>(field: Option<T>, wrap: impl FnOnce(T) -> Value) -> Value {
    field.map_or(Value::Null, wrap)
}

pub(super) fn error_field(error: Option<AmqpError>) -> Value {
    error.map_or(Value::Null, |error| error.to_value())
}
