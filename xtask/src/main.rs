//! The project's own commands.
//!
//! `cargo xtask demo` shows the whole path on real input, `cargo xtask test` is everything that
//! must pass.

#[cfg(test)]
mod architecture;
mod bench;
#[cfg(feature = "web")]
mod bindings;
mod demo;
mod devices;
mod documents;
mod edge;
mod fleet;
mod hubs;
mod infrastructure;
mod lake;
mod monitoring;
mod native;
mod page;
mod quality;
mod reference;
mod run;
mod soak;
mod supply;
mod test;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Train, publish and run a detector on a real series, and compare every score.
    Demo(demo::Arguments),
    /// Everything that must pass.
    Test(test::Arguments),
    /// What a reviewer would say first: files and functions that are too long, circles of files.
    Tidy,
    /// The scenarios of the test command at their full counts.
    Soak(soak::Arguments),
    /// Measure what a user would wait for.
    Bench {
        #[command(subcommand)]
        bench: Bench,
    },
    /// The edge agent as it goes onto devices.
    Devices {
        #[command(subcommand)]
        verb: devices::Verb,
    },
    /// The page: build it, serve it, compare its scores.
    Page {
        #[command(subcommand)]
        verb: page::Verb,
    },
    /// Make the pages of `docs/reference` from the code.
    Reference(reference::Arguments),
    /// Train and score public data sets, for an evaluator to judge.
    Quality(quality::Arguments),
    /// Make the JavaScript bindings of the trainer.
    #[cfg(feature = "web")]
    Bindings(bindings::Arguments),
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// From a hub through a detector to a hub: events a second, and each stage's share.
    Eventhubs(hubs::bench::Arguments),
    /// A checkpoint of many entities: whole, incremental, restored.
    Checkpoint(hubs::checkpoint::Arguments),
    /// What the agent takes on a device: start, memory, processor time, and how fast it is.
    Edge(edge::Arguments),
    /// From `trainer publish` to the shadow of every agent of a fleet.
    Fleet(fleet::Arguments),
    /// Training and scoring in Chromium, and how responsive the page stays.
    Page(page::bench::Arguments),
    /// A forest in wasmtime, beside the same forest in other programs.
    Scoring(bench::Arguments),
    Fused(bench::fused::Arguments),
    Host(bench::host::Arguments),
    Scaling(bench::scaling::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Tidy => tidy::run(),
        Verb::Soak(arguments) => soak::run(&arguments),
        Verb::Bench { bench: Bench::Eventhubs(arguments) } => hubs::bench::run(&arguments),
        Verb::Bench { bench: Bench::Checkpoint(arguments) } => hubs::checkpoint::run(&arguments),
        Verb::Bench { bench: Bench::Edge(arguments) } => edge::run(&arguments),
        Verb::Bench { bench: Bench::Fleet(arguments) } => fleet::bench(&arguments),
        Verb::Bench { bench: Bench::Page(arguments) } => page::bench::run(&arguments),
        Verb::Bench { bench: Bench::Scoring(arguments) } => bench::run(&arguments),
        Verb::Bench { bench: Bench::Fused(arguments) } => bench::fused::run(&arguments),
        Verb::Bench { bench: Bench::Host(arguments) } => bench::host::run(&arguments),
        Verb::Bench { bench: Bench::Scaling(arguments) } => bench::scaling::run(&arguments),
        Verb::Page { verb } => page::run(&verb),
        Verb::Devices { verb } => devices::run(&verb),
        Verb::Reference(arguments) => reference::run(&arguments),
        Verb::Quality(arguments) => quality::run(&arguments),
        #[cfg(feature = "web")]
        Verb::Bindings(arguments) => bindings::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::tell(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
