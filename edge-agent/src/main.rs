//! The edge agent: a detector beside its source, following its channel.

mod action;
mod agent;
mod brought;
mod check;
mod command;
mod defaults;
mod linger;
mod metrics;
mod modbus;
mod mqtt;
mod say;
mod settings;
mod spool;
mod status;
mod topics;
mod watchdog;

use brought::Brought;
use clap::{Parser, Subcommand};
use defaults::{DEFAULTS, STATE};
use settings::AgentPlan;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use twinge_stream::assembly::Extension;
use twinge_stream::settings::{Flags, Settings};
use twinge_stream::{logging, program};

/// Score events beside their source.
#[derive(Debug, Parser)]
#[command(name = "edge-agent", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Score events from a broker, from devices, over HTTP, from a file or standard input.
    ///
    /// Without `[[mqtt.topic]]` or `[[modbus]]` in the configuration and without --replay, --follow or
    /// --listen, events are read from standard input, one JSON object a line, and the agent ends
    /// with it. Verdicts go to standard output, or up where there is an `[uplink]`. What comes in is
    /// journaled before it is acknowledged; a killed agent goes on where it was.
    Run(Box<Flags>),
    /// Check a configuration, and try what it names.
    ///
    /// Exit codes: 0 where all is well, 1 where something cannot be reached, 2 where the
    /// configuration is wrong.
    Check {
        #[command(flatten)]
        flags: Box<Flags>,
        /// Look at files only, and connect nowhere.
        #[arg(long)]
        offline: bool,
    },
    /// How the agent that runs on a state directory is.
    ///
    /// Exit codes: 0 where all is well, 1 where there is trouble, 3 where no agent runs.
    Status {
        /// Directory of state.
        #[arg(long, env = "TWINGE_STATE", default_value = STATE)]
        state: PathBuf,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// What waits to go up.
    #[command(subcommand)]
    Spool(spool::SpoolVerb),
    /// Machine code for the module on standard input: how an agent compiles.
    #[cfg(feature = "compiler")]
    #[command(hide = true)]
    Compile,
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Run(flags) => program::main(&flags, &DEFAULTS, Box::new(extend)),
        Verb::Check { flags, offline } => check::main(&flags, offline),
        Verb::Status { state, json } => status::main(&state, json),
        #[cfg(feature = "compiler")]
        Verb::Compile => twinge_stream::own_code::compile(),
        Verb::Spool(verb) => {
            logging::start();
            match verb.run() {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => program::fail(&error, 1),
            }
        }
    }
}

/// What the agent brings along, from its own tables.
fn extend(settings: &mut Settings) -> anyhow::Result<Option<Arc<dyn Extension>>> {
    let plan = AgentPlan::take(settings, STATE)?;
    Ok(Some(Arc::new(Brought::new(plan))))
}
