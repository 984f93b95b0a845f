//! From verified bytes to a module that may be run.

use crate::code::Code;
#[cfg(feature = "artefacts")]
use crate::compiled::Runtime;
use crate::error::LoadError;
use crate::inspect::manifest;
#[cfg(feature = "interpreter")]
use crate::interpreted::Interpreter;
use crate::limits::Limits;
use crate::module::Module;
use crate::scorer::Scorer;
use std::sync::Arc;
use twinge_contract::abi;
use twinge_contract::manifest::Manifest;
use twinge_trust::{Digest, VerifiedModule};

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
