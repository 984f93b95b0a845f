//! The cloud host: events in, verdicts out, several detectors side by side.

mod alerts;
mod console;
mod devices;
mod hub;
mod lake;
mod otlp;

use clap::Parser;
use std::process::ExitCode;
use std::time::Duration;
use twinge_stream::program;
use twinge_stream::settings::{Defaults, Flags, Settings};

/// Score events with one or more detectors.
///
/// Events come from Event Hubs (--hub), from a file (--replay, --follow) or over HTTP (--listen).
/// Every event gets a verdict or a dead letter. State is checkpointed, so a killed host goes on where it was: after duplicates
/// by `id` are dropped, the verdicts are those of an undisturbed run.
#[derive(Debug, Parser)]
#[command(name = "host", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    hub: hub::HubFlags,
    #[command(flatten)]
    devices: devices::DeviceFlags,
    #[command(flatten)]
    console: console::ConsoleFlags,
    #[command(flatten)]
    lake: lake::LakeFlags,
    #[command(subcommand)]
    command: Option<lake::Command>,
}

const DEFAULTS: Defaults = Defaults {
    state: "host-state",
    verdicts: "verdicts.ndjson",
    input: None,
    tables: &["alerts", "console", "devices", "eventhubs", "lake"],
    sink_retry: Duration::from_secs(30),
    silence: false,
    journal_mib: 1024,
    compile_verb: None,
};

fn main() -> ExitCode {
    let Arguments { flags, hub, devices, console, lake, command } = Arguments::parse();
    if let Some(command) = command {
        return match lake::run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => program::fail(&error, 1),
        };
    }
    let extend = move |settings: &mut Settings| {
        devices.extend(settings)?;
        let alerts = alerts::read(settings)?;
        let hub = hub.extend(settings)?;
        let lake = lake.extend(settings, hub)?;
        let alerts = alerts::extend(alerts, settings, lake)?;
        let console = console.extend(settings, alerts)?;
        otlp::extend(console)
    };
    program::main(&flags, &DEFAULTS, Box::new(extend))
}
