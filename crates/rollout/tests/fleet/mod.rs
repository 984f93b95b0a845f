//! Fleets that are driven through releases: devices that are cut off and die, publishers that die
//! between two writes, an attacker, and an eye that sees all of it. Everything follows from a
//! seed. Channel, registry, signatures, decisions and watches are the real ones.

mod attacker;
mod device;
mod document;
mod modules;
mod publisher;
mod random;
mod release;
mod trouble;
mod truth;
mod wire;
mod world;

use twinge_registry::Name;

/// The detector of every simulation.
const DETECTOR: &str = "pump";
/// Its channel.
const CHANNEL: &str = "stable";

/// What happened in a simulation, or in several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) seeds: u64,
    pub(crate) minutes: u64,
    pub(crate) polls: u64,
    pub(crate) refusals: u64,
    pub(crate) documents: u64,
    pub(crate) promoted: u64,
    pub(crate) withdrawn: u64,
    /// Good releases that went back because devices fell silent.
    pub(crate) withdrawn_in_silence: u64,
    pub(crate) deaths: u64,
    pub(crate) publisher_deaths: u64,
    pub(crate) partitions: u64,
    pub(crate) attacks: u64,
    pub(crate) condemned: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, more: &Self) {
        self.seeds += more.seeds;
        self.minutes += more.minutes;
        self.polls += more.polls;
        self.refusals += more.refusals;
        self.documents += more.documents;
        self.promoted += more.promoted;
        self.withdrawn += more.withdrawn;
        self.withdrawn_in_silence += more.withdrawn_in_silence;
        self.deaths += more.deaths;
        self.publisher_deaths += more.publisher_deaths;
        self.partitions += more.partitions;
        self.attacks += more.attacks;
        self.condemned += more.condemned;
    }
}

/// Drives one fleet through its releases until it has come to rest. The error says what did not
/// hold, and how to see it again.
pub(crate) fn simulate(seed: u64, devices: usize) -> Result<Summary, String> {
    let mut world = world::World::new(seed, devices);
    world.run().map_err(|problem| {
        format!(
            "seed {seed}, {devices} devices, minute {}: {problem}; see it again with `cargo run \
             --release -p twinge-rollout --example simulate -- --seeds {seed}..{} --devices \
             {devices}`",
            world.tick,
            seed + 1
        )
    })
}

/// Several of them, on all processors.
pub(crate) fn simulate_all(seeds: std::ops::Range<u64>, devices: usize) -> Result<Summary, String> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let work = || -> Result<Summary, String> {
        let mut summary = Summary::default();
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(summary);
            }
            summary.add(&simulate(seed, devices)?);
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut summary = Summary::default();
        for thread in running {
            summary.add(&thread.join().expect("a simulation reports what it finds")?);
        }
        Ok(summary)
    })
}

fn name(text: &str) -> Name {
    text.parse().expect("it is a name")
}
