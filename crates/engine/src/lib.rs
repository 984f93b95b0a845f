//! wasmtime and wasmi narrowed to what a detector module needs.
//!
//! [`Engine::load`] takes verified bytes only and refuses whatever could do more than compute. It
//! compiles them, or interprets them in builds without a compiler: the bits are the same.
//! [`Engine::load_precompiled`] does it without a compiler, from an artefact that a native key
//! signed.
//! [`Scorer`] runs batches under a memory limit and a deadline; states are the caller's, a module
//! sees only those of the batch, and a failed call changes none of them. An instance that failed is
//! never used again.
//!
//! This crate knows nothing of events, entities' names, files or signatures. Unsafe code is in
//! `native.rs` only.

mod batch;
#[cfg(feature = "artefacts")]
mod clock;
mod code;
#[cfg(feature = "artefacts")]
mod compiled;
mod error;
mod inspect;
#[cfg(feature = "interpreter")]
mod interpreted;
mod limits;
mod load;
mod module;
#[cfg(feature = "artefacts")]
mod native;
mod precompiled;
mod scorer;
#[cfg(feature = "artefacts")]
mod settings;
#[cfg(feature = "interpreter")]
mod start_section;

pub use batch::Batch;
pub use error::{ArtefactError, CallError, LoadError, Reason};
pub use inspect::{InspectError, manifest};
pub use limits::Limits;
pub use load::{Engine, Strategy};
pub use module::Module;
pub use precompiled::Precompiled;
pub use scorer::{Budget, Scorer};

#[cfg(not(any(feature = "artefacts", feature = "interpreter")))]
compile_error!(
    "an engine needs something that runs modules: choose `compiler`, `interpreter` or `artefacts` \
     of twinge-engine's features"
);

const _: () = assert!(cfg!(target_endian = "little"), "batches are copied as they lie in memory");
