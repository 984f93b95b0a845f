//! The edge agent: a detector beside its source, following its channel.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use twinge_stream::assembly::Input;
use twinge_stream::program;
use twinge_stream::settings::{Defaults, Flags};

/// Score events beside their source.
#[derive(Debug, Parser)]
#[command(name = "edge-agent", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Score events from standard input, a file or HTTP.
    ///
    /// Without --replay, --follow or --listen, events are read from standard input, one JSON object
    /// a line, and the agent ends with it. Verdicts go to standard output. What comes in is
    /// journaled before it is acknowledged; a killed agent goes on where it was.
    Run(Flags),
}

const DEFAULTS: Defaults =
    Defaults { state: "edge-state", verdicts: "-", input: Some(Input::Stdin) };

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Run(flags) => program::main(&flags, &DEFAULTS, Box::new(|_settings| Ok(None))),
    }
}
