//! A broker for one machine that speaks what Azure Event Hubs speaks: AMQP 1.0 with SASL, tokens
//! put to `$cbs`, properties from `$management`, batches, partition keys, start positions and
//! epochs; and, where it is asked to, HTTP for senders. Events are kept on disk and survive SIGKILL.
//!
//! The official clients take it for Event Hubs. It has no TLS and so serves loopback addresses
//! alone. It does not know what events hold, nor anything of the rest of the project but the
//! journal and the seams to the machine.
//!
//! ```
//! use std::sync::Arc;
//! use tokio_util::sync::CancellationToken;
//! use twinge_eventhubs_local::{Broker, HubSettings, Settings};
//! use twinge_platform::{RealDisk, SystemClock};
//!
//! let directory = tempfile::tempdir()?;
//! let hub = HubSettings { name: "events".to_owned(), partitions: 4 };
//! let settings = Settings::new(directory.path(), vec![hub]);
//! let broker = Broker::open(settings, Arc::new(RealDisk), Arc::new(SystemClock::new()))?;
//! assert!(broker.connection_string().starts_with("Endpoint=sb://127.0.0.1:"));
//! let stop = CancellationToken::new();
//! stop.cancel();
//! tokio::runtime::Runtime::new()?.block_on(broker.run(stop))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod address;
mod amqp;
mod bounds;
mod broker;
mod connection;
mod context;
mod directory;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod http_event;
mod hub;
mod incoming;
mod log;
mod mailbox;
mod nodes;
mod outgoing;
mod partition_key;
mod reader;
mod record;
mod sas;
mod selector;
mod serve;
mod session;
mod settings;

pub use broker::Broker;
pub use error::BrokerError;
pub use reader::{KeptEvent, ReadError, Reader};
pub use settings::{HubSettings, Settings};
