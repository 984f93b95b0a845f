//! A machine: a disk, a clock, a way to the rest, and a runtime while it has power.

use crate::clock::VirtualClock;
use crate::link::Link;
use crate::random::Random;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use twinge_platform::SimulatedDisk;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    pub(crate) disk: SimulatedDisk,
    pub(crate) clock: VirtualClock,
    pub(crate) link: Link,
    runtime: Option<Runtime>,
}

impl Machine {
    pub(crate) fn new(name: String, random: &mut Random) -> Self {
        let disk = SimulatedDisk::new(random.next());
        let link = Link::new(random.fork(), disk.clone());
        Self { name, disk, clock: VirtualClock::default(), link, runtime: None }
    }

    /// Starts at `now_ms` with nothing running.
    pub(crate) fn boot(&mut self, now_ms: i64) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime of one thread needs nothing");
        runtime.block_on(async { self.clock.boot(now_ms) });
        self.runtime = Some(runtime);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.runtime.is_some()
    }

    /// What runs its tasks, while it is on.
    pub(crate) fn runtime(&self) -> Option<&Runtime> {
        self.runtime.as_ref()
    }

    /// Lets time pass.
    pub(crate) fn step(&self, ms: u64) {
        if let Some(runtime) = &self.runtime {
            runtime.block_on(async { sleep(Duration::from_millis(ms)).await });
        }
    }

    /// Ends everything that runs at once; the disk keeps what it was given.
    pub(crate) fn kill(&mut self) {
        self.runtime = None;
    }

    /// The same by loss of power: the disk keeps what was synced.
    pub(crate) fn lose_power(&mut self) {
        self.runtime = None;
        self.disk.crash();
    }

    /// Everything that was wrong with it is over.
    pub(crate) fn heal(&mut self) {
        self.disk.mend();
        self.clock.set_right();
        self.link.set_cut(false);
        self.link.set_quality(0.0, 20);
        self.link.set_forged(None);
    }
}
