//! Every corpus entry, and a few seconds of inputs that are made of them, for every target.
#![expect(clippy::print_stdout, reason = "a random test prints its seed")]

use std::time::{Duration, SystemTime};
use twinge_fuzz::alloc::Counting;
use twinge_fuzz::driver::{Amount, run};
use twinge_fuzz::{Corpus, TARGETS};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Inputs of the pinned seed, the same in every run.
const PINNED_SEED: u64 = 0x7477_696e_6765;
const PINNED_ITERATIONS: u64 = 2_000;
/// Time for each target, half of it for a seed that is another one each day.
const TIME: Duration = Duration::from_secs(2);
/// What all corpora take together at most, in bytes.
const CORPORA_BYTES_MAX: usize = 300 << 10;

/// One after the other: what a target may take of time and memory is its own.
#[test]
fn no_input_breaks_a_reader() {
    let day = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() / 86_400);
    let day =
        std::env::var("TWINGE_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(day);
    let mut bytes = 0;
    for target in TARGETS {
        let corpus = Corpus::read(&Corpus::folder(), target.name).unwrap();
        bytes += corpus.entries.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        for (seed, iterations) in [(PINNED_SEED, PINNED_ITERATIONS), (day, u64::MAX)] {
            println!("{}: seed {seed:#x}", target.name);
            let amount = Amount { seed, iterations, time: TIME / 2 };
            let outcome = run(target, &corpus, amount).unwrap_or_else(|find| panic!("{find}"));
            println!("{}: {outcome:?}", target.name);
        }
    }
    assert!(bytes <= CORPORA_BYTES_MAX, "corpora of {bytes} bytes");
}
