//! The trainer: from a file of events to a signed module, and from there to a channel.

mod channel;
mod data;
mod evaluate;
mod generate;
mod inspect;
mod keys;
mod precompile;
mod progress;
mod score;
mod send;
mod train;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Train anomaly detectors, look at them, and publish them.
#[derive(Debug, Parser)]
#[command(name = "trainer", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a stream of events with labelled anomalies.
    Generate(generate::Arguments),
    /// Send a file of events to Event Hubs.
    Send(send::Arguments),
    /// Fit a detector and compile it into a signed module.
    Train(train::Arguments),
    /// Tell how well a module's scores agree with labels.
    Evaluate(evaluate::Arguments),
    /// Score a file with a module.
    Score(score::Arguments),
    /// Tell what a module says about itself, without running it.
    Inspect(inspect::Arguments),
    /// Make a signing key and add it to a file of trusted keys.
    Keygen(keys::Arguments),
    /// Compile a module to machine code, for devices without a compiler.
    Precompile(precompile::Arguments),
    /// Put a module into a registry, as challenger of a channel.
    Publish(channel::PublishArguments),
    /// Make a channel's challenger its champion.
    Promote(channel::PromoteArguments),
    /// Make an earlier champion of a channel its champion again.
    Rollback(channel::RollbackArguments),
    /// Tell what a registry's channels point at.
    Status(channel::StatusArguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Generate(arguments) => generate::run(&arguments),
        Verb::Send(arguments) => send::run(&arguments),
        Verb::Train(arguments) => train::run(&arguments),
        Verb::Evaluate(arguments) => evaluate::run(&arguments),
        Verb::Score(arguments) => score::run(&arguments),
        Verb::Inspect(arguments) => inspect::run(&arguments),
        Verb::Keygen(arguments) => keys::run(&arguments),
        Verb::Precompile(arguments) => precompile::run(&arguments),
        Verb::Publish(arguments) => channel::publish(&arguments),
        Verb::Promote(arguments) => channel::promote(&arguments),
        Verb::Rollback(arguments) => channel::rollback(&arguments),
        Verb::Status(arguments) => channel::status(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            let usage = error
                .chain()
                .any(|cause| cause.is::<data::Usage>() || cause.is::<twinge_fit::ConfigError>());
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

/// A line for the person at the terminal; results go to standard output instead.
#[expect(clippy::print_stderr, reason = "the trainer's conversation with its user")]
fn tell(line: &str) {
    eprintln!("{line}");
}

/// A line of a result.
#[expect(clippy::print_stdout, reason = "results are what the trainer prints")]
fn print(line: &str) {
    println!("{line}");
}
