//! `simulate --seeds 0..10000`: worlds on all processors, and what they came to.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is what was asked for")]

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;
use twinge_simulation::simulate_all;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (flag, seeds) = (words.next(), words.next());
    let seeds = seeds.as_deref().and_then(range).filter(|_| flag.as_deref() == Some("--seeds"));
    let Some(seeds) = seeds else {
        eprintln!("say which worlds: simulate --seeds 0..10000");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    match simulate_all(seeds.clone()) {
        Ok(summary) => {
            println!("seeds {seeds:?} in {:.0} s: {summary:#?}", began.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn range(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}
