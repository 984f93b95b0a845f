//! What can be wrong with a lake.

use thiserror::Error;
use twinge_registry::StoreError;

/// Why the lake cannot be read or written.
#[derive(Debug, Error)]
pub enum LakeError {
    /// The store failed.
    #[error("lake's store failed")]
    Store(#[from] StoreError),
    /// A file is no Parquet file, or not one of ours.
    #[error(
        "lake's file {path} cannot be read: restore it, or remove it together with its entry under _manifest"
    )]
    File {
        /// Where it lies.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A listed file is gone.
    #[error("lake's file {0} is listed and not there: restore it, or expire its day")]
    Gone(String),
    /// A listed file is not what was listed.
    #[error("lake's file {path} has digest {found} and was listed with {listed}: restore it")]
    Altered {
        /// Where it lies.
        path: String,
        /// What it was.
        listed: String,
        /// What it is.
        found: String,
    },
    /// Rows cannot be made into a file.
    #[error("rows cannot be written as Parquet")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A date is not one.
    #[error("`{0}` is no date: write it as 2026-01-31")]
    Date(String),
}

impl LakeError {
    pub(crate) fn encode(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Encode(error.into())
    }

    pub(crate) fn file(
        path: &str,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::File { path: path.to_owned(), source: error.into() }
    }
}
