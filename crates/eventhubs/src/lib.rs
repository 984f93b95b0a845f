//! Azure Event Hubs through its SDK, made to survive what the SDK does not.
//!
//! [`Namespace`] says where and as whom; [`Producer`] and [`Receiver`] work on a hub. Both drive the
//! SDK on threads of their own ([`Drivers`]), each with a single-threaded runtime: on several threads
//! the AMQP library below it loses wake-ups. Every call has a deadline, and behind every deadline is a
//! new connection after a bounded, jittered pause.
//!
//! This crate knows nothing of detectors, checkpoints and ownership, and not whether it talks to
//! Azure or to a broker on this machine.
#![forbid(unsafe_code)]

mod client;
mod credential;
mod driver;
mod error;
mod namespace;
mod partition_key;
mod pause;
mod producer;
mod receiver;

pub use client::{HubProperties, PartitionProperties, properties};
pub use credential::Identity;
pub use driver::Drivers;
pub use error::HubError;
pub use namespace::{Namespace, NamespaceError};
pub use partition_key::partition_of;
pub use producer::{Producer, RECORD_BYTES_MAX, Record, Room, Ticket};
pub use receiver::{Position, ReceivedEvent, Receiver, ReceiverSettings};
