//! What devices report, and how far each is believed.

use crate::place::Reader;
use anyhow::{Context, Result};
use tokio::task::JoinSet;
use twinge_registry::{Name, RegistryError};
use twinge_rollout::Report;
use twinge_trust::{DeviceEnvelope, Keyring, Standing};

/// Reports fetched at once.
const FETCHES: usize = 64;

/// What devices report on one detector, by name.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// Reports that their devices signed.
    pub(crate) heard: Vec<Heard>,
    /// Reports that are not what they should be.
    pub(crate) refused: Vec<Refused>,
}

/// A device and the report that lies under its name, if there still is one.
type Fetched = (String, Result<Option<Vec<u8>>, RegistryError>);

/// A report that its device signed.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) report: Report,
    pub(crate) standing: Standing,
}

/// A report that is not believed.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Refused {
    pub(crate) device: String,
    pub(crate) reason: String,
}

impl Fleet {
    /// Fetches and checks all reports on a detector.
    pub(crate) async fn read(reader: &Reader, detector: &Name) -> Result<Self> {
        let mut names = reader.registry.devices(detector).await?.into_iter();
        let mut fetches: JoinSet<Fetched> = JoinSet::new();
        let mut fleet = Self::default();
        loop {
            while fetches.len() < FETCHES
                && let Some(device) = names.next()
            {
                let (registry, detector) = (reader.registry.clone(), detector.clone());
                fetches.spawn(async move {
                    let report = registry.report(&detector, &device).await;
                    (device, report)
                });
            }
            let Some(fetched) = fetches.join_next().await else { break };
            let (device, report) = fetched.context("a report could not be fetched")?;
            let report = report.with_context(|| format!("cannot fetch the report of {device}"))?;
            // One that is gone by now says nothing.
            let Some(report) = report else { continue };
            match check(&report, detector, &device, reader.keyring()) {
                Ok(heard) => fleet.heard.push(heard),
                Err(reason) => {
                    fleet.refused.push(Refused { device, reason: format!("{reason:#}") });
                }
            }
        }
        fleet.heard.sort_by(|a, b| a.report.device.name.cmp(&b.report.device.name));
        fleet.refused.sort_by(|a, b| a.device.cmp(&b.device));
        Ok(fleet)
    }

    /// The reports on one channel.
    pub(crate) fn on(&self, channel: &Name) -> impl Iterator<Item = &Heard> {
        let channel = channel.as_str().to_owned();
        self.heard.iter().filter(move |heard| heard.report.channel == channel)
    }
}

impl Heard {
    /// Whether a trusted enroller vouches for the device.
    pub(crate) fn is_enrolled(&self) -> bool {
        self.standing == Standing::Enrolled
    }
}

fn check(bytes: &[u8], detector: &Name, device: &str, keyring: &Keyring) -> Result<Heard> {
    let envelope = DeviceEnvelope::from_json(bytes)?;
    let (payload, standing) = envelope.verify(Report::PAYLOAD_TYPE, device, keyring)?;
    let report: Report = serde_json::from_slice(&payload).context("it holds no report")?;
    if report.device.name != device {
        anyhow::bail!("it is the report of `{}`", report.device.name);
    }
    if report.detector != detector.as_str() {
        anyhow::bail!("it is a report on detector `{}`", report.detector);
    }
    Ok(Heard { report, standing })
}
