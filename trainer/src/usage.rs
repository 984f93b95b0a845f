//! What the user asked for and cannot be. The exit code for it is told in main.rs.

use thiserror::Error;

/// Something the user asked for that cannot be.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);
