//! Why a module is refused, a call fails, or an artefact is of no use.

use crate::inspect::InspectError;
use thiserror::Error;
use twinge_contract::abi;
use twinge_trust::Digest;

/// What an engine says of a failure, with its causes.
pub type Reason = Box<dyn std::error::Error + Send + Sync>;

/// Why a module is refused.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The engine itself cannot start.
    #[error("WebAssembly engine cannot start on this machine")]
    Engine(#[source] Reason),
    /// A file beyond the bound.
    #[error("module has {bytes} bytes: at most {bytes_max} are accepted")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// No usable manifest.
    #[error("module cannot be inspected")]
    Inspect(#[from] InspectError),
    /// Not valid, or with a feature that is switched off.
    #[error("module does not compile")]
    Compile(#[source] Reason),
    /// A build without a compiler was given a module alone.
    #[error(
        "program has no compiler: give it an artefact precompiled for {target}, or run a build \
         with the feature `compiler` or `interpreter` of its engine"
    )]
    NoCompiler {
        /// This machine's target.
        target: String,
    },
    /// A build without an interpreter was told to interpret.
    #[error(
        "program has no interpreter: let it compile modules, or run a build with the feature \
         `interpreter` of its engine"
    )]
    NoInterpreter,
    /// A precompiled artefact is not made or not run.
    #[error("precompiled artefact is of no use")]
    Artefact(#[from] ArtefactError),
    /// A module that could reach outside.
    #[error(
        "module imports `{0}`: a detector imports nothing, so that it can compute and do nothing else"
    )]
    Import(String),
    /// An export of the interface is missing or of another type.
    #[error("module's export `{0}` is missing or not as docs/abi.md says")]
    Export(&'static str),
    /// It says another version than its manifest.
    #[error("module answers interface version {0}, and this program speaks {version}", version = abi::VERSION)]
    Abi(i32),
    /// It does not start, or not within its limits.
    #[error("module does not start")]
    Start(#[from] CallError),
}

/// Why a call gave no verdicts. No state has changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The module stopped by itself.
    #[error("module trapped: {0}")]
    Trap(String),
    /// The module was stopped.
    #[error("module took longer than its deadline")]
    Deadline,
    /// The module has no room for the batch.
    #[error("module has no room for {rows} rows and {states} states")]
    Room {
        /// Rows asked for.
        rows: usize,
        /// States asked for.
        states: usize,
    },
    /// The module answered with an error code.
    #[error("module answered error {0} of docs/abi.md")]
    Code(i32),
    /// Addresses outside memory, or sizes that contradict the manifest.
    #[error("module placed its batch wrongly: {0}")]
    Layout(&'static str),
    /// A verdict that is none, or a score or contribution that is not finite.
    #[error("module answered row {0} with what is no verdict")]
    Verdict(usize),
}

/// Why an artefact is not made or not run. What was tried is still to be had by running the module
/// itself, where there is a compiler.
#[derive(Debug, Error)]
pub enum ArtefactError {
    /// A target that nobody precompiles for.
    #[error(
        "nothing is precompiled for `{0}`: give x86_64-unknown-linux-gnu, \
         aarch64-unknown-linux-gnu or armv7-unknown-linux-gnueabihf; other machines compile the \
         module themselves"
    )]
    UnknownTarget(String),
    /// This build compiles for its own machine only.
    #[error(
        "this program has no compiler for {0}: build it with the feature `cross` of its engine"
    )]
    NoCompilerFor(String),
    /// The compiler did not do it.
    #[error("module does not compile for {target}")]
    Compile {
        /// The target.
        target: String,
        /// Why.
        #[source]
        source: Reason,
    },
    /// This build interprets modules only.
    #[error(
        "this program interprets modules and runs no artefacts: give it the module alone, or run a \
         build with the feature `artefacts` of its engine"
    )]
    NoRuntime,
    /// It belongs to another module.
    #[error(
        "artefact was compiled from module {found}, not {wanted}: fetch the one of that module"
    )]
    OtherModule {
        /// The module to be run.
        wanted: Digest,
        /// The module that was compiled.
        found: Digest,
    },
    /// It was compiled for another kind of machine.
    #[error(
        "artefact is for {found}, and this machine is {wanted}: fetch the one for this target, or \
         make it with `trainer precompile --target {wanted}`"
    )]
    OtherTarget {
        /// This machine's target.
        wanted: String,
        /// The artefact's.
        found: String,
    },
    /// It was compiled by another version of the engine.
    #[error(
        "artefact was made by {found}, and this program has {wanted}: run `trainer precompile` of \
         this program's release"
    )]
    OtherVersion {
        /// This engine's version.
        wanted: String,
        /// The artefact's.
        found: String,
    },
    /// It was compiled with other settings or for other CPU features.
    #[error(
        "artefact was made with engine settings {found}, and this program has {wanted}: run \
         `trainer precompile` of this program's release"
    )]
    OtherSettings {
        /// The digest of this engine's settings.
        wanted: Digest,
        /// The artefact's.
        found: Digest,
    },
    /// It is not machine code of a module at all.
    #[error(
        "artefact is no precompiled module, although it is signed: make it anew with `trainer \
         precompile`, and look at what else that key has signed"
    )]
    NotCode,
    /// Its code is not for this engine or this CPU.
    #[error(
        "artefact does not fit this engine or this CPU: run the module itself, or update the \
         program and make the artefact anew"
    )]
    Refused(#[source] Reason),
}
