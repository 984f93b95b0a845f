//! `trainer rollout`: looks at what devices report, decides, and does it.
//!
//! What should happen is for `twinge_rollout::decide` to say; this reads, signs and tells.

use crate::channel::Whose;
use crate::fleet::{Fleet, Refused};
use crate::output::{print, tell};
use crate::place::{Desk, Missing, Reader, block_on};
use crate::table::Table;
use crate::time::now_ms;
use crate::tracking;
use crate::usage::Usage;
use crate::words::{self, many};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use twinge_contract::time::to_rfc3339;
use twinge_registry::{Channel, Name, RegistryError};
use twinge_rollout::{Action, Contender, Decision, Fact, Report, Situation, decide};
use twinge_trust::Digest;

/// Refused reports told in words.
const REFUSED_SHOWN: usize = 5;

/// Take a challenger on through its stages, or back, by what devices report.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Go on looking until Ctrl-C, and print a line whenever something changes.
    #[arg(long)]
    watch: bool,
    /// Seconds between two looks.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: u64,
    /// Tell what would be done, and do nothing; needs no key.
    #[arg(long)]
    dry_run: bool,
    /// Let devices count that nobody enrolled. Whoever may write reports can make such up.
    #[arg(long)]
    believe_unknown: bool,
    #[command(flatten)]
    whose: Whose,
}

/// One look at a rollout, and what came of it.
#[derive(Debug, Serialize)]
struct Look {
    time: String,
    detector: Name,
    channel: Name,
    serial: u64,
    champion: Option<Digest>,
    challenger: Option<Digest>,
    stage: Option<String>,
    action: Action,
    sentence: String,
    facts: Vec<Fact>,
    /// What was done: `advanced`, `promoted`, `withdrawn`, `renewed`.
    done: Option<&'static str>,
    dry_run: bool,
    reports: usize,
    unknown: usize,
    refused: Vec<Refused>,
}

/// Who looks, and what it remembers between two looks.
struct Lookout<'a> {
    arguments: &'a Arguments,
    hands: Hands,
    rates: BTreeMap<Digest, Option<f64>>,
}

enum Hands {
    Free(Box<Desk>),
    Tied(Box<Reader>),
}

/// `trainer rollout`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    block_on(async {
        let mut lookout = Lookout::open(arguments).await?;
        if arguments.watch {
            return lookout.watch().await;
        }
        let look = lookout.look().await?;
        if arguments.whose.json {
            print(&serde_json::to_string_pretty(&look)?);
        } else {
            look.print();
        }
        Ok(())
    })
}

impl<'a> Lookout<'a> {
    async fn open(arguments: &'a Arguments) -> Result<Self> {
        let place = &arguments.whose.place;
        let hands = if arguments.dry_run {
            Hands::Tied(Box::new(Reader::open(&place.source, Missing::Refuse).await?))
        } else {
            Hands::Free(Box::new(Desk::open(place, Missing::Refuse).await?))
        };
        Ok(Self { arguments, hands, rates: BTreeMap::new() })
    }

    /// Looks until it is told to stop. What fails may work at the next look, and is told once.
    async fn watch(&mut self) -> Result<()> {
        let every = Duration::from_secs(self.arguments.every);
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for a stop")?;
        let mut last = String::new();
        loop {
            // A write that has begun is finished before the program ends.
            let news = match self.step_and_look().await {
                Ok(look) => {
                    let key = look.key();
                    (key != last)
                        .then(|| look.line(self.arguments.whose.json))
                        .transpose()?
                        .map(|line| (key, line, true))
                }
                // A channel that is not there will not come by waiting, nor another key.
                Err(error) if error.is::<Usage>() => return Err(error),
                Err(error) => {
                    let line = format!("{error:#}");
                    (line != last).then(|| (line.clone(), line, false))
                }
            };
            if let Some((key, line, is_result)) = news {
                last = key;
                if is_result {
                    print(&line);
                } else {
                    tell(&format!("cannot look, tried again: {line}"));
                }
            }
            tokio::select! {
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    async fn step_and_look(&mut self) -> Result<Look> {
        match &mut self.hands {
            Hands::Free(desk) => desk.step().await?,
            Hands::Tied(reader) => reader.step().await?,
        }
        self.look().await
    }

    fn reader(&self) -> &Reader {
        match &self.hands {
            Hands::Free(desk) => desk.reader(),
            Hands::Tied(reader) => reader,
        }
    }

    /// One look, and what follows from it.
    async fn look(&mut self) -> Result<Look> {
        let place = &self.arguments.whose.place;
        let (detector, name) = (&self.arguments.whose.detector, &place.channel);
        let found = self.reader().document(detector, name).await?;
        let Some((channel, genuine)) = found else {
            let reason = "publish a module first";
            return Err(
                Usage(format!("detector `{detector}` has no channel `{name}`: {reason}")).into()
            );
        };
        genuine.with_context(|| {
            format!(
                "channel {detector}/{name} is not believed, so nothing is decided: find out who \
                     wrote it, then `trainer restate` it"
            )
        })?;
        let fleet = Fleet::read(self.reader(), detector).await?;
        let believed: Vec<Report> = fleet
            .on(name)
            .filter(|heard| heard.is_enrolled() || self.arguments.believe_unknown)
            .map(|heard| heard.report.clone())
            .collect();
        let unknown = fleet.on(name).filter(|heard| !heard.is_enrolled()).count();
        let decision = self.decide(&channel, &believed).await?;
        let mut look = Look {
            time: to_rfc3339(now_ms()),
            detector: detector.clone(),
            channel: name.clone(),
            serial: channel.serial,
            champion: channel.champion.as_ref().map(|target| target.digest),
            challenger: channel.challenger.as_ref().map(|target| target.digest),
            stage: channel.challenger.as_ref().map(|_| words::stage(&channel)),
            action: decision.action,
            sentence: decision.sentence,
            facts: decision.facts,
            done: None,
            dry_run: self.arguments.dry_run,
            reports: believed.len(),
            unknown,
            refused: fleet.refused,
        };
        if let Hands::Free(desk) = &self.hands
            && let Some((done, channel)) = act(desk, &channel, decision.action).await?
        {
            (look.done, look.serial) = (Some(done), channel.serial);
            // Whoever looks at experiments sees who is champion; a step that moves nobody changes nothing.
            tracking::follow(desk.registry(), &place.source.registry, &channel).await;
        }
        Ok(look)
    }

    async fn decide(&mut self, channel: &Channel, reports: &[Report]) -> Result<Decision> {
        let wait = |sentence: &str| {
            let sentence = sentence.to_owned();
            Decision { action: Action::Wait, sentence, facts: Vec::new() }
        };
        let Some(challenger) = &channel.challenger else {
            return Ok(wait("wait: nothing is rolled out; `trainer publish` begins"));
        };
        let Some(champion) = &channel.champion else {
            return Ok(wait(
                "wait: the channel has no champion to compare with; `trainer promote` makes the \
                 challenger one",
            ));
        };
        let Some(rollout) = &channel.rollout else {
            return Ok(wait(
                "wait: the challenger is in shadow only; publish it again to roll it out",
            ));
        };
        let situation = Situation {
            policy: &channel.policy,
            rollout,
            since: challenger.since,
            champion: self.contender(&champion.digest).await?,
            challenger: self.contender(&challenger.digest).await?,
            reports,
            now_ms: now_ms(),
        };
        Ok(decide(&situation))
    }

    /// A module and the share of false alarms that its manifest promises.
    async fn contender(&mut self, digest: &Digest) -> Result<Contender> {
        if let Some(rate) = self.rates.get(digest) {
            return Ok(Contender { digest: *digest, false_alarm_rate: *rate });
        }
        let reader = self.reader();
        let module = reader.registry.fetch(digest, reader.keyring()).await;
        let module = module.with_context(|| format!("cannot judge module {}", digest.short()))?;
        let manifest = twinge_engine::manifest(module.bytes())?;
        let rate = Some(manifest.threshold.false_alarm_rate);
        self.rates.insert(*digest, rate);
        Ok(Contender { digest: *digest, false_alarm_rate: rate })
    }
}

/// Does what was decided, if nobody changed the channel in between; else the next look decides
/// anew. A channel that nothing is done to is renewed when half of its life is over.
async fn act(
    desk: &Desk,
    looked_at: &Channel,
    action: Action,
) -> Result<Option<(&'static str, Channel)>> {
    let (detector, name) = (&looked_at.detector, &looked_at.channel);
    let (registry, author) = (desk.registry(), desk.author_on(looked_at));
    let challenger = looked_at.challenger.as_ref().map(|challenger| challenger.digest);
    let stage = looked_at.rollout.as_ref().map_or(0, |rollout| rollout.stage);
    let (done, written) = match (action, challenger) {
        (Action::Advance, Some(digest)) => {
            let next = stage.saturating_add(1);
            ("advanced", registry.advance(detector, name, &digest, next, &author).await)
        }
        (Action::Promote, Some(digest)) => {
            ("promoted", registry.promote(detector, name, &digest, &author).await)
        }
        (Action::Withdraw, Some(digest)) => {
            ("withdrawn", registry.withdraw(detector, name, &digest, &author).await)
        }
        _ if is_half_over(looked_at) => ("renewed", registry.renew(detector, name, &author).await),
        _ => return Ok(None),
    };
    let channel = match written {
        Err(RegistryError::Moved { .. }) => return Ok(None),
        written => written.context("cannot do what was decided")?,
    };
    desk.note(&channel);
    Ok(Some((done, channel)))
}

fn is_half_over(channel: &Channel) -> bool {
    let life = channel.expires_ms.saturating_sub(channel.issued_ms);
    channel.expires_ms.saturating_sub(now_ms()) < life / 2
}

impl Look {
    fn print(&self) {
        let stage = self.stage.as_deref().unwrap_or("nothing is rolled out");
        print(&format!("{}/{}  serial {}, {stage}", self.detector, self.channel, self.serial));
        print(&self.sentence);
        let mut table = Table::new(&["", "fact", "figures"]);
        for fact in &self.facts {
            let mark = if fact.passed { "ok" } else { "no" };
            table.row(vec![mark.into(), fact.name.into(), fact.text.clone()]);
        }
        if !table.is_empty() {
            table.lines(2).iter().for_each(|line| print(line));
        }
        match (self.done, self.dry_run, self.action) {
            (Some(done), ..) => print(&format!("{done}: serial {}", self.serial)),
            (None, _, Action::Wait) => {}
            (None, true, _) => print("nothing was done: --dry-run"),
            (None, false, _) => print("nothing was done: somebody changed the channel; look again"),
        }
        if self.unknown > 0 {
            tell(&format!(
                "{} that nobody enrolled: `trainer enrol` lets their reports count",
                many(self.unknown, "device")
            ));
        }
        for Refused { device, reason } in self.refused.iter().take(REFUSED_SHOWN) {
            tell(&format!("report of {device} refused: {}", crate::table::one_line(reason)));
        }
        if self.refused.len() > REFUSED_SHOWN {
            let more = self.refused.len() - REFUSED_SHOWN;
            tell(&format!(
                "and {} more refused; `trainer status --all` shows them",
                many(more, "report")
            ));
        }
    }

    /// What makes a look worth a line: figures that only grow do not.
    fn key(&self) -> String {
        let open: Vec<&str> =
            self.facts.iter().filter(|fact| !fact.passed).map(|fact| fact.name).collect();
        let refused: Vec<&str> = self.refused.iter().map(|one| one.device.as_str()).collect();
        let bare = self.facts.is_empty().then_some(&self.sentence);
        let done = self.done;
        format!(
            "{} {:?} {done:?} {:?} {open:?} {refused:?} {bare:?}",
            self.serial, self.action, self.stage
        )
    }

    fn line(&self, json: bool) -> Result<String> {
        if json {
            return Ok(serde_json::to_string(self)?);
        }
        let done =
            self.done.map_or_else(String::new, |done| format!(" [{done}, serial {}]", self.serial));
        let refused = match self.refused.len() {
            0 => String::new(),
            count => format!("; {} refused", many(count, "report")),
        };
        Ok(format!("{}  {}{refused}{done}", self.time, self.sentence))
    }
}
