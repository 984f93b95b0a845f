//! Precompiled artefacts: made where a compiler is, run where none is.

use crate::load::{Engine, LoadError, Module, Reason};
#[cfg(feature = "artefacts")]
use crate::native;
#[cfg(feature = "artefacts")]
use crate::settings::own_identity;
#[cfg(feature = "compiler")]
use crate::settings::{Target, config, identity_of};
#[cfg(feature = "artefacts")]
use std::sync::Arc;
use thiserror::Error;
use twinge_trust::{ArtefactIdentity, Digest, VerifiedArtefact, VerifiedModule};

/// A module's machine code for one kind of machine. Nothing runs it before a key with the role
/// native has signed an [`ArtefactStatement`](twinge_trust::ArtefactStatement) about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precompiled {
    /// The code.
    pub bytes: Vec<u8>,
    /// What it was compiled for.
    pub identity: ArtefactIdentity,
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
