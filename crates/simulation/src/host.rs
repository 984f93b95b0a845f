//! Hosts on a hub: partitions that they take from each other, checkpoints in storage that they share.

use crate::cloud::Cloud;
use crate::link::{Link, LinkStore, Unanswered};
use crate::machine::Machine;
use crate::program::{Program, Seen, chain, check_error};
use crate::random::Random;
use crate::store::DiskStore;
use crate::trace::tell;
use crate::world::{BEGINS_MS, DETECTOR_PLAN_REGISTRY, detector_plan, engine};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use twinge_drift::DriftSettings;
use twinge_engine::Engine;
use twinge_platform::Disk;
use twinge_platform::SimulatedDisk;
use twinge_registry::{RetrySettings, Retrying, Store};
use twinge_runner::{Arrival, Layout, Place};
use twinge_stream::assembly::{
    AssemblyError, Extension, ExtensionError, Input, Plan, Surroundings,
};
use twinge_stream::device::DevicePlan;
use twinge_stream::partitions::{Change, Gained, Partitions};
use twinge_stream::pump::{Reports, Settings};
use twinge_stream::silence::SilenceSettings;
use twinge_stream::sink::{Sink, SinkError};
use twinge_stream::{Delivery, Source, SourceError, Start};
use twinge_trust::{Anchor, Keyring};

const STATE: &str = "/state";
/// The name of the hub.
pub(crate) const HUB: &str = "hub";
/// How often a host looks which partitions are its own.
const LOOK: Duration = Duration::from_millis(400);
/// How long it leaves a partition alone whose pump ended.
const REST: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) program: Program,
    number: usize,
    cloud: Arc<Cloud>,
    keyring: Keyring,
    complaints: Complaints,
    random: Random,
}

/// Errors of pumps that none of them should have.
type Complaints = Arc<Mutex<Vec<String>>>;

impl Host {
    pub(crate) fn new(
        number: usize,
        cloud: Arc<Cloud>,
        keyring: Keyring,
        random: &mut Random,
    ) -> Self {
        let mut random = random.fork();
        let machine = Machine::new(format!("host-{number}"), &mut random);
        let key = twinge_trust::SigningKey::from_seed([number as u8 + 101; 32]);
        let path = Path::new(STATE).join("device.key");
        let written = machine.disk.create_new(&path, key.to_text().as_bytes());
        written.expect("the disk is empty and well");
        let complaints = Complaints::default();
        Self { program: Program::new(machine), number, cloud, keyring, complaints, random }
    }

    pub(crate) fn step(&mut self, ms: u64, now: u64) -> Result<(), String> {
        if self.program.is_due(now) {
            let (plan, brought) = (self.plan(), self.brought());
            self.program.start(plan, brought, BEGINS_MS + now.cast_signed());
        }
        let rest = self.random.within(50..3_000);
        self.program.step(ms, now, rest)?;
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.first().map_or(Ok(()), |complaint| Err(complaint.clone()))
    }

    pub(crate) fn stop(&mut self, now: u64) -> Result<(), String> {
        self.program.stop(now)
    }

    pub(crate) fn kill(&mut self, now: u64) {
        tell(now, || format!("{}: killed", self.program.machine.name));
        let again = now + self.random.within(50..3_000);
        self.program.kill(again);
    }

    fn plan(&self) -> Plan {
        Plan {
            detectors: vec![detector_plan("hub:verdicts", "hub:dead-letters")],
            anchor: Anchor::Keys(self.keyring.clone()),
            input: Input::Hub,
            settings: Settings {
                batch_rows_max: 32,
                checkpoint_events: 64,
                checkpoint_interval: Duration::from_millis(900),
                sink_retry: Duration::from_secs(8),
                ..Settings::default()
            },
            deadline: Duration::from_mins(1),
            poll: Duration::from_millis(1_100),
            report: Duration::from_secs(5),
            device: DevicePlan {
                name: Some(self.program.machine.name.clone()),
                ..DevicePlan::default()
            },
            silence: SilenceSettings { enabled: false, ..SilenceSettings::default() },
            drift: DriftSettings { enabled: false, ..DriftSettings::default() },
            ..Plan::new(STATE.into())
        }
    }

    fn brought(&mut self) -> Arc<dyn Extension> {
        let machine = &self.program.machine;
        let link = machine.link.clone();
        Arc::new(Brought {
            number: self.number,
            disk: machine.disk.clone(),
            registry: LinkStore::new(Arc::clone(&self.cloud.registry) as _, link.clone()),
            link,
            cloud: Arc::clone(&self.cloud),
            seed: self.random.next(),
            seen: self.program.seen.clone(),
            complaints: Arc::clone(&self.complaints),
        })
    }
}

/// What a host brings along.
#[derive(Debug)]
struct Brought {
    number: usize,
    disk: SimulatedDisk,
    registry: LinkStore,
    link: Link,
    cloud: Arc<Cloud>,
    seed: u64,
    seen: Seen,
    complaints: Complaints,
}

#[async_trait]
impl Extension for Brought {
    fn engine(&self) -> Option<Engine> {
        Some(engine())
    }

    fn store(&self, location: &str) -> Option<Arc<dyn Store>> {
        if location == DETECTOR_PLAN_REGISTRY {
            return Some(Arc::new(self.registry.clone()));
        }
        Some(Arc::new(DiskStore::new(self.disk.clone(), location)))
    }

    async fn partitions(&self, _reports: &Reports) -> Result<Box<dyn Partitions>, ExtensionError> {
        let store = LinkStore::new(Arc::clone(&self.cloud.checkpoints) as _, self.link.clone());
        let settings =
            RetrySettings { pause_max: Duration::from_secs(1), ..RetrySettings::default() };
        Ok(Box::new(HubPartitions {
            number: self.number,
            cloud: Arc::clone(&self.cloud),
            link: self.link.clone(),
            store: Arc::new(Retrying::new(store, settings, self.seed)),
            held: BTreeMap::new(),
            resting: BTreeMap::new(),
            complaints: Arc::clone(&self.complaints),
        }))
    }

    fn open(&self, hub: &str) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(HubSink {
            cloud: Arc::clone(&self.cloud),
            link: self.link.clone(),
            is_verdicts: hub == "verdicts",
            pending: Vec::new(),
        }))
    }

    fn start(&self, around: Surroundings) {
        self.seen.set(Some(around));
    }
}

/// The partitions that the cloud gives to this host. A host that is cut off does not hear that it
/// lost one.
#[derive(Debug)]
struct HubPartitions {
    number: usize,
    cloud: Arc<Cloud>,
    link: Link,
    store: Arc<dyn Store>,
    /// Whether the pump was told to stop.
    held: BTreeMap<usize, bool>,
    resting: BTreeMap<usize, Instant>,
    complaints: Complaints,
}

impl HubPartitions {
    fn change(&mut self, owners: &[usize]) -> Option<Change> {
        for (partition, owner) in owners.iter().enumerate() {
            let is_mine = *owner == self.number;
            let has_rested =
                self.resting.get(&partition).is_none_or(|until| *until <= Instant::now());
            match self.held.get_mut(&partition) {
                None if is_mine && has_rested => {
                    self.held.insert(partition, false);
                    return Some(Change::Gained(self.gained(partition)));
                }
                Some(is_told) if !is_mine && !*is_told => {
                    *is_told = true;
                    return Some(Change::Lost(partition.to_string()));
                }
                _ => {}
            }
        }
        None
    }

    fn gained(&self, partition: usize) -> Gained {
        let name = partition.to_string();
        let source = HubSource {
            cloud: Arc::clone(&self.cloud),
            link: self.link.clone(),
            partition,
            next: 0,
            epoch: 0,
            end: None,
            coming: Mutex::new(None),
        };
        Gained {
            layout: Layout::of(HUB, &name),
            partition: name,
            source: Box::new(source),
            store: Arc::clone(&self.store),
        }
    }
}

#[async_trait]
impl Partitions for HubPartitions {
    async fn next(&mut self) -> Result<Option<Change>, SourceError> {
        loop {
            let cloud = Arc::clone(&self.cloud);
            let owners = self.link.ask(async move { cloud.lock().owners.clone() }).await;
            if let Some(change) = owners.ok().and_then(|owners| self.change(&owners)) {
                return Ok(Some(change));
            }
            sleep(LOOK).await;
        }
    }

    async fn ended(
        &mut self,
        partition: &str,
        result: Result<(), AssemblyError>,
    ) -> Result<(), AssemblyError> {
        let number = partition.parse().expect("partitions are numbers here");
        self.held.remove(&number);
        self.resting.insert(number, Instant::now() + REST);
        if let Err(error) = result {
            let error = chain(&error);
            tracing::info!(partition, error, "a pump ended");
            // Somebody else's epoch is no damage.
            let checked = if error.contains("taken over") { Ok(()) } else { check_error(&error) };
            let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
            complaints.extend(checked.err());
        }
        Ok(())
    }

    async fn close(&mut self) {}
}

/// What is delivered next.
type Coming = Pin<Box<dyn Future<Output = Result<Vec<Arrival>, CutOff>> + Send>>;

/// Somebody else reads the partition now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CutOff;

/// A partition of the hub.
struct HubSource {
    cloud: Arc<Cloud>,
    link: Link,
    partition: usize,
    next: u64,
    epoch: u64,
    /// Where the partition ended when other readers were cut off.
    end: Option<u64>,
    /// A request stays on its way though nobody waits for it.
    coming: Mutex<Option<Coming>>,
}

impl fmt::Debug for HubSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HubSource").field("next", &self.next).finish_non_exhaustive()
    }
}

impl HubSource {
    fn ask(&self, most: usize) -> Coming {
        let (cloud, link) = (Arc::clone(&self.cloud), self.link.clone());
        let (partition, next, epoch) = (self.partition, self.next, self.epoch);
        Box::pin(async move {
            let read = async move {
                if cloud.lock().epochs[partition] > epoch {
                    return Err(CutOff);
                }
                Ok(read(&cloud, partition, next, most))
            };
            let arrivals = link.ask(read).await.unwrap_or_else(|Unanswered| Ok(Vec::new()))?;
            if arrivals.is_empty() {
                sleep(Duration::from_millis(60)).await;
            }
            Ok(arrivals)
        })
    }
}

fn read(cloud: &Cloud, partition: usize, next: u64, most: usize) -> Vec<Arrival> {
    let cloud = cloud.lock();
    let events = cloud.hub[partition].iter().enumerate().skip(next as usize).take(most);
    let arrival = |(offset, (ingested_ms, bytes)): (usize, &(i64, Vec<u8>))| Arrival {
        offset: offset as u64,
        ingested_ms: *ingested_ms,
        key: None,
        attributes: None,
        bytes: bytes.clone(),
    };
    events.map(arrival).collect()
}

#[async_trait]
impl Source for HubSource {
    fn place(&self, detector: &str) -> Place {
        Place {
            detector: detector.to_owned(),
            source: HUB.into(),
            partition: self.partition.to_string().into(),
            redelivers: false,
        }
    }

    async fn seek(&mut self, start: Start) -> Result<u64, SourceError> {
        (self.next, self.epoch) = (start.offset.unwrap_or(0), start.epoch);
        let (cloud, partition) = (Arc::clone(&self.cloud), self.partition);
        let opened = self.link.ask(async move {
            let mut cloud = cloud.lock();
            let epoch = &mut cloud.epochs[partition];
            *epoch = start.epoch.max(*epoch);
            cloud.hub[partition].len() as u64
        });
        let end = opened.await.map_err(|Unanswered| SourceError::Other {
            place: HUB.to_owned(),
            source: "the link lost it".into(),
        })?;
        self.end = Some(end);
        Ok(self.next)
    }

    fn end(&self) -> Option<u64> {
        self.end
    }

    async fn next(&mut self, most: usize) -> Result<Option<Delivery>, SourceError> {
        loop {
            let ask = self.ask(most);
            let coming = self.coming.get_mut().unwrap_or_else(PoisonError::into_inner);
            let arrivals = coming.get_or_insert(ask).await;
            *coming = None;
            let arrivals = arrivals.map_err(|CutOff| SourceError::Other {
                place: HUB.to_owned(),
                source: "a reader of a later epoch has come".into(),
            })?;
            if !arrivals.is_empty() {
                self.next += arrivals.len() as u64;
                return Ok(Some(Delivery { arrivals, position: self.next }));
            }
        }
    }

    fn release(&mut self, _offset: u64) {}

    fn set_started(&mut self, _started_ms: i64) {}
}

/// The hub that takes verdicts, or the one for dead letters.
#[derive(Debug)]
struct HubSink {
    cloud: Arc<Cloud>,
    link: Link,
    is_verdicts: bool,
    pending: Vec<u8>,
}

#[async_trait]
impl Sink for HubSink {
    fn write(&mut self, _key: Option<&str>, record: &[u8]) {
        self.pending.extend_from_slice(record);
        self.pending.push(b'\n');
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (cloud, lines, is_verdicts) =
            (Arc::clone(&self.cloud), self.pending.clone(), self.is_verdicts);
        let sent = self.link.ask(async move {
            let mut cloud = cloud.lock();
            let log = if is_verdicts { &mut cloud.verdicts } else { &mut cloud.dead_letters };
            log.extend(lines);
        });
        sent.await.map_err(|Unanswered| SinkError {
            place: "the hub of findings".to_owned(),
            source: "the link lost it".into(),
        })?;
        self.pending.clear();
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
