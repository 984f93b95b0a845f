//! Alerts: what people are told of findings, by webhook, hub and log.
//!
//! ```text
//! outlets of all lanes --\
//! facts, once a second ---+--> desk: book and outboxes, one file --> a sender for each sink
//! ```
//! What is told is decided in `twinge-alerts`; here is what that crate does not know: the clock, the
//! file, and the ways out. A sink that is away never keeps events from being scored.

mod desk;
mod facts;
mod metrics;
mod outlet;
mod sender;

use anyhow::{Context, bail, ensure};
use desk::Desk;
use metrics::AlertMetrics;
use outlet::AlertOutlet;
use sender::{Sender, Way, Webhook};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use twinge_alerts::AlertSettings;
use twinge_stream::assembly::{Extension, ExtensionError, Surroundings};
use twinge_stream::outlet::Outlet;
use twinge_stream::settings::Settings;
use twinge_stream::sink::{HUB_PREFIX, SinkError};

/// `[alerts]` of the configuration, read before the hubs are: they have to know of another output.
pub(crate) fn read(settings: &mut Settings) -> anyhow::Result<Option<AlertSettings>> {
    let Some(alerts) = settings.take::<AlertSettings>("alerts")? else { return Ok(None) };
    alerts.rules().context("[alerts] cannot be used")?;
    if let Some(hub) = &alerts.hub {
        settings.also_output(hub);
    }
    Ok(Some(alerts))
}

/// The alerts that `alerts` describe, around what else the host brings along.
pub(crate) fn extend(
    alerts: Option<AlertSettings>,
    settings: &Settings,
    inner: Option<Arc<dyn Extension>>,
) -> anyhow::Result<Option<Arc<dyn Extension>>> {
    let Some(alerts) = alerts else { return Ok(inner) };
    if alerts.hub.is_some() && inner.is_none() {
        bail!(
            "`alerts.hub` needs Event Hubs, and this host reads none: give --hub, or take a webhook"
        );
    }
    let webhooks = alerts.webhook.iter().map(Webhook::new);
    let mut ways: Vec<Way> =
        webhooks.map(|webhook| webhook.map(Way::Webhook)).collect::<anyhow::Result<_>>()?;
    let has_other = !ways.is_empty() || alerts.hub.is_some();
    if alerts.log.unwrap_or(!has_other) {
        ways.push(Way::Log);
    }
    ensure!(
        !ways.is_empty() || alerts.hub.is_some(),
        "[alerts] has no place to send to: give `log`, `hub` or [[alerts.webhook]]"
    );
    let mut names: Vec<String> = ways.iter().map(|way| way.name().to_owned()).collect();
    names.extend(alerts.hub.as_ref().map(|_| "hub".to_owned()));
    let metrics = AlertMetrics::new(&names)?;
    let desk = Desk::new(&alerts, &names, metrics).context("[alerts] cannot be used")?;
    Ok(Some(Arc::new(Alerts {
        inner: inner.unwrap_or_else(|| Arc::new(Nothing)),
        hub: alerts.hub,
        file: settings.state("host-state").join("alerts.bin"),
        desk: Arc::new(desk),
        ways: Mutex::new(ways),
        has_hub: Mutex::new(false),
    })))
}

/// A host that brings nothing else along.
#[derive(Debug)]
struct Nothing;

impl Extension for Nothing {}

/// Alerts around what else the host brings along.
#[derive(Debug)]
struct Alerts {
    inner: Arc<dyn Extension>,
    hub: Option<String>,
    file: PathBuf,
    desk: Arc<Desk>,
    /// Taken by the senders when everything is ready.
    ways: Mutex<Vec<Way>>,
    has_hub: Mutex<bool>,
}

impl Alerts {
    /// Opens the hub, once: a hub that is not there is told before anything runs.
    fn open_hub(&self) -> Result<(), SinkError> {
        let Some(name) = self.hub.as_ref().and_then(|hub| hub.strip_prefix(HUB_PREFIX)) else {
            return Ok(());
        };
        let mut has_hub = self.has_hub.lock().unwrap_or_else(PoisonError::into_inner);
        if !*has_hub {
            let way = Way::Hub(self.inner.open(name)?);
            self.ways.lock().unwrap_or_else(PoisonError::into_inner).push(way);
            *has_hub = true;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Extension for Alerts {
    fn inner(&self) -> Option<&dyn Extension> {
        Some(self.inner.as_ref())
    }

    fn prepare(&self) -> Result<(), ExtensionError> {
        self.desk.open(&self.file)?;
        self.inner.prepare()
    }

    fn outlets(&self, detector: &str) -> Result<Vec<Box<dyn Outlet>>, SinkError> {
        self.open_hub()?;
        let mut outlets = self.inner.outlets(detector)?;
        outlets.push(Box::new(AlertOutlet::new(Arc::clone(&self.desk), detector)));
        Ok(outlets)
    }

    fn start(&self, surroundings: Surroundings) {
        if let Err(error) = self.desk.metrics().register(surroundings.metrics.registry()) {
            tracing::error!(%error, "alerts are not counted in /metrics");
        }
        // Partitions of a hub come later, but the senders do not wait for them.
        if let Err(error) = self.open_hub() {
            tracing::error!(%error, "no alerts go to the hub");
        }
        let ways = std::mem::take(&mut *self.ways.lock().unwrap_or_else(PoisonError::into_inner));
        for way in ways {
            let sender = Sender::new(way, Arc::clone(&self.desk));
            surroundings.tracker.spawn(sender.run(surroundings.stop.clone()));
        }
        let watch = facts::watch(
            Arc::clone(&self.desk),
            surroundings.reports.clone(),
            surroundings.metrics.clone(),
            surroundings.stop.clone(),
        );
        surroundings.tracker.spawn(watch);
        self.inner.start(surroundings);
    }
}
