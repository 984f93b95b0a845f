//! The seam between calls and what runs them: all that a scorer asks of code, compiled or
//! interpreted. Nothing here knows which of the two it is.

use crate::error::CallError;
use crate::limits::Limits;
use std::fmt::Debug;
use std::time::Duration;

/// Tables that an instance may have.
pub(crate) const TABLES_MAX: usize = 4;

/// Elements that each of them may have.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 10_000;

/// A module's code, ready to make instances.
pub(crate) trait Code: Debug + Send + Sync {
    /// The first import, if there is one, as `module.name`.
    fn import(&self) -> Option<String>;

    /// Whether the export `name` is a memory of 32-bit addresses that no threads share.
    fn has_memory(&self, name: &str) -> bool;

    /// Whether the export `name` is a function of so many `i32` that returns one `i32`.
    fn has_function(&self, name: &str, parameters: usize) -> bool;

    /// Makes an instance of code that has the exports of the interface, and runs its start
    /// function within `time`.
    fn start(&self, limits: &Limits, time: Duration) -> Result<Box<dyn Instance>, CallError>;
}

/// An instance with the exports of docs/abi.md. After an error it is not to be used again.
pub(crate) trait Instance: Send + Sync {
    /// Gives all calls until this is called again `time` together, from now on.
    fn set_deadline(&mut self, time: Duration);

    /// Calls `twinge_abi`.
    fn version(&mut self) -> Result<i32, CallError>;

    /// Calls `twinge_prepare`.
    fn prepare(&mut self, rows: u32, states: u32) -> Result<u32, CallError>;

    /// Calls `twinge_score`.
    fn score(&mut self, rows: u32, states: u32, flags: u32) -> Result<i32, CallError>;

    /// All of its memory.
    fn memory(&self) -> &[u8];

    /// The same, to be written.
    fn memory_mut(&mut self) -> &mut [u8];
}
