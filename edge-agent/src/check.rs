//! `edge-agent check`: is the configuration right, and is there what it names?

use crate::defaults::{DEFAULTS, STATE};
use crate::say::say;
use crate::settings::{AgentPlan, mqtt_settings};
use anyhow::Context;
use std::process::ExitCode;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_mqtt::Status;
use twinge_registry::{Registry, open_store};
use twinge_stream::assembly::{Origin, Plan};
use twinge_stream::settings::{Flags, Settings};
use twinge_stream::{logging, program};

/// How long something that is tried may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The whole of `edge-agent check`.
pub(crate) fn main(flags: &Flags, offline: bool) -> ExitCode {
    logging::start();
    let read = Settings::read(flags, &DEFAULTS).and_then(|mut settings| {
        let own = AgentPlan::take(&mut settings, STATE)?;
        Ok((settings.into_plan(&DEFAULTS)?, own))
    });
    let (plan, own) = match read {
        Ok(read) => read,
        Err(error) => return program::fail(&error, 2),
    };
    if offline {
        tell("configuration", &Ok("usable".into()));
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime.context("the runtime cannot start") {
        Ok(runtime) => runtime,
        Err(error) => return program::fail(&error, 1),
    };
    tell("configuration", &Ok("usable".into()));
    let all_well = runtime.block_on(try_all(&plan, &own));
    if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Tries what can be tried without an effect; answers with whether all of it works.
async fn try_all(plan: &Plan, own: &AgentPlan) -> bool {
    let mut all_well = tell("state", &try_state(plan));
    for detector in &plan.detectors {
        all_well &= tell("detector", &try_origin(&detector.origin).await);
    }
    if let Some((settings, _)) = &own.mqtt {
        let mut settings = mqtt_settings(settings, "device");
        // A session of its own: the agent's, which may be running, must not be pushed out.
        settings.client_id.push_str("-check");
        settings.session_expiry_seconds = 0;
        all_well &= tell(&settings.broker, &try_broker(&settings).await);
    }
    for device in &own.modbus {
        let has_port = device.address.contains(':');
        let address =
            if has_port { device.address.clone() } else { format!("{}:502", device.address) };
        all_well &= tell(&address, &try_port(&address).await);
    }
    all_well
}

fn tell(what: &str, result: &anyhow::Result<String>) -> bool {
    match result {
        Ok(how) => say(&format!("ok      {what}: {how}")),
        Err(error) => say(&format!("FAILED  {what}: {error:#}")),
    }
    result.is_ok()
}

fn try_state(plan: &Plan) -> anyhow::Result<String> {
    let state = &plan.state;
    std::fs::create_dir_all(state).with_context(|| format!("cannot make {}", state.display()))?;
    let file = state.join(".check");
    std::fs::write(&file, b"check")
        .and_then(|()| std::fs::remove_file(&file))
        .with_context(|| format!("cannot write in {}", state.display()))?;
    Ok(format!("{} can be written", state.display()))
}

async fn try_origin(origin: &Origin) -> anyhow::Result<String> {
    match origin {
        Origin::File(path) => {
            let bytes =
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(format!("{} has {} KiB", path.display(), bytes.len() >> 10))
        }
        Origin::Channel { registry, detector, channel } => {
            let store = open_store(registry, &|name| std::env::var(name).ok()).await?;
            let asked = Registry::new(store);
            let asked = timeout(PATIENCE, asked.channel(detector, channel)).await;
            match asked.context("the registry does not answer")?? {
                Some(_) => Ok(format!("channel {channel} of {detector} is in {registry}")),
                None => anyhow::bail!(
                    "there is no channel {channel} of {detector} in {registry}: publish a module and promote it"
                ),
            }
        }
    }
}

/// Asks for no topics: messages would come that nobody takes in.
async fn try_broker(settings: &twinge_mqtt::Settings) -> anyhow::Result<String> {
    let (publisher, _messages, driver) = twinge_mqtt::connect(settings, Vec::new())?;
    let mut status = publisher.monitor().status();
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(driver.run(stop.clone()));
    tasks.close();
    let decided = status.wait_for(|status| !matches!(status, Status::Connecting));
    let decided = timeout(PATIENCE, decided).await.map(|status| status.map(|now| now.clone()));
    stop.cancel();
    timeout(PATIENCE, tasks.wait()).await.context("the connection does not end")?;
    match decided.context("no answer")?.context("the connection ended")? {
        Status::Connected { .. } => Ok("connected".into()),
        other => anyhow::bail!("{other}"),
    }
}

async fn try_port(address: &str) -> anyhow::Result<String> {
    let connected = timeout(PATIENCE, TcpStream::connect(address)).await.context("no answer")?;
    connected.context("no device takes the connection: is it on, and is the address its own?")?;
    Ok("answers".into())
}
