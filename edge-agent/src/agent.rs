//! What the agent brings along: sources that push, the way up, actions, and word of how it is.

use crate::action::Triggers;
use crate::mqtt::{self, Taken};
use crate::settings::{AgentPlan, mqtt_settings};
use crate::status::{AgentStatus, DetectorStatus, Part, SpoolStatus, duration, serve};
use crate::{modbus, watchdog};
use anyhow::Context;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Instant, SystemTime};
use tokio_util::sync::CancellationToken;
use twinge_forward::{Forwarder, RefusedFile, lock};
use twinge_mqtt::{Driver, Messages, Monitor, Publisher, Status as BrokerStatus};
use twinge_platform::{Clock, Disk, RealDisk, SystemClock};
use twinge_runner::Status;
use twinge_spool::Spool;
use twinge_stream::assembly::Surroundings;
use twinge_stream::device::DeviceIdentity;
use twinge_stream::outlet::Outlet;
use twinge_stream::pump::Reports;
use twinge_uplink::{Bell, Drain, Figures};

/// What an uplink is away for before that is a trouble, seconds.
const AWAY_S: f64 = 60.0;

/// The agent beside its pumps.
#[derive(Debug)]
pub(crate) struct Agent {
    plan: AgentPlan,
    device: String,
    clock: Arc<dyn Clock>,
    began: Instant,
    broker: Option<Broker>,
    taken: Arc<Taken>,
    modbus: modbus::Pollers,
    spool: Option<Arc<Mutex<Spool>>>,
    refused: Arc<RefusedFile>,
    running: OnceLock<Running>,
}

/// A connection to a broker that is not driven yet.
struct Broker {
    publisher: Publisher,
    monitor: Monitor,
    /// Taken at the start.
    ends: Mutex<Option<(Messages, Driver)>>,
}

/// What is known once everything runs.
#[derive(Debug)]
struct Running {
    bell: Option<(Bell, Figures)>,
    triggers: Vec<Triggers>,
    reports: Reports,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Broker").field("monitor", &self.monitor).finish_non_exhaustive()
    }
}

impl Agent {
    /// What `plan` describes; nothing is connected yet.
    pub(crate) fn new(plan: AgentPlan) -> anyhow::Result<Self> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let identity = DeviceIdentity::open(&plan.device, &plan.state, &disk)?;
        let device = identity.device().name.clone();
        let broker = match &plan.mqtt {
            Some((settings, topics)) => {
                let settings = mqtt_settings(settings, &device);
                let filters = topics.iter().map(crate::topics::Topic::filter).collect();
                let connected = twinge_mqtt::connect(&settings, filters).context("[mqtt]")?;
                let (publisher, messages, driver) = connected;
                let monitor = publisher.monitor().clone();
                let ends = Mutex::new(Some((messages, driver)));
                Some(Broker { publisher, monitor, ends })
            }
            None => None,
        };
        let spool = match &plan.uplink {
            Some(_) => {
                let directory = plan.state.join("spool");
                let opened = Spool::open(
                    Arc::clone(&disk),
                    Arc::clone(&clock),
                    &directory,
                    plan.spool.clone(),
                );
                Some(Arc::new(Mutex::new(opened.context("the spool cannot be opened")?)))
            }
            None => None,
        };
        let refused = plan.state.join("refused.ndjson");
        Ok(Self {
            refused: Arc::new(RefusedFile::new(Arc::clone(&disk), refused)),
            modbus: modbus::Pollers::new(&plan.modbus, &clock)?,
            taken: Arc::default(),
            began: Instant::now(),
            running: OnceLock::new(),
            plan,
            device,
            clock,
            broker,
            spool,
        })
    }

    /// Where findings go from here, once it was started.
    pub(crate) fn outlets(&self) -> Vec<Box<dyn Outlet>> {
        let mut outlets: Vec<Box<dyn Outlet>> = Vec::new();
        let Some(running) = self.running.get() else { return outlets };
        if let Some(spool) = &self.spool {
            let bell = running.bell.as_ref().map(|(bell, _)| bell.clone()).unwrap_or_default();
            let (spool, refused) = (Arc::clone(spool), Arc::clone(&self.refused));
            let bytes_max = self.plan.spool.entry_bytes_max();
            let forwarder = Forwarder::new(self.plan.rule, spool, bell, refused, bytes_max);
            outlets.push(Box::new(forwarder));
        }
        for triggers in &running.triggers {
            outlets.push(Box::new(triggers.trigger()));
        }
        outlets
    }

    /// Starts everything that lives beside the pumps; must be called within the runtime.
    pub(crate) fn start(self: &Arc<Self>, around: &Surroundings) {
        let running = Running {
            bell: self.start_drain(around),
            triggers: self.start_actions(around),
            reports: around.reports.clone(),
        };
        // It is started once.
        drop(self.running.set(running));
        self.start_broker(around);
        if let Some(intake) = &around.intake {
            self.modbus.start(intake, &around.tracker, &around.stop);
        }
        self.start_telling(around, &around.stop);
    }

    /// Starts the way up; must be called within the runtime.
    fn start_drain(&self, around: &Surroundings) -> Option<(Bell, Figures)> {
        let (settings, spool) = (self.plan.uplink.as_ref()?, self.spool.as_ref()?);
        let opened = settings.open(&self.device).and_then(|up| Ok((up, settings.drain()?)));
        let (uplink, drain) = match opened {
            Ok(opened) => opened,
            // It was checked before; a file may have gone since.
            Err(error) => {
                tracing::error!(%error, "nothing goes up in this run; findings wait in the spool");
                return None;
            }
        };
        let refusals = Arc::clone(&self.refused);
        let drain = Drain::new(uplink, Arc::clone(spool) as Arc<_>, refusals, drain);
        let ends = (drain.bell(), drain.figures());
        around.tracker.spawn(drain.run(around.stop.clone()));
        Some(ends)
    }

    fn start_broker(&self, around: &Surroundings) {
        let Some(broker) = &self.broker else { return };
        let ends = broker.ends.lock().ok().and_then(|mut ends| ends.take());
        let Some((messages, driver)) = ends else { return };
        around.tracker.spawn(driver.run(around.stop.clone()));
        let Some((_, topics)) = self.plan.mqtt.clone() else { return };
        if let Some(intake) = around.intake.clone() {
            let (clock, taken) = (Arc::clone(&self.clock), Arc::clone(&self.taken));
            let stop = around.stop.clone();
            around.tracker.spawn(mqtt::run(messages, topics, intake, clock, taken, stop));
        }
    }

    fn start_actions(&self, around: &Surroundings) -> Vec<Triggers> {
        let start = |action: &crate::action::Action| {
            let publisher = self.broker.as_ref().map(|broker| broker.publisher.clone());
            let (triggers, work) = action.start(&self.device, publisher, around.stop.clone());
            around.tracker.spawn(work);
            triggers
        };
        self.plan.actions.iter().map(start).collect()
    }

    /// Figures of the spool, where there is one.
    pub(crate) fn spool_figures(&self) -> Option<twinge_spool::Figures> {
        self.spool.as_ref().map(|spool| lock(spool).figures())
    }

    /// Figures of the way up, where there is one.
    pub(crate) fn uplink_figures(&self) -> Option<twinge_uplink::Status> {
        let (_, figures) = self.running.get()?.bell.as_ref()?;
        Some(figures.status())
    }

    /// How it is.
    pub(crate) fn status(&self) -> AgentStatus {
        let mut status = AgentStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: self.device.clone(),
            up_s: self.began.elapsed().as_secs(),
            ..AgentStatus::default()
        };
        if let Some(running) = self.running.get() {
            let reports = running.reports.all();
            status.troubles.extend(reports.iter().filter_map(|report| report.trouble.clone()));
            let runners = reports.iter().flat_map(|report| &report.runners);
            status.detectors = runners.map(detector).collect();
            if let Some((_, figures)) = &running.bell {
                status.uplink =
                    self.plan.uplink.as_ref().map(|up| uplink(up, figures, &self.refused));
            }
        }
        status.sources.extend(self.broker_part());
        status.sources.extend(self.modbus.parts(self.clock.now_ms()));
        status.spool = self.spool_figures().map(SpoolStatus::from);
        for action in &self.plan.actions {
            status.add_action(&action.status());
        }
        let parts = status.sources.iter().chain(&status.uplink);
        let bad = parts.filter(|part| !part.is_well);
        let mut troubles: Vec<String> =
            bad.map(|part| format!("{}: {}", part.what, part.state)).collect();
        troubles.extend(status.spool.iter().filter_map(|spool| spool.trouble.clone()));
        status.troubles.extend(troubles);
        status
    }

    fn broker_part(&self) -> Option<Part> {
        let (broker, (settings, _)) = (self.broker.as_ref()?, self.plan.mqtt.as_ref()?);
        let now = broker.monitor.status().borrow().clone();
        let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        let Taken { events, passed_over, oversize } = self.taken.as_ref();
        let is_well = matches!(&now, BrokerStatus::Connected { refused, .. } if refused.is_empty());
        let since = match &now {
            BrokerStatus::Connected { since, .. } | BrokerStatus::Away { since, .. } => {
                let passed = SystemTime::now().duration_since(*since).unwrap_or_default();
                format!(" for {}", duration(passed.as_secs()))
            }
            BrokerStatus::Connecting | BrokerStatus::Stopped => String::new(),
        };
        let (events, passed_over, oversize) = (count(events), count(passed_over), count(oversize));
        let state = format!(
            "{now}{since}; {events} events, {passed_over} passed over, {oversize} too large"
        );
        Some(Part { what: settings.broker.clone(), is_well, state })
    }

    /// Tells the world how it is until `stop` is cancelled.
    fn start_telling(self: &Arc<Self>, around: &Surroundings, stop: &CancellationToken) {
        let (for_socket, for_systemd) = (Arc::clone(self), Arc::clone(self));
        let status = move || for_socket.status();
        around.tracker.spawn(serve(self.plan.state.clone(), status, stop.clone()));
        let line = move || for_systemd.status().line();
        around.tracker.spawn(watchdog::run(around.reports.clone(), line, stop.clone()));
    }
}

fn detector(status: &Status) -> DetectorStatus {
    let beside = status.candidate.map(|digest| {
        let version = status.candidate_version.as_deref().unwrap_or_default();
        let part = status.part.map(|part| format!("{part:?}").to_lowercase()).unwrap_or_default();
        format!("{version} ({}) beside it as {part}", digest.short())
    });
    DetectorStatus {
        name: status.place.detector.clone(),
        acting: format!("{} ({})", status.version, status.champion.short()),
        beside,
        serial: status.serial,
        events: status.counts.events,
        anomalies: status.counts.anomalies,
        dead_letters: status.counts.dead_letters,
        entities: status.entities,
    }
}

fn uplink(settings: &twinge_uplink::Settings, figures: &Figures, refused: &RefusedFile) -> Part {
    let now = figures.status();
    let mut state = format!("{} sent, {} refused", now.sent, now.refused + refused.count());
    if let Some(away) = now.away_seconds {
        let reason = now.last_error.unwrap_or_default();
        state = format!("away for {}: {reason}; {state}", duration(away as u64));
    }
    let is_well = now.away_seconds.is_none_or(|away| away < AWAY_S);
    Part { what: format!("{:?}", settings.kind).to_lowercase(), is_well, state }
}
