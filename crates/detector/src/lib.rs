//! The detector as pure maths: from an input row and an entity's state to a score and a new state.
//!
//! A row goes through [`pipeline`] (inputs to features, with the entity's past), [`forest`] (features
//! to a raw score, together with [`tails`]) and [`calibration`] (raw score to a score whose threshold is 1); an anomalous row
//! through [`attribution`] too. [`model`] is how all their parameters lie in memory, and
//! [`detector`] runs a batch.
//!
//! The same code runs in training, in tests and, compiled to WebAssembly, everywhere else. It knows
//! nothing but numbers: no clock, no randomness, no I/O, no allocation while scoring, no JSON. All
//! its functions beyond arithmetic and square roots come from `libm`, and every sum has one order,
//! so the bits are the same on every platform and in every batch.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "encode")]
extern crate alloc;

pub mod attribution;
pub mod calibration;
pub mod detector;
pub mod forest;
pub mod model;
pub mod pipeline;
pub mod tails;

pub use detector::{Batch, BatchError, Detector};
pub use model::{Model, ModelError};
