//! Publish, promote, hold, stop, roll back: what people do to a channel.

use crate::output::{print, tell};
use crate::place::{Desk, Missing, Place, Reader, block_on};
use crate::time::now_ms;
use crate::train::statement;
use crate::usage::Usage;
use crate::{tracking, words};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;
use twinge_contract::time::to_rfc3339;
use twinge_registry::file::read_signed;
use twinge_registry::{Channel, Name, RegistryError, StoreError, Target, UNVERIFIED_SERIAL_MAX};
use twinge_trust::{Digest, Envelope, Statement};

/// Put a module into a registry, as challenger of a channel.
#[derive(Debug, Args)]
pub(crate) struct PublishArguments {
    /// The module, with its signature beside it.
    #[arg(long)]
    module: PathBuf,
    /// Promote it in the same breath, past all stages.
    #[arg(long)]
    promote: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// A channel of a detector, to be changed.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// The detector.
    #[arg(long)]
    pub(crate) detector: Name,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Make a channel's challenger its champion.
#[derive(Debug, Args)]
pub(crate) struct PromoteArguments {
    /// Digest of the challenger meant [default: the challenger].
    #[arg(long)]
    digest: Option<Digest>,
    #[command(flatten)]
    whose: Whose,
}

/// Withdraw a challenger that acts somewhere, else make an earlier champion champion again.
#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    /// Digest of the earlier champion [default: the one before].
    #[arg(long)]
    to: Option<Digest>,
    /// Digest of the champion meant to be left: with it, a second run goes no further back
    /// [default: whichever is champion].
    #[arg(long)]
    from: Option<Digest>,
    #[command(flatten)]
    whose: Whose,
}

/// Hold a rollout where it is, for a reason that everybody can read.
#[derive(Debug, Args)]
pub(crate) struct HoldArguments {
    /// Why.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    whose: Whose,
}

/// Set how sensitive a channel's modules are, or show it.
#[derive(Debug, Args)]
pub(crate) struct SensitivityArguments {
    /// Factor on every score before it is compared with 1: 1.2 finds more, 0.8 less.
    #[arg(long, conflicts_with = "clear")]
    set: Option<f64>,
    /// Back to what the modules were trained with.
    #[arg(long)]
    clear: bool,
    #[command(flatten)]
    whose: Whose,
}

/// Sign a channel anew, whatever lies there: the way out after its key was revoked or its document
/// destroyed.
#[derive(Debug, Args)]
pub(crate) struct RestateArguments {
    /// Digest of the module that is to be champion; you vouch for it.
    #[arg(long)]
    champion: Digest,
    /// A serial that devices have seen, if what lies there has a lower one.
    #[arg(long, default_value_t = 0)]
    serial: u64,
    #[command(flatten)]
    whose: Whose,
}

/// What became of a channel.
struct Outcome<'a> {
    channel: &'a Channel,
    done: &'a str,
    next: Option<String>,
    json: bool,
}

/// `trainer publish`.
pub(crate) fn publish(arguments: &PublishArguments) -> Result<()> {
    let (bytes, envelope) = read_signed(&arguments.module)?;
    let unsigned = || {
        let reason = "is unsigned: train it with a key to publish it, or `trainer sign` it";
        Usage(format!("{} {reason}", arguments.module.display()))
    };
    let envelope: Envelope = envelope.ok_or_else(unsigned)?;
    block_on(async {
        let desk = Desk::open(&arguments.place, Missing::Make).await?;
        let detector = detector_of(&envelope)?;
        let author = desk.author(&detector);
        let published = desk.registry().publish(&bytes, &envelope, &desk.channel, &author);
        let mut channel = published
            .await
            .with_context(|| format!("cannot publish {}", arguments.module.display()))?;
        let digest = Digest::of(&bytes);
        let is_challenger = is(channel.challenger.as_ref(), &digest);
        desk.note(&channel);
        if arguments.promote && is_challenger {
            let author = desk.author(&detector);
            let promoted = desk.registry().promote(&detector, &desk.channel, &digest, &author);
            channel = promoted.await.context("published, but cannot promote it")?;
        }
        desk.note(&channel);
        tracking::follow(desk.registry(), &arguments.place.source.registry, &channel).await;
        let done = if is(channel.champion.as_ref(), &digest) { "champion" } else { "challenger" };
        tell_outcome(&Outcome {
            channel: &channel,
            done,
            next: Some(what_comes_next(&channel)),
            json: arguments.json,
        })
    })
}

/// `trainer promote`.
pub(crate) fn promote(arguments: &PromoteArguments) -> Result<()> {
    let whose = &arguments.whose;
    block_on(async {
        let desk = Desk::open(&whose.place, Missing::Refuse).await?;
        let current = desk.current(&whose.detector).await?;
        let no_challenger =
            || Usage("the channel has no challenger: publish a module first".into());
        let digest = match arguments.digest {
            Some(digest) => digest,
            None => current.challenger.as_ref().ok_or_else(no_challenger)?.digest,
        };
        let author = desk.author(&whose.detector);
        let promoted = desk.registry().promote(&whose.detector, &desk.channel, &digest, &author);
        let channel = promoted.await.context("cannot promote it")?;
        tracking::follow(desk.registry(), &whose.place.source.registry, &channel).await;
        whose.finish(&desk, &current, &channel, "promoted", None)
    })
}

/// `trainer rollback`.
pub(crate) fn rollback(arguments: &RollbackArguments) -> Result<()> {
    let whose = &arguments.whose;
    block_on(async {
        let desk = Desk::open(&whose.place, Missing::Refuse).await?;
        let current = desk.current(&whose.detector).await?;
        let author = desk.author(&whose.detector);
        let acting = current.acting().map(|(challenger, _)| challenger.digest);
        if let (Some(challenger), None) = (acting, arguments.to) {
            let withdrawn =
                desk.registry().withdraw(&whose.detector, &desk.channel, &challenger, &author);
            let channel = withdrawn.await.context("cannot withdraw the challenger")?;
            tracking::follow(desk.registry(), &whose.place.source.registry, &channel).await;
            let next = "the challenger is withdrawn, and the champion acts everywhere again; run \
                        `trainer rollback` once more to leave the champion too";
            return whose.finish(&desk, &current, &channel, "withdrawn", Some(next));
        }
        let no_champion = || Usage("the channel has no champion to leave".into());
        let from = match arguments.from {
            Some(from) => from,
            None => current.champion.as_ref().ok_or_else(no_champion)?.digest,
        };
        let to = arguments.to.as_ref();
        let back = desk.registry().rollback(&whose.detector, &desk.channel, &from, to, &author);
        let channel = back.await.context("cannot roll the channel back")?;
        tracking::follow(desk.registry(), &whose.place.source.registry, &channel).await;
        whose.finish(&desk, &current, &channel, "rolled-back", None)
    })
}

/// `trainer hold`.
pub(crate) fn hold(arguments: &HoldArguments) -> Result<()> {
    let reason = arguments.reason.trim();
    if reason.is_empty() {
        return Err(Usage("--reason is empty: say why, for whoever wonders at night".into()).into());
    }
    let next = "`trainer release` lets it go on";
    set_hold(&arguments.whose, Some(reason), "held", Some(next))
}

/// `trainer release`.
pub(crate) fn release(whose: &Whose) -> Result<()> {
    set_hold(whose, None, "released", None)
}

fn set_hold(whose: &Whose, reason: Option<&str>, done: &str, next: Option<&str>) -> Result<()> {
    block_on(async {
        let desk = Desk::open(&whose.place, Missing::Refuse).await?;
        let current = desk.current(&whose.detector).await?;
        let author = desk.author(&whose.detector);
        let held = desk.registry().hold(&whose.detector, &desk.channel, reason, &author);
        let channel = held.await.context("cannot change the rollout")?;
        whose.finish(&desk, &current, &channel, done, next)
    })
}

/// `trainer stop`.
pub(crate) fn stop(whose: &Whose) -> Result<()> {
    block_on(async {
        let desk = Desk::open(&whose.place, Missing::Refuse).await?;
        let current = desk.current(&whose.detector).await?;
        let Some(challenger) = &current.challenger else {
            let next = "nothing is rolled out; `trainer rollback` leaves the champion";
            return whose.finish(&desk, &current, &current, "withdrawn", Some(next));
        };
        let author = desk.author(&whose.detector);
        let withdrawn =
            desk.registry().withdraw(&whose.detector, &desk.channel, &challenger.digest, &author);
        let channel = withdrawn.await.context("cannot withdraw the challenger")?;
        tracking::follow(desk.registry(), &whose.place.source.registry, &channel).await;
        let next = "devices return to the champion as soon as they look, without a network at once \
                    if they find it bad themselves";
        whose.finish(&desk, &current, &channel, "withdrawn", Some(next))
    })
}

/// `trainer sensitivity`.
pub(crate) fn sensitivity(arguments: &SensitivityArguments) -> Result<()> {
    let whose = &arguments.whose;
    if arguments.set.is_none() && !arguments.clear {
        return show(whose, |channel| {
            channel.sensitivity.map_or("1 (as trained)".into(), |factor| factor.to_string())
        });
    }
    if arguments.set.is_some_and(|factor| !(factor.is_finite() && factor > 0.0)) {
        return Err(Usage("--set must be a finite number above zero".into()).into());
    }
    block_on(async {
        let desk = Desk::open(&whose.place, Missing::Refuse).await?;
        let current = desk.current(&whose.detector).await?;
        let author = desk.author(&whose.detector);
        let factor = arguments.set;
        let set = desk.registry().set_sensitivity(&whose.detector, &desk.channel, factor, &author);
        let channel = set.await.context("cannot set the sensitivity")?;
        whose.finish(&desk, &current, &channel, "sensitivity-set", None)
    })
}

/// Prints one thing of a channel; takes no key.
fn show(whose: &Whose, thing: impl Fn(&Channel) -> String) -> Result<()> {
    block_on(async {
        let reader = Reader::open(&whose.place.source, Missing::Refuse).await?;
        let channel = reader.current(&whose.detector, &whose.place.channel).await?;
        if whose.json {
            print(&serde_json::to_string_pretty(&channel)?);
        } else {
            print(&thing(&channel));
        }
        Ok(())
    })
}

/// `trainer renew`.
pub(crate) fn renew(whose: &Whose) -> Result<()> {
    block_on(async {
        let desk = Desk::open(&whose.place, Missing::Refuse).await?;
        let current = desk.current(&whose.detector).await?;
        let renewed = desk
            .registry()
            .renew(&whose.detector, &desk.channel, &desk.author(&whose.detector))
            .await;
        let channel = renewed.context("cannot renew the channel")?;
        whose.finish(&desk, &current, &channel, "renewed", None)
    })
}

/// `trainer restate`.
pub(crate) fn restate(arguments: &RestateArguments) -> Result<()> {
    let whose = &arguments.whose;
    block_on(async {
        let desk = Desk::open(&whose.place, Missing::Refuse).await?;
        let champion = vouch(&desk, &arguments.champion, &whose.detector).await?;
        let there = what_lies_there(&desk, &whose.detector).await?;
        let history = history(&desk, &there, &champion).await;
        // What nobody trusted signed may carry a serial that is made to use them up.
        let genuine = desk.reader().document(&whose.detector, &desk.channel).await;
        let is_genuine = genuine.is_ok_and(|found| found.is_some_and(|(_, word)| word.is_ok()));
        let is_plausible = is_genuine || there.serial <= UNVERIFIED_SERIAL_MAX;
        let serial = if is_plausible { there.serial } else { 0 }.max(arguments.serial);
        let champion = Target { since: serial.saturating_add(1), ..champion };
        let document = Channel {
            serial,
            champion: Some(champion),
            challenger: None,
            rollout: None,
            history,
            endorsement: None,
            ..there.clone()
        };
        let restated = desk.registry().restate(&document, &desk.author(&whose.detector)).await;
        let channel = restated.context("cannot restate the channel")?;
        let next = "policy and sensitivity are those that lay there: look at them with `trainer \
                    policy` and `trainer sensitivity`, anybody with the storage key could have \
                    changed them";
        whose.finish(&desk, &there, &channel, "restated", Some(next))
    })
}

/// The channel's document on nobody's word; a blank one where there is none that can be read.
async fn what_lies_there(desk: &Desk, detector: &Name) -> Result<Channel> {
    let blank = || Channel::new(detector.clone(), desk.channel.clone());
    match desk.registry().channel(detector, &desk.channel).await {
        Ok(found) => Ok(found.map_or_else(blank, |(_, channel)| channel)),
        Err(
            RegistryError::Untrusted { .. }
            | RegistryError::MalformedChannel { .. }
            | RegistryError::Store(StoreError::TooLarge { .. }),
        ) => {
            tell("what lies there is no channel document, so nothing of it is kept");
            Ok(blank())
        }
        Err(error) => Err(error.into()),
    }
}

/// Earlier champions of a document that trusted keys still vouch for.
async fn history(desk: &Desk, there: &Channel, champion: &Target) -> Vec<Target> {
    let mut history = Vec::new();
    for earlier in there.history.iter().filter(|earlier| earlier.digest != champion.digest) {
        let fetched = desk.registry().fetch(&earlier.digest, desk.reader().keyring()).await;
        match fetched {
            Ok(module) => history.push(Target { version: version(&module), ..earlier.clone() }),
            Err(error) => {
                tell(&format!("left out of the history: {:#}", anyhow::Error::from(error)));
            }
        }
    }
    history
}

/// The detector that a module's statement names, on nobody's word yet.
fn detector_of(envelope: &Envelope) -> Result<Name> {
    let said = Statement::from_json(envelope.payload_unverified())?;
    said.detector.parse().context("the module's statement names no detector")
}

/// The module that the operator named by its digest. If the word on it is not believed any more,
/// ours takes its place.
async fn vouch(desk: &Desk, digest: &Digest, detector: &Name) -> Result<Target> {
    let (registry, author) = (desk.registry(), desk.author(detector));
    let fetched = registry.fetch(digest, author.keyring).await;
    let module = match fetched {
        Ok(module) => module,
        Err(RegistryError::NoModule { .. })
            if registry.module_unverified(digest).await.is_err() =>
        {
            return Err(Usage(format!("the registry has no module {digest}: publish it")).into());
        }
        Err(_) => {
            let bytes = registry.module_unverified(digest).await?;
            let manifest = twinge_engine::manifest(&bytes)?;
            let envelope = statement(&bytes, &manifest)?.sign(author.key);
            registry.put(&bytes, &envelope, author.keyring).await?;
            tell(&format!("signed module {} anew", digest.short()));
            registry.fetch(digest, author.keyring).await?
        }
    };
    let said = module.statement().map(|said| said.detector.clone()).unwrap_or_default();
    if said != detector.as_str() {
        return Err(
            Usage(format!("module {digest} is of detector `{said}`, not `{detector}`")).into()
        );
    }
    Ok(Target { digest: *digest, version: version(&module), since: 0 })
}

fn version(module: &twinge_trust::VerifiedModule) -> String {
    module.statement().map(|said| said.version.clone()).unwrap_or_default()
}

impl Whose {
    /// Tells what became of the channel.
    pub(crate) fn finish(
        &self,
        desk: &Desk,
        before: &Channel,
        channel: &Channel,
        done: &str,
        next: Option<&str>,
    ) -> Result<()> {
        let changed = before.serial != channel.serial;
        if !changed && next.is_none() {
            tell("it is so already: nothing was changed");
        }
        if changed {
            desk.note(channel);
        }
        tell_outcome(&Outcome {
            channel,
            done: if changed { done } else { "unchanged" },
            next: next.map(str::to_owned),
            json: self.json,
        })
    }
}

fn tell_outcome(outcome: &Outcome<'_>) -> Result<()> {
    if outcome.json {
        let mut object = serde_json::to_value(outcome.channel)?;
        object["done"] = outcome.done.into();
        object["next"] = outcome.next.clone().into();
        print(&serde_json::to_string_pretty(&object)?);
        return Ok(());
    }
    report(outcome.channel);
    if let Some(next) = &outcome.next {
        tell(next);
    }
    Ok(())
}

/// What happens after a module was published.
pub(crate) fn what_comes_next(channel: &Channel) -> String {
    let (detector, name) = (&channel.detector, &channel.channel);
    match (&channel.champion, &channel.challenger) {
        (Some(_), None) => "devices take it as soon as they look".into(),
        (None, _) => {
            "the channel has no champion yet: `trainer promote` makes the challenger one, \
                      past all stages"
                .into()
        }
        (Some(_), Some(_)) => format!(
            "it is at {}: devices run it beside the champion and report; `trainer rollout \
             --detector {detector} --channel {name} --watch` takes it on from there, through {} \
             stages, or back",
            words::stage(channel),
            channel.policy.stages.len()
        ),
    }
}

/// Prints a channel.
pub(crate) fn report(channel: &Channel) {
    for line in lines(channel) {
        print(&line);
    }
}

/// A channel in lines.
pub(crate) fn lines(channel: &Channel) -> Vec<String> {
    let expired = if channel.expires_ms <= now_ms() { "EXPIRED at" } else { "believed until" };
    let mut lines = vec![
        format!(
            "{}/{}  serial {}, {expired} {}",
            channel.detector,
            channel.channel,
            channel.serial,
            to_rfc3339(channel.expires_ms)
        ),
        format!("  champion    {}", words::target(channel.champion.as_ref())),
        format!("  challenger  {}", words::target(channel.challenger.as_ref())),
    ];
    if channel.challenger.is_some() {
        let entered = channel.rollout.as_ref().map_or(0, |rollout| rollout.entered_ms);
        let since = words::span(now_ms().saturating_sub(entered));
        lines.push(format!("  rollout     {}, for {since}", words::stage(channel)));
    }
    if let Some(reason) = channel.rollout.as_ref().and_then(|rollout| rollout.hold.as_ref()) {
        lines.push(format!("  held        {}", crate::table::one_line(reason)));
    }
    if let Some(factor) = channel.sensitivity {
        lines.push(format!("  sensitivity {factor}"));
    }
    for earlier in &channel.history {
        lines.push(format!("  earlier     {}", words::target(Some(earlier))));
    }
    lines
}

/// Whether a slot holds a module.
pub(crate) fn is(slot: Option<&Target>, digest: &Digest) -> bool {
    slot.is_some_and(|target| target.digest == *digest)
}
