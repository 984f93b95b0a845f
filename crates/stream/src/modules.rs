//! Which modules run: from a file or from a channel, kept in a cache so that a restart needs
//! neither the file nor the registry.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use twinge_engine::{Engine, LoadError, Module};
use twinge_platform::Disk;
use twinge_registry::file::{FileError, read_signed};
use twinge_registry::{
    Channel, ChannelView, Directory, LastSeen, Name, Refusal, Registry, RegistryError, Store,
    StoreError, StorePath,
};
use twinge_trust::{Digest, Envelope, Keyring, TrustError, VerifiedModule};

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
    /// What was seen of the channel cannot be kept.
    #[error("cannot keep what was seen of the channel in {path}")]
    View {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Modules that were verified once, kept beside the state with their signatures.
#[derive(Debug)]
pub struct ModuleCache {
    engine: Engine,
    store: Directory,
    keyring: Keyring,
    allow_unsigned: bool,
    loaded: HashMap<Digest, Module>,
}

impl ModuleCache {
    /// A cache in `directory`.
    pub fn open(
        engine: Engine,
        directory: &Path,
        keyring: Keyring,
        allow_unsigned: bool,
    ) -> Result<Self, ModuleError> {
        let store = Directory::open(directory)?;
        Ok(Self { engine, store, keyring, allow_unsigned, loaded: HashMap::new() })
    }

    /// Reads, verifies, loads and keeps the module in a file, whose signature lies beside it.
    pub async fn load_file(&mut self, path: &Path) -> Result<Module, ModuleError> {
        let (bytes, envelope) = read_signed(path)?;
        let verified = match envelope.as_ref() {
            None if self.allow_unsigned => VerifiedModule::allow_unsigned(bytes),
            None => return Err(FileError::Unsigned { path: path.to_owned() }.into()),
            Some(envelope) => VerifiedModule::verify(bytes, envelope, &self.keyring)
                .map_err(|source| FileError::Untrusted { path: path.to_owned(), source })?,
        };
        let module = self.load(&verified)?;
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
        if let Some(verified) = self.kept(digest).await? {
            return self.load(&verified);
        }
        let (registry, store) = registry.ok_or(ModuleError::Missing(*digest))?;
        let verified = registry.fetch(digest, &self.keyring).await?;
        let module = self.load(&verified)?;
        let statement = store.get(&path(digest, "json")?).await?;
        let envelope = statement.and_then(|object| Envelope::from_json(&object.bytes).ok());
        self.keep(&verified, envelope.as_ref()).await?;
        Ok(module)
    }

    fn load(&mut self, verified: &VerifiedModule) -> Result<Module, ModuleError> {
        let digest = verified.digest();
        let module =
            self.engine.load(verified).map_err(|source| ModuleError::Load { digest, source })?;
        self.loaded.insert(digest, module.clone());
        Ok(module)
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
                Ok(_) | Err(StoreError::AlreadyExists { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn kept(&self, digest: &Digest) -> Result<Option<VerifiedModule>, ModuleError> {
        let Some(object) = self.store.get(&path(digest, "wasm")?).await? else { return Ok(None) };
        if Digest::of(&object.bytes) != *digest {
            return Ok(None);
        }
        let statement = self.store.get(&path(digest, "json")?).await?;
        let envelope = statement.and_then(|object| Envelope::from_json(&object.bytes).ok());
        match envelope {
            Some(envelope) => VerifiedModule::verify(object.bytes, &envelope, &self.keyring)
                .map(Some)
                .map_err(|source| ModuleError::Trust { digest: *digest, source }),
            None if self.allow_unsigned => Ok(Some(VerifiedModule::allow_unsigned(object.bytes))),
            None => Ok(None),
        }
    }
}

fn path(digest: &Digest, extension: &str) -> Result<StorePath, StoreError> {
    StorePath::new(&format!("modules/{digest}.{extension}"))
}

/// A channel that is followed.
#[derive(Debug)]
pub struct Follower {
    registry: Registry,
    store: Arc<dyn Store>,
    detector: Name,
    channel: Name,
    disk: Arc<dyn Disk>,
    file: PathBuf,
    seen: Seen,
}

/// What must outlive a restart: without it, an old document could be served again.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Seen {
    view: ChannelView,
    last_seen: Option<LastSeen>,
}

impl Follower {
    /// Follows a channel of the registry in `store`; what was seen of it is kept in `directory`.
    pub fn open(
        store: Arc<dyn Store>,
        detector: Name,
        channel: Name,
        disk: Arc<dyn Disk>,
        directory: &Path,
    ) -> Result<Self, ModuleError> {
        let file = directory.join(format!("channel-{detector}={channel}.json"));
        let new =
            || Seen { view: ChannelView::new(detector.clone(), channel.clone()), last_seen: None };
        let seen = match disk.read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| ModuleError::View { path: file.clone(), source: error.into() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => new(),
            Err(source) => return Err(ModuleError::View { path: file, source }),
        };
        Ok(Self {
            registry: Registry::new(Arc::clone(&store)),
            store,
            detector,
            channel,
            disk,
            file,
            seen,
        })
    }

    /// The registry and its store.
    pub fn registry(&self) -> (Registry, Arc<dyn Store>) {
        (self.registry.clone(), Arc::clone(&self.store))
    }

    /// The champion of the document accepted last, whether or not the registry can be reached.
    pub fn champion(&self) -> Result<Digest, ModuleError> {
        self.seen
            .view
            .current()
            .and_then(|channel| channel.champion.as_ref())
            .map(|target| target.digest)
            .ok_or_else(|| ModuleError::NoChampion {
                detector: self.detector.to_string(),
                channel: self.channel.to_string(),
            })
    }

    /// Refuses a module of another detector under this one's name (mix and match).
    pub fn check(&self, module: &Module) -> Result<(), ModuleError> {
        let name = &module.manifest().name;
        if name == self.detector.as_str() {
            return Ok(());
        }
        Err(ModuleError::OtherDetector { wanted: self.detector.to_string(), found: name.clone() })
    }

    /// Looks at the channel; answers with a document that is new. It is remembered before it is
    /// answered, so that it can be acted on.
    pub async fn poll(
        &mut self,
        keyring: &Keyring,
        now_ms: i64,
    ) -> Result<Option<Channel>, ModuleError> {
        let Some((envelope, _)) = self.registry.channel(&self.detector, &self.channel).await?
        else {
            return Ok(None);
        };
        let accepted = self
            .seen
            .view
            .accept(&envelope, keyring, self.seen.last_seen, now_ms)
            .map_err(ModuleError::Refused)?;
        let is_new = self.seen.view.current() != Some(&accepted.channel);
        let seen =
            Seen { view: self.seen.view.after(&accepted), last_seen: Some(accepted.last_seen) };
        if is_new {
            let json =
                serde_json::to_vec_pretty(&seen).expect("a view holds nothing that JSON lacks");
            let keep = self.disk.replace(&self.file, &json);
            keep.map_err(|source| ModuleError::View { path: self.file.clone(), source })?;
        }
        self.seen = seen;
        Ok(is_new.then_some(accepted.channel))
    }
}
