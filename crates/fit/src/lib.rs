//! From historical data to a module: read, fit, calibrate, link.
//!
//! ```text
//! read -> table -> plan -> prepare (scales, channels, features) -> assess (parts, calibrate) -> link
//! ```
//! The same data, configuration and seed give the same bytes on every platform, wasm32 included:
//! random numbers come from one named generator, sums have one order, and nothing here asks for the
//! time, the platform or the number of cores. This crate knows nothing of signatures, registries
//! and engines, and does no I/O beyond the reader it is given.
#![forbid(unsafe_code)]

pub mod assess;
pub mod calibrate;
pub mod cells;
pub mod channels;
pub mod components;
pub mod config;
pub mod error;
pub mod evaluate;
pub mod extended;
pub mod features;
pub mod fitted;
pub mod forest;
pub mod histogram;
pub mod infer;
pub mod linear;
pub mod link;
pub mod mahalanobis;
pub mod means;
pub mod mixture;
pub mod neighbours;
pub mod parts;
pub mod plan;
pub mod prepare;
pub mod random;
pub mod read;
pub mod reference;
pub mod scale;
pub mod surprise;
pub mod table;
pub mod tails;
pub mod train;
pub mod trim;
pub mod view;

pub use config::{Config, ConfigError, ValidConfig};
pub use error::TrainError;
pub use table::Table;
pub use train::{Progress, Trained, train, train_after};
