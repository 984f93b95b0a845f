//! Event Hubs as source and sink of the host.
//!
//! ```text
//! ownerships --> plan --> processor: a pump for each partition of ours
//!                             |
//!  hub partition --> source --+--> runner --> sink --> hubs of verdicts and dead letters
//!                             |
//!                       checkpoints, by epoch
//! ```

mod balance;
mod broker;
mod container;
mod ownership;
mod processor;
mod settings;
mod sink;
mod source;

pub(crate) use settings::HubFlags;

use broker::Broker;
use ownership::Ownerships;
use processor::Processor;
use settings::{HubPlan, Place};
use sink::HubSink;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use twinge_eventhubs::{Drivers, HubError, HubProperties, Namespace, Producer, ReceiverSettings};
use twinge_platform::{Clock, SystemClock};
use twinge_stream::assembly::{Extension, ExtensionError, chain};
use twinge_stream::partitions::Partitions;
use twinge_stream::pump::Reports;
use twinge_stream::sink::{Sink, SinkError};

/// How long the start waits for a hub that is away.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(1);

/// Share of the time until takeover after which a silent owner's partitions are free.
const SILENT_SHARE: f64 = 0.65;

/// Event Hubs for a host.
#[derive(Debug)]
pub(crate) struct Hubs {
    plan: HubPlan,
    producers: Mutex<HashMap<String, Producer>>,
    drivers: Arc<Drivers>,
    /// Known once a broker of the host's own listens.
    connected: OnceLock<Connected>,
}

#[derive(Debug)]
struct Connected {
    namespace: Namespace,
    /// Stops when it is dropped.
    _broker: Option<Broker>,
}

impl Hubs {
    /// What `plan` describes.
    fn new(plan: HubPlan) -> std::io::Result<Self> {
        let drivers = Arc::new(Drivers::start(plan.threads)?);
        Ok(Self { plan, producers: Mutex::default(), drivers, connected: OnceLock::new() })
    }

    fn connect(&self) -> Result<&Namespace, ExtensionError> {
        if self.connected.get().is_none() {
            let connected = match &self.plan.place {
                Place::There(namespace) => {
                    Connected { namespace: namespace.clone(), _broker: None }
                }
                Place::Here { listen, partitions, directory } => {
                    let hubs = [&self.plan.hub].into_iter().chain(&self.plan.outputs);
                    let (broker, namespace) = Broker::start(*listen, *partitions, directory, hubs)?;
                    Connected { namespace, _broker: Some(broker) }
                }
            };
            // Two that connect at once are one too many for a broker's port and directory.
            self.connected.set(connected).map_err(|_twice| "connected twice at once")?;
        }
        let connected = self.connected.get().ok_or("not connected")?;
        Ok(&connected.namespace)
    }

    /// The properties of a hub, asked until it answers or patience ends.
    async fn ask(&self, namespace: &Namespace, hub: &str) -> Result<HubProperties, HubError> {
        let began = Instant::now();
        loop {
            let error = match twinge_eventhubs::properties(&self.drivers, namespace, hub).await {
                Ok(properties) => return Ok(properties),
                Err(error) => error,
            };
            if began.elapsed() >= PATIENCE {
                return Err(error);
            }
            tracing::warn!(hub, error = chain(&error), "a hub does not answer; trying again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[async_trait::async_trait]
impl Extension for Hubs {
    async fn partitions(&self, reports: &Reports) -> Result<Box<dyn Partitions>, ExtensionError> {
        let plan = &self.plan;
        let namespace = self.connect()?;
        let HubProperties { created_ms, partitions } = self.ask(namespace, &plan.hub).await?;
        for output in &plan.outputs {
            self.ask(namespace, output).await?;
        }
        let store = plan.checkpoints.open().await?;
        let me = plan.name.clone();
        let names = (namespace.name(), plan.hub.as_str(), plan.group.as_str());
        // Silence, and then a look at it, must fit into the time that was promised: an owner looks
        // at least four times before it counts as silent.
        let expiry_ms = (plan.ownership_expiry.as_millis() as f64 * SILENT_SHARE) as i64;
        tracing::info!(
            namespace = namespace.name(),
            hub = plan.hub,
            group = plan.group,
            partitions = partitions.len(),
            host = me,
            "reading a hub"
        );
        Ok(Box::new(Processor {
            drivers: Arc::clone(&self.drivers),
            receivers: ReceiverSettings {
                namespace: namespace.clone(),
                hub: plan.hub.clone(),
                group: plan.group.clone(),
                partition: String::new(),
                epoch: 0,
            },
            created_ms,
            beginning: plan.beginning,
            partitions,
            ownerships: Ownerships::new(Arc::clone(&store), names, me.clone(), expiry_ms),
            store,
            interval: plan.ownership_expiry / 8,
            clock: Arc::new(SystemClock::new()) as Arc<dyn Clock>,
            reports: reports.clone(),
            running: BTreeSet::new(),
            changes: VecDeque::new(),
            next_look: Instant::now(),
            turn: me.bytes().map(usize::from).sum(),
        }))
    }

    fn open(&self, hub: &str) -> Result<Box<dyn Sink>, SinkError> {
        let connected = self.connect();
        let namespace =
            connected.map_err(|source| SinkError { place: format!("hub `{hub}`"), source })?;
        let mut producers = self.producers.lock().unwrap_or_else(PoisonError::into_inner);
        let producer = producers
            .entry(hub.to_owned())
            .or_insert_with(|| Producer::start(&self.drivers, namespace.clone(), hub));
        Ok(Box::new(HubSink::new(hub, producer.clone())))
    }
}
