//! Errors as peers tell them to each other: a condition and a description. Does not know which
//! scope an error ends.

use super::value::Value;

/// Conditions from the specification and those that Event Hubs adds.
pub(crate) mod condition {
    pub(crate) const DECODE_ERROR: &str = "amqp:decode-error";
    pub(crate) const FRAMING_ERROR: &str = "amqp:connection:framing-error";
    pub(crate) const CONNECTION_FORCED: &str = "amqp:connection:forced";
    pub(crate) const HANDLE_IN_USE: &str = "amqp:session:handle-in-use";
    pub(crate) const UNATTACHED_HANDLE: &str = "amqp:session:unattached-handle";
    pub(crate) const INTERNAL_ERROR: &str = "amqp:internal-error";
    pub(crate) const INVALID_FIELD: &str = "amqp:invalid-field";
    pub(crate) const MESSAGE_SIZE_EXCEEDED: &str = "amqp:link:message-size-exceeded";
    pub(crate) const NOT_ALLOWED: &str = "amqp:not-allowed";
    pub(crate) const NOT_FOUND: &str = "amqp:not-found";
    pub(crate) const OUT_OF_RANGE: &str = "com.microsoft:argument-out-of-range";
    pub(crate) const RESOURCE_LIMIT: &str = "amqp:resource-limit-exceeded";
    pub(crate) const SERVER_BUSY: &str = "com.microsoft:server-busy";
    pub(crate) const STOLEN: &str = "amqp:link:stolen";
    pub(crate) const TRANSFER_LIMIT: &str = "amqp:link:transfer-limit-exceeded";
    pub(crate) const UNAUTHORIZED: &str = "amqp:unauthorized-access";
}

const ERROR: u64 = 0x1d;

/// What a peer is told about the end of a link, a session, a connection or a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AmqpError {
    pub(crate) condition: String,
    pub(crate) description: String,
}

impl AmqpError {
    pub(crate) fn new(condition: &str, description: impl Into<String>) -> Self {
        Self { condition: condition.to_owned(), description: description.into() }
    }

    /// All three fields are written: Python's client indexes the third.
    pub(crate) fn to_value(&self) -> Value {
        let condition = Value::Symbol(self.condition.clone());
        let description = Value::String(self.description.clone());
        Value::described(ERROR, Value::List(vec![condition, description, Value::Null]))
    }

    /// The error that a peer sent; nothing when it is none.
    pub(crate) fn from_value(value: Value) -> Option<Self> {
        let Value::Described(_, list) = value else { return None };
        let Value::List(fields) = *list else { return None };
        let mut texts = fields.into_iter().map(Value::into_text);
        let condition = texts.next().flatten()?;
        let description = texts.next().flatten().unwrap_or_default();
        Some(Self { condition, description })
    }
}
