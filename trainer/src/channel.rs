//! Publish, promote, roll back, and what the channels say.

use crate::data::Usage;
use crate::{keys, print, tell};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use twinge_contract::time::to_rfc3339;
use twinge_registry::file::read_signed;
use twinge_registry::{Author, Channel, Directory, Name, Registry, Target};
use twinge_trust::{Digest, Envelope, Keyring, SigningKey};

/// Where channels are and who signs for them.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Directory of the registry; made when it is not there.
    #[arg(long, env = "TWINGE_REGISTRY")]
    registry: PathBuf,
    /// The channel.
    #[arg(long, env = "TWINGE_CHANNEL", default_value = "stable")]
    channel: Name,
    /// Key to sign with [default: your developer key].
    #[arg(long, env = "TWINGE_SIGNING_KEY")]
    key: Option<PathBuf>,
    /// Keys that are trusted [default: your developer key].
    #[arg(long, env = "TWINGE_TRUST")]
    trust: Option<PathBuf>,
    /// Days that the channel's document is believed.
    #[arg(long, default_value_t = 30)]
    days: u32,
}

/// Put a module into a registry, as challenger of a channel.
#[derive(Debug, Args)]
pub(crate) struct PublishArguments {
    /// The module, with its signature beside it.
    #[arg(long)]
    module: PathBuf,
    /// Promote it in the same breath.
    #[arg(long)]
    promote: bool,
    #[command(flatten)]
    place: Place,
}

/// Make a channel's challenger its champion.
#[derive(Debug, Args)]
pub(crate) struct PromoteArguments {
    /// The detector.
    #[arg(long)]
    detector: Name,
    /// Digest of the challenger meant [default: the challenger].
    #[arg(long)]
    digest: Option<Digest>,
    #[command(flatten)]
    place: Place,
}

/// Make an earlier champion of a channel its champion again.
#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    /// The detector.
    #[arg(long)]
    detector: Name,
    /// Digest of the earlier champion [default: the one before].
    #[arg(long)]
    to: Option<Digest>,
    #[command(flatten)]
    place: Place,
}

/// Tell what a registry's channels point at.
#[derive(Debug, Args)]
pub(crate) struct StatusArguments {
    /// Directory of the registry.
    #[arg(long, env = "TWINGE_REGISTRY")]
    registry: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A registry, opened to be written.
struct Desk {
    registry: Registry,
    channel: Name,
    key: SigningKey,
    keyring: Keyring,
    lifetime_ms: i64,
}

impl Desk {
    fn open(place: &Place) -> Result<Self> {
        let key = match &place.key {
            Some(path) => keys::read_key(path)?,
            None => keys::developer_key()?.ok_or_else(|| Usage("no key: give --key".into()))?,
        };
        Ok(Self {
            registry: Registry::new(Arc::new(Directory::open(&place.registry)?)),
            channel: place.channel.clone(),
            key,
            keyring: keys::keyring(place.trust.as_deref())?,
            lifetime_ms: i64::from(place.days) * 86_400_000,
        })
    }

    fn author(&self) -> Author<'_> {
        Author {
            key: &self.key,
            keyring: &self.keyring,
            now_ms: now_ms(),
            lifetime_ms: self.lifetime_ms,
        }
    }

    async fn current(&self, detector: &Name) -> Result<Channel> {
        let found = self.registry.channel(detector, &self.channel).await?;
        let missing = || {
            Usage(format!(
                "detector `{detector}` has no channel `{}`: publish a module first",
                self.channel
            ))
        };
        Ok(found.ok_or_else(missing)?.1)
    }
}

/// `trainer publish`.
pub(crate) fn publish(arguments: &PublishArguments) -> Result<()> {
    let (bytes, envelope) = read_signed(&arguments.module)?;
    let unsigned = || {
        Usage(format!(
            "{} is unsigned: train it with a key to publish it",
            arguments.module.display()
        ))
    };
    let envelope: Envelope = envelope.ok_or_else(unsigned)?;
    block_on(async {
        let desk = Desk::open(&arguments.place)?;
        let mut channel =
            desk.registry.publish(&bytes, &envelope, &desk.channel, &desk.author()).await?;
        let digest = Digest::of(&bytes);
        if arguments.promote
            && channel.challenger.as_ref().is_some_and(|challenger| challenger.digest == digest)
        {
            channel = desk
                .registry
                .promote(&channel.detector, &desk.channel, &digest, &desk.author())
                .await?;
        }
        report(&channel);
        if channel.champion.is_none() {
            tell("the channel has no champion yet: `trainer promote` makes the challenger one");
        }
        Ok(())
    })
}

/// `trainer promote`.
pub(crate) fn promote(arguments: &PromoteArguments) -> Result<()> {
    block_on(async {
        let desk = Desk::open(&arguments.place)?;
        let current = desk.current(&arguments.detector).await?;
        let no_challenger =
            || Usage("the channel has no challenger: publish a module first".into());
        let digest = match arguments.digest {
            Some(digest) => digest,
            None => current.challenger.as_ref().ok_or_else(no_challenger)?.digest,
        };
        report(
            &desk
                .registry
                .promote(&arguments.detector, &desk.channel, &digest, &desk.author())
                .await?,
        );
        Ok(())
    })
}

/// `trainer rollback`.
pub(crate) fn rollback(arguments: &RollbackArguments) -> Result<()> {
    block_on(async {
        let desk = Desk::open(&arguments.place)?;
        let current = desk.current(&arguments.detector).await?;
        let no_champion = || Usage("the channel has no champion to leave".into());
        let from = current.champion.as_ref().ok_or_else(no_champion)?.digest;
        let to = arguments.to.as_ref();
        report(
            &desk
                .registry
                .rollback(&arguments.detector, &desk.channel, &from, to, &desk.author())
                .await?,
        );
        Ok(())
    })
}

/// `trainer status`.
pub(crate) fn status(arguments: &StatusArguments) -> Result<()> {
    block_on(async {
        if !arguments.registry.is_dir() {
            return Err(Usage(format!(
                "{} is not a directory: give the registry's",
                arguments.registry.display()
            ))
            .into());
        }
        let registry = Registry::new(Arc::new(Directory::open(&arguments.registry)?));
        let mut channels = Vec::new();
        for (detector, names) in registry.detectors().await? {
            for name in names {
                channels
                    .extend(registry.channel(&detector, &name).await?.map(|(_, channel)| channel));
            }
        }
        if arguments.json {
            print(&serde_json::to_string_pretty(&serde_json::json!({ "channels": channels }))?);
            return Ok(());
        }
        if channels.is_empty() {
            print("the registry has no channel yet: `trainer publish` makes one");
        }
        for channel in &channels {
            report(channel);
        }
        Ok(())
    })
}

fn report(channel: &Channel) {
    let target = |target: &Option<Target>| match target {
        Some(target) => format!("{} (version {})", target.digest, target.version),
        None => "none".into(),
    };
    print(&format!(
        "{}/{}  serial {}, believed until {}",
        channel.detector,
        channel.channel,
        channel.serial,
        to_rfc3339(channel.expires_ms)
    ));
    print(&format!("  champion    {}", target(&channel.champion)));
    print(&format!("  challenger  {}", target(&channel.challenger)));
    for earlier in &channel.history {
        print(&format!("  earlier     {} (version {})", earlier.digest, earlier.version));
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?
        .block_on(work)
}
