//! A program's life: settings, start, run, last words.

use crate::settings::{Defaults, Flags, Settings};
use crate::{logging, shutdown};
use anyhow::Context;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use twinge_platform::{RealDisk, SystemClock};

/// Runs the program that the settings describe, until its input ends or it is told to stop.
#[tokio::main(worker_threads = 2)]
pub async fn run(settings: Settings, defaults: &Defaults) -> anyhow::Result<()> {
    let tracker = TaskTracker::new();
    let stop = shutdown::on_signals(&tracker).context("signals cannot be handled")?;
    let plan = settings.into_plan(defaults)?;
    let assembly =
        plan.assemble(Arc::new(RealDisk), Arc::new(SystemClock::new()), tracker.clone()).await?;
    if let Some(address) = assembly.address() {
        tracing::info!(%address, "serving HTTP: POST /v1/events, GET /v1/status /livez /readyz /metrics");
    }
    let report = assembly.run(stop.clone()).await;
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    for runner in report?.runners {
        let counts = runner.counts;
        tracing::info!(
            detector = runner.place.detector,
            module = %runner.champion.short(),
            events = counts.events,
            verdicts = counts.verdicts,
            anomalies = counts.anomalies,
            dead_letters = counts.dead_letters,
            duplicates = counts.duplicates,
            offset = runner.offset,
            "done"
        );
    }
    Ok(())
}

/// The whole of a program's `main` once its flags are read.
pub fn main(flags: &Flags, defaults: &Defaults) -> ExitCode {
    logging::start();
    let settings = match Settings::read(flags, defaults) {
        Ok(settings) => settings,
        Err(error) => return fail(&error, 2),
    };
    if flags.check {
        tracing::info!("the configuration is usable");
        return ExitCode::SUCCESS;
    }
    match run(settings, defaults) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    tracing::error!("{error:#}");
    ExitCode::from(code)
}
