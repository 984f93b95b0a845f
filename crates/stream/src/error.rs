//! Why a program cannot start or had to stop.

use crate::device::DeviceError;
use crate::labels::LabelsError;
use crate::lines::LinesError;
use crate::module_error::ModuleError;
#[cfg(feature = "adls")]
use crate::rights::DeskError;
use crate::rights::RightsError;
use crate::sink::SinkError;
use crate::source::SourceError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;
use twinge_engine::LoadError;
use twinge_journal::JournalError;
use twinge_registry::{LocationError, StoreError};
use twinge_runner::CheckpointError;

/// Why a program cannot start or had to stop.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each is said by its message")]
pub enum AssemblyError {
    #[error("state directory {path} cannot be used")]
    State {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "state directory {0} is in use by another process: give each program a directory of its own"
    )]
    InUse(PathBuf),
    #[error("WebAssembly engine cannot start")]
    Engine(#[from] LoadError),
    #[error("module cannot be used")]
    Module(#[from] ModuleError),
    #[error("registry cannot be used")]
    Registry(#[from] LocationError),
    #[error("rights on the registry cannot be asked for")]
    Rights(#[from] RightsError),
    #[cfg(feature = "adls")]
    #[error("devices cannot be given rights")]
    Desk(#[from] DeskError),
    #[error("device cannot say who it is")]
    Device(#[from] DeviceError),
    #[error("state cannot be stored")]
    Store(#[from] StoreError),
    #[error("checkpoint cannot be used")]
    Checkpoint(#[from] CheckpointError),
    #[error("journal cannot be used")]
    Journal(#[from] JournalError),
    #[error("input cannot be read")]
    Lines(#[from] LinesError),
    #[error("output cannot be written")]
    Sink(#[from] SinkError),
    #[error("cannot listen on {address}: choose a free port with {flag}")]
    Listen {
        address: SocketAddr,
        flag: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("labels cannot be kept")]
    Labels(#[from] LabelsError),
    #[error("HTTP service failed")]
    Http(#[source] io::Error),
    #[error("two detectors are called `{0}`: give each a name of its own")]
    SameName(String),
    #[error("two outputs go to {0}: give each detector files of its own")]
    SameOutput(String),
    #[error("events stopped")]
    Pump(#[from] PumpError),
    #[error("what the program brings along cannot be used")]
    Extension(#[source] ExtensionError),
    #[error("this program has no Event Hubs: use the cloud host")]
    NoHub,
    #[error("Event Hubs cannot be used")]
    Hub(#[source] ExtensionError),
}

/// Why a pump stopped before its source ended.
#[derive(Debug, Error)]
pub enum PumpError {
    /// The source failed.
    #[error("source failed")]
    Source(#[from] SourceError),
    /// A sink failed for too long. Nothing is lost: what was not written is scored again.
    #[error(
        "records of detector `{detector}` could not be written for {tried:?}; events after the last checkpoint are scored again at the next start"
    )]
    Sink {
        /// The detector.
        detector: String,
        /// How long it was tried.
        tried: Duration,
        /// Why.
        #[source]
        source: SinkError,
    },
    /// What came before a detector's beginning cannot be had.
    #[error("a detector cannot be warmed up by events from before")]
    Warm(#[source] ExtensionError),
    /// A checkpoint could not be taken.
    #[error("checkpoint could not be taken")]
    Checkpoint(#[from] CheckpointError),
    /// It was told to stop while something could not be written.
    #[error(
        "stopped while records or a checkpoint could not be written ({0}); events after the last checkpoint are scored again at the next start"
    )]
    Stopped(String),
}

/// Why a program's extension does not work; its message says what to do.
pub type ExtensionError = Box<dyn std::error::Error + Send + Sync>;
