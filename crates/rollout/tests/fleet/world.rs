//! One fleet, minute by minute.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use twinge_registry::{Channel, MemoryStore, Registry, Store, StorePath};
use twinge_rollout::{Gate, Percent, Policy, Report, Stage};
use twinge_trust::{Keyring, Role, SigningKey, TrustedKey};

use super::attacker::Attacker;
use super::device::Device;
use super::document::{Document, Documents};
use super::modules::Modules;
use super::publisher::{Desk, Keys, Plan, Publisher};
use super::random::Random;
use super::release::{BAD_KINDS, Kind, Release};
use super::trouble::Trouble;
use super::truth::Truth;
use super::wire::{Wire, interleave, run};
use super::{CHANNEL, DETECTOR, Summary, name};

const MINUTE_MS: i64 = 60_000;
const BEGINS_MS: i64 = 1_795_600_000_000;

/// Minutes of trouble at most, and minutes after it in which all must come to rest.
const TROUBLE_MINUTES: u32 = 480;
const HEALING_MINUTES: u32 = 480;

/// In fleets from this size on there is one release, as there are devices enough.
const LARGE: usize = 10_000;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) tick: u32,
    random: Random,
    keys: Keys,
    modules: Modules,
    devices: Vec<Device>,
    next_poll: Vec<u32>,
    reports: Vec<Report>,
    report_of: Vec<Option<usize>>,
    late_reports: BTreeMap<u32, Vec<(usize, Report)>>,
    store: Arc<MemoryStore>,
    written: Arc<Mutex<Vec<Vec<u8>>>>,
    past: Vec<Vec<u8>>,
    documents: Documents,
    operator: Registry,
    publishers: Vec<Publisher>,
    plan: RefCell<Plan>,
    attacker: Attacker,
    lie: Option<Arc<Document>>,
    /// What lies in the store is not what an honest publisher wrote last.
    is_overwritten: bool,
    partition: Trouble,
    lying: Trouble,
    incident: Trouble,
    /// How the devices of an incident are chosen that lasts as long as a release.
    long_incident: Trouble,
    held_until: Option<u32>,
    truth: Truth,
    summary: Summary,
}

impl World {
    pub(crate) fn new(seed: u64, devices: usize) -> Self {
        let mut random = Random::new(seed ^ 0x7477_696e_6765);
        let keys = keys();
        let releases = releases(seed, devices, &keys, &mut random);
        let evil = releases[1].digest;
        let plan = Plan { releases: (2..releases.len()).collect(), due_at: 10, ..Plan::default() };
        let (store, written) = (Arc::new(MemoryStore::default()), Arc::default());
        let wire = || Wire::new(Arc::clone(&store), Arc::clone(&written));
        let publishers = vec![Publisher::new(wire()), Publisher::new(wire())];
        let operator = Registry::new(Arc::new(wire()));
        let fleet: Vec<_> =
            (0..devices).map(|number| device(number, devices, &mut random)).collect();
        Self {
            tick: 0,
            next_poll: fleet.iter().map(|_| random.within(0..5) as u32).collect(),
            keys,
            modules: Modules::new(releases),
            report_of: vec![None; devices],
            devices: fleet,
            reports: Vec::new(),
            late_reports: BTreeMap::new(),
            store,
            written,
            past: Vec::new(),
            documents: Documents::default(),
            operator,
            publishers,
            plan: RefCell::new(plan),
            attacker: Attacker::new(evil, random.fork()),
            lie: None,
            is_overwritten: false,
            partition: Trouble::default(),
            lying: Trouble::default(),
            incident: Trouble::default(),
            long_incident: Trouble::begin(0, u64::from(u32::MAX), 0.9, &mut random),
            held_until: None,
            truth: Truth::new(devices),
            summary: Summary { seeds: 1, ..Summary::default() },
            random,
        }
    }

    /// Until all has come to rest.
    pub(crate) fn run(&mut self) -> Result<Summary, String> {
        self.begin()?;
        while self.tick < TROUBLE_MINUTES && !self.is_done() {
            self.step(true)?;
        }
        self.heal()?;
        let healed_at = self.tick;
        while !(self.is_done() && self.is_at_rest()) {
            if self.tick > healed_at + HEALING_MINUTES {
                return Err(self.why_not_at_rest());
            }
            self.step(false)?;
            // Seldom enough that a device which dies again is missed in between.
            if self.tick.is_multiple_of(120) {
                self.revive();
            }
        }
        self.summary.minutes = u64::from(self.tick);
        self.summary.condemned =
            self.devices.iter().map(|device| device.condemned.len() as u64).sum();
        Ok(self.summary)
    }

    /// The first champion is promoted by hand.
    fn begin(&mut self) -> Result<(), String> {
        let desk = self.desk();
        let (operator, author) = (&self.operator, &desk.promoter());
        let (detector, channel) = (&name(DETECTOR), &name(CHANNEL));
        let [first, evil] = [0, 1].map(|number| self.modules.get(number));
        let begun = run(async {
            for device in &self.devices {
                if !is_late(&device.identity.name) {
                    operator.put_report(detector, &device.identity.name, b"{}").await?;
                }
            }
            operator.set_policy(detector, channel, &policy(), author).await?;
            operator.publish(&first.bytes, &first.statement, channel, author).await?;
            operator.promote(detector, channel, &first.digest, author).await
        });
        begun.map_err(|error| error.to_string())?;
        let objects = [("wasm", evil.bytes.clone()), ("json", evil.statement.to_json())];
        for (extension, bytes) in objects {
            let path = path(&format!("modules/{}.{extension}", evil.digest));
            run(self.store.create(&path, &bytes)).map_err(|error| error.to_string())?;
        }
        for (number, device) in self.devices.iter().enumerate() {
            if !is_late(&device.identity.name) {
                self.truth.reported(number, 0);
            }
        }
        // Whoever has seen nothing yet could be shown an old document as well as the latest.
        self.publish();
        self.take_note()
    }

    fn step(&mut self, troubled: bool) -> Result<(), String> {
        self.tick += 1;
        if troubled {
            self.trouble();
        }
        self.publish();
        self.take_note()?;
        for (place, report) in self.late_reports.remove(&self.tick).unwrap_or_default() {
            self.reports[place] = report;
        }
        let served = self.served();
        for number in 0..self.devices.len() {
            if self.next_poll[number] <= self.tick {
                let again = self.devices[number].poll_ticks + self.random.within(0..2) as u32;
                self.next_poll[number] = self.tick + again;
                self.poll(number, served.as_ref())?;
            }
        }
        if self.tick.is_multiple_of(16) {
            self.truth.check_withdrawn(&self.devices, self.tick)?;
        }
        Ok(())
    }

    /// New troubles, and the end of old ones.
    fn trouble(&mut self) {
        let (tick, random) = (self.tick, &mut self.random);
        if !self.partition.is_on(tick) && random.chance(0.008) {
            let share = random.within(5..60) as f64 / 100.0;
            self.partition = Trouble::begin(tick, random.within(10..90), share, random);
            self.summary.partitions += 1;
        }
        if !self.incident.is_on(tick) && random.chance(0.008) {
            let share = random.within(10..100) as f64 / 100.0;
            self.incident = Trouble::begin(tick, random.within(10..120), share, random);
        }
        if !self.lying.is_on(tick) && random.chance(0.01) {
            let share = random.within(5..100) as f64 / 100.0;
            self.lying = Trouble::begin(tick, random.within(5..40), share, random);
            self.lie = None;
            self.summary.attacks += 1;
        }
        for _ in 0..self.devices.len().div_ceil(2_000) {
            let device = random.within(0..self.devices.len() as u64) as usize;
            match random.within(0..10) {
                0 => {
                    self.devices[device].skew_ms -= random.within(0..3_600_000).cast_signed();
                }
                1 => {
                    self.devices[device].lose_view();
                    self.truth.forgot(device);
                }
                _ => {}
            }
        }
        for publisher in &self.publishers {
            if random.chance(0.004) {
                publisher.wire.set_cut(true);
            } else if random.chance(0.05) {
                publisher.wire.set_cut(false);
            }
        }
        if self.random.chance(0.004) {
            self.overwrite_channel();
        }
        self.hold_or_release();
    }

    /// The attacker's document lies in the store until somebody mends it.
    fn overwrite_channel(&mut self) {
        let Some(latest) = &self.truth.latest else { return };
        let bytes = self.attacker.planted(&self.past, latest, &self.keys);
        let path = path(&format!("channels/{DETECTOR}/{CHANNEL}.json"));
        let found = run(self.store.get(&path)).ok().flatten();
        if let Some(found) = found {
            let written = run(self.store.replace(&path, &bytes, &found.etag));
            written.expect("nobody else writes in between");
            self.summary.attacks += 1;
        }
    }

    /// An operator who does not like what they see, and later does.
    fn hold_or_release(&mut self) {
        let reason = match self.held_until {
            Some(until) if self.tick < until => return,
            Some(_) => None,
            None if self.random.chance(0.003) => Some("somebody looks at it"),
            None => return,
        };
        let (detector, channel) = (name(DETECTOR), name(CHANNEL));
        // The registry builds on any genuine document, also an old one: it is looked at first.
        let there = run(self.operator.channel(&detector, &channel)).ok().flatten();
        let serial = self.truth.latest.as_ref().map(|latest| latest.serial);
        if there.map(|(_, there)| there.serial) != serial {
            return;
        }
        let author = self.desk().promoter();
        let held = run(self.operator.hold(&detector, &channel, reason, &author)).is_ok();
        self.held_until = match reason {
            Some(_) if held => Some(self.tick + 40),
            // What could not be released is tried again, unless nothing is rolled out any more.
            None if !held && self.is_rolling() => self.held_until,
            _ => None,
        };
    }

    fn is_rolling(&self) -> bool {
        self.truth.latest.as_ref().is_some_and(|latest| latest.challenger.is_some())
    }

    /// Those publishers act whose time has come, both at once if so.
    fn publish(&mut self) {
        let tick = self.tick;
        let desk = Desk {
            tick,
            now_ms: now_ms(tick),
            keys: &self.keys,
            modules: &self.modules,
            reports: &self.reports,
            plan: &self.plan,
            serial: self.truth.serial(),
        };
        let mut awake: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
        for publisher in &mut self.publishers {
            if publisher.wakes_at > tick {
                continue;
            }
            publisher.wakes_at = tick + self.random.within(3..8) as u32;
            if self.random.chance(0.05) {
                publisher.wire.die_after(self.random.within(1..4).cast_signed());
            }
            awake.push(Box::pin(async {
                // What fails is tried again; what must hold is checked on what was written.
                drop(publisher.wake(&desk).await);
            }));
        }
        if awake.is_empty() {
            return;
        }
        interleave(awake, &mut self.random);
        for publisher in &mut self.publishers {
            if publisher.wire.is_dead() {
                publisher.wire.die_after(i64::MAX);
                publisher.wakes_at = tick + self.random.within(10..60) as u32;
                self.summary.publisher_deaths += 1;
            }
        }
        self.modules.fetch(&self.operator, &self.keys.keyring);
    }

    /// Looks at all that was written.
    fn take_note(&mut self) -> Result<(), String> {
        let written = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *written)
        };
        for bytes in written {
            let before = self.truth.latest.clone();
            self.truth.on_document(&bytes, &self.modules, &self.keys.keyring, self.tick)?;
            if let Some((before, after)) = before.zip(self.truth.latest.clone()) {
                self.compare(&before, &after)?;
            }
            self.summary.documents += 1;
            self.past.push(bytes);
        }
        Ok(())
    }

    fn compare(&mut self, before: &Channel, after: &Channel) -> Result<(), String> {
        let Some(challenger) = before.challenger.as_ref() else { return Ok(()) };
        if after.challenger.as_ref().is_some_and(|after| after.digest == challenger.digest) {
            return Ok(());
        }
        if after.champion.as_ref().is_some_and(|after| after.digest == challenger.digest) {
            self.summary.promoted += 1;
            return Ok(());
        }
        self.summary.withdrawn += 1;
        let module = self.modules.number(&challenger.digest);
        if module.is_some_and(|module| !self.modules.get(module).is_bad()) {
            let sentence = &self.plan.borrow().withdrawn;
            if !sentence.contains("have said nothing for") {
                return Err(format!("a good release went back: {sentence}"));
            }
            self.summary.withdrawn_in_silence += 1;
        }
        Ok(())
    }

    /// The document that lies in the store.
    fn served(&mut self) -> Option<Arc<Document>> {
        let path = path(&format!("channels/{DETECTOR}/{CHANNEL}.json"));
        let bytes = run(self.store.get(&path)).ok().flatten()?.bytes;
        self.is_overwritten = self.past.last() != Some(&bytes);
        Some(self.documents.of(&bytes, &self.keys.keyring))
    }

    fn poll(&mut self, number: usize, served: Option<&Arc<Document>>) -> Result<(), String> {
        let tick = self.tick;
        let incident = self.is_in_incident(number);
        if self.devices[number].dead {
            return Ok(());
        }
        self.devices[number].work(&self.modules, incident);
        if self.devices[number].dead {
            self.summary.deaths += 1;
        } else if self.partition.hits(number, tick) {
            self.truth.cut_off(number, tick);
        } else {
            self.meet_store(number, served);
        }
        self.truth.on_device(number, &self.devices[number], &self.modules)
    }

    fn meet_store(&mut self, number: usize, served: Option<&Arc<Document>>) {
        let (tick, now_ms) = (self.tick, now_ms(self.tick));
        let lie = if self.lying.hits(number, tick) { self.lie() } else { None };
        let lied_to = lie.is_some() || self.is_overwritten;
        let document = lie.as_ref().or(served);
        let device = &mut self.devices[number];
        let believed =
            document.is_some_and(|document| device.receive(document, &self.modules, now_ms));
        self.summary.polls += 1;
        if believed && !lied_to {
            self.truth.followed(number, device.champion);
        }
        if !believed || lied_to {
            self.truth.cut_off(number, tick);
            self.summary.refusals += u64::from(!believed);
        }
        self.report(number);
    }

    /// A lie is told to several devices, and sometimes changed.
    fn lie(&mut self) -> Option<Arc<Document>> {
        if self.lie.is_none() || self.random.chance(0.001) {
            let latest = self.truth.latest.as_ref()?;
            let bytes = self.attacker.served(&self.past, latest, &self.keys);
            self.lie = Some(self.documents.of(&bytes, &self.keys.keyring));
        }
        self.lie.clone()
    }

    fn report(&mut self, number: usize) {
        let device = &self.devices[number];
        let place = if let Some(place) = self.report_of[number] {
            place
        } else {
            let Some(report) = device.first_report() else { return };
            let written =
                run(self.operator.put_report(&name(DETECTOR), &device.identity.name, b"{}"));
            written.expect("the operator is never cut off");
            self.truth.reported(number, self.tick);
            self.reports.push(report);
            self.report_of[number] = Some(self.reports.len() - 1);
            self.reports.len() - 1
        };
        if self.random.chance(0.02) {
            let mut report = self.reports[place].clone();
            device.report(&self.modules, &mut report, now_ms(self.tick));
            let arrives_at = self.tick + self.random.within(1..12) as u32;
            self.late_reports.entry(arrives_at).or_default().push((place, report));
        } else {
            device.report(&self.modules, &mut self.reports[place], now_ms(self.tick));
        }
    }

    fn is_in_incident(&self, number: usize) -> bool {
        let plan = self.plan.borrow();
        let release = plan.releases.get(plan.next).map(|release| self.modules.get(*release));
        let long = release.is_some_and(|release| release.in_incident);
        self.incident.hits(number, self.tick) || long && self.long_incident.hits(number, self.tick)
    }

    /// Networks, clocks, devices and publishers are mended, and the attacker is caught.
    fn heal(&mut self) -> Result<(), String> {
        (self.partition, self.lying) = (Trouble::default(), Trouble::default());
        self.incident = Trouble::default();
        self.revive();
        for device in &mut self.devices {
            device.skew_ms = device.skew_ms.clamp(-MINUTE_MS, MINUTE_MS);
        }
        for publisher in &mut self.publishers {
            publisher.wire.set_cut(false);
        }
        let rolled_out = {
            let plan = &mut *self.plan.borrow_mut();
            plan.releases.truncate(plan.next + usize::from(plan.published));
            plan.next < plan.releases.len()
        };
        let mut latest = self.truth.latest.clone().ok_or("there is no document")?;
        // A stolen retrainer's key can have led devices to greater serials.
        let seen = self.devices.iter().map(Device::serial).max();
        latest.serial = latest.serial.max(seen.unwrap_or_default());
        let (detector, channel) = (name(DETECTOR), name(CHANNEL));
        let author = self.desk().promoter();
        let mended = run(async {
            self.operator.restate(&latest, &author).await?;
            if rolled_out && latest.challenger.is_some() {
                self.operator.hold(&detector, &channel, None, &author).await?;
            }
            Ok::<_, twinge_registry::RegistryError>(())
        });
        mended.map_err(|error| error.to_string())?;
        self.held_until = None;
        self.take_note()
    }

    /// Somebody walks to the devices that are dead, and starts them again.
    fn revive(&mut self) {
        for (number, device) in self.devices.iter_mut().enumerate() {
            if device.dead {
                device.restart();
                self.truth.forgot(number);
                self.truth.cut_off(number, self.tick);
            }
        }
    }

    /// Nothing is rolled out, and nothing will be.
    fn is_done(&self) -> bool {
        let plan = self.plan.borrow();
        plan.next >= plan.releases.len() && !self.is_rolling()
    }

    fn is_at_rest(&self) -> bool {
        self.truth.unsettled(&self.devices, &self.modules).is_none()
    }

    fn why_not_at_rest(&self) -> String {
        let device = self.truth.unsettled(&self.devices, &self.modules);
        let latest = self.truth.latest.as_ref();
        let channel = latest.map(|latest| (latest.serial, &latest.challenger, &latest.rollout));
        format!("the fleet does not come to rest: {device:?}, {channel:?}, {:?}", self.plan)
    }

    fn desk(&self) -> Desk<'_> {
        Desk {
            tick: self.tick,
            now_ms: now_ms(self.tick),
            keys: &self.keys,
            modules: &self.modules,
            reports: &self.reports,
            plan: &self.plan,
            serial: self.truth.serial(),
        }
    }
}

fn now_ms(tick: u32) -> i64 {
    BEGINS_MS + i64::from(tick) * MINUTE_MS
}

fn path(text: &str) -> StorePath {
    StorePath::new(text).expect("it is a path")
}

fn keys() -> Keys {
    let [promoter, retrainer] = [2, 1].map(|seed| SigningKey::from_seed([seed; 32]));
    let entry = |key: &SigningKey, role| TrustedKey::new(key.public(), &[role], "");
    let keys = vec![entry(&promoter, Role::Promoter), entry(&retrainer, Role::Retrainer)];
    let keyring = Keyring::new(keys).expect("they are different");
    Keys { promoter, retrainer, keyring }
}

/// The first champion, the attacker's module, and what is to be rolled out.
fn releases(seed: u64, devices: usize, keys: &Keys, random: &mut Random) -> Vec<Release> {
    let evil = SigningKey::from_seed([66; 32]);
    let mut releases = vec![
        Release::new(Kind::Good, 0, seed, &keys.promoter),
        Release::new(Kind::Evil, 1, seed, &evil),
    ];
    let count = if devices >= LARGE { 1 } else { random.within(1..4) };
    for number in 0..count {
        let bad = random.chance(0.6);
        let kind = if bad { *random.pick(&BAD_KINDS) } else { Kind::Good };
        let by_promoter = random.chance(0.3);
        let key = if by_promoter { &keys.promoter } else { &keys.retrainer };
        releases.push(Release { by_promoter, ..Release::new(kind, number + 2, seed, key) });
    }
    releases
}

/// Some devices are in rings, and some come later.
fn device(number: usize, devices: usize, random: &mut Random) -> Device {
    let ring = match random.within(0..devices as u64) {
        0 => Some("canary".to_owned()),
        1 | 2 => Some("early".to_owned()),
        _ => None,
    };
    let late = if random.chance(0.01) { "-late" } else { "" };
    Device::new(format!("device-{number}{late}"), ring, random)
}

fn is_late(name: &str) -> bool {
    name.ends_with("-late")
}

fn policy() -> Policy {
    let default = Policy::default();
    let stages =
        default.stages.iter().map(|stage| Stage { soak_seconds: 20 * 60, ..stage.clone() });
    let gate = Gate { events_min: 300, reporting_min: Percent::new(80), ..default.gate.clone() };
    Policy { stages: stages.collect(), gate }
}
