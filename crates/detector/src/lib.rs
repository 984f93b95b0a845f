//! The detector as pure maths: from an input row and an entity's state to a score and a new state.
//!
//! ```text
//! inputs -> pipeline -> features -> views -> parts -> fusion -> calibration -> alarms -> score
//!             ^  |
//!   tracker, channel: the entity's state
//! ```
//! [`pipeline`] turns a row into features with the entity's past ([`tracker`], [`channel`]). Each
//! [`part`] is a detector with a raw score of its own: [`forest`], [`extended`], [`neighbours`],
//! [`cells`], [`mixture`], [`mahalanobis`], [`components`], [`histogram`], [`tails`]. Curves turn these into
//! surprises, which are fused, calibrated so that the threshold is 1, and told once an episode. An
//! anomalous row is explained by [`attribution`]. [`model`] is how all their parameters lie in
//! memory, and [`detector`] runs a batch.
//!
//! The same code runs in training, in tests and, compiled to WebAssembly, everywhere else. It knows
//! nothing but numbers: no clock, no randomness, no I/O, no allocation while scoring, no JSON. All
//! its functions beyond arithmetic come from `libm`, and every sum has one order, so the bits are
//! the same on every platform and in every batch.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "encode")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod alarms;
pub mod attribution;
pub mod calibration;
pub mod cells;
pub mod channel;
pub mod components;
pub mod curve;
pub mod detector;
pub mod extended;
pub mod feature;
pub mod forest;
pub mod histogram;
pub mod inputs;
pub mod lanes;
pub mod mahalanobis;
pub mod mixture;
pub mod model;
pub mod neighbours;
pub mod part;
pub mod pipeline;
mod scaling;
mod sections;
mod steps;
pub mod tails;
pub mod tracker;
pub mod view;

pub use detector::{Batch, BatchError, Detector};
pub use model::Model;
pub use sections::ModelError;
