//! One world: trouble, healing, rest, and then the question whether everything is there.

use crate::Summary;
use crate::cloud::Cloud;
use crate::device::{self, Device};
use crate::events::{ENTITIES, Event};
use crate::host::Host;
use crate::publisher::{Desk, Publisher};
use crate::random::Random;
use crate::trace::tell;
use crate::trouble::{Rates, Trouble};
use crate::truth::{self, Records};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, LazyLock, Once};
use std::time::Duration;
use twinge_engine::{Engine, Limits, Strategy};
use twinge_platform::SimulatedDisk;
use twinge_registry::{Name, Registry, Store};
use twinge_rollout::Report;
use twinge_stream::assembly::{DetectorPlan, Origin};
use twinge_trust::DeviceEnvelope;

/// When every world begins, milliseconds since 1970.
pub(crate) const BEGINS_MS: i64 = 1_795_600_000_000;
/// Where channels are followed.
pub(crate) const DETECTOR_PLAN_REGISTRY: &str = "simulated://registry";

/// Trouble lasts so long, milliseconds.
const TROUBLE_MS: std::ops::Range<u64> = 12_000..30_000;
/// Then everything must come to rest by itself within this time.
const HEALING_MS: u64 = 240_000;
/// For so long nothing may happen before that is believed to be rest.
const REST_MS: u64 = 3_000;
/// Objects of a checkpoint: a full one and changes, those that replace them, and the pointer.
const CHECKPOINT_FILES_MAX: usize = 2 * 34 + 1;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let limits = Limits { deadline: Duration::from_mins(1), ..Limits::default() };
    Engine::with_strategy(limits, Strategy::Interpret).expect("an interpreter needs nothing")
});
static DESK: LazyLock<Arc<Desk>> = LazyLock::new(|| Arc::new(Desk::new()));

/// The engine of all programs.
pub(crate) fn engine() -> Engine {
    ENGINE.clone()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("it is a name")
}

/// A detector that follows the channel of all worlds.
pub(crate) fn detector_plan(verdicts: &str, dead_letters: &str) -> DetectorPlan {
    DetectorPlan {
        origin: Origin::Channel {
            registry: DETECTOR_PLAN_REGISTRY.to_owned(),
            detector: name("test"),
            channel: name("stable"),
        },
        verdicts: verdicts.to_owned(),
        dead_letters: dead_letters.to_owned(),
        audits: None,
    }
}

#[derive(Debug)]
pub(crate) struct World {
    /// Milliseconds since the beginning.
    now: u64,
    random: Random,
    rates: Rates,
    cloud: Arc<Cloud>,
    devices: Vec<(Device, Trouble)>,
    hosts: Vec<(Host, Trouble)>,
    publisher: (Publisher, Trouble),
    /// Events of the hub, which are sent in order of their numbers and at times twice.
    sent: Vec<Event>,
    takeovers: u64,
    looked_at: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        watch_panics();
        let mut random = Random::new(seed ^ 0x7477_696e_6765);
        let rates = Rates::draw(&mut random);
        let (devices, hosts, partitions) =
            (1 + usize::from(random.chance(0.3)), 2, random.within(1..3) as usize);
        let cloud = Arc::new(Cloud::new(partitions));
        let keyring = || DESK.keyring.clone();
        let device = |number| Device::new(number, Arc::clone(&cloud), keyring(), &mut random);
        let devices: Vec<Device> = (0..devices).map(device).collect();
        let host = |number| Host::new(number, Arc::clone(&cloud), keyring(), &mut random);
        let hosts: Vec<Host> = (0..hosts).map(host).collect();
        let publisher = Publisher::new(Arc::clone(&DESK), Arc::clone(&cloud), &mut random);
        Self {
            now: 0,
            rates,
            devices: devices.into_iter().map(|device| (device, Trouble::default())).collect(),
            hosts: hosts.into_iter().map(|host| (host, Trouble::default())).collect(),
            publisher: (publisher, Trouble::default()),
            cloud,
            sent: Vec::new(),
            takeovers: 0,
            looked_at: 0,
            random,
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.now as f64 / 1000.0
    }

    pub(crate) fn run(&mut self) -> Result<Summary, String> {
        self.begin()?;
        let until = self.random.within(TROUBLE_MS);
        while self.now < until {
            let ms = self.random.within(20..120);
            self.trouble(ms);
            self.step(ms, true)?;
        }
        self.heal();
        self.come_to_rest()?;
        self.check_followed()?;
        self.stop()?;
        self.check()
    }

    fn begin(&mut self) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let begun = runtime.block_on(DESK.begin(&self.cloud));
        begun.map_err(|error| format!("the registry does not begin: {error}"))
    }

    fn trouble(&mut self, ms: u64) {
        let time = (self.now, ms);
        let (rates, random, cloud) = (&self.rates, &mut self.random, &self.cloud);
        for (device, trouble) in &mut self.devices {
            let forged = || forged(cloud);
            if trouble.strike(&device.program.machine, rates, time, forged, random) {
                device.kill(self.now);
            }
        }
        for (host, trouble) in &mut self.hosts {
            let forged = || forged(cloud);
            if trouble.strike(&host.program.machine, rates, time, forged, random) {
                host.kill(self.now);
            }
        }
        let (publisher, trouble) = &mut self.publisher;
        if trouble.strike(&publisher.machine, rates, time, || None, random) {
            publisher.kill(self.now + random.within(100..4_000));
        }
        if random.chance(0.15 * ms as f64 / 1000.0) {
            let mut cloud = self.cloud.lock();
            let partition = random.within(0..cloud.owners.len() as u64) as usize;
            cloud.owners[partition] = 1 - cloud.owners[partition];
            self.takeovers += 1;
            let owner = cloud.owners[partition];
            tell(self.now, || format!("partition {partition} is for host {owner}"));
        }
    }

    fn step(&mut self, ms: u64, is_busy: bool) -> Result<(), String> {
        let before = panics();
        if is_busy {
            self.send(ms);
        }
        let now_ms = BEGINS_MS + self.now.cast_signed();
        for (device, _) in &mut self.devices {
            if is_busy {
                device.sense(ms, now_ms);
            }
            device.step(ms, self.now)?;
        }
        for (host, _) in &mut self.hosts {
            host.step(ms, self.now)?;
        }
        if is_busy {
            self.publisher.0.step(ms, self.now);
        }
        self.now += ms;
        if panics() > before {
            return Err("a task panicked".to_owned());
        }
        if self.now >= self.looked_at + 1_000 {
            self.looked_at = self.now;
            self.check_bounds()?;
        }
        Ok(())
    }

    /// Senders of the hub.
    fn send(&mut self, ms: u64) {
        let now_ms = BEGINS_MS + self.now.cast_signed();
        let count = ms * 90 / 1000 + self.random.within(0..2);
        for _ in 0..count {
            let number = self.sent.len() as u64;
            let event = Event::new(number, now_ms, &mut self.random);
            let mut cloud = self.cloud.lock();
            let partition =
                event.entity.len() + usize::from(event.entity.ends_with(['0', '2', '4']));
            let partition = partition % cloud.hub.len();
            // Delivery to a hub is at least once.
            let copies = if self.random.chance(0.03) { 2 } else { 1 };
            for _ in 0..copies {
                cloud.hub[partition].push((now_ms, event.bytes.clone()));
            }
            drop(cloud);
            self.sent.push(event);
        }
    }

    fn heal(&mut self) {
        tell(self.now, || "everything is well again".to_owned());
        for (device, _) in &mut self.devices {
            device.program.machine.heal();
        }
        for (host, _) in &mut self.hosts {
            host.program.machine.heal();
        }
        self.publisher.0.machine.kill();
    }

    fn come_to_rest(&mut self) -> Result<(), String> {
        let (begun, mut quiet_since, mut before) = (self.now, self.now, Vec::new());
        loop {
            self.step(150, false)?;
            let (offsets, on_its_way) = (self.offsets(), self.on_its_way());
            if offsets != before || on_its_way.is_some() {
                (quiet_since, before) = (self.now, offsets);
            }
            if self.now - quiet_since >= REST_MS {
                return Ok(());
            }
            if self.now - begun > HEALING_MS {
                let why = on_its_way.unwrap_or_default();
                return Err(format!("no rest after {HEALING_MS} ms: {why}"));
            }
        }
    }

    /// How far every runner is, and what it follows.
    fn offsets(&self) -> Vec<(String, u64, Option<u64>)> {
        let devices = self.devices.iter().map(|(device, _)| &device.program);
        let programs = devices.chain(self.hosts.iter().map(|(host, _)| &host.program));
        let reports = programs
            .filter_map(|program| program.seen.get())
            .flat_map(|around| around.reports.all());
        let runners = reports.flat_map(|report| report.runners);
        runners
            .map(|runner| {
                let place = format!("{} {}", runner.place.source, runner.place.partition);
                (place, runner.offset, runner.serial)
            })
            .collect()
    }

    /// What keeps the world from rest.
    fn on_its_way(&self) -> Option<String> {
        let (offsets, serial) = (self.offsets(), self.serial());
        let cloud = self.cloud.lock();
        for (partition, events) in cloud.hub.iter().enumerate() {
            let place = format!("hub {partition}");
            let is_at_end = |(at, offset, _): &(String, u64, Option<u64>)| {
                *at == place && *offset == events.len() as u64
            };
            if !offsets.iter().any(is_at_end) {
                return Some(format!("{place} has {} events: {offsets:?}", events.len()));
            }
        }
        let wanted = self.devices.len() + cloud.hub.len();
        drop(cloud);
        if offsets.len() != wanted {
            return Some(format!("{wanted} pumps should run: {offsets:?}"));
        }
        if offsets.iter().any(|(_, _, followed)| *followed != serial) {
            return Some(format!("not all follow {serial:?}: {offsets:?}"));
        }
        self.devices.iter().find_map(|(device, _)| device.on_its_way())
    }

    fn serial(&self) -> Option<u64> {
        channel(&self.cloud).map(|channel| channel.serial)
    }

    /// What the registry knows of each device is what it was told to run.
    fn check_followed(&mut self) -> Result<(), String> {
        // Reports are sent now and then.
        for _ in 0..60 {
            self.step(150, false)?;
        }
        let serial = self.serial().ok_or("the channel is gone")?;
        for (device, _) in &self.devices {
            let device = &device.program.machine.name;
            let report = report(&self.cloud, device)?;
            if report.desired.serial != serial {
                let told = report.desired.serial;
                return Err(format!("{device} reports serial {told} and the channel has {serial}"));
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<(), String> {
        for (device, _) in &mut self.devices {
            device.stop(self.now)?;
        }
        for (host, _) in &mut self.hosts {
            host.stop(self.now)?;
        }
        Ok(())
    }

    /// Bounds that hold at any moment.
    fn check_bounds(&self) -> Result<(), String> {
        for (device, _) in &self.devices {
            let machine = &device.program.machine;
            let bounds =
                [("journal", device::JOURNAL_BYTES_MAX + 100), ("spool", device::SPOOL.bytes_max)];
            for (folder, most) in bounds {
                let used = machine.disk.used_bytes_below(&Path::new(device::STATE).join(folder));
                if used > most {
                    let name = &machine.name;
                    return Err(format!("{name}: {folder} takes {used} bytes and may take {most}"));
                }
            }
            let files = checkpoint_files(&machine.disk);
            if files > CHECKPOINT_FILES_MAX {
                return Err(format!("{}: a checkpoint has {files} files", machine.name));
            }
            let around = device.program.seen.get();
            let runners = around.iter().flat_map(|around| around.reports.all());
            for runner in runners.flat_map(|report| report.runners) {
                let most = device.entities_max.unwrap_or(u32::MAX) as usize;
                if runner.entities > most {
                    return Err(format!(
                        "{}: remembers {} entities",
                        machine.name, runner.entities
                    ));
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<Summary, String> {
        let mut summary = self.summary();
        let signed = DESK.signed();
        for (device, _) in &self.devices {
            let name = &device.program.machine.name;
            check_device(device, &self.cloud, &signed, &mut summary)
                .map_err(|problem| format!("{name}: {problem}"))?;
        }
        self.check_hub(&signed, &mut summary)?;
        Ok(summary)
    }

    fn check_hub(&self, signed: &BTreeSet<String>, summary: &mut Summary) -> Result<(), String> {
        let cloud = self.cloud.lock();
        let streams = truth::read(&cloud.verdicts, &cloud.dead_letters)?;
        for (partition, events) in cloud.hub.iter().enumerate() {
            let none = Records::default();
            let records = streams.get(&format!("hub {partition}")).unwrap_or(&none);
            let event = |offset: u64, number: u64| {
                let sent = self.sent.get(number as usize)?;
                (events.get(offset as usize)?.1 == sent.bytes).then(|| sent.clone())
            };
            let checked = records
                .check_events(event, signed)
                .and_then(|()| records.check_states(ENTITIES as usize))
                .and_then(|()| check_all(records, events.len()));
            checked.map_err(|problem| format!("partition {partition} of the hub: {problem}"))?;
            summary.accepted += events.len() as u64;
            note(records, summary);
        }
        Ok(())
    }

    fn summary(&self) -> Summary {
        let mut summary = Summary {
            seeds: 1,
            seconds: self.now / 1000,
            takeovers: self.takeovers,
            documents: self.publisher.0.documents(),
            ..Summary::default()
        };
        let devices = self.devices.iter().map(|(device, trouble)| (&device.program, trouble));
        let hosts = self.hosts.iter().map(|(host, trouble)| (&host.program, trouble));
        for (program, trouble) in devices.chain(hosts) {
            summary.power_cuts += program.power_cuts;
            summary.kills += program.kills;
            summary.failures += program.failures;
            summary.swaps += program.swaps;
            summary.cuts += trouble.cuts;
            summary.disk_faults += trouble.disk_faults;
            summary.clock_jumps += trouble.clock_jumps;
            summary.forgeries += program.machine.link.forgeries();
        }
        summary
    }
}

/// Every offset has one record.
fn check_all(records: &Records, events: usize) -> Result<(), String> {
    let offsets = 0..events as u64;
    let has = |offset: &u64| {
        records.verdicts.contains_key(offset) || records.dead_letters.contains_key(offset)
    };
    let missing: Vec<u64> = offsets.filter(|offset| !has(offset)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no record of offsets {missing:?}")) }
}

fn check_device(
    device: &Device,
    cloud: &Cloud,
    signed: &BTreeSet<String>,
    summary: &mut Summary,
) -> Result<(), String> {
    let disk = &device.program.machine.disk;
    let [verdicts, dead_letters] = [device::VERDICTS, device::DEAD_LETTERS]
        .map(|path| disk.peek(Path::new(path)).unwrap_or_default());
    let mut streams = truth::read(&verdicts, &dead_letters)?;
    let records = streams.pop_first().map(|(_, records)| records).unwrap_or_default();
    if let Some((stream, _)) = streams.pop_first() {
        return Err(format!("there is a second stream: {stream}"));
    }
    records.check_events(|_, number| device.events.get(number as usize).cloned(), signed)?;
    records.check_once()?;
    let missing = records.missing(&device.accepted);
    if !missing.is_empty() {
        return Err(format!("accepted events {missing:?} have neither verdict nor dead letter"));
    }
    records.check_states(device.entities_max.map_or(ENTITIES as usize, |most| most as usize))?;
    check_sent_up(device, cloud, &records)?;
    let left = checkpoint_files(disk);
    if left > CHECKPOINT_FILES_MAX / 2 + 1 {
        return Err(format!("{left} files of checkpoints are left"));
    }
    summary.accepted += device.accepted.len() as u64;
    note(&records, summary);
    Ok(())
}

/// What was found is in the cloud, among what the cloud refused, or counted as dropped; and nothing
/// else is in the cloud.
fn check_sent_up(device: &Device, cloud: &Cloud, records: &Records) -> Result<(), String> {
    let machine = &device.program.machine;
    let cloud = cloud.lock();
    let inbox = cloud.inbox.get(&machine.name).map(Vec::as_slice).unwrap_or_default();
    let arrived: BTreeSet<&[u8]> = inbox.iter().map(Vec::as_slice).collect();
    let found: BTreeSet<&[u8]> = records.by_id.values().map(Vec::as_slice).collect();
    if let Some(other) = arrived.difference(&found).next() {
        let other = String::from_utf8_lossy(other);
        return Err(format!("the cloud has a record that the device does not have: {other}"));
    }
    let refused = refused(&machine.disk.peek(Path::new(device::REFUSED)).unwrap_or_default())?;
    let missing: Vec<&&[u8]> =
        found.difference(&arrived).filter(|record| !refused.contains(**record)).collect();
    let dropped = device.dropped();
    if missing.len() as u64 > dropped {
        let first = String::from_utf8_lossy(missing[0]);
        return Err(format!(
            "{} records went neither up nor to what was refused, and {dropped} are counted as \
             dropped, the first is {first}",
            missing.len()
        ));
    }
    if let Some(record) = refused.iter().find(|record| !device::is_refused(record)) {
        let record = String::from_utf8_lossy(record);
        return Err(format!("a record was given up that the cloud takes: {record}"));
    }
    Ok(())
}

fn refused(file: &[u8]) -> Result<BTreeSet<Vec<u8>>, String> {
    let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let records = lines.map(|line| {
        let json: serde_json::Value = serde_json::from_slice(line).map_err(|error| {
            format!("a refused record is torn ({error}): {}", String::from_utf8_lossy(line))
        })?;
        let record = json["record"].as_str().ok_or("a refused record is none")?;
        Ok(record.as_bytes().to_vec())
    });
    records.collect()
}

fn note(records: &Records, summary: &mut Summary) {
    summary.verdicts += records.verdicts.len() as u64;
    summary.dead_letters += records.dead_letters.len() as u64;
    summary.repeated += records.repeated;
    let mut hasher = DefaultHasher::new();
    records.by_id.hash(&mut hasher);
    records.repeated.hash(&mut hasher);
    summary.fingerprint = summary.fingerprint.wrapping_add(hasher.finish());
}

fn checkpoint_files(disk: &SimulatedDisk) -> usize {
    disk.files_below(&Path::new(device::STATE).join("checkpoints")).len()
}

/// What lies in the cloud, read without a link.
fn at_once<T>(work: impl Future<Output = T>) -> Option<T> {
    let work = std::pin::pin!(work);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match work.poll(&mut context) {
        std::task::Poll::Ready(answer) => Some(answer),
        std::task::Poll::Pending => None,
    }
}

fn channel(cloud: &Cloud) -> Option<twinge_registry::Channel> {
    let registry = Registry::new(Arc::clone(&cloud.registry) as Arc<dyn Store>);
    let (detector, on) = (name("test"), name("stable"));
    let found = at_once(registry.channel(&detector, &on))?;
    found.ok().flatten().map(|(_, channel)| channel)
}

fn forged(cloud: &Cloud) -> Option<Vec<u8>> {
    channel(cloud).map(|channel| DESK.forge(&channel))
}

fn report(cloud: &Cloud, device: &str) -> Result<Report, String> {
    let registry = Registry::new(Arc::clone(&cloud.registry) as Arc<dyn Store>);
    let detector = name("test");
    let found = at_once(registry.report(&detector, device)).and_then(Result::ok).flatten();
    let bytes = found.ok_or_else(|| format!("{device} reports nothing"))?;
    let envelope = DeviceEnvelope::from_json(&bytes).map_err(|error| error.to_string())?;
    serde_json::from_slice(envelope.signed.payload_unverified()).map_err(|error| error.to_string())
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// A task that panics is not missed by those around it.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            usual(panic);
        }));
    });
}

fn panics() -> u64 {
    PANICS.get()
}
