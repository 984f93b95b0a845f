//! Why a module cannot be run, or compiled.

use std::io;
use std::path::PathBuf;
#[cfg(feature = "compiler")]
use std::time::Duration;
use thiserror::Error;
use twinge_contract::time::to_rfc3339;
use twinge_engine::LoadError;
use twinge_registry::file::FileError;
use twinge_registry::{Refusal, RegistryError, StoreError};
use twinge_trust::{Digest, TrustError};

/// Why a module cannot be run.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// The file.
    #[error("module file is not usable")]
    File(#[from] FileError),
    /// The engine refuses it.
    #[error("module {digest} is refused")]
    Load {
        /// The module.
        digest: Digest,
        /// Why.
        #[source]
        source: LoadError,
    },
    /// It is too much to compile here.
    #[cfg(feature = "compiler")]
    #[error("module {digest} is refused, for it cannot be compiled within bounds")]
    Compile {
        /// The module.
        digest: Digest,
        /// What was too much.
        #[source]
        source: CompileError,
    },
    /// The cache.
    #[error("module cache is not usable")]
    Cache(#[from] StoreError),
    /// A signature.
    #[error("module {digest} in the cache is not trusted")]
    Trust {
        /// The module.
        digest: Digest,
        /// Why.
        #[source]
        source: TrustError,
    },
    /// Not there.
    #[error(
        "module {0}, which the checkpoint names, is neither in the cache nor in the registry: put it back, or remove the checkpoint"
    )]
    Missing(Digest),
    /// The registry.
    #[error("registry cannot be read")]
    Registry(#[from] RegistryError),
    /// A channel that may not be followed; what runs goes on.
    #[error("channel is refused, and what runs goes on")]
    Refused(#[source] Refusal),
    /// No such channel, or one without a champion.
    #[error(
        "channel `{channel}` of detector `{detector}` has no champion: publish a module and promote it"
    )]
    NoChampion {
        /// The detector.
        detector: String,
        /// The channel.
        channel: String,
    },
    /// A module of another detector.
    #[error(
        "channel of detector `{wanted}` points at a module of `{found}`: publish a module of `{wanted}`"
    )]
    OtherDetector {
        /// The channel's detector.
        wanted: String,
        /// The module's.
        found: String,
    },
    /// A module with a schema that the sources here do not fill.
    #[error(
        "module {digest} wants the field `{field}`, which the sources here do not have: publish one that fits, or correct --fields"
    )]
    OtherSchema {
        /// The module.
        digest: Digest,
        /// The first field that is missing.
        field: String,
    },
    /// A channel that nobody renewed.
    #[error(
        "document {serial} of the channel expired at {expires} and no newer one is to be had, so what runs goes on: renew the channel, or look whether somebody keeps it away"
    )]
    Frozen {
        /// The serial of the document.
        serial: u64,
        /// When it expired.
        expires: String,
    },
    /// A root of trust that nobody renewed.
    #[error(
        "root of trust {version} expired at {}: nothing new is believed until `trainer trust renew` has made another",
        to_rfc3339(*.expires_ms)
    )]
    RootExpired {
        /// Its version.
        version: u64,
        /// When it expired.
        expires_ms: i64,
    },
    /// What was seen of channel or root cannot be kept.
    #[error("cannot keep or read back what was seen in {path}")]
    View {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why the process that compiles has given no code.
#[cfg(feature = "compiler")]
#[derive(Debug, Error)]
pub enum CompileError {
    /// It cannot be started, or spoken with.
    #[error("compiling in a process of its own: it cannot be started or was cut off")]
    Process {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It said no.
    #[error("compiling in a process of its own ended with {status}")]
    Refused {
        /// How it ended.
        status: String,
    },
    /// It took too long.
    #[error(
        "compiling took more than {time_max:?}; train a smaller module, or have it compiled \
             elsewhere and allow its artefact with --allow-native"
    )]
    Late {
        /// How long it may take.
        time_max: Duration,
    },
    /// The system ended it, most likely for what it took of memory or time.
    #[error(
        "compiling was ended by the system with {status}, as it does where memory runs out; \
             train a smaller module, or have it compiled elsewhere and allow its artefact with \
             --allow-native"
    )]
    Killed {
        /// How it ended.
        status: String,
    },
}

#[cfg(feature = "compiler")]
impl CompileError {
    /// Whether this program would do no better with the same work.
    pub(crate) fn is_beyond_bounds(&self) -> bool {
        matches!(self, Self::Late { .. } | Self::Killed { .. })
    }
}

impl ModuleError {
    /// Whether it is trouble with a disk or a network, so that the module may be had later.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Cache(error) | Self::Registry(RegistryError::Store(error))
                if matches!(
                    error,
                    StoreError::Io { .. }
                        | StoreError::Unanswered { .. }
                        | StoreError::Locked { .. }
                        | StoreError::Changed { .. }
                )
        )
    }
}
