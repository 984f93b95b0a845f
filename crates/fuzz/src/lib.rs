//! Hostile bytes for every reader that faces them: events, settings, modules, checkpoints, signed
//! documents, files of journals and spools, frames of AMQP and MQTT, Parquet, CSV and NDJSON.
//!
//! [`TARGETS`] is the table. A target is a function of bytes that calls the real code and asserts what
//! must hold, such as that what was read is read again as it was written, or that two ways of reading
//! agree. [`Corpus`] holds small real inputs for each; a [`Mutator`] makes others of them, the same
//! ones for the same seed; [`run`](driver::run) feeds them to a target, with a bound on
//! the memory that it takes ([`alloc`]) and on its time, and writes down the input that breaks it.
//!
//! This crate knows nothing of coverage: `libfuzzer/` beside it drives the same targets by it, where
//! there is a nightly toolchain.

pub mod alloc;
mod corpus;
pub mod driver;
mod mutator;
pub mod seeds;
mod targets;

pub use corpus::Corpus;
pub use mutator::Mutator;
pub use targets::{TARGETS, Target};

/// Runs the target of a name on an input, for drivers that are told the name when they are built.
///
/// # Panics
/// Where something does not hold, and where there is no such target.
pub fn run_target(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("the name is one of the table's").run)(input);
}
