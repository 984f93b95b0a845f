//! wasmtime narrowed to what a detector module needs.
//!
//! [`Engine::load`] takes verified bytes only and refuses whatever could do more than compute.
//! [`Scorer`] runs batches under a memory limit and a deadline; states are the caller's, a module
//! sees only those of the batch, and a failed call changes none of them. An instance that failed is
//! never used again.
//!
//! This crate knows nothing of events, entities' names, files or signatures.
#![forbid(unsafe_code)]

mod batch;
mod inspect;
mod load;
mod scorer;

pub use batch::Batch;
pub use inspect::{InspectError, manifest};
pub use load::{Engine, Limits, LoadError, Module};
pub use scorer::{Budget, CallError, Scorer};

const _: () = assert!(cfg!(target_endian = "little"), "batches are copied as they lie in memory");
