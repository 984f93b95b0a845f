//! `twinge-fuzz`: runs targets, replays what broke one, writes the corpora anew.

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use twinge_fuzz::alloc::Counting;
use twinge_fuzz::driver::{self, Amount, Outcome};
use twinge_fuzz::{Corpus, TARGETS, Target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Hostile bytes for every reader that faces them.
#[derive(Debug, Parser)]
#[command(name = "twinge-fuzz")]
enum Command {
    /// Gives targets inputs until one breaks or the amount is reached.
    Run {
        /// Only the targets whose name contains this.
        #[arg(long)]
        only: Option<String>,
        /// Inputs for each target.
        #[arg(long, default_value_t = 10_000)]
        iterations: u64,
        /// Seconds for each target at most.
        #[arg(long, default_value_t = 86_400)]
        seconds: u64,
        /// What the inputs are made from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Runs a target on a file.
    Replay {
        /// The target.
        target: String,
        /// The input.
        input: PathBuf,
    },
    /// Writes the seeds of all corpora anew.
    Seeds,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Run { only, iterations, seconds, seed } => {
            let wanted =
                |target: &&Target| only.as_ref().is_none_or(|only| target.name.contains(only));
            let targets: Vec<&Target> = TARGETS.iter().filter(wanted).collect();
            ensure!(!targets.is_empty(), "no target has that in its name: there are {}", known());
            for target in targets {
                let amount = Amount { seed, iterations, time: Duration::from_secs(seconds) };
                let corpus = Corpus::read(&Corpus::folder(), target.name)?;
                let began = Instant::now();
                let outcome = driver::run(target, &corpus, amount)?;
                tell(target, seed, &outcome, began.elapsed());
            }
        }
        Command::Replay { target, input } => {
            let found = TARGETS.iter().find(|known| known.name == target);
            let unknown = || format!("there is no target `{target}`: there are {}", known());
            let bytes = std::fs::read(&input)
                .with_context(|| format!("cannot read {}", input.display()))?;
            let target = found.with_context(unknown)?;
            let began = Instant::now();
            let outcome = driver::replay(target, &bytes)?;
            tell(target, 0, &outcome, began.elapsed());
        }
        Command::Seeds => {
            let count = twinge_fuzz::seeds::write(&Corpus::folder())?;
            say(&format!("{count} seeds"));
        }
    }
    Ok(())
}

fn tell(target: &Target, seed: u64, outcome: &Outcome, took: Duration) {
    let Outcome { iterations, held_bytes, slowest } = outcome;
    say(&format!(
        "{}: {iterations} inputs of seed {seed:#x} in {:.1} s; held {} KiB at most, {} ms the slowest",
        target.name,
        took.as_secs_f64(),
        held_bytes >> 10,
        slowest.as_millis(),
    ));
}

#[expect(clippy::print_stdout, reason = "a program for people at a terminal")]
fn say(line: &str) {
    println!("{line}");
}

/// Names of all targets, to be told.
fn known() -> String {
    TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ")
}
