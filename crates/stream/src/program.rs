//! A program's life: settings, start, run, last words.

use crate::extension::Extension;
pub use crate::logging::fail;
use crate::plan::Plan;
use crate::settings::{Defaults, Flags, Settings};
use crate::{logging, shutdown};
use anyhow::Context;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_platform::{RealDisk, SystemClock};

/// Runs the program that a plan describes, until its input ends or it is told to stop.
pub fn run(plan: Plan, extension: Option<Arc<dyn Extension>>) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("the runtime cannot start")?;
    let result = runtime.block_on(run_until_stopped(plan, extension));
    // A read of standard input that nobody answers must not keep the program.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

async fn run_until_stopped(
    plan: Plan,
    extension: Option<Arc<dyn Extension>>,
) -> anyhow::Result<()> {
    let tracker = TaskTracker::new();
    let finished = CancellationToken::new();
    let stop =
        shutdown::on_signals(&tracker, finished.clone()).context("signals cannot be handled")?;
    let (disk, clock) = (Arc::new(RealDisk), Arc::new(SystemClock::new()));
    let assembly = plan.assemble(disk, clock, tracker.clone(), extension).await?;
    if let Some(address) = assembly.address() {
        tracing::info!(%address, "serving HTTP: POST /v1/events, GET /v1/status /livez /readyz /metrics");
    }
    let report = assembly.run(stop.clone()).await;
    stop.cancel();
    finished.cancel();
    tracker.close();
    tracker.wait().await;
    for runner in report?.runners {
        let counts = runner.counts;
        tracing::info!(
            detector = runner.place.detector,
            partition = %runner.place.partition,
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

/// What a program adds to the settings, once they are read: an extension, or nothing.
pub type Extend<'a> = dyn FnOnce(&mut Settings) -> anyhow::Result<Option<Arc<dyn Extension>>> + 'a;

/// The whole of a program's `main` once its flags are read.
pub fn main(flags: &Flags, defaults: &Defaults, extend: Box<Extend<'_>>) -> ExitCode {
    logging::start();
    let planned = Settings::read(flags, defaults).and_then(|mut settings| {
        let extension = extend(&mut settings)?;
        Ok((settings.into_plan(defaults)?, extension))
    });
    let (plan, extension) = match planned {
        Ok(planned) => planned,
        Err(error) => return fail(&error, 2),
    };
    if flags.check {
        tracing::info!("the configuration is usable");
        return ExitCode::SUCCESS;
    }
    match run(plan, extension) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}
