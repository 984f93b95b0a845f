//! From verified bytes to a module that may be run.

use crate::inspect::{InspectError, manifest};
use crate::precompiled::ArtefactError;
use crate::scorer::{CallError, Scorer};
use crate::settings;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use thiserror::Error;
use twinge_contract::abi;
use twinge_contract::manifest::Manifest;
use twinge_trust::{Digest, VerifiedModule};
use wasmtime::{ExternType, ValType};

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

/// How often the clock that deadlines are measured by advances.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// A compiler and its clock; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(crate) inner: wasmtime::Engine,
    pub(crate) limits: Limits,
}

/// A compiled module with its manifest; cheap to clone.
#[derive(Clone, Debug)]
pub struct Module {
    pub(crate) engine: Engine,
    pub(crate) compiled: wasmtime::Module,
    manifest: Arc<Manifest>,
    digest: Digest,
}

/// Why a module is refused.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The engine itself cannot start.
    #[error("WebAssembly engine cannot start on this machine")]
    Engine(#[source] wasmtime::Error),
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
    Compile(#[source] wasmtime::Error),
    /// A build without a compiler was given a module alone.
    #[error(
        "program has no compiler: give it an artefact precompiled for {target}, or run a build \
         with the feature `compiler`"
    )]
    NoCompiler {
        /// This machine's target.
        target: String,
    },
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
        let inner = wasmtime::Engine::new(&settings::config()).map_err(LoadError::Engine)?;
        start_clock(&inner);
        Ok(Self { inner, limits })
    }

    /// Compiles a module and checks that it is one that may be run: no imports, the exports of the
    /// interface, and a first call that answers as the manifest says.
    pub fn load(&self, verified: &VerifiedModule) -> Result<Module, LoadError> {
        let manifest = self.inspect(verified)?;
        let compiled = self.compile(verified)?;
        self.admit(compiled, manifest, verified.digest())
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
    fn compile(&self, verified: &VerifiedModule) -> Result<wasmtime::Module, LoadError> {
        wasmtime::Module::new(&self.inner, verified.bytes()).map_err(LoadError::Compile)
    }

    #[cfg(not(feature = "compiler"))]
    fn compile(&self, _: &VerifiedModule) -> Result<wasmtime::Module, LoadError> {
        Err(LoadError::NoCompiler { target: self.identity().target })
    }

    /// Compiled code becomes a module by checks that look at the code and run it once.
    pub(crate) fn admit(
        &self,
        compiled: wasmtime::Module,
        manifest: Arc<Manifest>,
        digest: Digest,
    ) -> Result<Module, LoadError> {
        if let Some(import) = compiled.imports().next() {
            return Err(LoadError::Import(format!("{}.{}", import.module(), import.name())));
        }
        check_exports(&compiled)?;
        let module = Module { engine: self.clone(), compiled, manifest, digest };
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
}

/// Deadlines count ticks of this clock. It ends with the engine.
fn start_clock(engine: &wasmtime::Engine) {
    let weak = engine.weak();
    let tick = move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TICK);
        }
    };
    thread::Builder::new()
        .name("twinge-clock".into())
        .spawn(tick)
        .expect("a thread can be started");
}

fn check_exports(module: &wasmtime::Module) -> Result<(), LoadError> {
    let Some(ExternType::Memory(memory)) = module.get_export(abi::MEMORY) else {
        return Err(LoadError::Export(abi::MEMORY));
    };
    if memory.is_shared() || memory.is_64() {
        return Err(LoadError::Export(abi::MEMORY));
    }
    for (name, parameters) in [(abi::ABI, 0), (abi::PREPARE, 2), (abi::SCORE, 3)] {
        let Some(ExternType::Func(function)) = module.get_export(name) else {
            return Err(LoadError::Export(name));
        };
        let all_i32 = |mut types: Box<dyn Iterator<Item = ValType> + '_>| {
            types.all(|kind| matches!(kind, ValType::I32))
        };
        let fits = function.params().len() == parameters
            && function.results().len() == 1
            && all_i32(Box::new(function.params()))
            && all_i32(Box::new(function.results()));
        if !fits {
            return Err(LoadError::Export(name));
        }
    }
    Ok(())
}
