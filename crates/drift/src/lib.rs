//! Drift: whether what comes in, and what is said of it, still looks as it did in training.
//!
//! [`training`] makes a reference of the rows that a module was trained on, and a [`Baseline`] is that
//! reference ready to compare with. A [`Sketch`] counts a live stream by the reference's bins,
//! forgets, and can be added to others; a [`DriftWatch`] keeps one for each baseline and
//! [decides](watch) when something has drifted. How often chance alone does so was measured:
//! tests/measured.rs and docs/drift.md.
//!
//! It knows nothing of clocks, files, modules or networks: times and offsets come with the events.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod chance;
mod compare;
pub mod measure;
mod packed;
pub mod phase;
mod settings;
pub mod sketch;
mod state;
pub mod stride;
mod told;
pub mod training;
pub mod watch;

pub use baseline::{Baseline, BaselineError};
pub use measure::{FieldMeasures, Measure};
pub use settings::{DriftSettings, SettingsError};
pub use sketch::Sketch;
pub use stride::Stride;
pub use told::{Against, Change, Drifting, Evaluation, Mark, Observation, Subject};
pub use watch::DriftWatch;
