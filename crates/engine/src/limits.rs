//! Bounds on what a module may use. Who holds it to them is not known here.

use std::time::Duration;

/// Bounds on what a module may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance.
    pub memory_bytes_max: usize,
    /// Size of a module's file.
    pub module_bytes_max: usize,
    /// Time a call may take before it is stopped.
    pub deadline: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 256 << 20,
            module_bytes_max: 32 << 20,
            deadline: Duration::from_secs(1),
        }
    }
}
