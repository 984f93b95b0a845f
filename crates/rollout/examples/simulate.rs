//! Drives simulated fleets through releases: `simulate --seeds 0..10000 --devices 200`. Says what
//! happened, or which seed showed what did not hold.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a terminal")]

#[path = "../tests/fleet/mod.rs"]
mod fleet;

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: simulate [--seeds FIRST..END] [--devices COUNT]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((seeds, devices)) = settings(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    match fleet::simulate_all(seeds, devices) {
        Ok(summary) => {
            println!("{summary:#?}\n{:.1} s", began.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn settings(arguments: &[String]) -> Option<(Range<u64>, usize)> {
    let (mut seeds, mut devices) = (0..100, 200);
    for pair in arguments.chunks(2) {
        match pair {
            [name, value] if name == "--seeds" => {
                let (first, end) = value.split_once("..")?;
                seeds = first.parse().ok()?..end.parse().ok()?;
            }
            [name, value] if name == "--devices" => devices = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((seeds, devices))
}
