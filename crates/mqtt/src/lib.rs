//! MQTT 3.1.1 and 5 as a sender and a receiver that acknowledges by hand.
//!
//! [`connect`] gives three parts: a [`Publisher`] that answers when the broker has taken a
//! message, [`Messages`] whose receipts are handed back once a message is safe, and a [`Driver`]
//! that holds the connection: it connects, subscribes, keeps alive, and after a break connects
//! again, with growing pauses. Sessions are persistent, so what the broker took while this
//! client was away is delivered later. The caller never sees which protocol version runs.
//!
//! The packets' encoding is rumqttc's. Its event loop is not used: that one sends each
//! acknowledgement in a system call of its own, has no way to stop reading while it goes on
//! with keep-alives, and disconnects for ever on a packet that is too large.
//!
//! This crate does not know what a payload means: no events, no JSON, no journal.
#![forbid(unsafe_code)]

mod backoff;
mod driver;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod inbox;
pub mod iothub;
mod link;
mod outgoing;
mod publisher;
mod pulse;
mod session;
mod settings;
mod status;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls;
mod wire;

pub use driver::{Driver, connect, connect_with};
pub use inbox::{Acknowledger, Message, Messages, QoS, Receipt};
pub use outgoing::{Options, Outgoing};
pub use publisher::{PublishError, Publisher};
pub use settings::{Password, PasswordError, Passwords, Secret, Settings, SettingsError, Version};
pub use status::{Counts, Monitor, Refusal, Status};
pub use tokio_util::bytes::Bytes;
