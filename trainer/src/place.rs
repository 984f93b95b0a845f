//! Where a verb works and on whose word: registry, channel, trust, key.

use crate::keys;
use crate::memory;
use crate::time::{DAY_MS, now_ms};
use crate::usage::Usage;
use anyhow::{Context, Result};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twinge_registry::{
    Author, Channel, ChannelView, KnownSerial, LocationError, Name, Refusal, Registry, Store,
    open_store,
};
use twinge_trust::{Anchor, Envelope, Keyring, Role, SigningKey, TrustedRoot};

/// A registry, and whom to believe in it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Source {
    /// The registry: a directory, or an address such as
    /// `https://ACCOUNT.blob.core.windows.net/CONTAINER`.
    #[arg(long, env = "TWINGE_REGISTRY")]
    pub(crate) registry: String,
    /// Root of trust (root.json), or the trusted keys themselves (trust.json) [default: your
    /// developer key].
    #[arg(long, env = "TWINGE_TRUST")]
    pub(crate) trust: Option<PathBuf>,
}

/// Where channels are and who signs for them.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    #[command(flatten)]
    pub(crate) source: Source,
    /// The channel.
    #[arg(long, env = "TWINGE_CHANNEL", default_value = "stable")]
    pub(crate) channel: Name,
    /// Key to sign with [default: your developer key].
    #[arg(long, env = "TWINGE_SIGNING_KEY")]
    pub(crate) key: Option<PathBuf>,
    /// Days that the channel's document is believed.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

/// Whether a verb may begin a registry that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// A directory is made.
    Make,
    /// It is an error of usage.
    Refuse,
}

/// A registry, opened to be read, and the keys that are believed in it.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) registry: Registry,
    anchor: Anchor,
}

/// A registry, opened to be written.
#[derive(Debug)]
pub(crate) struct Desk {
    reader: Reader,
    pub(crate) channel: Name,
    key: SigningKey,
    lifetime_ms: i64,
    location: String,
}

/// Opens a registry.
pub(crate) async fn open(location: &str, missing: Missing) -> Result<Registry> {
    if !location.contains("://") && missing == Missing::Refuse && !Path::new(location).is_dir() {
        let reason = "is not a directory: give the registry's";
        return Err(Usage(format!("{location} {reason}")).into());
    }
    let variable = |name: &str| std::env::var(name).ok();
    match open_store(location, &variable).await {
        Ok(store) => Ok(Registry::new(Arc::<dyn Store>::clone(&store))),
        Err(error @ LocationError::Directory { .. }) => {
            Err(error).context("cannot use the registry")
        }
        Err(error) => {
            let error = anyhow::Error::from(error);
            Err(Usage(format!("cannot use the registry: {error:#}")).into())
        }
    }
}

impl Reader {
    /// Opens a registry and steps to its newest root of trust.
    pub(crate) async fn open(source: &Source, missing: Missing) -> Result<Self> {
        let anchor = keys::anchor(source.trust.as_deref())?;
        let registry = open(&source.registry, missing).await?;
        let mut reader = Self { registry, anchor };
        reader.step().await?;
        Ok(reader)
    }

    /// Steps to the newest root of trust of the registry, if trust began with a root.
    pub(crate) async fn step(&mut self) -> Result<()> {
        if let Anchor::Root(root) = &self.anchor {
            let newest = self.registry.newest_root(root).await;
            let newest = newest.context("cannot step to the newest root of trust")?;
            self.anchor = Anchor::Root(Box::new(newest));
        }
        Ok(())
    }

    /// The keys that count.
    pub(crate) fn keyring(&self) -> &Keyring {
        self.anchor.keyring()
    }

    /// The root that counts, if trust began with one.
    pub(crate) fn root(&self) -> Option<&TrustedRoot> {
        match &self.anchor {
            Anchor::Keys(_) => None,
            Anchor::Root(root) => Some(root),
        }
    }

    /// Refuses to sign on the word of an expired root.
    pub(crate) fn check_current(&self) -> Result<()> {
        self.root().map_or(Ok(()), |root| keys::check_current(root, now_ms()))
    }

    /// A channel's document as it lies there, and whether those made it who may; expired or not.
    pub(crate) async fn document(
        &self,
        detector: &Name,
        channel: &Name,
    ) -> Result<Option<(Channel, Result<(), Refusal>)>> {
        let found = self.registry.channel(detector, channel).await?;
        Ok(found.map(|(envelope, document)| {
            let genuine = check_genuine(&envelope, &document, detector, channel, self.keyring());
            (document, genuine)
        }))
    }

    /// A channel's document, or what to do where there is none.
    pub(crate) async fn current(&self, detector: &Name, channel: &Name) -> Result<Channel> {
        let found = self.registry.channel(detector, channel).await?;
        let missing = || {
            let reason = "publish a module first";
            Usage(format!("detector `{detector}` has no channel `{channel}`: {reason}"))
        };
        Ok(found.ok_or_else(missing)?.1)
    }
}

/// Judged at the time when it was made, so that age plays no part.
fn check_genuine(
    envelope: &Envelope,
    document: &Channel,
    detector: &Name,
    channel: &Name,
    keyring: &Keyring,
) -> Result<(), Refusal> {
    let view = ChannelView::new(detector.clone(), channel.clone());
    view.accept(envelope, keyring, None, document.issued_ms).map(|_| ())
}

impl Desk {
    /// Opens a registry to write to it.
    pub(crate) async fn open(place: &Place, missing: Missing) -> Result<Self> {
        let key = keys::signing_key(place.key.as_deref())?;
        memory::check()?;
        let reader = Reader::open(&place.source, missing).await?;
        reader.check_current()?;
        let lifetime_ms = i64::from(place.days) * DAY_MS;
        let (channel, location) = (place.channel.clone(), place.source.registry.clone());
        Ok(Self { reader, channel, key, lifetime_ms, location })
    }

    /// Steps to the newest root, and makes sure that it is current.
    pub(crate) async fn step(&mut self) -> Result<()> {
        self.reader.step().await?;
        self.reader.check_current()
    }

    /// Who signs the next document of a detector's channel, on no older one than was seen before.
    pub(crate) fn author(&self, detector: &Name) -> Author<'_> {
        let known = memory::known(&self.location, detector, &self.channel);
        let serial = known.as_ref().map(|known| KnownSerial::AtLeast(known.serial));
        Author {
            key: &self.key,
            keyring: self.reader.keyring(),
            now_ms: now_ms(),
            lifetime_ms: self.lifetime_ms,
            known: serial.unwrap_or_default(),
            promoted: known.and_then(|known| known.promoted),
        }
    }

    /// The same, on exactly the document that was looked at, if that is not an old one.
    pub(crate) fn author_on(&self, channel: &Channel) -> Author<'_> {
        let author = self.author(&channel.detector);
        match author.known {
            KnownSerial::AtLeast(seen) if channel.serial < seen => author,
            _ => Author { known: KnownSerial::Exactly(channel.serial), ..author },
        }
    }

    /// Remembers a document that was written here, so that no older one is built on.
    pub(crate) fn note(&self, channel: &Channel) {
        // What a retrainer signed and a promoter found as it should be is the retrainer's still.
        let is_promoters = self.reader.keyring().allows(&self.key.key_id(), Role::Promoter)
            && channel.endorsement.is_none();
        memory::note(&self.location, channel, is_promoters);
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.reader.registry
    }

    pub(crate) async fn current(&self, detector: &Name) -> Result<Channel> {
        self.reader.current(detector, &self.channel).await
    }
}

/// Runs a verb that waits for something.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?
        .block_on(work)
}
