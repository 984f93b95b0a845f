//! `cargo xtask soak`: the scenarios of the test command at their full counts.

use crate::devices;
use crate::hubs;
use crate::lake;
use crate::run::{cargo, succeed, tell};
use crate::supply;
use crate::test::workshop;
use anyhow::{Result, ensure};
use std::time::Instant;

/// The full counts.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the scenarios whose name contains this: event hubs, swaps, simulation, brokers,
    /// devices, lake, fuzz, load, memory, reproducible.
    #[arg(long)]
    only: Option<String>,
    /// Runs of an event processor.
    #[arg(long, default_value_t = 200)]
    runs: usize,
    /// Runs in which the broker is killed.
    #[arg(long, default_value_t = 50)]
    kills: usize,
    /// Events that two hosts share.
    #[arg(long, default_value_t = 1_000_000)]
    shared: u64,
    /// Kills of an agent around a swap.
    #[arg(long, default_value_t = 500)]
    swap_kills: u64,
    /// Kills of an agent under load of a broker.
    #[arg(long, default_value_t = 100)]
    broker_kills: u64,
    /// Events through a host that fills the lake.
    #[arg(long, default_value_t = 1_000_000)]
    lake_events: u64,
    /// Kills of that host.
    #[arg(long, default_value_t = 20)]
    lake_kills: u64,
    /// Connections to a host that has room for 256.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Of what is built in two folders only this: small agent, agent, servers.
    #[arg(long)]
    build: Option<String>,
    /// Simulated worlds of edge agents, hosts, registry and publisher.
    #[arg(long, default_value_t = 10_000)]
    worlds: u64,
    /// Simulated fleets of 200 devices.
    #[arg(long, default_value_t = 10_000)]
    fleets: u64,
    /// Simulated fleets of 100,000 devices.
    #[arg(long, default_value_t = 20)]
    large_fleets: u64,
    /// Inputs for each fuzz target.
    #[arg(long, default_value_t = 1_000_000)]
    fuzz_inputs: u64,
    /// What the inputs of fuzz targets are made from.
    #[arg(long, default_value_t = 1)]
    fuzz_seed: u64,
}

/// A scenario, by its name.
type Scenario = (&'static str, fn(&Arguments) -> Result<()>);

const SCENARIOS: [Scenario; 10] = [
    ("fuzz", fuzz),
    ("simulation", simulation),
    ("swaps", swaps),
    ("brokers", brokers),
    ("event hubs", event_hubs),
    ("lake", the_lake),
    ("load", load),
    ("memory", memory),
    ("devices", on_devices),
    ("reproducible", reproducible),
];

/// `cargo xtask soak`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for (name, scenario) in SCENARIOS {
        if arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            let began = Instant::now();
            scenario(arguments)?;
            tell(&format!("{name}: {:.0} s", began.elapsed().as_secs_f64()));
        }
    }
    Ok(())
}

/// Hostile bytes for every reader that faces them.
fn fuzz(arguments: &Arguments) -> Result<()> {
    let mut run = cargo(["run", "--quiet", "--release", "--package", "twinge-fuzz", "--", "run"]);
    run.args(["--iterations", &arguments.fuzz_inputs.to_string()]);
    succeed(run.args(["--seed", &arguments.fuzz_seed.to_string()]))
}

/// The whole with everything that can go wrong on the way, and fleets through good and bad releases.
fn simulation(arguments: &Arguments) -> Result<()> {
    let run = ["run", "--quiet", "--release", "--package", "twinge-simulation"];
    let seeds = format!("0..{}", arguments.worlds);
    succeed(cargo(run).args(["--example", "simulate", "--", "--seeds", &seeds]))?;
    for (fleets, devices) in [(arguments.fleets, "200"), (arguments.large_fleets, "100000")] {
        let run = ["run", "--quiet", "--release", "--package", "twinge-rollout"];
        let mut simulate = cargo(run);
        simulate.args(["--example", "simulate", "--", "--seeds", &format!("0..{fleets}")]);
        succeed(simulate.args(["--devices", devices]))?;
    }
    Ok(())
}

/// More connections than a host has room for, and more events than it can score.
fn load(arguments: &Arguments) -> Result<()> {
    let mut test = cargo(["test", "--quiet", "--workspace", "--test", "load", "--", "--nocapture"]);
    succeed(test.env("TWINGE_CONNECTIONS", arguments.connections.to_string()))
}

/// The guest's raw addresses, under an interpreter that knows what each may point at.
fn memory(_arguments: &Arguments) -> Result<()> {
    supply::miri()
}

/// What is shipped, built in two folders.
fn reproducible(arguments: &Arguments) -> Result<()> {
    supply::in_two_folders(&workshop("reproducible")?, arguments.build.as_deref())
}

/// A host that is killed while it fills the lake.
fn the_lake(arguments: &Arguments) -> Result<()> {
    let missing = lake::run(arguments.lake_events, arguments.lake_kills)?;
    ensure!(missing.is_none(), "{}", missing.unwrap_or_default());
    Ok(())
}

/// Agents that are killed around swaps.
fn swaps(arguments: &Arguments) -> Result<()> {
    let mut test = cargo(["test", "--quiet", "--workspace", "--test", "slots"]);
    succeed(test.arg("kills").env("TWINGE_KILLS", arguments.swap_kills.to_string()))?;
    tell(&format!(
        "{} kills around swaps: no event lost, none with two verdicts",
        arguments.swap_kills
    ));
    Ok(())
}

/// Agents that are killed under load of a broker, while the way up comes and goes.
fn brokers(arguments: &Arguments) -> Result<()> {
    let mut test = cargo(["test", "--quiet", "--workspace", "--test", "mqtt"]);
    succeed(test.arg("killed").env("TWINGE_KILLS", arguments.broker_kills.to_string()))?;
    let kills = arguments.broker_kills;
    tell(&format!("{kills} kills under load: each event has its verdict upstream, and one id"));
    Ok(())
}

fn event_hubs(arguments: &Arguments) -> Result<()> {
    let Arguments { runs, kills, shared, .. } = *arguments;
    hubs::run(hubs::Amount { runs, kills, shared })
}

/// The edge agent as it is shipped: every build for every target, its tests there, its packages.
fn on_devices(_arguments: &Arguments) -> Result<()> {
    let everything = devices::Selection::everything();
    let mut missing = devices::build(&everything)?;
    missing.extend(devices::test(&everything)?);
    missing.extend(devices::package(&everything)?);
    ensure!(missing.is_empty(), "not everything could be done: {}", missing.join("; "));
    Ok(())
}
