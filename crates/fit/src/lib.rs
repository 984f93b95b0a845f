//! From historical data to a module: read, fit, calibrate, link.
//!
//! ```text
//! read -> table -> (scales, features) -> forest, tails -> calibrate -> link -> module
//! ```
//! The same data, configuration and seed give the same bytes on every platform, wasm32 included:
//! random numbers come from one named generator, sums have one order, and nothing here asks for the
//! time, the platform or the number of cores. This crate knows nothing of signatures, registries
//! and engines, and does no I/O beyond the reader it is given.
#![forbid(unsafe_code)]

pub mod calibrate;
pub mod config;
pub mod evaluate;
pub mod features;
pub mod forest;
pub mod infer;
pub mod link;
pub mod random;
pub mod read;
pub mod reference;
pub mod scale;
pub mod table;
pub mod tails;
pub mod train;

pub use config::{Config, ConfigError, ValidConfig};
pub use table::Table;
pub use train::{Progress, TrainError, Trained, train};
