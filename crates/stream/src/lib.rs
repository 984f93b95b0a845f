//! Between the world and a runner: sources, sinks, and the pump that moves events from one to the
//! other and takes checkpoints. The cloud host and the edge agent are both this, configured.
//!
//! ```text
//! http, stdin -> journal \                     / verdicts
//!           file, tail ----> pump -> runners ->  dead letters
//!                             ^         |
//!                        modules    checkpoints
//! ```
//! It knows nothing of configuration files, command lines, registries' channels or training.
#![forbid(unsafe_code)]

pub mod http;
pub mod intake;
pub mod lines;
pub mod logging;
pub mod metrics;
pub mod modules;
pub mod pump;
pub mod shutdown;
pub mod sink;
pub mod source;

pub use intake::Intake;
pub use metrics::Metrics;
pub use pump::{Offer, Pump, PumpError, Settings};
pub use source::{Delivery, Source, SourceError};
