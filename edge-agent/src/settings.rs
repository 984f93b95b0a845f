//! The agent's own tables of a configuration file, checked whole.

use crate::action::{Action, ActionSettings};
use crate::topics::{Topic, TopicSettings};
use anyhow::{Context, ensure};
use serde::Deserialize;
use std::path::PathBuf;
use twinge_forward::{Forward, Rule};
use twinge_stream::assembly::Input;
use twinge_stream::device::DevicePlan;
use twinge_stream::settings::Settings;
use twinge_stream::sink::NOWHERE;

/// Names of these tables.
pub(crate) const TABLES: &[&str] =
    &["mqtt", "modbus", "uplink", "spool", "forward", "sample", "action"];

/// Where `forward` is `"samples"`: one in so many events of verdicts that are not anomalous goes up.
const SAMPLE: u32 = 100;

/// What the agent brings along beside what every program does.
#[derive(Clone, Debug)]
pub(crate) struct AgentPlan {
    /// The directory of state.
    pub(crate) state: PathBuf,
    /// Who this device is said to be.
    pub(crate) device: DevicePlan,
    /// A broker, and topics of it that are events.
    pub(crate) mqtt: Option<(twinge_mqtt::Settings, Vec<Topic>)>,
    /// Devices that are polled.
    pub(crate) modbus: Vec<twinge_modbus::Settings>,
    /// A way to a cloud.
    pub(crate) uplink: Option<twinge_uplink::Settings>,
    /// Bounds on what waits for it.
    pub(crate) spool: twinge_spool::Settings,
    /// What goes there.
    pub(crate) rule: Rule,
    /// What is done on the spot.
    pub(crate) actions: Vec<Action>,
}

/// Bounds on what waits for the uplink.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SpoolSettings {
    /// MiB on disk at most.
    mib: u64,
    /// Days of operation that an entry may wait.
    days: f64,
    /// MiB of memory for what is not on disk yet.
    memory_mib: u64,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        Self { mib: 1024, days: 30.0, memory_mib: 2 }
    }
}

impl SpoolSettings {
    fn settings(&self) -> anyhow::Result<twinge_spool::Settings> {
        ensure!((1..=1 << 20).contains(&self.mib), "[spool] mib must lie between 1 and 1048576");
        ensure!(
            (0.01..=3650.0).contains(&self.days),
            "[spool] days must lie between 0.01 and 3650"
        );
        ensure!(
            (1..=1024).contains(&self.memory_mib),
            "[spool] memory_mib must lie between 1 and 1024"
        );
        Ok(twinge_spool::Settings {
            bytes_max: self.mib << 20,
            age_seconds_max: (self.days * 86_400.0) as u64,
            memory_bytes_max: (self.memory_mib << 20) as usize,
        })
    }
}

impl AgentPlan {
    /// Takes the agent's tables out of `settings` and tells those what follows from them.
    pub(crate) fn take(settings: &mut Settings, state: &str) -> anyhow::Result<Self> {
        let topics: Vec<TopicSettings> = settings.take_inner("mqtt", "topic")?.unwrap_or_default();
        let topics = topics.iter().zip(1..).map(|(topic, number)| {
            Topic::new(topic).with_context(|| format!("[[mqtt.topic]] number {number}"))
        });
        let topics = topics.collect::<anyhow::Result<Vec<_>>>()?;
        let mqtt: Option<twinge_mqtt::Settings> = settings.take("mqtt")?;
        let modbus: Vec<twinge_modbus::Settings> = settings.take("modbus")?.unwrap_or_default();
        for (device, number) in modbus.iter().zip(1..) {
            device.check().with_context(|| format!("[[modbus]] number {number}"))?;
        }
        let uplink: Option<twinge_uplink::Settings> = settings.take("uplink")?;
        if let Some(uplink) = &uplink {
            uplink.check().context("[uplink]")?;
            // What goes up need not lie here as well.
            settings.use_outputs(NOWHERE, NOWHERE);
        }
        let spool = settings.take::<SpoolSettings>("spool")?.unwrap_or_default().settings()?;
        let sample = settings.take("sample")?.unwrap_or(SAMPLE);
        ensure!((1..=1_000_000).contains(&sample), "sample must lie between 1 and 1000000");
        let forward: Option<Forward> = settings.take("forward")?;
        ensure!(forward.is_none() || uplink.is_some(), "forward needs a way up: add [uplink]");
        let actions: Vec<ActionSettings> = settings.take("action")?.unwrap_or_default();
        let actions = actions.iter().zip(1..).map(|(action, number)| {
            let action = Action::new(action, mqtt.is_some());
            action.with_context(|| format!("[[action]] number {number} cannot be used"))
        });
        let actions = actions.collect::<anyhow::Result<_>>()?;
        if !topics.is_empty() || !modbus.is_empty() {
            settings.use_input(Input::Pushed);
        }
        let plan = Self {
            state: settings.state(state),
            device: settings.device(),
            mqtt: mqtt.map(|mqtt| (mqtt, topics)),
            modbus,
            uplink,
            spool,
            rule: Rule { forward: forward.unwrap_or_default(), sample },
            actions,
        };
        plan.check_mqtt()?;
        Ok(plan)
    }

    fn check_mqtt(&self) -> anyhow::Result<()> {
        let Some((settings, topics)) = &self.mqtt else { return Ok(()) };
        ensure!(
            !topics.is_empty() || !self.actions.is_empty(),
            "[mqtt] is used for nothing: add [[mqtt.topic]] with a pattern of topics that are events"
        );
        mqtt_settings(settings, "device").check().context("[mqtt]")
    }
}

/// Settings of the broker under which this device is known there.
pub(crate) fn mqtt_settings(
    settings: &twinge_mqtt::Settings,
    device: &str,
) -> twinge_mqtt::Settings {
    let mut settings = settings.clone();
    if settings.client_id.is_empty() {
        settings.client_id = format!("twinge-{device}");
    }
    settings
}
