//! What was trained, how it was judged, and where that is written down.
//!
//! ```text
//! run -> tracker (an MLflow server, or experiments/ of the registry)
//! scored rows of champion and challenger -> judge (gates) -> report (HTML, Markdown, plots)
//! ```
//! [`Tracker`] is the contract, [`Folder`] its backend in a registry's store, and [`Mlflow`] the one
//! over MLflow's REST API. [`judge`] and [`plot`] are numbers in, decisions and drawings out;
//! [`Lease`] keeps two that retrain from running at once.
//!
//! This crate reads no clock and no environment by itself, trains nothing, runs no module and signs
//! nothing.
#![forbid(unsafe_code)]

mod folder;
pub mod judge;
mod lease;
mod mlflow;
pub mod plot;
pub mod report;
mod run;
mod tracker;

pub use folder::Folder;
pub use lease::{LEASE_MS_MAX, Lease, LeaseError, Owner, SKEW_MS_MAX};
pub use mlflow::{Mlflow, MlflowSettings, RetrySettings, SettingsError};
pub use run::{
    Artifact, Lineage, METRICS_MAX, Metric, Run, RunError, RunId, Status, TEXT_CHARS_MAX,
};
pub use tracker::{
    ARTIFACT_BYTES_MAX, Alias, AliasRole, File, Model, ModelVersion, RUNS_MAX, Registration,
    TrackError, Tracker,
};
