//! The registry: publish, promote, roll back, fetch, report, over any [`Store`].
//!
//! Every operation reads, decides and writes conditionally, and finds its own work done when it
//! is run again. Modules are written before the statement and both before the channel, so that
//! whatever a channel points at is there; a crash in between leaves objects that nothing points
//! at. Nothing is signed on top of a document that would not itself be believed.
//!
//! Knows no clock, and does not know when a challenger deserves to be promoted.

use std::collections::BTreeMap;
use std::sync::Arc;

use twinge_rollout::{Policy, Rollout, choose_salt};
use twinge_trust::{Digest, Envelope, Keyring, Role, SigningKey, TrustError, VerifiedModule};

use crate::channel::is;
use crate::store::check_size;
use crate::{
    Channel, ChannelView, DOCUMENT_BYTES_MAX, MODULE_BYTES_MAX, Name, NameError, Object,
    REPORT_BYTES_MAX, Refusal, Store, StoreError, StorePath, TransitionError,
};

/// How often an operation starts over because somebody else wrote first.
pub const WRITE_ATTEMPTS_MAX: u32 = 8;

/// Largest serial that is taken from a document which nobody trusted signed.
pub const UNVERIFIED_SERIAL_MAX: u64 = 1 << 20;

/// Modules and channels in one store.
#[derive(Clone, Debug)]
pub struct Registry {
    pub(crate) store: Arc<dyn Store>,
}

/// Who writes a channel document, on whose word they build, and for how long it holds.
#[derive(Clone, Debug)]
pub struct Author<'a> {
    /// The key that signs.
    pub key: &'a SigningKey,
    /// The keys that are believed in what is there already; it must hold the signing key too.
    pub keyring: &'a Keyring,
    /// The time now, in milliseconds since 1970.
    pub now_ms: i64,
    /// How long the new document is believed, in milliseconds.
    pub lifetime_ms: i64,
    /// What is known of the document that is built on. The storage may hold an old one, and a
    /// signature would make it new again.
    pub known: KnownSerial,
    /// The newest document by a promoter that is known. A retrainer's is not built on where it
    /// repeats an older one, whatever its own serial: a promoter's signature would bring that
    /// champion back.
    pub promoted: Option<Channel>,
}

/// What an author knows of a channel's serial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KnownSerial {
    /// Nothing: whatever genuine document lies there is built on.
    #[default]
    Nothing,
    /// It was seen to be so much.
    AtLeast(u64),
    /// What is to be done was decided on this document, and on no other.
    Exactly(u64),
}

/// Why an operation on the registry failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A statement names no valid detector.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The channel cannot change that way.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// An object is not what a trusted key signed.
    #[error("verify {path}: it is not what a key that is trusted here signed; publish it again")]
    Untrusted {
        /// The object.
        path: String,
        /// What is wrong with it.
        #[source]
        source: TrustError,
    },
    /// The payload of a stored envelope is not a channel.
    #[error("read {path}: it holds no channel; restate the channel with a promoter's key")]
    MalformedChannel {
        /// The object.
        path: String,
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// The stored channel document is not genuine, so nothing is signed on top of it.
    #[error("build on {path}: it cannot be believed; restate the channel with a promoter's key")]
    NotGenuine {
        /// The object.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Refusal,
    },
    /// No device would believe the new document, so it was not written.
    #[error("write {path}: devices would refuse it; sign with a trusted key of the right role")]
    WouldBeRefused {
        /// The object.
        path: String,
        /// What devices would say.
        #[source]
        source: Refusal,
    },
    /// Only a promoter may do this.
    #[error("restate {path}: key {key_id} is no promoter's; sign with one that is")]
    NotAPromoter {
        /// The channel.
        path: String,
        /// The key.
        key_id: String,
    },
    /// There is no such channel.
    #[error("find channel {path}: there is none; publish a module to it first")]
    NoChannel {
        /// Where it would be.
        path: String,
    },
    /// There is no such module, or only half of it.
    #[error("fetch module {digest}: {path} is missing; publish the module again")]
    NoModule {
        /// The module.
        digest: Digest,
        /// The object that is missing.
        path: String,
    },
    /// Under the name of one module lies another, signed one.
    #[error("fetch module {wanted}: {found} lies in its place; publish the module again")]
    OtherModule {
        /// The module wanted.
        wanted: Digest,
        /// The module found.
        found: Digest,
    },
    /// An artefact's statement is there and its bytes are not.
    #[error("fetch artefact: {path} is missing beside its statement; put the artefact again")]
    HalfArtefact {
        /// The object that is missing.
        path: String,
    },
    /// Under the name of one artefact lies another, signed one.
    #[error("fetch artefact {path}: one for another machine or engine lies there; put it again")]
    OtherArtefact {
        /// The object.
        path: String,
    },
    /// The same bytes were published as something else.
    #[error("publish {digest}: it is already published as {published}; publish it as that")]
    StatementDiffers {
        /// The module.
        digest: Digest,
        /// The detector and version that it was published as.
        published: String,
    },
    /// The version of a root was given to two documents.
    #[error("put {path}: another root has that version; fetch it and build on it")]
    RootDiffers {
        /// The object.
        path: String,
    },
    /// A report is too large.
    #[error("report for {path}: {bytes} bytes are more than the {REPORT_BYTES_MAX} allowed")]
    ReportTooLarge {
        /// Where it would lie.
        path: String,
        /// How large it is.
        bytes: usize,
    },
    /// The document that lies there is older than one that was seen.
    #[error(
        "build on {path}: serial {found} is behind {seen}, which was seen here before; somebody \
         put an old document back: restate the channel"
    )]
    BehindSeen {
        /// The object.
        path: String,
        /// The serial that was seen.
        seen: u64,
        /// The serial that lies there.
        found: u64,
    },
    /// The document that lies there carries a promoter's word that is older than one that was seen.
    #[error(
        "build on {path}: what acts by it is the promoter's choice of serial {found}, and serial \
         {seen} was chosen since; somebody with a retrainer's key put it back: restate the channel \
         with the champion that is meant, and revoke that key"
    )]
    BehindPromoted {
        /// The object.
        path: String,
        /// The serial of the newest document by a promoter that was seen.
        seen: u64,
        /// That of the one which is carried along; zero where there is none.
        found: u64,
    },
    /// The document changed since it was looked at.
    #[error("build on {path}: serial {found} lies there, and {expected} was looked at; look again")]
    Moved {
        /// The object.
        path: String,
        /// The serial that was looked at.
        expected: u64,
        /// The serial that lies there.
        found: u64,
    },
    /// Others kept writing first.
    #[error("write {path}: others wrote first {WRITE_ATTEMPTS_MAX} times; try again later")]
    Contended {
        /// The object.
        path: String,
    },
}

impl Registry {
    /// A registry in a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store beneath, for what lies beside modules and channels.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Puts a module with its signed statement and makes it the challenger of a channel of its
    /// detector; a channel that is not there begins with it and no champion.
    ///
    /// A module that the channel has as challenger or champion already leaves it as it is: to
    /// prolong it, [`renew`](Self::renew) it.
    pub async fn publish(
        &self,
        module: &[u8],
        statement: &Envelope,
        channel: &Name,
        author: &Author<'_>,
    ) -> Result<Channel, RegistryError> {
        let path = module_path(&Digest::of(module), "wasm")?;
        let verified = VerifiedModule::verify(module, statement, author.keyring)
            .map_err(|source| RegistryError::Untrusted { path: path.to_string(), source })?;
        let (detector, version) = subject(&verified)?;
        let digest = verified.digest();
        self.put_module(&path, module).await?;
        self.put_statement(&verified, statement, author.keyring).await?;
        let devices = self.devices(&detector).await?;
        let blank = Channel::new(detector.clone(), channel.clone());
        self.update(&detector, channel, author, Some(blank), |current| {
            let there = [&current.champion, &current.challenger];
            if there.into_iter().any(|slot| is(slot.as_ref(), &digest)) {
                return Ok(None);
            }
            let salt = salt(current, &digest, &devices);
            let rollout = Rollout { salt, entered_ms: author.now_ms, ..Rollout::default() };
            current.with_challenger(digest, version.clone(), rollout).map(Some)
        })
        .await
    }

    /// Puts a module with its signed statement and leaves all channels alone: what a statement
    /// needs whose signer was revoked.
    pub async fn put(
        &self,
        module: &[u8],
        statement: &Envelope,
        keyring: &Keyring,
    ) -> Result<(), RegistryError> {
        let path = module_path(&Digest::of(module), "wasm")?;
        let verified = VerifiedModule::verify(module, statement, keyring)
            .map_err(|source| RegistryError::Untrusted { path: path.to_string(), source })?;
        self.put_module(&path, module).await?;
        self.put_statement(&verified, statement, keyring).await
    }

    /// The bytes of a module, which are those that the digest names, on nobody's word: to be
    /// signed anew, never to be run.
    pub async fn module_unverified(&self, digest: &Digest) -> Result<Vec<u8>, RegistryError> {
        let path = module_path(digest, "wasm")?;
        let bytes = self.get_part(digest, &path, MODULE_BYTES_MAX).await?;
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        Err(RegistryError::OtherModule { wanted: *digest, found })
    }

    /// Takes the challenger to a later stage; if it is there or beyond already, nothing is done.
    pub async fn advance(
        &self,
        detector: &Name,
        channel: &Name,
        challenger: &Digest,
        stage: u16,
        author: &Author<'_>,
    ) -> Result<Channel, RegistryError> {
        let devices = self.devices(detector).await?;
        self.update(detector, channel, author, None, |current| {
            let there = current.rollout.as_ref().is_some_and(|rollout| rollout.stage >= stage);
            if there && is(current.challenger.as_ref(), challenger) {
                return Ok(None);
            }
            let mut next = current.advance(challenger, stage, author.now_ms)?;
            // As long as it acts nowhere, whoever may not let it act chose the salt.
            if current.acting().is_none()
                && let Some(rollout) = &mut next.rollout
            {
                rollout.salt = salt(current, challenger, &devices);
            }
            Ok(Some(next))
        })
        .await
    }

    /// Holds the rollout for a reason, or lets it go on again; if it is so already, nothing is
    /// done.
    pub async fn hold(
        &self,
        detector: &Name,
        channel: &Name,
        reason: Option<&str>,
        author: &Author<'_>,
    ) -> Result<Channel, RegistryError> {
        self.update(detector, channel, author, None, |current| {
            let now = current.rollout.as_ref().and_then(|rollout| rollout.hold.as_deref());
            if now == reason && current.challenger.is_some() {
                return Ok(None);
            }
            current.with_hold(reason.map(str::to_owned)).map(Some)
        })
        .await
    }

    /// Sets how modules are rolled out; if it is so already, nothing is done. A channel that is not
    /// there begins with it.
    pub async fn set_policy(
        &self,
        detector: &Name,
        channel: &Name,
        policy: &Policy,
        author: &Author<'_>,
    ) -> Result<Channel, RegistryError> {
        let blank = Channel::new(detector.clone(), channel.clone());
        self.update(detector, channel, author, Some(blank), |current| {
            let there = current.policy == *policy && current.serial > 0;
            (!there).then(|| current.with_policy(policy.clone())).transpose()
        })
        .await
    }

    /// Makes the challenger champion. It is named, so that nobody promotes one that they did not
    /// look at; if it is champion already, nothing is done.
    pub async fn promote(
        &self,
        detector: &Name,
        channel: &Name,
        challenger: &Digest,
        author: &Author<'_>,
    ) -> Result<Channel, RegistryError> {
        self.update(detector, channel, author, None, |current| {
            let done = is(current.champion.as_ref(), challenger);
            if done { Ok(None) } else { current.promote(challenger).map(Some) }
        })
        .await
    }

    /// Leaves the champion `from` for an earlier one: `to`, else the newest before it. If `from`
    /// was left already, for `to` if that is named, nothing is done.
    pub async fn rollback(
        &self,
        detector: &Name,
        channel: &Name,
        from: &Digest,
        to: Option<&Digest>,
        author: &Author<'_>,
    ) -> Result<Channel, RegistryError> {
        self.update(detector, channel, author, None, |current| {
            let champion = current.champion.as_ref();
            if is(champion, from) {
                return current.rollback(to).map(Some);
            }
            let found = champion.map(|champion| champion.digest);
            let arrived = found.is_some_and(|found| to.is_none_or(|to| found == *to));
            let elsewhere = TransitionError::NotChampion { wanted: *from, found };
            if arrived { Ok(None) } else { Err(elsewhere) }
        })
        .await
    }

    /// Ends the rollout of a challenger, wherever it acts by then; if it is not there, nothing is
    /// done.
    pub async fn withdraw(
        &self,
        detector: &Name,
        channel: &Name,
        challenger: &Digest,
        author: &Author<'_>,
    ) -> Result<Channel, RegistryError> {
        self.update(detector, channel, author, None, |current| {
            let there = is(current.challenger.as_ref(), challenger);
            there.then(|| current.without_challenger()).transpose()
        })
        .await
    }

    /// Sets the sensitivity; if it is so already, nothing is done.
    pub async fn set_sensitivity(
        &self,
        detector: &Name,
        channel: &Name,
        sensitivity: Option<f64>,
        author: &Author<'_>,
    ) -> Result<Channel, RegistryError> {
        self.update(detector, channel, author, None, |current| {
            let there = current.sensitivity == sensitivity;
            (!there).then(|| current.with_sensitivity(sensitivity)).transpose()
        })
        .await
    }

    /// Prolongs a channel: the same content, a new serial and a new expiry.
    pub async fn renew(
        &self,
        detector: &Name,
        channel: &Name,
        author: &Author<'_>,
    ) -> Result<Channel, RegistryError> {
        self.update(detector, channel, author, None, |current| current.renewed().map(Some)).await
    }

    /// Writes a channel anew, whatever is there: the way out after a key was revoked or a
    /// document destroyed. For a promoter only. The serial becomes greater than that of
    /// `document` and of what is there, if that is genuine or the serial a plausible one; whoever
    /// knows the newest serial that devices have seen puts it into `document`.
    pub async fn restate(
        &self,
        document: &Channel,
        author: &Author<'_>,
    ) -> Result<Channel, RegistryError> {
        let path = channel_path(&document.detector, &document.channel)?;
        let view = ChannelView::new(document.detector.clone(), document.channel.clone());
        let key_id = author.key.key_id();
        if !author.keyring.allows(&key_id, Role::Promoter) {
            let (path, key_id) = (path.to_string(), key_id.to_string());
            return Err(RegistryError::NotAPromoter { path, key_id });
        }
        // What is too large to be read is no document either, and would be in the way.
        let found = self.store.get_within(&path, DOCUMENT_BYTES_MAX).await;
        if let Err(StoreError::TooLarge { .. }) = found {
            self.store.delete(&path).await?;
        }
        self.settle(&path, DOCUMENT_BYTES_MAX, |stored| {
            let serial = stored.map_or(0, |object| serial_of(&path, object, &view, author));
            let serial = serial.max(document.serial);
            let next = Channel { serial, ..document.clone() }.renewed()?;
            let (next, envelope) = author.issue(&path, next, None)?;
            Ok(Decision::Write(envelope.to_json(), next))
        })
        .await
    }

    /// The channel document as it lies there: on nobody's word. A device puts the envelope
    /// through [`ChannelView::accept`]; the channel itself is for showing.
    pub async fn channel(
        &self,
        detector: &Name,
        channel: &Name,
    ) -> Result<Option<(Envelope, Channel)>, RegistryError> {
        let path = channel_path(detector, channel)?;
        let object = self.store.get_within(&path, DOCUMENT_BYTES_MAX).await?;
        object.map(|object| read_channel(&path, &object.bytes)).transpose()
    }

    /// A module, verified: the one with this digest and no other, by a statement that a trusted
    /// key signed.
    pub async fn fetch(
        &self,
        digest: &Digest,
        keyring: &Keyring,
    ) -> Result<VerifiedModule, RegistryError> {
        let path = module_path(digest, "wasm")?;
        let bytes = self.get_part(digest, &path, MODULE_BYTES_MAX).await?;
        let statement_path = module_path(digest, "json")?;
        let statement = self.get_part(digest, &statement_path, DOCUMENT_BYTES_MAX).await?;
        let module = Envelope::from_json(&statement)
            .and_then(|envelope| VerifiedModule::verify(bytes, &envelope, keyring))
            .map_err(|source| RegistryError::Untrusted { path: path.to_string(), source })?;
        if module.digest() != *digest {
            return Err(RegistryError::OtherModule { wanted: *digest, found: module.digest() });
        }
        Ok(module)
    }

    /// The detectors that have channels, and the names of these.
    pub async fn detectors(&self) -> Result<BTreeMap<Name, Vec<Name>>, RegistryError> {
        let mut detectors = BTreeMap::<Name, Vec<Name>>::new();
        for path in self.store.list("channels").await? {
            let segments: Vec<&str> = path.segments().collect();
            if let [_, detector, file] = segments[..]
                && let Ok(detector) = detector.parse()
                && let Some(Ok(channel)) = file.strip_suffix(".json").map(str::parse)
            {
                detectors.entry(detector).or_default().push(channel);
            }
        }
        Ok(detectors)
    }

    /// Puts what a device reports in place of what it reported before. The bytes are the device's
    /// own signed envelope; they are not looked into.
    pub async fn put_report(
        &self,
        detector: &Name,
        device: &str,
        report: &[u8],
    ) -> Result<(), RegistryError> {
        let path = report_path(detector, device)?;
        check_report(&path, report)?;
        let bytes_max = REPORT_BYTES_MAX as u64;
        self.settle(&path, bytes_max, |stored| Ok(overwrite(stored, report))).await
    }

    /// The devices that ever reported on a detector, by name.
    pub async fn devices(&self, detector: &Name) -> Result<Vec<String>, RegistryError> {
        let paths = self.store.list(&format!("fleet/{detector}")).await?;
        let name =
            |path: &StorePath| Some(path.segments().nth(2)?.strip_suffix(".json")?.to_owned());
        Ok(paths.iter().filter_map(name).collect())
    }

    /// What one device reports; on nobody's word.
    pub async fn report(
        &self,
        detector: &Name,
        device: &str,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let path = report_path(detector, device)?;
        let object = self.store.get_within(&path, REPORT_BYTES_MAX as u64).await?;
        Ok(object.map(|object| object.bytes))
    }

    /// Other bytes under the module's digest can only be damage, which is mended.
    async fn put_module(&self, path: &StorePath, module: &[u8]) -> Result<(), RegistryError> {
        let mend = |stored: Option<&Object>| Ok(overwrite(stored, module));
        self.create_or_settle(path, module, MODULE_BYTES_MAX, mend).await
    }

    async fn put_statement(
        &self,
        module: &VerifiedModule,
        ours: &Envelope,
        keyring: &Keyring,
    ) -> Result<(), RegistryError> {
        let path = module_path(&module.digest(), "json")?;
        let bytes = ours.to_json();
        self.create_or_settle(&path, &bytes, DOCUMENT_BYTES_MAX, |stored| match stored {
            None => Ok(Decision::Write(bytes.clone(), ())),
            Some(stored) => reconcile(module, ours, stored, keyring),
        })
        .await
    }

    async fn get_part(
        &self,
        digest: &Digest,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let object = self.store.get_within(path, bytes_max).await?;
        let missing = || RegistryError::NoModule { digest: *digest, path: path.to_string() };
        object.map(|object| object.bytes).ok_or_else(missing)
    }

    /// One step of a channel, from the document there, or from `blank` where there is none.
    /// `step` gives nothing when there is nothing to do.
    async fn update(
        &self,
        detector: &Name,
        channel: &Name,
        author: &Author<'_>,
        blank: Option<Channel>,
        step: impl Fn(&Channel) -> Result<Option<Channel>, TransitionError>,
    ) -> Result<Channel, RegistryError> {
        let path = channel_path(detector, channel)?;
        let view = ChannelView::new(detector.clone(), channel.clone());
        let missing = || RegistryError::NoChannel { path: path.to_string() };
        self.settle(&path, DOCUMENT_BYTES_MAX, |stored| {
            let current =
                stored.map(|object| trust_channel(&path, object, &view, author)).transpose()?;
            let base = current.as_ref().map(|(_, channel)| channel).or(blank.as_ref());
            let base = base.ok_or_else(missing)?;
            // What is not there cannot be old; devices refuse a serial that begins anew.
            if let Some((envelope, _)) = &current {
                author.known.check(&path, base.serial)?;
                author.check_promoted(&path, &view, envelope)?;
            }
            let Some(next) = step(base)? else { return Ok(Decision::Keep(base.clone())) };
            let (next, envelope) = author.issue(&path, next, current.as_ref())?;
            tracing::debug!(%path, serial = next.serial, "channel document signed");
            Ok(Decision::Write(envelope.to_json(), next))
        })
        .await
    }

    /// For what is usually not there. Creating first also makes durable what a crashed writer
    /// left, before anything points at it.
    pub(crate) async fn create_or_settle(
        &self,
        path: &StorePath,
        bytes: &[u8],
        bytes_max: u64,
        decide: impl Fn(Option<&Object>) -> Result<Decision<()>, RegistryError>,
    ) -> Result<(), RegistryError> {
        check_size("write", path, bytes.len() as u64, bytes_max)?;
        match self.store.create(path, bytes).await {
            Ok(_) => Ok(()),
            Err(StoreError::AlreadyExists { .. }) => self.settle(path, bytes_max, decide).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Reads, decides and writes if nothing changed in between; else starts over. What has more
    /// than `bytes_max` bytes is neither read nor written.
    async fn settle<T>(
        &self,
        path: &StorePath,
        bytes_max: u64,
        decide: impl Fn(Option<&Object>) -> Result<Decision<T>, RegistryError>,
    ) -> Result<T, RegistryError> {
        for _ in 0..WRITE_ATTEMPTS_MAX {
            let stored = self.store.get_within(path, bytes_max).await?;
            let (bytes, outcome) = match decide(stored.as_ref())? {
                Decision::Keep(outcome) => return Ok(outcome),
                Decision::Write(bytes, outcome) => (bytes, outcome),
            };
            check_size("write", path, bytes.len() as u64, bytes_max)?;
            let written = match &stored {
                None => self.store.create(path, &bytes).await,
                Some(stored) => self.store.replace(path, &bytes, &stored.etag).await,
            };
            match written {
                Ok(_) => return Ok(outcome),
                Err(
                    StoreError::AlreadyExists { .. }
                    | StoreError::Changed { .. }
                    | StoreError::NotFound { .. },
                ) => tracing::debug!(%path, "somebody else wrote first"),
                Err(error) => return Err(error.into()),
            }
        }
        Err(RegistryError::Contended { path: path.to_string() })
    }
}

/// What to do about an object, and what comes of it.
pub(crate) enum Decision<T> {
    Keep(T),
    Write(Vec<u8>, T),
}

impl KnownSerial {
    fn check(self, path: &StorePath, found: u64) -> Result<(), RegistryError> {
        let path = || path.to_string();
        match self {
            Self::AtLeast(seen) if found < seen => {
                Err(RegistryError::BehindSeen { path: path(), seen, found })
            }
            Self::Exactly(expected) if found != expected => {
                Err(RegistryError::Moved { path: path(), expected, found })
            }
            _ => Ok(()),
        }
    }
}

impl Author<'_> {
    /// Refuses what a device would refuse that saw the newest document by a promoter.
    fn check_promoted(
        &self,
        path: &StorePath,
        view: &ChannelView,
        envelope: &Envelope,
    ) -> Result<(), RegistryError> {
        let Some(promoted) = &self.promoted else { return Ok(()) };
        let path = || path.to_string();
        match view.check_follows(envelope, self.keyring, promoted) {
            Ok(()) => Ok(()),
            Err(Refusal::OlderPromotion { seen, found }) => {
                Err(RegistryError::BehindPromoted { path: path(), seen, found })
            }
            Err(source) => Err(RegistryError::NotGenuine { path: path(), source }),
        }
    }

    /// Signs the next document, and makes sure that a device which holds the current one would
    /// accept it.
    fn issue(
        &self,
        path: &StorePath,
        next: Channel,
        current: Option<&(Envelope, Channel)>,
    ) -> Result<(Channel, Envelope), RegistryError> {
        let next = Channel {
            issued_ms: self.now_ms,
            expires_ms: self.now_ms.saturating_add(self.lifetime_ms),
            endorsement: self.endorsement(&next, current),
            ..next
        };
        let envelope = next.sign(self.key);
        let view = ChannelView::new(next.detector.clone(), next.channel.clone());
        // A newcomer is the device that is hardest to convince.
        view.accept(&envelope, self.keyring, None, self.now_ms)
            .map_err(|source| RegistryError::WouldBeRefused { path: path.to_string(), source })?;
        Ok((next, envelope))
    }

    /// The promoter's document that a retrainer's carries along. One that a promoter signs needs
    /// none, so that endorsements do not nest.
    fn endorsement(
        &self,
        next: &Channel,
        current: Option<&(Envelope, Channel)>,
    ) -> Option<Envelope> {
        let (envelope, current) = current?;
        let promoter = self.keyring.allows(&self.key.key_id(), Role::Promoter);
        let blank = Channel::new(next.detector.clone(), next.channel.clone());
        if promoter || next.same_verdicts(&blank) || !next.same_verdicts(current) {
            return None;
        }
        Some(current.endorsement.clone().unwrap_or_else(|| envelope.clone()))
    }
}

/// The serial of what lies there. A document that nobody trusted signed still shows what devices
/// may have seen, as with a revoked key, unless its serial is made to use them up.
fn serial_of(path: &StorePath, object: &Object, view: &ChannelView, author: &Author<'_>) -> u64 {
    if let Ok((_, genuine)) = trust_channel(path, object, view, author) {
        return genuine.serial;
    }
    let unverified = read_channel(path, &object.bytes).map_or(0, |(_, channel)| channel.serial);
    if unverified <= UNVERIFIED_SERIAL_MAX { unverified } else { 0 }
}

/// What device names are hashed with from the document after `current` on.
fn salt(current: &Channel, challenger: &Digest, devices: &[String]) -> String {
    let seed = format!("{:.12}-{}", challenger.to_string(), current.serial);
    choose_salt(&seed, &current.policy.stages, devices)
}

/// Whose challenger a module becomes, and its version.
fn subject(module: &VerifiedModule) -> Result<(Name, String), NameError> {
    let said = module.statement().expect("a module that was verified has a statement");
    Ok((said.detector.parse()?, said.version.clone()))
}

fn read_channel(path: &StorePath, bytes: &[u8]) -> Result<(Envelope, Channel), RegistryError> {
    let envelope = Envelope::from_json(bytes)
        .map_err(|source| RegistryError::Untrusted { path: path.to_string(), source })?;
    let channel = Channel::from_json(envelope.payload_unverified())
        .map_err(|source| RegistryError::MalformedChannel { path: path.to_string(), source })?;
    Ok((envelope, channel))
}

/// The stored document, believed. Signing a step from a forged one would lend it our name.
fn trust_channel(
    path: &StorePath,
    object: &Object,
    view: &ChannelView,
    author: &Author<'_>,
) -> Result<(Envelope, Channel), RegistryError> {
    let (envelope, _) = read_channel(path, &object.bytes)?;
    let channel = view
        .check_genuine(&envelope, author.keyring)
        .map_err(|source| RegistryError::NotGenuine { path: path.to_string(), source })?;
    Ok((envelope, channel))
}

/// What to do when the module has a statement already. A trusted one stays, with our signatures
/// added if it says the same; what nobody believes makes room for ours.
fn reconcile(
    module: &VerifiedModule,
    ours: &Envelope,
    stored: &Object,
    keyring: &Keyring,
) -> Result<Decision<()>, RegistryError> {
    let believed = Envelope::from_json(&stored.bytes).ok().and_then(|theirs| {
        let theirs_verified = VerifiedModule::verify(module.bytes().clone(), &theirs, keyring);
        theirs_verified.ok().map(|verified| (theirs, verified))
    });
    let Some((theirs, verified)) = believed else {
        tracing::warn!(digest = %module.digest(), "statement that nobody signed is replaced");
        return Ok(Decision::Write(ours.to_json(), ()));
    };
    let mut merged = theirs.clone();
    if merged.merge_signatures(ours) {
        let same = merged == theirs;
        return Ok(if same { Decision::Keep(()) } else { Decision::Write(merged.to_json(), ()) });
    }
    let known_as = |module: &VerifiedModule| {
        module.statement().map(|said| format!("{} {}", said.detector, said.version))
    };
    let published = known_as(&verified);
    if published == known_as(module) {
        return Ok(Decision::Keep(()));
    }
    let published = published.unwrap_or_default();
    Err(RegistryError::StatementDiffers { digest: module.digest(), published })
}

pub(crate) fn overwrite(stored: Option<&Object>, bytes: &[u8]) -> Decision<()> {
    if stored.is_some_and(|object| object.bytes == bytes) {
        return Decision::Keep(());
    }
    Decision::Write(bytes.to_vec(), ())
}

fn module_path(digest: &Digest, extension: &str) -> Result<StorePath, StoreError> {
    StorePath::new(&format!("modules/{digest}.{extension}"))
}

fn channel_path(detector: &Name, channel: &Name) -> Result<StorePath, StoreError> {
    StorePath::new(&format!("channels/{detector}/{channel}.json"))
}

fn check_report(path: &StorePath, report: &[u8]) -> Result<(), RegistryError> {
    if report.len() > REPORT_BYTES_MAX {
        let (path, bytes) = (path.to_string(), report.len());
        return Err(RegistryError::ReportTooLarge { path, bytes });
    }
    Ok(())
}

/// Where the report of a device on a detector lies.
pub fn report_path(detector: &Name, device: &str) -> Result<StorePath, StoreError> {
    let path = StorePath::new(&format!("fleet/{detector}/{device}.json"))?;
    if device.is_empty() || path.segments().count() != 3 {
        let reason = "a device's name is one segment";
        return Err(StoreError::InvalidPath { path: path.to_string(), reason });
    }
    Ok(path)
}
