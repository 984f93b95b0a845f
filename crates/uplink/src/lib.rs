//! Ways to a cloud, and the draining of a backlog into one.
//!
//! An [`Uplink`] takes batches of CloudEvents: Event Hubs over HTTPS, `IoT Hub` and other brokers over
//! MQTT, or any server over HTTP. A [`Drain`] sends what a [`Backlog`] holds through one, in order
//! and at least once: duplicates have the same `id`. What it does while the cloud is away, refuses
//! a record or comes back is told in `drain.rs`.
//!
//! This crate does not know what the events tell, nor who made them.
//!
//! ```
//! use twinge_uplink::{Kind, Settings};
//!
//! let url = Some("http://127.0.0.1:9/events".to_owned());
//! let uplink = Settings { url, ..Settings::new(Kind::Http) }.open("gateway-1")?;
//! assert_eq!(uplink.limits().entries_max, 1_000);
//! # Ok::<(), twinge_uplink::SettingsError>(())
//! ```
#![forbid(unsafe_code)]

mod backlog;
mod drain;
mod event;
mod eventhubs;
mod http;
mod http_date;
mod mqtt;
mod pace;
mod parts;
mod pause;
mod request;
mod sas;
mod secret;
mod settings;
mod spool;
mod status;
mod topic;
mod uplink;

pub use backlog::{Backlog, BacklogError, Bell, Refusals, Waiting};
pub use drain::{Drain, DrainSettings};
pub use eventhubs::PartitionKey;
pub use http::Format;
pub use settings::{Kind, Settings, SettingsError};
pub use status::{Figures, Status};
pub use twinge_mqtt::Version as MqttVersion;
pub use uplink::{Limits, Outgoing, Uplink, UplinkError};
