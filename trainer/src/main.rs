//! The trainer: from a file of events to a signed module, and from there to a channel and a fleet.

mod channel;
mod configure;
mod data;
mod dataset;
mod enrol;
mod evaluate;
mod experiments;
mod fleet;
mod generate;
mod inspect;
mod keys;
mod labels;
mod memory;
mod output;
mod place;
mod policy;
mod precompile;
mod progress;
mod replay;
mod retrain;
mod rollout;
mod score;
mod send;
mod sign;
mod status;
mod table;
mod time;
mod tracking;
mod train;
mod trust;
mod usage;
mod words;

use clap::{Parser, Subcommand};
use output::tell;
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
    /// Fix a span of the lake for training, look at it, and take a sample of it.
    #[command(subcommand)]
    Dataset(dataset::Verb),
    /// Fit a detector and compile it into a signed module.
    Train(train::Arguments),
    /// Train a challenger on recent data, judge it against the champion, and publish it to shadow if
    /// the gates pass; exit code 3 if they do not.
    Retrain(retrain::Arguments),
    /// List, show and compare what was trained.
    Experiments(experiments::Arguments),
    /// Tell how well a module's scores agree with labels.
    Evaluate(evaluate::Arguments),
    /// Score a file with a module.
    Score(score::Arguments),
    /// Tell what a module says about itself, without running it.
    Inspect(inspect::Arguments),
    /// Make a signing key and add it to a file of trusted keys.
    Keygen(keys::Arguments),
    /// Say which keys hold which roles: the root of trust.
    Trust(trust::Arguments),
    /// Say that a key is a device's own, so that its reports count.
    Enrol(enrol::Arguments),
    /// Sign a module that is unsigned, or whose signer is not believed any more.
    Sign(sign::Arguments),
    /// Compile a module to machine code, for devices without a compiler.
    Precompile(precompile::Arguments),
    /// Put a module into a registry, as challenger of a channel.
    Publish(channel::PublishArguments),
    /// Show how modules are rolled out on a channel, or set it.
    Policy(policy::Arguments),
    /// Take a challenger on through its stages, or back, by what devices report.
    Rollout(rollout::Arguments),
    /// Hold a rollout where it is.
    Hold(channel::HoldArguments),
    /// Let a rollout go on that is held.
    Release(channel::Whose),
    /// In an emergency: withdraw whatever is rolled out, everywhere.
    Stop(channel::Whose),
    /// Make a channel's challenger its champion, past all stages.
    Promote(channel::PromoteArguments),
    /// Withdraw a challenger that acts somewhere, else make an earlier champion champion again.
    Rollback(channel::RollbackArguments),
    /// Set how sensitive a channel's modules are, or show it.
    Sensitivity(channel::SensitivityArguments),
    /// Have a channel's document believed for longer.
    Renew(channel::Whose),
    /// Sign a channel anew, after its key was revoked or its document destroyed.
    Restate(channel::RestateArguments),
    /// Tell what a registry's channels point at, and what devices report.
    Status(status::Arguments),
    /// Reach recorded verdicts again, out of audit records or a lake, and tell how they came about.
    Replay(replay::Arguments),
    /// Write host.env, trainer.env and edge-agent.env from `terraform output -json` on standard input.
    Configure(configure::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Generate(arguments) => generate::run(&arguments),
        Verb::Send(arguments) => send::run(&arguments),
        Verb::Dataset(verb) => dataset::run(&verb),
        Verb::Train(arguments) => train::run(&arguments),
        Verb::Retrain(arguments) => retrain::run(&arguments),
        Verb::Experiments(arguments) => experiments::run(&arguments),
        Verb::Evaluate(arguments) => evaluate::run(&arguments),
        Verb::Score(arguments) => score::run(&arguments),
        Verb::Inspect(arguments) => inspect::run(&arguments),
        Verb::Keygen(arguments) => keys::run(&arguments),
        Verb::Trust(arguments) => trust::run(&arguments),
        Verb::Enrol(arguments) => enrol::run(&arguments),
        Verb::Sign(arguments) => sign::run(&arguments),
        Verb::Precompile(arguments) => precompile::run(&arguments),
        Verb::Publish(arguments) => channel::publish(&arguments),
        Verb::Policy(arguments) => policy::run(&arguments),
        Verb::Rollout(arguments) => rollout::run(&arguments),
        Verb::Hold(arguments) => channel::hold(&arguments),
        Verb::Release(arguments) => channel::release(&arguments),
        Verb::Stop(arguments) => channel::stop(&arguments),
        Verb::Promote(arguments) => channel::promote(&arguments),
        Verb::Rollback(arguments) => channel::rollback(&arguments),
        Verb::Sensitivity(arguments) => channel::sensitivity(&arguments),
        Verb::Renew(arguments) => channel::renew(&arguments),
        Verb::Restate(arguments) => channel::restate(&arguments),
        Verb::Status(arguments) => status::run(&arguments),
        Verb::Replay(arguments) => replay::run(&arguments),
        Verb::Configure(arguments) => configure::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<retrain::GatesFailed>() => {
            tell(&format!("not published: {error}"));
            ExitCode::from(3)
        }
        Err(error) => {
            tell(&format!("error: {error:#}"));
            let usage = error.chain().any(|cause| {
                cause.is::<usage::Usage>()
                    || cause.is::<twinge_fit::ConfigError>()
                    || cause.is::<twinge_experiments::SettingsError>()
            });
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}
