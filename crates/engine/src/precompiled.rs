//! Precompiled artefacts: made where a compiler is, run where none is.

use crate::error::{ArtefactError, LoadError};
use crate::load::Engine;
use crate::module::Module;
#[cfg(feature = "artefacts")]
use crate::native;
#[cfg(feature = "artefacts")]
use crate::settings::own_identity;
#[cfg(feature = "compiler")]
use crate::settings::{Target, config, identity_of};
#[cfg(feature = "artefacts")]
use std::sync::Arc;
#[cfg(not(feature = "artefacts"))]
use twinge_trust::Digest;
use twinge_trust::{ArtefactIdentity, VerifiedArtefact, VerifiedModule};

/// A module's machine code for one kind of machine. Nothing runs it before a key with the role
/// native has signed an [`ArtefactStatement`](twinge_trust::ArtefactStatement) about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precompiled {
    /// The code.
    pub bytes: Vec<u8>,
    /// What it was compiled for.
    pub identity: ArtefactIdentity,
}

impl Engine {
    /// What an artefact must have been compiled for to run in this engine.
    pub fn identity(&self) -> ArtefactIdentity {
        own_identity()
    }

    /// The machine code of a module for a target triple, else for this machine's.
    ///
    /// The module is loaded first, so that nothing is precompiled that [`load`](Self::load) would
    /// refuse. The code may use the CPU features that every machine of the target is expected to
    /// have, not those of the machine it is compiled on; other targets than this machine's need
    /// the feature `cross`.
    #[cfg(feature = "compiler")]
    pub fn precompile(
        &self,
        module: &VerifiedModule,
        target: Option<&str>,
    ) -> Result<Precompiled, LoadError> {
        self.load(module)?;
        self.machine_code(module, target)
    }

    /// The same without loading the module first, for whoever loads what comes out before it counts.
    #[cfg(feature = "compiler")]
    pub fn machine_code(
        &self,
        module: &VerifiedModule,
        target: Option<&str>,
    ) -> Result<Precompiled, LoadError> {
        self.inspect(module)?;
        let host = own_identity().target;
        let triple = target.unwrap_or(&host);
        let target =
            Target::parse(triple).ok_or_else(|| ArtefactError::UnknownTarget(triple.to_owned()))?;
        let compiler = compiler_for(target)?;
        let bytes = compiler.precompile_module(module.bytes()).map_err(|source| {
            ArtefactError::Compile { target: target.triple().to_owned(), source: source.into() }
        })?;
        Ok(Precompiled { bytes, identity: identity_of(target) })
    }

    /// A module by its precompiled artefact: digest, manifest and scores are those of
    /// [`load`](Self::load), and so are the checks, but nothing is compiled.
    #[cfg(feature = "artefacts")]
    pub fn load_precompiled(
        &self,
        module: &VerifiedModule,
        artefact: &VerifiedArtefact,
    ) -> Result<Module, LoadError> {
        let manifest = self.inspect(module)?;
        let (wanted, found) = (module.digest(), artefact.module_digest());
        if wanted != found {
            return Err(ArtefactError::OtherModule { wanted, found }.into());
        }
        check_identity(artefact.identity(), self.identity())?;
        let kind = wasmtime::Engine::detect_precompiled(artefact.bytes());
        if !matches!(kind, Some(wasmtime::Precompiled::Module)) {
            return Err(ArtefactError::NotCode.into());
        }
        let compiled = native::deserialize(self.runtime.engine()?, artefact)
            .map_err(|error| ArtefactError::Refused(error.into()))?;
        self.admit(Arc::new(self.runtime.code(compiled)?), manifest, module.digest())
    }

    /// A build that only interprets refuses every artefact.
    #[cfg(not(feature = "artefacts"))]
    pub fn load_precompiled(
        &self,
        module: &VerifiedModule,
        _: &VerifiedArtefact,
    ) -> Result<Module, LoadError> {
        self.inspect(module)?;
        Err(ArtefactError::NoRuntime.into())
    }
}

/// An engine that compiles for `target` and runs nothing.
#[cfg(feature = "compiler")]
fn compiler_for(target: Target) -> Result<wasmtime::Engine, ArtefactError> {
    let triple = target.triple();
    if !cfg!(feature = "cross") && own_identity().target != triple {
        return Err(ArtefactError::NoCompilerFor(triple.to_owned()));
    }
    let failed = |source: wasmtime::Error| ArtefactError::Compile {
        target: triple.to_owned(),
        source: source.into(),
    };
    let mut config = config();
    config.target(triple).map_err(failed)?;
    native::allow_cpu_features(&mut config, target.cpu_features());
    wasmtime::Engine::new(&config).map_err(failed)
}

#[cfg(feature = "artefacts")]
fn check_identity(found: &ArtefactIdentity, wanted: ArtefactIdentity) -> Result<(), ArtefactError> {
    if found.target != wanted.target {
        let (wanted, found) = (wanted.target, found.target.clone());
        return Err(ArtefactError::OtherTarget { wanted, found });
    }
    if found.engine_version != wanted.engine_version {
        let (wanted, found) = (wanted.engine_version, found.engine_version.clone());
        return Err(ArtefactError::OtherVersion { wanted, found });
    }
    if found.settings_digest != wanted.settings_digest {
        let (wanted, found) = (wanted.settings_digest, found.settings_digest);
        return Err(ArtefactError::OtherSettings { wanted, found });
    }
    Ok(())
}

/// Where no artefact runs, one that none has.
#[cfg(not(feature = "artefacts"))]
fn own_identity() -> ArtefactIdentity {
    use std::env::consts::{ARCH, OS};
    ArtefactIdentity {
        target: format!("{ARCH}-unknown-{OS}"),
        engine_version: "none".into(),
        settings_digest: Digest::of(b"twinge engine without a runtime for artefacts\n"),
    }
}
