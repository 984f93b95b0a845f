//! The steps of a channel: publish, advance, promote, roll back, and what else changes its document.
//!
//! Every step reads, decides and writes conditionally, and finds its own work done when it is run
//! again. Nothing is signed on top of a document that would not itself be believed. When a step is
//! wise is not known here.

use std::collections::BTreeMap;

use twinge_rollout::{Policy, Rollout, choose_salt};
use twinge_trust::{Digest, Envelope, Role, VerifiedModule};

use crate::author::{read_channel, serial_of, trust_channel};
use crate::channel::is;
use crate::modules::module_path;
use crate::settle::Decision;
use crate::{
    Author, Channel, ChannelView, DOCUMENT_BYTES_MAX, Name, NameError, Registry, RegistryError,
    StoreError, StorePath, TransitionError,
};

impl Registry {
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

fn channel_path(detector: &Name, channel: &Name) -> Result<StorePath, StoreError> {
    StorePath::new(&format!("channels/{detector}/{channel}.json"))
}
