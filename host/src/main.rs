//! The cloud host: events in, verdicts out, several detectors side by side.

mod alerts;
mod console;
mod devices;
mod functions;
mod health;
mod hub;
mod lake;
mod otlp;

use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;
use std::time::Duration;
use twinge_stream::logging;
use twinge_stream::program::{self, Extend};
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
    running: Running,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What a host that scores is told.
#[derive(Debug, Args)]
struct Running {
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
}

/// What a host does besides.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and it is not moved about")]
enum Command {
    /// Look at a lake, and keep it.
    #[command(subcommand)]
    Lake(lake::Verb),
    /// Handle invocations of Azure Functions with an Event Hubs trigger, for detectors that remember no
    /// entities.
    Functions(Running),
    Health(health::Arguments),
    /// Machine code for the module on standard input: how a host compiles.
    #[command(hide = true)]
    Compile,
}

const DEFAULTS: Defaults = Defaults {
    state: "host-state",
    verdicts: "verdicts.ndjson",
    input: None,
    tables: &["alerts", "console", "devices", "eventhubs", "lake"],
    sink_retry: Duration::from_secs(30),
    silence: false,
    journal_mib: 1024,
    compile_verb: Some("compile"),
};

fn main() -> ExitCode {
    let Arguments { running, command } = Arguments::parse();
    let done = match command {
        None => return running.run(program::main),
        Some(Command::Compile) => return twinge_stream::own_code::compile(),
        Some(Command::Functions(running)) => return running.run(functions::main),
        Some(Command::Lake(verb)) => lake::run(verb),
        Some(Command::Health(arguments)) => health::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::start();
            program::fail(&error, 1)
        }
    }
}

impl Running {
    fn run(self, main: fn(&Flags, &Defaults, Box<Extend<'_>>) -> ExitCode) -> ExitCode {
        let Self { flags, hub, devices, console, lake } = self;
        let extend = move |settings: &mut Settings| {
            devices.extend(settings)?;
            let alerts = alerts::read(settings)?;
            let hub = hub.extend(settings)?;
            let lake = lake.extend(settings, hub)?;
            let alerts = alerts::extend(alerts, settings, lake)?;
            let console = console.extend(settings, alerts)?;
            otlp::extend(console)
        };
        main(&flags, &DEFAULTS, Box::new(extend))
    }
}
