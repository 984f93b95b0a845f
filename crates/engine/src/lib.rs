//! wasmtime narrowed to what a detector module needs.
//!
//! [`Engine::load`] takes verified bytes only and refuses whatever could do more than compute.
//! [`Engine::load_precompiled`] does the same without a compiler, from an artefact that a native
//! key signed; it is all that a build without the feature `compiler` can run.
//! [`Scorer`] runs batches under a memory limit and a deadline; states are the caller's, a module
//! sees only those of the batch, and a failed call changes none of them. An instance that failed is
//! never used again.
//!
//! This crate knows nothing of events, entities' names, files or signatures. Unsafe code is in
//! `native.rs` only.

mod batch;
mod inspect;
mod load;
mod native;
mod precompiled;
mod scorer;
mod settings;

pub use batch::Batch;
pub use inspect::{InspectError, manifest};
pub use load::{Engine, Limits, LoadError, Module};
pub use precompiled::{ArtefactError, Precompiled};
pub use scorer::{Budget, CallError, Scorer};

const _: () = assert!(cfg!(target_endian = "little"), "batches are copied as they lie in memory");
