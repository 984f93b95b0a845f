//! The loop that drives rollouts: reads the channel and the reports, asks [`decide`], and does
//! what it says in the registry. It may die between any two writes.

use std::cell::RefCell;
use std::sync::Arc;

use twinge_registry::{
    Accepted, Author, Channel, ChannelView, KnownSerial, LastSeen, Registry, RegistryError, Target,
};
use twinge_rollout::{Action, Decision, Report, Situation, decide};
use twinge_trust::{Keyring, Role, SigningKey};

use super::document::blank_view;
use super::modules::Modules;
use super::wire::Wire;
use super::{CHANNEL, DETECTOR, name};

/// How long a document is believed.
const LIFETIME_MS: i64 = 4 * 3_600_000;

#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) wire: Arc<Wire>,
    pub(crate) wakes_at: u32,
    registry: Registry,
    /// What it has on disk: it believes the channel as a device does, so that nobody makes it
    /// sign on top of an old document.
    view: ChannelView,
    last_seen: Option<LastSeen>,
}

/// What publishers are to do, and what they did.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) releases: Vec<usize>,
    pub(crate) next: usize,
    pub(crate) due_at: u32,
    pub(crate) published: bool,
    /// Why the latest challenger went back.
    pub(crate) withdrawn: String,
    /// What was decided last.
    pub(crate) decided: String,
}

/// The keys of those who may publish.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) promoter: SigningKey,
    pub(crate) retrainer: SigningKey,
    pub(crate) keyring: Keyring,
}

/// What lies before a publisher when it wakes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desk<'a> {
    pub(crate) tick: u32,
    pub(crate) now_ms: i64,
    pub(crate) keys: &'a Keys,
    pub(crate) modules: &'a Modules,
    pub(crate) reports: &'a [Report],
    pub(crate) plan: &'a RefCell<Plan>,
    /// The newest serial that a publisher wrote, as people know it.
    pub(crate) serial: u64,
}

impl Publisher {
    pub(crate) fn new(wire: Wire) -> Self {
        let wire = Arc::new(wire);
        let registry = Registry::new(wire.clone());
        Self { wire, wakes_at: 0, registry, view: blank_view(), last_seen: None }
    }

    /// Does what there is to do; a failure is for the next time.
    pub(crate) async fn wake(&mut self, desk: &Desk<'_>) -> Result<(), RegistryError> {
        let found = match self.registry.channel(&name(DETECTOR), &name(CHANNEL)).await {
            Err(RegistryError::Store(error)) => return Err(error.into()),
            found => found.ok().flatten(),
        };
        let accepted = found.and_then(|(envelope, _)| {
            self.view.accept(&envelope, &desk.keys.keyring, self.last_seen, desk.now_ms).ok()
        });
        let step = match accepted {
            None => self.mend(desk).await,
            Some(accepted) if self.is_old_word(&accepted) => return Ok(()),
            Some(accepted) => {
                self.remember(&accepted);
                self.act(&accepted.channel, desk).await
            }
        };
        if let Some(channel) = step? {
            let last_seen =
                LastSeen { serial: channel.serial, time_ms: desk.now_ms, promoted: channel.serial };
            let key_id = desk.keys.promoter.key_id();
            self.remember(&Accepted { channel, last_seen, key_id, role: Role::Promoter });
        }
        Ok(())
    }

    /// A retrainer's document may carry a promoter's word that is older than another one which
    /// this publisher has missed. Devices cannot tell; whoever signs for promotions can wait.
    fn is_old_word(&self, accepted: &Accepted) -> bool {
        let held = self.view.current();
        accepted.role == Role::Retrainer
            && !held.is_some_and(|held| held.same_verdicts(&accepted.channel))
    }

    fn remember(&mut self, accepted: &Accepted) {
        self.view = self.view.after(accepted);
        self.last_seen = Some(accepted.last_seen);
    }

    async fn act(&self, channel: &Channel, desk: &Desk<'_>) -> Written {
        if behind(channel, desk.reports) {
            return Ok(None);
        }
        desk.settle(channel);
        if let Some(number) = desk.due() {
            return self.publish(number, desk).await;
        }
        if let Some(challenger) = &channel.challenger
            && let Some(written) = self.drive(channel, challenger, desk).await?
        {
            return Ok(Some(written));
        }
        if channel.expires_ms - desk.now_ms < LIFETIME_MS / 2 {
            let (detector, on, author) = (&name(DETECTOR), &name(CHANNEL), &desk.promoter());
            return self.registry.renew(detector, on, author).await.map(Some);
        }
        Ok(None)
    }

    /// Writes what it knows in place of what nobody believes. A person does so, at the publisher
    /// that knows most: another could bring back what was withdrawn since.
    async fn mend(&self, desk: &Desk<'_>) -> Written {
        match self.view.current() {
            Some(channel) if channel.serial >= desk.serial => {
                self.registry.restate(channel, &desk.promoter()).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    async fn publish(&self, number: usize, desk: &Desk<'_>) -> Written {
        let release = desk.modules.get(number);
        let (bytes, statement) = (&release.bytes, &release.statement);
        let author = if release.by_promoter { desk.promoter() } else { desk.retrainer() };
        let written = self.registry.publish(bytes, statement, &name(CHANNEL), &author).await?;
        desk.plan.borrow_mut().published = true;
        Ok(Some(written))
    }

    async fn drive(&self, channel: &Channel, challenger: &Target, desk: &Desk<'_>) -> Written {
        let Some((decision, stage)) = desk.decide(channel, challenger) else { return Ok(None) };
        let (registry, detector, on) = (&self.registry, &name(DETECTOR), &name(CHANNEL));
        let (digest, author) = (&challenger.digest, &desk.promoter());
        desk.plan.borrow_mut().decided.clone_from(&decision.sentence);
        match decision.action {
            Action::Wait => Ok(None),
            Action::Advance => {
                registry.advance(detector, on, digest, stage + 1, author).await.map(Some)
            }
            Action::Promote => registry.promote(detector, on, digest, author).await.map(Some),
            Action::Withdraw => {
                desk.plan.borrow_mut().withdrawn = decision.sentence;
                registry.withdraw(detector, on, digest, author).await.map(Some)
            }
        }
    }
}

/// The channel after an operation, if there was one to do.
type Written = Result<Option<Channel>, RegistryError>;

impl<'a> Desk<'a> {
    pub(crate) fn promoter(&self) -> Author<'a> {
        self.author(&self.keys.promoter)
    }

    fn retrainer(&self) -> Author<'a> {
        self.author(&self.keys.retrainer)
    }

    fn author(&self, key: &'a SigningKey) -> Author<'a> {
        let (keyring, now_ms) = (&self.keys.keyring, self.now_ms);
        let known = KnownSerial::Nothing;
        Author { key, keyring, now_ms, lifetime_ms: LIFETIME_MS, known, promoted: None }
    }

    /// What should happen with the challenger, and at which stage it is.
    fn decide(&self, channel: &Channel, challenger: &Target) -> Option<(Decision, u16)> {
        let contender = |target: &Target| {
            let number = self.modules.number(&target.digest)?;
            Some(self.modules.get(number).contender())
        };
        let rollout = channel.rollout.as_ref()?;
        let decision = decide(&Situation {
            policy: &channel.policy,
            rollout,
            since: challenger.since,
            champion: contender(channel.champion.as_ref()?)?,
            challenger: contender(challenger)?,
            reports: self.reports,
            now_ms: self.now_ms,
        });
        Some((decision, rollout.stage))
    }

    /// The next release becomes due some time after the one before has come to its end.
    fn settle(&self, channel: &Channel) {
        let mut plan = self.plan.borrow_mut();
        let Some(current) = plan.releases.get(plan.next).copied().filter(|_| plan.published) else {
            return;
        };
        let digest = self.modules.get(current).digest;
        if channel.challenger.as_ref().is_none_or(|target| target.digest != digest) {
            plan.next += 1;
            plan.published = false;
            plan.due_at = self.tick + 5 + self.tick % 7;
        }
    }

    fn due(&self) -> Option<usize> {
        let plan = self.plan.borrow();
        let due = !plan.published && plan.due_at <= self.tick;
        plan.releases.get(plan.next).copied().filter(|_| due)
    }
}

/// Whether devices have seen a newer document than this one.
fn behind(channel: &Channel, reports: &[Report]) -> bool {
    reports.iter().any(|report| report.desired.serial > channel.serial)
}
