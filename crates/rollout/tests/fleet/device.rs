//! A device: what it believes of the channel, what it runs for that, and what it reports. The
//! decisions are those of the real [`ChannelView`], [`Rollout::duty`] and [`Watch`]; only the
//! modules are made up.

use std::sync::{Arc, LazyLock};

use twinge_registry::{Channel, ChannelView, LastSeen, Target};
use twinge_rollout::{
    Block, Comparison, Condemned, Desired, Duty, Health, Report, Rollout, Side, Watch,
};

use super::document::{Document, blank_view};
use super::modules::Modules;
use super::random::Random;
use super::release::{Kind, Said};

/// Blocks of 32 events for which a module warms up.
const WARM_UP_BLOCKS: u8 = 2;

static BLANK: LazyLock<ChannelView> = LazyLock::new(blank_view);

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) identity: twinge_rollout::Device,
    pub(crate) poll_ticks: u32,
    /// What its clock shows beyond the right time.
    pub(crate) skew_ms: i64,
    pub(crate) dead: bool,
    pub(crate) champion: Option<usize>,
    pub(crate) trial: Option<Trial>,
    pub(crate) condemned: Vec<Condemned>,
    last_seen: Option<LastSeen>,
    /// The document accepted last.
    document: Option<Arc<Document>>,
    desired: Option<Desired>,
    random: Random,
}

/// A challenger on a device.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) module: usize,
    pub(crate) since: u64,
    pub(crate) acts: bool,
    duty: Duty,
    warm_up_blocks: u8,
    /// Blocks in which it acted.
    acted_blocks: u64,
    watch: Watch,
    figures: Figures,
}

#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    blocks: u64,
    both: u64,
    ours: u64,
    theirs: u64,
    failures: u64,
    busy_us: u64,
    champion_busy_us: u64,
}

impl Device {
    pub(crate) fn new(name: String, ring: Option<String>, random: &mut Random) -> Self {
        let mut random = random.fork();
        let skew_ms = match random.within(0..200) {
            0 => 3_600_000,
            1 => -3_600_000,
            _ => random.within(0..120_000).cast_signed() - 60_000,
        };
        Self {
            identity: twinge_rollout::Device { name, ring },
            poll_ticks: random.within(3..6) as u32,
            skew_ms,
            dead: false,
            champion: None,
            trial: None,
            condemned: Vec::new(),
            last_seen: None,
            document: None,
            desired: None,
            random,
        }
    }

    /// The module whose verdicts count.
    pub(crate) fn acting(&self) -> Option<usize> {
        let trial = self.trial.as_ref().filter(|trial| trial.acts);
        trial.map(|trial| trial.module).or(self.champion)
    }

    pub(crate) fn serial(&self) -> u64 {
        self.last_seen.map_or(0, |seen| seen.serial)
    }

    /// Loses what it held of the channel, though not what it has seen.
    pub(crate) fn lose_view(&mut self) {
        self.document = None;
    }

    /// Begins with the champion, and warms up what the channel says next.
    pub(crate) fn restart(&mut self) {
        self.dead = false;
        self.trial = None;
        self.document = None;
    }

    /// The channel as it was served; whether it is believed.
    pub(crate) fn receive(
        &mut self,
        document: &Arc<Document>,
        modules: &Modules,
        now_ms: i64,
    ) -> bool {
        let Some(Ok(opened)) = document.opened() else { return false };
        let view = self.document.as_ref().and_then(|document| document.held());
        let view = view.map_or(&*BLANK, |after| &after.view);
        let Ok(accepted) = view.judge(opened, self.last_seen, now_ms + self.skew_ms) else {
            return false;
        };
        self.last_seen = Some(accepted.last_seen);
        let same = self.document.as_ref().is_some_and(|held| Arc::ptr_eq(held, document));
        if !same {
            self.document = Some(document.clone());
            self.follow(&document.after(&accepted).channel, modules);
        }
        true
    }

    fn follow(&mut self, channel: &Channel, modules: &Modules) {
        let duty = match (&channel.challenger, &channel.rollout) {
            (None, _) => Duty::None,
            (Some(_), None) => Duty::Shadow,
            (Some(_), Some(rollout)) => Rollout::duty(rollout, &channel.policy, &self.identity),
        };
        let Some(champion) = &channel.champion else { return };
        self.desired = Some(Desired {
            serial: channel.serial,
            root: 1,
            champion: champion.digest,
            challenger: channel.challenger.as_ref().map(|target| target.digest),
            duty,
        });
        if let Some(champion) = modules.runnable(&champion.digest)
            && self.champion != Some(champion)
        {
            self.champion = Some(champion);
            self.trial = None;
        }
        let wanted = channel.challenger.as_ref().filter(|target| self.takes(target, duty));
        let wanted =
            wanted.and_then(|target| Some((modules.runnable(&target.digest)?, target.since)));
        match (wanted, &mut self.trial) {
            (None, trial) => *trial = None,
            (Some(wanted), Some(trial)) if wanted == (trial.module, trial.since) => {
                trial.turn_to(duty);
            }
            (Some((module, since)), trial) => *trial = Some(Trial::new(module, since, duty)),
        }
    }

    fn takes(&self, target: &Target, duty: Duty) -> bool {
        let left = self
            .condemned
            .iter()
            .any(|condemned| condemned.digest == target.digest && condemned.since == target.since);
        duty != Duty::None && !left
    }

    /// The next 32 events.
    pub(crate) fn work(&mut self, modules: &Modules, incident: bool) {
        let Some(trial) = &mut self.trial else { return };
        if trial.warm_up_blocks > 0 {
            trial.warm_up_blocks -= 1;
            trial.turn_to(trial.duty);
            return;
        }
        let release = modules.get(trial.module);
        let said = release.kind.says(trial.acts, incident, &mut self.random);
        trial.figures.add(said);
        if !trial.acts {
            return;
        }
        trial.acted_blocks += 1;
        if release.kind == Kind::Kills && trial.acted_blocks > 1 + self.random.within(0..4) {
            self.dead = true;
            return;
        }
        let gate = self.document.as_ref().and_then(|document| document.held());
        let Some(gate) = gate.map(|after| &after.channel.policy.gate) else { return };
        trial.watch.next();
        *trial.watch.block() = Block {
            compared: 32 - said.failures,
            acting_alone: said.ours,
            other_alone: said.theirs,
            failures: said.failures,
            ..Block::default()
        };
        if let Some(reason) = trial.watch.verdict(gate) {
            let since = trial.since;
            self.condemned.push(Condemned { digest: release.digest, since, reason });
            self.trial = None;
        }
    }

    /// Puts its state into the place of what it reported before.
    pub(crate) fn report(&self, modules: &Modules, report: &mut Report, now_ms: i64) {
        let Some(desired) = &self.desired else { return };
        report.sent_ms = now_ms + self.skew_ms;
        report.desired.clone_from(desired);
        report.comparison = self.champion.zip(self.trial.as_ref()).map(|(champion, trial)| {
            let champion = modules.get(champion).digest;
            trial.figures.comparison(trial.acts, modules.get(trial.module).digest, champion)
        });
        if report.condemned.len() != self.condemned.len() {
            report.condemned.clone_from(&self.condemned);
        }
    }

    /// What it reports first, if it follows a channel yet.
    pub(crate) fn first_report(&self) -> Option<Report> {
        Some(Report {
            detector: super::DETECTOR.to_owned(),
            channel: super::CHANNEL.to_owned(),
            device: self.identity.clone(),
            sent_ms: 0,
            desired: self.desired.clone()?,
            running: Vec::new(),
            comparison: None,
            condemned: Vec::new(),
            drifts: Vec::new(),
            health: Health::default(),
        })
    }
}

impl Trial {
    fn new(module: usize, since: u64, duty: Duty) -> Self {
        Self {
            module,
            since,
            acts: false,
            duty,
            warm_up_blocks: WARM_UP_BLOCKS,
            acted_blocks: 0,
            watch: Watch::default(),
            figures: Figures::default(),
        }
    }

    /// Takes over or steps back; counting begins anew then.
    fn turn_to(&mut self, duty: Duty) {
        self.duty = duty;
        let acts = duty == Duty::Act && self.warm_up_blocks == 0;
        if acts != self.acts {
            self.acts = acts;
            self.figures = Figures::default();
            self.watch = Watch::default();
        }
    }
}

impl Figures {
    fn add(&mut self, said: Said) {
        self.blocks += 1;
        self.both += u64::from(said.both);
        self.ours += u64::from(said.ours);
        self.theirs += u64::from(said.theirs);
        self.failures += u64::from(said.failures);
        self.busy_us += said.busy_us;
        self.champion_busy_us += said.champion_busy_us;
    }

    fn comparison(
        &self,
        acts: bool,
        challenger: twinge_trust::Digest,
        champion: twinge_trust::Digest,
    ) -> Comparison {
        let side = |digest, alone, failures, busy_us| Side {
            anomalies: self.both + alone,
            alone,
            failures,
            events: 32 * self.blocks,
            busy_us,
            ..Side::new(digest)
        };
        let ours = side(challenger, self.ours, self.failures, self.busy_us);
        let theirs = side(champion, self.theirs, 0, self.champion_busy_us);
        let (acting, other) = if acts { (ours, theirs) } else { (theirs, ours) };
        Comparison { compared: 32 * self.blocks - self.failures, acting, other }
    }
}
