//! Settings of Event Hubs: flags, environment, and the table `[eventhubs]` of the configuration file.

use super::Hubs;
use super::source::Beginning;
use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use twinge_eventhubs::{Identity, Namespace};
use twinge_registry::{Directory, Store};
use twinge_stream::assembly::{Extension, ExtensionError, Input};
use twinge_stream::settings::Settings;
use twinge_stream::sink::HUB_PREFIX;

/// Variables that hold a connection string; the second is what some of Azure's samples use.
const CONNECTION_STRING: [&str; 2] = ["EVENTHUB_CONNECTION_STRING", "EVENTHUB_CONNECTION_STR"];

/// Flags of Event Hubs.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Event Hubs")]
pub(crate) struct HubFlags {
    /// Hub of events. Without a namespace or `EVENTHUB_CONNECTION_STRING`, a broker of the host's own
    /// serves it on this machine.
    #[arg(long, env = "EVENTHUB_NAME", conflicts_with_all = ["replay", "follow"])]
    hub: Option<String>,
    /// Host name of the namespace, such as mine.servicebus.windows.net.
    #[arg(long, env = "EVENTHUB_NAMESPACE")]
    namespace: Option<String>,
    /// File with a connection string, in place of the variable `EVENTHUB_CONNECTION_STRING`.
    #[arg(long, env = "TWINGE_CONNECTION_STRING_FILE", conflicts_with = "namespace")]
    connection_string_file: Option<PathBuf>,
    /// Who the host is to Azure: auto, managed, workload or developer [default: auto].
    #[arg(long, env = "TWINGE_IDENTITY")]
    identity: Option<Identity>,
    /// Consumer group [default: $Default].
    #[arg(long, env = "EVENTHUB_CONSUMER_GROUP")]
    consumer_group: Option<String>,
    /// Where checkpoints and ownerships lie: the address of a container, or a directory that all
    /// hosts of the group share [default: the state directory].
    #[arg(long, env = "TWINGE_CHECKPOINTS")]
    checkpoints: Option<String>,
    /// Where reading begins without a checkpoint: earliest or latest [default: earliest].
    #[arg(long, env = "TWINGE_BEGIN")]
    begin: Option<Beginning>,
    /// Seconds after which the partitions of a silent host are taken over [default: 30].
    #[arg(long, env = "TWINGE_OWNERSHIP_SECONDS")]
    ownership_seconds: Option<f64>,
    /// Threads that drive connections to Event Hubs [default: 1].
    #[arg(long, env = "TWINGE_HUB_THREADS")]
    hub_threads: Option<usize>,
    /// Address of the host's own broker; port 0 takes a free one [default: 127.0.0.1:0].
    #[arg(long, env = "TWINGE_BROKER_LISTEN")]
    broker_listen: Option<SocketAddr>,
    /// Partitions of each hub that the host's own broker makes [default: 4].
    #[arg(long, env = "TWINGE_BROKER_PARTITIONS")]
    broker_partitions: Option<u16>,
}

/// The hub that events come from, and how its partitions are shared among hosts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    hub: Option<String>,
    namespace: Option<String>,
    connection_string_file: Option<PathBuf>,
    identity: Option<Identity>,
    consumer_group: Option<String>,
    checkpoints: Option<String>,
    begin: Option<Beginning>,
    ownership_seconds: Option<f64>,
    threads: Option<usize>,
    broker_listen: Option<SocketAddr>,
    broker_partitions: Option<u16>,
}

/// What the host does with Event Hubs.
#[derive(Clone, Debug)]
pub(super) struct HubPlan {
    /// Where the namespace is.
    pub(super) place: Place,
    /// The hub of events.
    pub(super) hub: String,
    /// The consumer group.
    pub(super) group: String,
    /// Hubs that records go to.
    pub(super) outputs: Vec<String>,
    /// Where checkpoints and ownerships lie.
    pub(super) checkpoints: CheckpointPlace,
    /// Where reading begins.
    pub(super) beginning: Beginning,
    /// When a silent owner has lost its partitions.
    pub(super) ownership_expiry: Duration,
    /// Threads of the SDK.
    pub(super) threads: usize,
    /// Name of this host among the owners.
    pub(super) name: String,
}

/// Where a namespace is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Somewhere that a connection string or a host name tells.
    There(Namespace),
    /// In a broker of the host's own.
    Here { listen: SocketAddr, partitions: u16, directory: PathBuf },
}

/// Where checkpoints and ownerships lie.
#[derive(Clone, Debug)]
pub(super) enum CheckpointPlace {
    Directory(PathBuf),
    Container(String),
}

impl CheckpointPlace {
    pub(super) async fn open(&self) -> Result<Arc<dyn Store>, ExtensionError> {
        Ok(match self {
            Self::Directory(path) => Arc::new(Directory::open(path)?),
            Self::Container(address) => super::container::open(address).await?,
        })
    }
}

impl HubFlags {
    /// Event Hubs as flags and file describe it, if they do; then it is the input of `settings`, and
    /// where records go when nothing else is said.
    pub(crate) fn extend(
        &self,
        settings: &mut Settings,
    ) -> anyhow::Result<Option<Arc<dyn Extension>>> {
        let table = self.over(settings.take("eventhubs")?.unwrap_or_default());
        let variable = CONNECTION_STRING.iter().find_map(|name| std::env::var(name).ok());
        let from_file = table.connection_string_file.as_ref().map(|path| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        });
        let connection_string = from_file.transpose()?.or(variable);
        let named = match &connection_string {
            Some(text) if table.namespace.is_none() => Some(
                Namespace::from_connection_string(text.trim())
                    .context("the connection string is not usable")?,
            ),
            _ => None,
        };
        let entity_path = named.as_ref().and_then(|(_, hub)| hub.clone());
        // A connection string in the environment alone does not make a hub the input.
        let Some(hub) = table.hub.clone().or(entity_path.filter(|_| !settings.has_input())) else {
            return Ok(None);
        };
        settings.use_input(Input::Hub);
        settings.use_outputs("hub:verdicts", "hub:dead-letters");
        let place = table.place(named.map(|(namespace, _)| namespace), settings)?;
        let plan = table.plan(hub, place, settings)?;
        Ok(Some(Arc::new(Hubs::new(plan).context("threads cannot be started")?)))
    }

    fn over(&self, table: Table) -> Table {
        let flags = self.clone();
        Table {
            hub: flags.hub.or(table.hub),
            namespace: flags.namespace.or(table.namespace),
            connection_string_file: flags.connection_string_file.or(table.connection_string_file),
            identity: flags.identity.or(table.identity),
            consumer_group: flags.consumer_group.or(table.consumer_group),
            checkpoints: flags.checkpoints.or(table.checkpoints),
            begin: flags.begin.or(table.begin),
            ownership_seconds: flags.ownership_seconds.or(table.ownership_seconds),
            threads: flags.hub_threads.or(table.threads),
            broker_listen: flags.broker_listen.or(table.broker_listen),
            broker_partitions: flags.broker_partitions.or(table.broker_partitions),
        }
    }
}

impl Table {
    fn place(&self, named: Option<Namespace>, settings: &Settings) -> anyhow::Result<Place> {
        if let Some(host) = &self.namespace {
            let identity = self.identity.clone().unwrap_or_default();
            return Ok(Place::There(Namespace::new(host, identity)?));
        }
        if let Some(namespace) = named {
            return Ok(Place::There(namespace));
        }
        let listen = self.broker_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)));
        ensure!(
            listen.ip().is_loopback(),
            "broker_listen must be an address of this machine such as 127.0.0.1:5672: the broker has no TLS"
        );
        let partitions = self.broker_partitions.unwrap_or(4);
        ensure!((1..=1024).contains(&partitions), "broker_partitions must lie between 1 and 1024");
        Ok(Place::Here {
            listen,
            partitions,
            directory: settings.state("host-state").join("broker"),
        })
    }

    fn plan(self, hub: String, place: Place, settings: &Settings) -> anyhow::Result<HubPlan> {
        let seconds = self.ownership_seconds.unwrap_or(30.0);
        if !(1.0..=3600.0).contains(&seconds) {
            bail!("ownership_seconds must lie between 1 and 3600");
        }
        let threads = self.threads.unwrap_or(1);
        ensure!((1..=64).contains(&threads), "threads must lie between 1 and 64");
        let checkpoints = match self.checkpoints {
            None => CheckpointPlace::Directory(settings.state("host-state")),
            Some(address) if address.contains("://") => CheckpointPlace::Container(address),
            Some(path) => CheckpointPlace::Directory(path.into()),
        };
        let mut random = [0; 8];
        getrandom::fill(&mut random).context("no random numbers for the host's name")?;
        let machine = std::env::var("HOSTNAME").unwrap_or_else(|_| "host".into());
        let machine: String =
            machine.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
        let outputs = settings.outputs();
        let hubs = outputs.iter().filter_map(|output| output.strip_prefix(HUB_PREFIX));
        Ok(HubPlan {
            place,
            hub,
            group: self.consumer_group.unwrap_or_else(|| "$Default".into()),
            outputs: hubs.map(str::to_owned).collect(),
            checkpoints,
            beginning: self.begin.unwrap_or_default(),
            ownership_expiry: Duration::from_secs_f64(seconds),
            threads,
            name: format!("{machine}-{}", hex::encode(random)),
        })
    }
}
