//! Worlds by their seeds; see the crate. `TWINGE_SEED=n` runs one of them and tells what happens in
//! it, `TWINGE_SEEDS=n` so many. The full count is for the example `simulate`.
#![allow(clippy::print_stdout, reason = "a test tells its seeds and what they came to")]

use std::ops::Range;
use twinge_simulation::{simulate, simulate_all, trace_to_output};

/// Seeds of the test command.
const SEEDS: u64 = 500;

fn seeds() -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TWINGE_SEED") {
        Some(seed) => {
            trace_to_output();
            seed..seed + 1
        }
        None => 0..number("TWINGE_SEEDS").unwrap_or(SEEDS),
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_said_that_an_undisturbed_run_would_not_say() {
    let seeds = seeds();
    println!("seeds {seeds:?}");
    let summary = simulate_all(seeds).unwrap_or_else(|problem| panic!("{problem}"));
    println!("{summary:#?}");
    assert!(summary.verdicts > 0 && summary.accepted > 0, "{summary:?}");
}

#[test]
fn a_seed_tells_the_same_story_again() {
    for seed in [3, 71, 404] {
        println!("seed {seed}");
        let once = simulate(seed).unwrap_or_else(|problem| panic!("{problem}"));
        let again = simulate(seed).unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(once, again, "seed {seed}");
    }
}
