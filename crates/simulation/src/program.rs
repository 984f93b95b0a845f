//! A program on a machine, and what starts it again.

use crate::machine::Machine;
use crate::trace::tell;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_platform::{Clock, Disk};
use twinge_stream::assembly::{AssemblyError, Extension, Plan, Surroundings};
use twinge_stream::pump::Report;

/// What a program lets an extension see, once it runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Option<Surroundings>>>);

impl Seen {
    pub(crate) fn set(&self, around: Option<Surroundings>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = around;
    }

    pub(crate) fn get(&self) -> Option<Surroundings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) machine: Machine,
    pub(crate) seen: Seen,
    running: Option<Running>,
    /// When it is started again, milliseconds of the world.
    start_at: u64,
    pub(crate) power_cuts: u64,
    pub(crate) kills: u64,
    pub(crate) failures: u64,
    pub(crate) swaps: u64,
}

#[derive(Debug)]
struct Running {
    handle: JoinHandle<Result<Report, AssemblyError>>,
    stop: CancellationToken,
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Somebody told it to.
    Stopped,
    /// It lost its power, or was killed.
    Died,
    /// By an error.
    Failed,
}

impl Program {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            seen: Seen::default(),
            running: None,
            start_at: 0,
            power_cuts: 0,
            kills: 0,
            failures: 0,
            swaps: 0,
        }
    }

    /// Whether it is to be started, at `now` (milliseconds of the world).
    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.running.is_none() && self.start_at <= now
    }

    /// Starts it at `now_ms`, the right time.
    pub(crate) fn start(&mut self, plan: Plan, extension: Arc<dyn Extension>, now_ms: i64) {
        self.machine.boot(now_ms);
        let disk: Arc<dyn Disk> = Arc::new(self.machine.disk.clone());
        let clock: Arc<dyn Clock> = Arc::new(self.machine.clock.clone());
        let stop = CancellationToken::new();
        let until = stop.clone();
        let runtime = self.machine.runtime().expect("it was booted just now");
        let handle = runtime.spawn(async move {
            let assembly = plan.assemble(disk, clock, TaskTracker::new(), Some(extension)).await?;
            assembly.run(until).await
        });
        self.running = Some(Running { handle, stop });
    }

    /// Lets time pass; answers with how it ended, if it did, and an error where it must not have.
    pub(crate) fn step(&mut self, ms: u64, now: u64, rest: u64) -> Result<Option<Ended>, String> {
        self.machine.step(ms);
        if self.machine.disk.is_dead() {
            tell(now, || format!("{}: the power is cut", self.machine.name));
            self.power_cuts += 1;
            self.end(now + rest);
            self.machine.lose_power();
            return Ok(Some(Ended::Died));
        }
        let is_over = self.running.as_ref().is_some_and(|running| running.handle.is_finished());
        let Some(running) = self.running.take_if(|_| is_over) else { return Ok(None) };
        let runtime = self.machine.runtime().expect("something runs on it");
        let result = runtime.block_on(running.handle);
        let was_told = running.stop.is_cancelled();
        self.end(now + rest);
        self.machine.kill();
        let result = result.map_err(|panic| format!("{}: {panic}", self.machine.name))?;
        match result {
            Ok(_) if was_told => Ok(Some(Ended::Stopped)),
            Ok(_) => Err(format!("{}: ended by itself", self.machine.name)),
            Err(error) => {
                let error = chain(&error);
                tell(now, || format!("{}: failed: {error}", self.machine.name));
                check_error(&error).map_err(|why| format!("{}: {why}", self.machine.name))?;
                self.failures += 1;
                Ok(Some(Ended::Failed))
            }
        }
    }

    /// Tells it to stop, which it does in time and without a complaint.
    pub(crate) fn stop(&mut self, now: u64) -> Result<(), String> {
        let Some(running) = &self.running else { return Ok(()) };
        running.stop.cancel();
        for _ in 0..200 {
            match self.step(100, now, 0)? {
                Some(Ended::Stopped) => return Ok(()),
                Some(ended) => {
                    return Err(format!("{}: {ended:?} where it was to stop", self.machine.name));
                }
                None => {}
            }
        }
        Err(format!("{}: does not stop", self.machine.name))
    }

    /// Kills it, to be started again at `again`.
    pub(crate) fn kill(&mut self, again: u64) {
        self.kills += 1;
        self.end(again);
        self.machine.kill();
    }

    fn end(&mut self, again: u64) {
        self.running = None;
        self.start_at = again;
        if let Some(around) = self.seen.get() {
            let runners = around.reports.all().into_iter().flat_map(|report| report.runners);
            self.swaps += runners.map(|runner| runner.counts.swaps).sum::<u64>();
        }
        self.seen.set(None);
    }
}

/// An error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Disks fail and links are cut, but no trouble in here damages what was durable: an error that asks
/// a person for help is a fault of the program.
pub(crate) fn check_error(error: &str) -> Result<(), String> {
    let cries =
        ["backup", "remove the checkpoint", "damaged", "corrupt", "another version", "panic"];
    match cries.iter().find(|cry| error.contains(**cry)) {
        Some(_) => Err(format!("it cannot recover by itself: {error}")),
        None => Ok(()),
    }
}
