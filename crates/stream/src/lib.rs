//! Between the world and a runner: sources, sinks, and the pump that moves events from one to the
//! other and takes checkpoints. The cloud host and the edge agent are both this, configured.
//!
//! ```text
//! http, stdin -> journal \                     / verdicts, dead letters
//!           file, tail ----> pump -> runners ->  silences, drifts
//!                             ^         |       \ outlets: what a program adds
//!                        modules    checkpoints
//! ```
//! [`settings`] and [`assembly`] put it together. It knows nothing of training, of publishing and of
//! what a single program adds.
#![forbid(unsafe_code)]

mod answer;
pub mod assembly;
mod bounds;
mod chain;
pub mod detectors;
pub mod device;
pub mod document;
pub mod door;
pub mod drift;
mod error;
mod extension;
pub mod follower;
pub mod http;
pub mod inference;
pub mod intake;
pub mod labels;
pub mod lane;
pub mod lines;
pub mod logging;
pub mod metrics;
mod module_error;
pub mod modules;
pub mod outlet;
pub mod outputs;
#[cfg(feature = "compiler")]
pub mod own_code;
mod pacer;
pub mod partitions;
mod patience;
mod plan;
pub mod program;
pub mod pump;
mod pumps;
mod report;
mod reporter;
pub mod rights;
pub mod settings;
pub mod shutdown;
pub mod sightings;
pub mod silence;
pub mod sink;
pub mod source;
mod stdin;
pub mod trust;
pub mod works;

pub use intake::{Incoming, Intake, IntakeError};
pub use metrics::Metrics;
pub use pump::{Pump, PumpError, Settings};
pub use source::{Delivery, Source, SourceError, Start};
