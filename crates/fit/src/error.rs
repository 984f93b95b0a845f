//! Why nothing could be trained.

use crate::config::ConfigError;
use crate::link::LinkError;
use crate::parts::PartError;
use thiserror::Error;
use twinge_detector::ModelError;

/// Fewest rows that a detector is fitted to.
pub const ROWS_MIN: usize = 32;

/// Why nothing could be trained.
#[derive(Debug, Error)]
pub enum TrainError {
    /// Fewer rows than needed.
    #[error(
        "data has {rows} usable rows for {purpose}, and {needed} are needed: give more data{hint}"
    )]
    TooFewRows {
        /// Rows there are.
        rows: usize,
        /// What for.
        purpose: &'static str,
        /// Rows needed.
        needed: usize,
        /// What else helps.
        hint: &'static str,
    },
    /// Nothing varies.
    #[error(
        "all rows are alike in every input: there is nothing to learn from; give data in which something varies"
    )]
    AllAlike,
    /// Two category texts cannot be told apart.
    #[error(
        "column `{column}`: categories `{first}` and `{second}` have the same code: rename one"
    )]
    CategoryClash {
        /// The column.
        column: String,
        /// One text.
        first: String,
        /// Another.
        second: String,
    },
    /// Training was cancelled by its caller.
    #[error("training was cancelled")]
    Cancelled,
    /// The configuration does not fit the data.
    #[error("configuration does not fit the data")]
    Config(#[from] ConfigError),
    /// A detector cannot be fitted.
    #[error("detector cannot be fitted")]
    Part(#[source] PartError),
    /// Our own fault.
    #[error("model that was just made is not readable")]
    Model(#[from] ModelError),
    /// Our own fault.
    #[error("module cannot be linked")]
    Link(#[from] LinkError),
}

impl From<PartError> for TrainError {
    fn from(error: PartError) -> Self {
        match error {
            PartError::Cancelled => Self::Cancelled,
            error => Self::Part(error),
        }
    }
}

pub(crate) fn too_few(
    rows: usize,
    purpose: &'static str,
    needed: usize,
    hint: &'static str,
) -> TrainError {
    TrainError::TooFewRows { rows, purpose, needed, hint }
}
