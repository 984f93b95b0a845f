//! An edge agent and the sensors around it: events into its journal, findings into its spool, and up.

use crate::cloud::Cloud;
use crate::events::Event;
use crate::link::{Link, LinkStore, Unanswered};
use crate::machine::Machine;
use crate::program::{Program, Seen};
use crate::random::Random;
use crate::store::DiskStore;
use crate::trace::tell;
use crate::world::{BEGINS_MS, DETECTOR_PLAN_REGISTRY, detector_plan, engine};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use twinge_drift::DriftSettings;
use twinge_engine::Engine;
use twinge_forward::{Forward, Forwarder, RefusedFile, Rule};
use twinge_platform::{Clock, Disk, SimulatedDisk};
use twinge_registry::Store;
use twinge_spool::Spool;
use twinge_stream::Incoming;
use twinge_stream::assembly::{Extension, ExtensionError, Plan, Surroundings};
use twinge_stream::device::DevicePlan;
use twinge_stream::outlet::Outlet;
use twinge_stream::pump::Settings;
use twinge_stream::silence::SilenceSettings;
use twinge_stream::sink::SinkError;
use twinge_trust::{Anchor, Keyring};
use twinge_uplink::{Bell, Drain, DrainSettings, Limits, Outgoing, Uplink, UplinkError};

pub(crate) const VERDICTS: &str = "/out/verdicts.ndjson";
pub(crate) const DEAD_LETTERS: &str = "/out/dead-letters.ndjson";
pub(crate) const STATE: &str = "/state";
pub(crate) const REFUSED: &str = "/state/refused.ndjson";
/// Bounds of journal and spool, in bytes.
pub(crate) const JOURNAL_BYTES_MAX: u64 = 96 << 10;
pub(crate) const SPOOL: twinge_spool::Settings = twinge_spool::Settings {
    bytes_max: 1 << 20,
    age_seconds_max: 86_400,
    memory_bytes_max: 64 << 10,
};

/// Requests of sensors that are on their way at once, and events in one.
const REQUESTS_MAX: usize = 3;
const REQUEST_EVENTS_MAX: u64 = 12;

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) program: Program,
    pub(crate) events: Vec<Event>,
    /// Events that the device said it has taken.
    pub(crate) accepted: BTreeSet<u64>,
    pub(crate) entities_max: Option<u32>,
    outbox: VecDeque<u64>,
    flying: BTreeMap<u64, Vec<u64>>,
    requests: u64,
    answers: Arc<Mutex<Vec<(u64, bool)>>>,
    cloud: Arc<Cloud>,
    spool: SpoolSeen,
    keyring: Keyring,
    random: Random,
    rate: f64,
}

type SpoolSeen = Arc<Mutex<Option<Arc<Mutex<Spool>>>>>;

impl Device {
    pub(crate) fn new(
        number: usize,
        cloud: Arc<Cloud>,
        keyring: Keyring,
        random: &mut Random,
    ) -> Self {
        let mut random = random.fork();
        let machine = Machine::new(format!("device-{number}"), &mut random);
        // Names and keys are drawn by the operating system where they are not there yet.
        let name = format!("journal-{:016x}", random.next());
        let key = twinge_trust::SigningKey::from_seed([number as u8 + 1; 32]);
        for (path, text) in [("journal/name", name), ("device.key", key.to_text().clone())] {
            let written = machine.disk.create_new(&Path::new(STATE).join(path), text.as_bytes());
            written.expect("the disk is empty and well");
        }
        Self {
            program: Program::new(machine),
            events: Vec::new(),
            accepted: BTreeSet::new(),
            entities_max: random.chance(0.3).then_some(4),
            outbox: VecDeque::new(),
            flying: BTreeMap::new(),
            requests: 0,
            answers: Arc::default(),
            cloud,
            spool: SpoolSeen::default(),
            keyring,
            rate: random.within(40..130) as f64,
            random,
        }
    }

    /// What the sensors see in `ms` milliseconds: new events, and some that were sent before.
    pub(crate) fn sense(&mut self, ms: u64, now_ms: i64) {
        let count =
            (self.rate * ms as f64 / 1000.0 + self.random.within(0..100) as f64 / 100.0) as u64;
        for _ in 0..count {
            let number = self.events.len() as u64;
            self.events.push(Event::new(number, now_ms, &mut self.random));
            let place = if self.random.chance(0.05) {
                self.random.within(0..self.outbox.len() as u64 + 1) as usize
            } else {
                self.outbox.len()
            };
            self.outbox.insert(place, number);
            if self.random.chance(0.05) {
                self.outbox.push_back(self.random.within(0..number + 1));
            }
        }
    }

    /// Starts what is due, sends, lets time pass, and notes what came of it.
    pub(crate) fn step(&mut self, ms: u64, now: u64) -> Result<(), String> {
        if self.program.is_due(now) {
            let (plan, brought) = (self.plan(), self.brought());
            self.program.start(plan, brought, BEGINS_MS + now.cast_signed());
        }
        self.send();
        let rest = self.random.within(50..2_000);
        let ended = self.program.step(ms, now, rest)?;
        self.take_answers();
        if ended.is_some() || !self.program.machine.is_on() {
            self.forget_requests();
        }
        Ok(())
    }

    pub(crate) fn stop(&mut self, now: u64) -> Result<(), String> {
        self.program.stop(now)
    }

    pub(crate) fn kill(&mut self, now: u64) {
        tell(now, || format!("{}: killed", self.program.machine.name));
        let again = now + self.random.within(50..2_000);
        self.program.kill(again);
        self.take_answers();
        self.forget_requests();
    }

    /// What is still on its way, as far as can be seen from outside.
    pub(crate) fn on_its_way(&self) -> Option<String> {
        let spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = spool.as_ref().map(|spool| twinge_forward::lock(spool).figures().entries());
        let (unsent, flying) = (self.outbox.len(), self.flying.len());
        let is_quiet = unsent == 0 && flying == 0 && waiting == Some(0);
        let name = &self.program.machine.name;
        (!is_quiet).then(|| {
            format!("{name}: {unsent} events unsent, {flying} requests, {waiting:?} in the spool")
        })
    }

    /// What the spool counted as dropped.
    pub(crate) fn dropped(&self) -> u64 {
        let spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = spool.as_ref().map(|spool| twinge_forward::lock(spool).figures());
        figures
            .map_or(0, |figures| figures.normal.dropped.total() + figures.anomalous.dropped.total())
    }

    fn send(&mut self) {
        let Some(intake) = self.program.seen.get().and_then(|around| around.intake) else { return };
        while self.flying.len() < REQUESTS_MAX && !self.outbox.is_empty() {
            let count = self.random.within(1..REQUEST_EVENTS_MAX) as usize;
            let numbers: Vec<u64> = self.outbox.drain(..count.min(self.outbox.len())).collect();
            let incoming = |number: &u64| Incoming {
                attributes: None,
                bytes: self.events[*number as usize].bytes.clone(),
            };
            let events: Vec<Incoming> = numbers.iter().map(incoming).collect();
            self.requests += 1;
            let (request, answers, intake) =
                (self.requests, Arc::clone(&self.answers), intake.clone());
            let delay = Duration::from_millis(self.random.within(0..30));
            // What is not acknowledged comes again.
            let is_heard = !self.random.chance(0.04);
            let runtime = self.program.machine.runtime().expect("the program runs on it");
            runtime.spawn(async move {
                tokio::time::sleep(delay).await;
                let is_taken = intake.accept(events).await.is_ok();
                drop(intake);
                let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                answers.push((request, is_taken && is_heard));
            });
            self.flying.insert(request, numbers);
        }
    }

    fn take_answers(&mut self) {
        let answers = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *answers)
        };
        for (request, is_taken) in answers {
            let Some(numbers) = self.flying.remove(&request) else { continue };
            if is_taken {
                self.accepted.extend(numbers);
            } else {
                self.outbox.extend(numbers);
            }
        }
    }

    /// Nobody answers any more.
    fn forget_requests(&mut self) {
        for numbers in std::mem::take(&mut self.flying).into_values() {
            self.outbox.extend(numbers);
        }
    }

    fn plan(&self) -> Plan {
        let machine = &self.program.machine;
        Plan {
            detectors: vec![detector_plan(VERDICTS, DEAD_LETTERS)],
            anchor: Anchor::Keys(self.keyring.clone()),
            settings: Settings {
                batch_rows_max: 24,
                checkpoint_events: 48,
                checkpoint_interval: Duration::from_millis(700),
                sink_retry: Duration::from_secs(5),
                ..Settings::default()
            },
            entities_max: self.entities_max,
            deadline: Duration::from_mins(1),
            poll: Duration::from_millis(900),
            report: Duration::from_secs(4),
            device: DevicePlan { name: Some(machine.name.clone()), ..DevicePlan::default() },
            journal_bytes_max: JOURNAL_BYTES_MAX,
            silence: SilenceSettings { enabled: false, ..SilenceSettings::default() },
            drift: DriftSettings { enabled: false, ..DriftSettings::default() },
            ..Plan::new(STATE.into())
        }
    }

    fn brought(&mut self) -> Arc<dyn Extension> {
        let machine = &self.program.machine;
        let disk: Arc<dyn Disk> = Arc::new(machine.disk.clone());
        Arc::new(Edge {
            refused: Arc::new(RefusedFile::new(Arc::clone(&disk), REFUSED.into())),
            disk: machine.disk.clone(),
            clock: Arc::new(machine.clock.clone()),
            registry: LinkStore::new(Arc::clone(&self.cloud.registry) as _, machine.link.clone()),
            link: machine.link.clone(),
            cloud: Arc::clone(&self.cloud),
            name: machine.name.clone(),
            seed: self.random.next(),
            seen: self.program.seen.clone(),
            spool: Arc::clone(&self.spool),
            bell: OnceLock::new(),
        })
    }
}

/// What an edge agent brings along, by the same parts.
#[derive(Debug)]
struct Edge {
    disk: SimulatedDisk,
    clock: Arc<dyn Clock>,
    registry: LinkStore,
    link: Link,
    cloud: Arc<Cloud>,
    name: String,
    seed: u64,
    seen: Seen,
    spool: SpoolSeen,
    refused: Arc<RefusedFile>,
    bell: OnceLock<Bell>,
}

impl Edge {
    fn spool(&self) -> Option<Arc<Mutex<Spool>>> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Extension for Edge {
    fn engine(&self) -> Option<Engine> {
        Some(engine())
    }

    fn store(&self, location: &str) -> Option<Arc<dyn Store>> {
        if location == DETECTOR_PLAN_REGISTRY {
            return Some(Arc::new(self.registry.clone()));
        }
        Some(Arc::new(DiskStore::new(self.disk.clone(), location)))
    }

    fn prepare(&self) -> Result<(), ExtensionError> {
        let disk = Arc::new(self.disk.clone());
        let directory = Path::new(STATE).join("spool");
        let spool = Spool::open(disk, Arc::clone(&self.clock), &directory, SPOOL)?;
        *self.spool.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::new(Mutex::new(spool)));
        Ok(())
    }

    fn outlets(&self, _detector: &str) -> Result<Vec<Box<dyn Outlet>>, SinkError> {
        let (Some(spool), Some(bell)) = (self.spool(), self.bell.get()) else {
            return Ok(Vec::new());
        };
        let rule = Rule { forward: Forward::Verdicts, sample: 100 };
        let (bell, refused) = (bell.clone(), Arc::clone(&self.refused));
        let forwarder = Forwarder::new(rule, spool, bell, refused, SPOOL.entry_bytes_max());
        Ok(vec![Box::new(forwarder)])
    }

    fn start(&self, around: Surroundings) {
        let Some(spool) = self.spool() else { return };
        let uplink = CloudUplink {
            link: self.link.clone(),
            cloud: Arc::clone(&self.cloud),
            device: self.name.clone(),
            says_which: self.seed.is_multiple_of(2),
        };
        let (backlog, refusals) = (spool as Arc<_>, Arc::clone(&self.refused) as Arc<_>);
        let drain = Drain::new(Box::new(uplink), backlog, refusals, DrainSettings::default());
        let drain = drain.with_seed(self.seed);
        drop(self.bell.set(drain.bell()));
        around.tracker.spawn(drain.run(around.stop.clone()));
        self.seen.set(Some(around));
    }
}

/// The way up: a link to a cloud that refuses a few records for good.
#[derive(Debug)]
struct CloudUplink {
    link: Link,
    cloud: Arc<Cloud>,
    device: String,
    /// Whether the cloud says which of several records it refuses.
    says_which: bool,
}

#[async_trait]
impl Uplink for CloudUplink {
    fn limits(&self) -> Limits {
        Limits { entries_max: 16, bytes_max: 32 << 10 }
    }

    async fn send(&mut self, batch: &[Outgoing<'_>]) -> Result<(), UplinkError> {
        let records: Vec<Vec<u8>> = batch.iter().map(|one| one.bytes.to_vec()).collect();
        let (cloud, device) = (&self.cloud, &self.device);
        let sent = self.link.ask(async move {
            let bad = records.iter().position(|record| is_refused(record));
            if bad.is_none() {
                cloud.lock().inbox.entry(device.clone()).or_default().extend(records);
            }
            bad
        });
        match sent.await {
            Ok(None) => Ok(()),
            Ok(Some(index)) => Err(UplinkError::Refused {
                index: Some(index).filter(|_| self.says_which),
                reason: "the cloud does not like it".to_owned(),
            }),
            Err(Unanswered) => {
                Err(UplinkError::Away { reason: "the link lost it".to_owned(), retry_after: None })
            }
        }
    }
}

/// One record in 128 is none for this cloud, always the same.
pub(crate) fn is_refused(record: &[u8]) -> bool {
    let text = String::from_utf8_lossy(record);
    let id = text.split_once("\"id\":\"").and_then(|(_, rest)| rest.get(..2));
    matches!(id, Some("00" | "7f"))
}
