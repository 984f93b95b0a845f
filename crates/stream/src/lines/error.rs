//! Why a file cannot be read.

use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why a file cannot be read.
#[derive(Debug, Error)]
pub enum LinesError {
    /// It cannot be opened or read.
    #[error("cannot {action} {path}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is shorter than the checkpoint says.
    #[error(
        "{path} has {bytes} bytes and the checkpoint lies at {position}: it was cut; put the whole file back or remove the checkpoint"
    )]
    Cut {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The checkpoint's position.
        position: u64,
    },
    /// No position is large enough for it.
    #[error("{0} has more than a terabyte: let it be rotated earlier")]
    TooLong(PathBuf),
    /// The ledger of a followed file cannot be understood.
    #[error(
        "{0} is damaged or of another version: put it back, or remove it together with the checkpoints to begin anew"
    )]
    Ledger(PathBuf),
    /// The ledger does not know the file that a checkpoint lies in.
    #[error(
        "the checkpoint lies in generation {number} of {path}, which {ledger} does not know: put that back, or remove the checkpoints to begin anew"
    )]
    Unknown {
        /// The file that is followed.
        path: PathBuf,
        /// Where its generations are told.
        ledger: PathBuf,
        /// The one that is not.
        number: u64,
    },
}
