//! `trainer retrain`: a challenger from recent data, judged against the champion on data that
//! neither has seen, and published to shadow if the gates pass. Its report is left either way.

mod compare;
mod report;
mod sample;
mod settings;
mod spoken;
mod work;

use crate::channel::what_comes_next;
use crate::labels::{self, Said};
use crate::output::{print, tell};
use crate::place::{Desk, Missing, block_on};
use crate::time::now_ms;
use crate::tracking::{self, Told};
use crate::train::{read_config, statement};
use crate::usage::Usage;
use anyhow::{Context, Result};
use compare::{Judged, Outcome};
use sample::{Sample, Sources, Split};
use settings::RetrainSettings;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thiserror::Error;
use twinge_engine::{Engine, Limits, Module};
use twinge_experiments::{Lease, LeaseError, judge};
use twinge_fit::TrainError;
use twinge_registry::{Channel, Name};
use twinge_trust::{Digest, VerifiedModule};
pub(crate) use work::Arguments;
use work::{Reason, Work};

/// The challenger was judged and is not good enough.
#[derive(Debug, Error)]
#[error("gates failed: {0}")]
pub(crate) struct GatesFailed(String);

/// The champion that runs at present, ready to score.
struct Champion {
    module: Module,
    digest: Digest,
    bytes: u64,
    sensitivity: f64,
}

/// `trainer retrain`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let config = read_config(&arguments.config)?;
    let settings = RetrainSettings::of(&config)
        .with_context(|| format!("{} is not usable", arguments.config.display()))?;
    config.clone().check()?;
    let detector = config.name.parse()?;
    let said = match &arguments.labels {
        Some(path) => Said::read(path)?,
        None => Said::default(),
    };
    let known = labels::look_up(&said.ids(), &arguments.verdicts)?;
    let sources = Sources::of(arguments, said, known)?;
    let work = Work { config, settings, detector, began_ms: now_ms() };
    block_on(async {
        let desk = Desk::open(&arguments.place, Missing::Refuse).await?;
        let mut lease = take_lease(&desk, &work).await?;
        let done = under_lease(arguments, work, sources, &desk, &mut lease).await;
        // Whoever lost it has nothing to give back.
        if let Err(error) = lease.release().await {
            tell(&format!("note: the lease is not given back, and ends by itself: {error}"));
        }
        done
    })
}

async fn take_lease(desk: &Desk, work: &Work) -> Result<Lease> {
    let store = Arc::clone(desk.registry().store());
    let kind: Name = "retrain".parse()?;
    let mut number = [0; 8];
    getrandom::fill(&mut number)
        .map_err(|error| anyhow::anyhow!("no randomness for the name of a lease: {error}"))?;
    let id = format!("process {}, {}", std::process::id(), hex::encode(number));
    let lifetime_ms = i64::from(work.settings.lease_minutes) * 60_000;
    let taken = Lease::take(store, &kind, &work.detector, &id, now_ms(), lifetime_ms).await;
    taken.with_context(|| format!("{} is being retrained already", work.detector))
}

async fn under_lease(
    arguments: &Arguments,
    work: Work,
    sources: Sources,
    desk: &Desk,
    lease: &mut Lease,
) -> Result<()> {
    let detector = work.detector.clone();
    let current = current(desk, &detector).await?;
    let champion = champion(desk, current.as_ref()).await?;
    // Reading, training and scoring take the processor for minutes; the lease is renewed meanwhile.
    let (seed, reason) = (arguments.seed, arguments.reason);
    let stop = Arc::new(AtomicBool::new(false));
    let is_stopped = Arc::clone(&stop);
    let thinking = tokio::task::spawn_blocking(move || {
        judge_challenger(&work, champion.as_ref(), sources, seed, reason, &is_stopped)
    });
    let outcome = while_renewing(thinking, lease, &stop).await?;
    let files = report::write(&arguments.report, &outcome)?;
    let may_publish = judge::all_passed(&outcome.gates) && !arguments.dry_run;
    let published = if may_publish {
        // Training took its time: somebody may have taken over.
        lease.renew(now_ms()).await.context("the challenger is not published")?;
        Some(publish(arguments, desk, &outcome).await?)
    } else {
        None
    };
    let channel = published.as_ref();
    track(arguments, desk, &outcome, files, channel).await?;
    finish(arguments, &outcome, channel)
}

/// The channel as it is; a challenger that acts somewhere must not be replaced under its feet.
async fn current(desk: &Desk, detector: &Name) -> Result<Option<Channel>> {
    let found = desk.reader().document(detector, &desk.channel).await?;
    let Some((channel, genuine)) = found else { return Ok(None) };
    genuine.with_context(|| format!("channel {detector}/{} cannot be believed", desk.channel))?;
    if let Some((challenger, _)) = channel.acting() {
        let digest = challenger.digest.short();
        let reason = "acts on some devices already: let its rollout end, or `trainer stop` it";
        return Err(Usage(format!("challenger {digest} {reason}")).into());
    }
    Ok(Some(channel))
}

async fn champion(desk: &Desk, channel: Option<&Channel>) -> Result<Option<Champion>> {
    let Some(channel) = channel else { return Ok(None) };
    let Some(target) = &channel.champion else { return Ok(None) };
    let fetched = desk.registry().fetch(&target.digest, desk.reader().keyring()).await;
    let verified = fetched.context("cannot fetch the champion")?;
    let bytes = verified.bytes().len() as u64;
    let module = load(&verified).context("the champion is refused")?;
    let sensitivity = channel.sensitivity.unwrap_or(1.0);
    Ok(Some(Champion { module, digest: target.digest, bytes, sensitivity }))
}

fn load(verified: &VerifiedModule) -> Result<Module> {
    Ok(Engine::new(Limits::default())?.load(verified)?)
}

/// Waits for the work and renews the lease; once it is lost, the work is told to stop.
async fn while_renewing(
    mut thinking: tokio::task::JoinHandle<Result<Outcome>>,
    lease: &mut Lease,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let lifetime_ms = lease.owner().expires_ms.saturating_sub(lease.owner().taken_ms);
    let pause = Duration::from_millis(u64::try_from(lifetime_ms / 4).unwrap_or(1).max(1));
    let mut lost: Option<LeaseError> = None;
    loop {
        tokio::select! {
            done = &mut thinking => {
                let outcome = done.context("the work ended by a panic")?;
                return match lost {
                    Some(error) => Err(error).context("the lease was lost while training"),
                    None => outcome,
                };
            }
            () = tokio::time::sleep(pause), if lost.is_none() => {
                match lease.renew(now_ms()).await {
                    Ok(()) => {}
                    // The store may be away for a moment; the lease itself says when it is too late.
                    Err(LeaseError::Store(error)) => tell(&format!("note: {error}")),
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        lost = Some(error);
                    }
                }
            }
        }
    }
}

/// Reads, chooses, trains and compares.
fn judge_challenger(
    work: &Work,
    champion: Option<&Champion>,
    sources: Sources,
    seed: u64,
    reason: Reason,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let events = sample::read(sources, &work.config, seed)?;
    let split = Split::by_time(&events.rows, work.settings.judge_share)?;
    let said = champion
        .map(|champion| spoken::score_all(&champion.module, &events.rows, champion.sensitivity));
    let said = said.transpose().context("the champion cannot score the data")?;
    let least = work.settings.false_alarms_min;
    let sample = Sample::choose(&events, &split, said.as_ref(), least);
    let config = sample.config(work, &events.digest);
    let table = sample.table(&events, &split, &config.schema);
    let valid = config.check()?;
    let mut go_on = |_| !stop.load(Ordering::Relaxed);
    let trained = match twinge_fit::train(&table, &valid, seed, &mut go_on) {
        Err(TrainError::Cancelled) => anyhow::bail!("training was stopped"),
        other => other.context("cannot train a challenger")?,
    };
    let challenger = load(&VerifiedModule::allow_unsigned(trained.module.clone()))?;
    // Its channel's sensitivity will be the challenger's too.
    let sensitivity = champion.map_or(1.0, |champion| champion.sensitivity);
    let by_challenger = spoken::score_all(&challenger, &events.rows, sensitivity)?;
    let judged = Judged {
        champion: champion.zip(said.as_ref()).map(|(champion, said)| (champion.bytes, said)),
        challenger: (trained.module.len() as u64, &by_challenger),
    };
    Ok(compare::outcome(compare::Materials {
        work,
        events: &events,
        split: &split,
        sample: &sample,
        judged,
        trained,
        config: valid.written,
        champion: champion.map(|champion| champion.digest),
        reason: reason.as_str(),
    }))
}

/// Signs the challenger and makes it the channel's challenger; never more than that.
async fn publish(arguments: &Arguments, desk: &Desk, outcome: &Outcome) -> Result<Channel> {
    let detector: Name = outcome.trained.manifest.name.parse()?;
    let author = desk.author(&detector);
    let module = &outcome.trained.module;
    let envelope = statement(module, &outcome.trained.manifest)?.sign(author.key);
    let published = desk.registry().publish(module, &envelope, &desk.channel, &author).await;
    let channel = published.context("the gates passed, but the challenger cannot be published")?;
    desk.note(&channel);
    tracking::follow(desk.registry(), &arguments.place.source.registry, &channel).await;
    Ok(channel)
}

async fn track(
    arguments: &Arguments,
    desk: &Desk,
    outcome: &Outcome,
    files: Vec<twinge_experiments::File>,
    published: Option<&Channel>,
) -> Result<()> {
    let told = Told {
        began_ms: outcome.began_ms,
        reason: arguments.reason.as_str(),
        has_failed: false,
        metrics: outcome.metrics(),
        tags: [
            ("outcome".to_owned(), outcome.word(published.is_some()).to_owned()),
            ("gates.failed".to_owned(), outcome.failed()),
            ("channel".to_owned(), desk.channel.to_string()),
        ]
        .into(),
        files,
        champion: outcome.champion,
    };
    let location = &arguments.place.source.registry;
    let tracker = tracking::tracker(Some((desk.registry(), location)))?;
    let (run, files) = tracking::run_of(&outcome.trained, &outcome.config, told)?;
    let what = if published.is_some() { "published" } else { "judged" };
    tracking::record(tracker.as_ref(), &run, &files, !arguments.json)
        .await
        .with_context(|| format!("the challenger is {what}, but its run is not recorded"))
}

fn finish(arguments: &Arguments, outcome: &Outcome, published: Option<&Channel>) -> Result<()> {
    let digest = Digest::of(&outcome.trained.module);
    if arguments.json {
        let object = serde_json::json!({
            "digest": digest,
            "outcome": outcome.word(published.is_some()),
            "gates": outcome.gates,
            "comparison": outcome.comparison,
            "report": arguments.report,
            "serial": published.map(|channel| channel.serial),
        });
        print(&serde_json::to_string_pretty(&object)?);
    } else {
        print(&format!("digest     {digest}"));
        for line in report::lines(outcome) {
            print(&line);
        }
        print(&format!("report     {}", arguments.report.join("report.html").display()));
    }
    match published {
        Some(channel) => {
            tell(&what_comes_next(channel));
            Ok(())
        }
        None if judge::all_passed(&outcome.gates) => {
            tell("the gates passed, and nothing is published: --dry-run");
            Ok(())
        }
        None => Err(GatesFailed(outcome.failed()).into()),
    }
}
