//! `trainer send`: events to Event Hubs, at a set rate or as fast as it goes.

use crate::output::tell;
use crate::progress::progress_bar;
use crate::usage::Usage;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;
use twinge_eventhubs::{Drivers, Identity, Namespace, Producer, Record, Ticket};

/// Events handed over at once at most.
const GROUP: usize = 2048;

/// Groups on their way at most.
const GROUPS: usize = 8;

/// At a set rate, events go out so many times a second.
const BEATS: f64 = 20.0;

/// How long the hub may take before the sending is given up.
const PATIENCE: Duration = Duration::from_mins(1);

/// Send the lines of a file to Event Hubs, one JSON object each.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// File of events; - is standard input.
    #[arg(long)]
    data: PathBuf,
    /// Field of an event that becomes its partition key: the detector's entity.
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

/// Where and how fast events are sent.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sending to Event Hubs")]
pub(crate) struct Flags {
    /// Hub.
    #[arg(long, env = "EVENTHUB_NAME")]
    hub: Option<String>,
    /// Host name of the namespace, such as mine.servicebus.windows.net; without it, a connection
    /// string is read from `EVENTHUB_CONNECTION_STRING`.
    #[arg(long, env = "EVENTHUB_NAMESPACE")]
    namespace: Option<String>,
    /// File with a connection string.
    #[arg(long, conflicts_with = "namespace")]
    connection_string_file: Option<PathBuf>,
    /// Who the trainer is to Azure: auto, managed, workload or developer.
    #[arg(long, default_value = "auto")]
    identity: Identity,
    /// Events sent each second; as fast as it goes when left out.
    #[arg(long)]
    send_rate: Option<f64>,
}

/// An event on its way out.
pub(crate) struct Outgoing {
    /// Its partition key.
    pub(crate) key: Option<String>,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// `trainer send`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cannot = || format!("cannot read {}", arguments.data.display());
    let read: Box<dyn Read> = match arguments.data.to_str() {
        Some("-") => Box::new(std::io::stdin().lock()),
        _ => Box::new(File::open(&arguments.data).with_context(cannot)?),
    };
    let lines: Vec<Vec<u8>> =
        BufReader::new(read).split(b'\n').collect::<Result<_, _>>().with_context(cannot)?;
    let lines = lines.into_iter().filter(|line| !line.trim_ascii().is_empty());
    let events: Vec<Outgoing> = lines
        .map(|body| Outgoing {
            key: arguments.key.as_ref().and_then(|key| field(&body, key)),
            body,
        })
        .collect();
    let count = events.len() as u64;
    send_all(&arguments.flags, events.into_iter(), count)
}

/// A field of an event as text; what is not JSON is sent as well, and becomes a dead letter there.
fn field(body: &[u8], name: &str) -> Option<String> {
    match serde_json::from_slice::<Value>(body).ok()?.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// Sends events and returns when the hub has all of them.
pub(crate) fn send_all(
    flags: &Flags,
    events: impl Iterator<Item = Outgoing>,
    count: u64,
) -> Result<()> {
    let (namespace, hub) = flags.namespace()?;
    if flags.send_rate.is_some_and(|rate| !(0.1..=1e7).contains(&rate)) {
        return Err(Usage("--send-rate must lie between 0.1 and 10000000".into()).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let drivers = Drivers::start(1).context("threads cannot be started")?;
    let producer = Producer::start(&drivers, namespace, &hub);
    let began = Instant::now();
    runtime.block_on(send(&producer, flags.send_rate, events, count))?;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    tell(&format!("{count} events sent to hub `{hub}`, {rate:.0} a second"));
    Ok(())
}

impl Flags {
    fn namespace(&self) -> Result<(Namespace, String)> {
        let hub = |entity: Option<String>| {
            let hub = self.hub.clone().or(entity);
            hub.context(Usage("no hub: give --hub, or EVENTHUB_NAME".into()))
        };
        if let Some(host) = &self.namespace {
            let namespace = Namespace::new(host, self.identity.clone());
            return Ok((namespace.map_err(|error| Usage(error.to_string()))?, hub(None)?));
        }
        let text = match &self.connection_string_file {
            Some(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?,
            None => std::env::var("EVENTHUB_CONNECTION_STRING")
                .or_else(|_| std::env::var("EVENTHUB_CONNECTION_STR"))
                .map_err(|_none| {
                    Usage("nowhere to send to: set EVENTHUB_CONNECTION_STRING, or give --connection-string-file or --namespace".into())
                })?,
        };
        let named = Namespace::from_connection_string(text.trim());
        let (namespace, entity) = named.map_err(|error| Usage(error.to_string()))?;
        Ok((namespace, hub(entity)?))
    }
}

async fn send(
    producer: &Producer,
    rate: Option<f64>,
    events: impl Iterator<Item = Outgoing>,
    count: u64,
) -> Result<()> {
    let bar = progress_bar(count);
    let began = Instant::now();
    let group = rate.map_or(GROUP, |rate| (rate / BEATS).ceil().min(GROUP as f64) as usize);
    let mut tickets: VecDeque<(Ticket, u64)> = VecDeque::new();
    let mut sent = 0u64;
    let mut events = events.map(|event| Record { key: event.key, body: event.body });
    loop {
        let records: Vec<Record> = events.by_ref().take(group).collect();
        if records.is_empty() {
            break;
        }
        if let Some(rate) = rate {
            tokio::time::sleep_until(began + Duration::from_secs_f64(sent as f64 / rate)).await;
        }
        sent += records.len() as u64;
        let room = within(producer, producer.room()).await?;
        tickets.push_back((room.send(records), sent));
        while tickets.len() > GROUPS {
            arrive(producer, &mut tickets, &bar).await?;
        }
    }
    while !tickets.is_empty() {
        arrive(producer, &mut tickets, &bar).await?;
    }
    bar.finish_and_clear();
    Ok(())
}

async fn arrive(
    producer: &Producer,
    tickets: &mut VecDeque<(Ticket, u64)>,
    bar: &indicatif::ProgressBar,
) -> Result<()> {
    if let Some((mut ticket, sent)) = tickets.pop_front() {
        within(producer, ticket.wait()).await?;
        bar.set_position(sent);
    }
    Ok(())
}

async fn within<T>(
    producer: &Producer,
    work: impl Future<Output = Result<T, twinge_eventhubs::HubError>>,
) -> Result<T> {
    let done = tokio::time::timeout(PATIENCE, work).await;
    let done = done.with_context(|| {
        let reason = producer.trouble().unwrap_or_else(|| "it does not say why".into());
        format!("the hub took nothing for {PATIENCE:?}: {reason}")
    });
    Ok(done??)
}
