//! Modules from a file or a registry, kept in a cache so that a restart needs neither.

#[cfg(feature = "compiler")]
use crate::own_code::{CompileError, OwnCode};
use crate::trust::Trust;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use twinge_engine::{Engine, LoadError, Module};
use twinge_registry::file::{FileError, read_signed};
use twinge_registry::{
    DOCUMENT_BYTES_MAX, Directory, MODULE_BYTES_MAX, Refusal, Registry, RegistryError, Store,
    StoreError, StorePath,
};
use twinge_trust::{Digest, Envelope, TrustError, VerifiedModule};

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
        "root of trust {version} expired at {expires_ms} ms: nothing new is believed until `trainer trust renew` has made another"
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
        source: std::io::Error,
    },
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

/// Modules that were verified once, kept beside the state with their signatures.
#[derive(Debug)]
pub struct ModuleCache {
    engine: Engine,
    store: Arc<dyn Store>,
    trust: Trust,
    allow_unsigned: bool,
    /// Whether signed machine code may run in place of what it was compiled from.
    allow_native: bool,
    /// What this device compiled itself, where it keeps that.
    #[cfg(feature = "compiler")]
    own: Option<OwnCode>,
    loaded: HashMap<Digest, Module>,
}

impl ModuleCache {
    /// A cache in `directory`.
    pub fn open(
        engine: Engine,
        directory: &Path,
        trust: Trust,
        allow_unsigned: bool,
    ) -> Result<Self, ModuleError> {
        let store = Arc::new(Directory::open(directory)?);
        Ok(Self::in_store(engine, store, trust, allow_unsigned))
    }

    /// A cache in a store that is this program's alone.
    pub fn in_store(
        engine: Engine,
        store: Arc<dyn Store>,
        trust: Trust,
        allow_unsigned: bool,
    ) -> Self {
        Self {
            engine,
            store,
            trust,
            allow_unsigned,
            allow_native: false,
            #[cfg(feature = "compiler")]
            own: None,
            loaded: HashMap::new(),
        }
    }

    /// Keeps what is compiled, from now on.
    #[cfg(feature = "compiler")]
    #[must_use]
    pub fn keeping_code(self, own: Option<OwnCode>) -> Self {
        Self { own, ..self }
    }

    /// Takes precompiled artefacts that a native key signed, from now on.
    #[must_use]
    pub fn allowing_native(self, allow_native: bool) -> Self {
        Self { allow_native, ..self }
    }

    /// Reads, verifies, loads and keeps the module in a file, whose signature lies beside it.
    pub async fn load_file(&mut self, path: &Path) -> Result<Module, ModuleError> {
        let (bytes, envelope) = read_signed(path)?;
        let verified = match envelope.as_ref() {
            None if self.allow_unsigned => VerifiedModule::allow_unsigned(bytes),
            None => return Err(FileError::Unsigned { path: path.to_owned() }.into()),
            Some(envelope) => VerifiedModule::verify(bytes, envelope, &self.trust.keyring())
                .map_err(|source| FileError::Untrusted { path: path.to_owned(), source })?,
        };
        let module = self.load(&verified).await?;
        self.keep(&verified, envelope.as_ref()).await?;
        Ok(module)
    }

    /// The module with a digest: from the cache, or else from `registry`, and then kept.
    pub async fn get(
        &mut self,
        digest: &Digest,
        registry: Option<&(Registry, Arc<dyn Store>)>,
    ) -> Result<Module, ModuleError> {
        if let Some(module) = self.loaded.get(digest) {
            return Ok(module.clone());
        }
        let kept = self.kept(digest).await;
        if let Ok(Some(verified)) = &kept {
            return self.load_either(verified, registry).await;
        }
        // A module whose signer was revoked since may have been signed by another by now.
        let Some((registry, store)) = registry else {
            return Err(kept.err().unwrap_or(ModuleError::Missing(*digest)));
        };
        let verified = registry.fetch(digest, &self.trust.keyring()).await?;
        let registry = Some((registry.clone(), Arc::clone(store)));
        let module = self.load_either(&verified, registry.as_ref()).await?;
        let statement = store.get_within(&path(digest, "json")?, DOCUMENT_BYTES_MAX).await?;
        let envelope = statement.and_then(|object| Envelope::from_json(&object.bytes).ok());
        self.keep(&verified, envelope.as_ref()).await?;
        Ok(module)
    }

    /// From its precompiled artefact where that is allowed and there is one, else from the module.
    async fn load_either(
        &mut self,
        verified: &VerifiedModule,
        registry: Option<&(Registry, Arc<dyn Store>)>,
    ) -> Result<Module, ModuleError> {
        if self.allow_native {
            match self.load_native(verified, registry).await {
                Ok(Some(module)) => return Ok(module),
                Ok(None) => {}
                Err(error) => tracing::warn!(
                    module = %verified.digest(),
                    error = crate::chain::chain(&error),
                    "precompiled artefact is refused; the module itself is compiled"
                ),
            }
        }
        self.load(verified).await
    }

    /// The artefact from the cache, else from the registry, and then kept.
    async fn load_native(
        &mut self,
        verified: &VerifiedModule,
        registry: Option<&(Registry, Arc<dyn Store>)>,
    ) -> Result<Option<Module>, ModuleError> {
        let (identity, keyring) = (self.engine.identity(), self.trust.keyring());
        let own = Registry::new(Arc::clone(&self.store));
        let mut found = own.fetch_artefact(verified, &identity, &keyring).await.ok().flatten();
        if found.is_none()
            && let Some((registry, _)) = registry
        {
            found = registry.fetch_artefact(verified, &identity, &keyring).await?;
            if let Some((artefact, envelope)) = &found {
                own.put_artefact(verified, artefact.bytes(), envelope, &keyring).await?;
            }
        }
        let Some((artefact, _)) = found else { return Ok(None) };
        let digest = verified.digest();
        let module = self.engine.load_precompiled(verified, &artefact);
        let module = module.map_err(|source| ModuleError::Load { digest, source })?;
        tracing::info!(module = %digest, "running a precompiled artefact");
        self.loaded.insert(digest, module.clone());
        Ok(Some(module))
    }

    async fn load(&mut self, verified: &VerifiedModule) -> Result<Module, ModuleError> {
        let digest = verified.digest();
        let module = match self.load_own(verified).await? {
            Some(module) => module,
            None => {
                self.engine.load(verified).map_err(|source| ModuleError::Load { digest, source })?
            }
        };
        self.loaded.insert(digest, module.clone());
        Ok(module)
    }

    #[cfg(feature = "compiler")]
    async fn load_own(&self, verified: &VerifiedModule) -> Result<Option<Module>, ModuleError> {
        match &self.own {
            Some(own) => own.load(&self.engine, verified).await,
            None => Ok(None),
        }
    }

    /// A build that compiles nothing keeps nothing.
    #[cfg(not(feature = "compiler"))]
    #[expect(
        clippy::unused_self,
        clippy::unused_async,
        clippy::unnecessary_wraps,
        reason = "the shape it has elsewhere"
    )]
    async fn load_own(&self, _: &VerifiedModule) -> Result<Option<Module>, ModuleError> {
        Ok(None)
    }

    async fn keep(
        &self,
        verified: &VerifiedModule,
        envelope: Option<&Envelope>,
    ) -> Result<(), ModuleError> {
        let digest = verified.digest();
        let mut objects = vec![(path(&digest, "wasm")?, verified.bytes().to_vec())];
        if let Some(envelope) = envelope {
            objects.push((path(&digest, "json")?, envelope.to_json()));
        }
        for (path, bytes) in objects {
            match self.store.create(&path, &bytes).await {
                Ok(_) => {}
                Err(StoreError::AlreadyExists { .. }) => {
                    let there = self.store.get(&path).await?;
                    if let Some(there) = there.filter(|there| there.bytes != bytes) {
                        self.store.replace(&path, &bytes, &there.etag).await?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn kept(&self, digest: &Digest) -> Result<Option<VerifiedModule>, ModuleError> {
        let found = self.store.get_within(&path(digest, "wasm")?, MODULE_BYTES_MAX).await?;
        let Some(object) = found else { return Ok(None) };
        if Digest::of(&object.bytes) != *digest {
            return Ok(None);
        }
        let statement = self.store.get_within(&path(digest, "json")?, DOCUMENT_BYTES_MAX).await?;
        let envelope = statement.and_then(|object| Envelope::from_json(&object.bytes).ok());
        match envelope {
            Some(envelope) => {
                VerifiedModule::verify(object.bytes, &envelope, &self.trust.keyring())
                    .map(Some)
                    .map_err(|source| ModuleError::Trust { digest: *digest, source })
            }
            None if self.allow_unsigned => Ok(Some(VerifiedModule::allow_unsigned(object.bytes))),
            None => Ok(None),
        }
    }
}

fn path(digest: &Digest, extension: &str) -> Result<StorePath, StoreError> {
    StorePath::new(&format!("modules/{digest}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinge_engine::Limits;

    /// What a registry may hold, an engine takes, and nothing beyond.
    #[test]
    fn registries_and_engines_agree_on_the_size_of_modules() {
        assert_eq!(Limits::default().module_bytes_max as u64, MODULE_BYTES_MAX);
    }
}
