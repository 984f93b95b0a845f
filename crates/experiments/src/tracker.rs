//! The contract of a place where runs and model versions are kept.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use twinge_registry::{Name, StoreError};

use crate::{Run, RunError, RunId};

/// Largest file of a run, in bytes: no module is larger.
pub const ARTIFACT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most runs that one call answers with.
pub const RUNS_MAX: usize = 1000;

/// A place that keeps runs and the versions of a detector's modules.
///
/// Every operation finds its own work done when it is run again, so that whoever got no answer may
/// ask again.
#[async_trait]
pub trait Tracker: Send + Sync + fmt::Debug {
    /// Keeps a run with its files, whose paths and sizes stand in the run. What is told back are
    /// notes on what the place could not keep.
    async fn record(&self, run: &Run, files: &[File]) -> Result<Vec<String>, TrackError>;

    /// A detector's newest runs, newest first, at most `most` and [`RUNS_MAX`]; each with its
    /// metrics' last steps, and without its files.
    async fn runs(&self, detector: &Name, most: usize) -> Result<Vec<Run>, TrackError>;

    /// A run in full, or nothing.
    async fn run(&self, detector: &Name, id: &RunId) -> Result<Option<Run>, TrackError>;

    /// The bytes of a run's file, or nothing.
    async fn file(
        &self,
        detector: &Name,
        id: &RunId,
        path: &str,
    ) -> Result<Option<Vec<u8>>, TrackError>;

    /// Registers a module as a version of the detector's model; the number of the version, which is
    /// the old one if it has one already.
    async fn register(
        &self,
        detector: &Name,
        registration: &Registration,
    ) -> Result<u64, TrackError>;

    /// Has an alias point at the version of a module, or at none.
    async fn set_alias(
        &self,
        detector: &Name,
        alias: &Alias,
        module_digest: Option<&str>,
    ) -> Result<(), TrackError>;

    /// A detector's versions and aliases, or nothing.
    async fn model(&self, detector: &Name) -> Result<Option<Model>, TrackError>;

    /// Where it is, for people; no secret.
    fn place(&self) -> String;
}

/// A file to be kept with a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path within the run.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A module to be registered as a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// SHA-256 of the module, in hexadecimal.
    pub module_digest: String,
    /// The version in its maker's words.
    pub version: String,
    /// The run that it came of, where that is known.
    pub run: Option<RunId>,
    /// The time now, in milliseconds since 1970.
    pub now_ms: i64,
}

/// A detector's versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// By number, ascending.
    pub versions: Vec<ModelVersion>,
    /// The number that each alias points at.
    pub aliases: BTreeMap<Alias, u64>,
}

/// A version of a detector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelVersion {
    /// 1, 2, 3 and so on.
    pub number: u64,
    /// SHA-256 of the module, in hexadecimal.
    pub module_digest: String,
    /// The version in its maker's words.
    pub version: String,
    /// The run that it came of, where that is known.
    pub run: Option<RunId>,
}

/// What a version is to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliasRole {
    /// Its verdicts count.
    Champion,
    /// It runs beside the champion.
    Challenger,
}

/// A name that points at a version: `champion` and `challenger` for the channel `stable`, and with
/// the channel behind it for others, such as `champion-canary`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Alias(String);

impl Alias {
    /// The alias of a role on a channel.
    pub fn new(role: AliasRole, channel: &Name) -> Self {
        let role = match role {
            AliasRole::Champion => "champion",
            AliasRole::Challenger => "challenger",
        };
        match channel.as_str() {
            "stable" => Self(role.to_owned()),
            other => Self(format!("{role}-{other}")),
        }
    }

    /// The alias as a tracker told it.
    pub(crate) fn found(text: String) -> Self {
        Self(text)
    }

    /// The alias as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl Model {
    /// The version of a module.
    pub fn version_of(&self, module_digest: &str) -> Option<&ModelVersion> {
        self.versions.iter().find(|version| version.module_digest == module_digest)
    }

    /// The version that an alias points at.
    pub fn at(&self, alias: &Alias) -> Option<&ModelVersion> {
        let number = self.aliases.get(alias)?;
        self.versions.iter().find(|version| version.number == *number)
    }

    /// The aliases of a version, sorted.
    pub fn aliases_of(&self, number: u64) -> Vec<&str> {
        let points = self.aliases.iter().filter(|(_, at)| **at == number);
        points.map(|(alias, _)| alias.as_str()).collect()
    }
}

/// Why a tracker did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// The run cannot be kept anywhere.
    #[error("the run cannot be kept")]
    Run(#[from] RunError),
    /// A run's list of files and the files differ.
    #[error("keep run {id}: its list of files is not what was given, {path} is wrong")]
    Files {
        /// The run.
        id: RunId,
        /// The first file that differs.
        path: String,
    },
    /// A file is too large.
    #[error("keep file {path}: {bytes} bytes are more than the {ARTIFACT_BYTES_MAX} allowed")]
    FileTooLarge {
        /// The file.
        path: String,
        /// Its size.
        bytes: usize,
    },
    /// The store of the registry failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What lies in the registry is not readable.
    #[error("read {path}: it is no record of an experiment; move it away")]
    Malformed {
        /// The object.
        path: String,
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// Two runs have one id.
    #[error("keep {path}: something else is there already; take another run id")]
    Taken {
        /// The object.
        path: String,
    },
    /// Others kept writing first.
    #[error("write {path}: others wrote first {attempts} times; try again later")]
    Contended {
        /// The object.
        path: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// An alias cannot point at a module that is no version.
    #[error("point an alias at {module_digest}: it is no version of {detector}; register it first")]
    NoVersion {
        /// The detector.
        detector: Name,
        /// The module.
        module_digest: String,
    },
    /// A client of HTTP cannot be made.
    #[error("make a client of {place}: {reason}")]
    Client {
        /// The server.
        place: String,
        /// Why.
        reason: String,
    },
    /// The server did not answer, also when it was asked again.
    #[error("{action} at {place}: no answer after {attempts} tries; see that the server runs")]
    Away {
        /// What was being done.
        action: String,
        /// The server.
        place: String,
        /// How often it was tried.
        attempts: u32,
        /// What came instead.
        #[source]
        source: reqwest::Error,
    },
    /// The server said no.
    #[error("{action} at {place}: it answers {status}{reason}{hint}")]
    Refused {
        /// What was being done.
        action: String,
        /// The server.
        place: String,
        /// Its status.
        status: u16,
        /// What it says, in brackets.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// The server answered with something else than MLflow does.
    #[error("{action} at {place}: the answer is not MLflow's ({reason}); check the address")]
    Garbage {
        /// What was being done.
        action: String,
        /// The server.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whether the files are those that the run lists, and none too large.
pub(crate) fn check_files(run: &Run, files: &[File]) -> Result<(), TrackError> {
    run.check()?;
    let wrong = |path: &str| TrackError::Files { id: run.id.clone(), path: path.to_owned() };
    for file in files {
        if file.bytes.len() > ARTIFACT_BYTES_MAX {
            let (path, bytes) = (file.path.clone(), file.bytes.len());
            return Err(TrackError::FileTooLarge { path, bytes });
        }
    }
    for (listed, file) in run.artifacts.iter().zip(files) {
        if listed.path != file.path || listed.bytes != file.bytes.len() as u64 {
            return Err(wrong(&file.path));
        }
    }
    if run.artifacts.len() == files.len() { Ok(()) } else { Err(wrong("one of them")) }
}
