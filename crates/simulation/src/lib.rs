//! The whole in one process: edge agents with their spools, hosts on a hub, a registry and a
//! publisher, on simulated machines, with everything that can go wrong in between. Everything follows
//! from one seed.
//!
//! ```text
//! sensors -> edge agent -> spool -> way up -> cloud      publisher -> registry -> channel followers
//! senders -> hub -> hosts that take partitions from each other -> hub of verdicts
//! ```
//! The programs are the real ones: [`Plan::assemble`](twinge_stream::assembly::Plan::assemble) puts
//! them together, and disk, clock, stores and the ways between machines are simulated where the
//! programs have seams for them. Each machine has a runtime of its own with one thread and paused
//! time, so that a crash takes all its tasks away, and the machines take turns.
//!
//! Only tests link this. What must hold is told in `truth.rs`; what goes wrong, in `trouble.rs`.
#![forbid(unsafe_code)]

mod clock;
mod cloud;
mod device;
mod events;
mod host;
mod link;
mod machine;
mod program;
mod publisher;
mod random;
mod store;
mod trace;
mod trouble;
mod truth;
mod world;

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

pub use trace::trace_to_output;

/// What happened in a simulation, or in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Seeds.
    pub seeds: u64,
    /// Simulated seconds.
    pub seconds: u64,
    /// Events that were accepted, by devices and by the hub.
    pub accepted: u64,
    /// Verdicts, each counted once.
    pub verdicts: u64,
    /// Records that were written again after a crash.
    pub repeated: u64,
    /// Dead letters, each counted once.
    pub dead_letters: u64,
    /// Times that another module began to act.
    pub swaps: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Programs that were killed.
    pub kills: u64,
    /// Programs that ended with an error and were started again.
    pub failures: u64,
    /// Partitions of the hub that changed hands.
    pub takeovers: u64,
    /// Links that were cut.
    pub cuts: u64,
    /// Operations of a disk that failed, and disks that were full or read-only for a while.
    pub disk_faults: u64,
    /// Clocks that jumped.
    pub clock_jumps: u64,
    /// Forged documents that were served.
    pub forgeries: u64,
    /// Documents that the publisher wrote.
    pub documents: u64,
    /// A number that two runs of one seed agree on.
    pub fingerprint: u64,
}

impl Summary {
    /// Adds what happened in another simulation.
    pub fn add(&mut self, more: &Self) {
        self.seeds += more.seeds;
        self.seconds += more.seconds;
        self.accepted += more.accepted;
        self.verdicts += more.verdicts;
        self.repeated += more.repeated;
        self.dead_letters += more.dead_letters;
        self.swaps += more.swaps;
        self.power_cuts += more.power_cuts;
        self.kills += more.kills;
        self.failures += more.failures;
        self.takeovers += more.takeovers;
        self.cuts += more.cuts;
        self.disk_faults += more.disk_faults;
        self.clock_jumps += more.clock_jumps;
        self.forgeries += more.forgeries;
        self.documents += more.documents;
        self.fingerprint = self.fingerprint.wrapping_add(more.fingerprint);
    }
}

/// Runs one world until it has come to rest. The error says what did not hold, and how to see it
/// again.
pub fn simulate(seed: u64) -> Result<Summary, String> {
    let mut world = world::World::new(seed);
    world.run().map_err(|problem| {
        format!(
            "seed {seed}, {:.1} s: {problem}; see it again with `TWINGE_SEED={seed} cargo test -p \
             twinge-simulation --test seeds -- --nocapture`",
            world.seconds()
        )
    })
}

/// Several of them, on all processors. The error names each that fails, but not more than
/// [`FAILURES_MAX`].
pub fn simulate_all(seeds: Range<u64>) -> Result<Summary, String> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicU64::new(seeds.start);
    let problems = Mutex::new(Vec::new());
    let lock = || problems.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        let mut summary = Summary::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || lock().len() >= FAILURES_MAX {
                return summary;
            }
            match simulate(seed) {
                Ok(more) => summary.add(&more),
                Err(problem) => lock().push(problem),
            }
        }
    };
    let summary = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut summary = Summary::default();
        for thread in running {
            summary.add(&thread.join().expect("a simulation reports what it finds"));
        }
        summary
    });
    let problems = problems.into_inner().unwrap_or_else(PoisonError::into_inner);
    if problems.is_empty() { Ok(summary) } else { Err(problems.join("\n")) }
}

/// Worlds that fail before the others are let be.
pub const FAILURES_MAX: usize = 20;
