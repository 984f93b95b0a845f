//! AMQP 1.0 as bytes: values, frames and the sections of a message. Pure: knows no socket, no
//! session and nothing of hubs.
//!
//! It is written here and not taken from fe2o3-amqp because the broker must write trailing null
//! fields (Python's client counts on them), must not drop transfers that arrive early, and must
//! bound depth and size of what it reads.

mod code;
pub(crate) mod error;
mod fields;
pub(crate) mod frame;
pub(crate) mod message;
pub(crate) mod performative;
pub(crate) mod sasl;
pub(crate) mod value;
