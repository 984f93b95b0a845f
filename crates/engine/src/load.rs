//! From verified bytes to a module that may be run.

use crate::code::Code;
#[cfg(feature = "artefacts")]
use crate::compiled::Runtime;
use crate::inspect::{InspectError, manifest};
#[cfg(feature = "interpreter")]
use crate::interpreted::Interpreter;
use crate::precompiled::ArtefactError;
use crate::scorer::{CallError, Scorer};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use twinge_contract::abi;
use twinge_contract::manifest::Manifest;
use twinge_trust::{Digest, VerifiedModule};

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

/// How an engine runs the modules that [`Engine::load`] gives it. Digest, manifest, state and scores
/// are the same either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Compiles them; needs the feature `compiler`.
    Compile,
    /// Interprets them; needs the feature `interpreter`.
    Interpret,
}

impl Default for Strategy {
    /// The compiler where one is built in, else the interpreter.
    fn default() -> Self {
        if cfg!(feature = "compiler") || !cfg!(feature = "interpreter") {
            Self::Compile
        } else {
            Self::Interpret
        }
    }
}

/// What loads modules and holds them to limits; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    limits: Limits,
    strategy: Strategy,
    #[cfg(feature = "artefacts")]
    pub(crate) runtime: Runtime,
    #[cfg(feature = "interpreter")]
    interpreter: Interpreter,
}

/// A module that may be run, with its manifest; cheap to clone.
#[derive(Clone, Debug)]
pub struct Module {
    limits: Limits,
    code: Arc<dyn Code>,
    manifest: Arc<Manifest>,
    digest: Digest,
}

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

impl Engine {
    /// An engine that holds every module to `limits`.
    pub fn new(limits: Limits) -> Result<Self, LoadError> {
        Self::with_strategy(limits, Strategy::default())
    }

    /// The same, with a word on how modules are run.
    pub fn with_strategy(limits: Limits, strategy: Strategy) -> Result<Self, LoadError> {
        let engine = Self {
            limits,
            strategy,
            #[cfg(feature = "artefacts")]
            runtime: Runtime::default(),
            #[cfg(feature = "interpreter")]
            interpreter: Interpreter::new(&limits),
        };
        // One that interprets starts the other only when it is given an artefact, if ever.
        #[cfg(feature = "artefacts")]
        if strategy == Strategy::Compile {
            engine.runtime.engine()?;
        }
        Ok(engine)
    }

    /// Compiles or translates a module and checks that it is one that may be run: no imports, the
    /// exports of the interface, and a first call that answers as the manifest says.
    pub fn load(&self, verified: &VerifiedModule) -> Result<Module, LoadError> {
        let manifest = self.inspect(verified)?;
        let code = match self.strategy {
            Strategy::Compile => self.compile(verified.bytes())?,
            Strategy::Interpret => self.interpret(verified.bytes())?,
        };
        self.admit(code, manifest, verified.digest())
    }

    /// What is known of a module before anything is compiled.
    pub(crate) fn inspect(&self, verified: &VerifiedModule) -> Result<Arc<Manifest>, LoadError> {
        let (bytes, bytes_max) = (verified.bytes().len(), self.limits.module_bytes_max);
        if bytes > bytes_max {
            return Err(LoadError::TooLarge { bytes, bytes_max });
        }
        Ok(Arc::new(manifest(verified.bytes())?))
    }

    #[cfg(feature = "compiler")]
    fn compile(&self, module: &[u8]) -> Result<Arc<dyn Code>, LoadError> {
        Ok(Arc::new(self.runtime.compile(module)?))
    }

    #[cfg(not(feature = "compiler"))]
    fn compile(&self, _: &[u8]) -> Result<Arc<dyn Code>, LoadError> {
        Err(LoadError::NoCompiler { target: self.identity().target })
    }

    #[cfg(feature = "interpreter")]
    fn interpret(&self, module: &[u8]) -> Result<Arc<dyn Code>, LoadError> {
        Ok(Arc::new(self.interpreter.translate(module)?))
    }

    #[cfg(not(feature = "interpreter"))]
    #[expect(clippy::unused_self, reason = "the shape it has with an interpreter")]
    fn interpret(&self, _: &[u8]) -> Result<Arc<dyn Code>, LoadError> {
        Err(LoadError::NoInterpreter)
    }

    /// Code becomes a module by checks that look at the code and run it once.
    pub(crate) fn admit(
        &self,
        code: Arc<dyn Code>,
        manifest: Arc<Manifest>,
        digest: Digest,
    ) -> Result<Module, LoadError> {
        if let Some(import) = code.import() {
            return Err(LoadError::Import(import));
        }
        check_exports(&*code)?;
        let module = Module { limits: self.limits, code, manifest, digest };
        Scorer::new(&module).start()?;
        Ok(module)
    }
}

impl Module {
    /// What the module tells about itself.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// SHA-256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn code(&self) -> &dyn Code {
        &*self.code
    }
}

fn check_exports(code: &dyn Code) -> Result<(), LoadError> {
    if !code.has_memory(abi::MEMORY) {
        return Err(LoadError::Export(abi::MEMORY));
    }
    for (name, parameters) in [(abi::ABI, 0), (abi::PREPARE, 2), (abi::SCORE, 3)] {
        if !code.has_function(name, parameters) {
            return Err(LoadError::Export(name));
        }
    }
    Ok(())
}
