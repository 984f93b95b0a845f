//! How fast a spool is on the disk of a temporary directory:
//! `cargo run --release -p twinge-spool --example throughput [ENTRIES] [DIRECTORY]`.
#![expect(clippy::print_stdout, reason = "an example prints its table")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use common::{Random, verdict};
use twinge_platform::{RealDisk, SystemClock};
use twinge_spool::{Importance, Settings, Spool, SpoolError};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let entries: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let directory = match arguments.next() {
        Some(parent) => tempfile::tempdir_in(parent)?,
        None => tempfile::tempdir()?,
    };
    println!("| what | entries | seconds | entries/s |\n|---|---|---|---|");
    let mut spool = open(directory.path())?;
    for per_sync in [100, 1_000] {
        let started = Instant::now();
        fill(&mut spool, entries / 2, per_sync)?;
        report(&format!("append, sync every {per_sync}"), entries / 2, started);
    }
    let (bytes, count) = (spool.figures().disk_bytes(), spool.figures().entries());
    drop(spool);
    let started = Instant::now();
    let mut spool = open(directory.path())?;
    report("open", count, started);
    let started = Instant::now();
    let walked = spool.walk(|_| {})?;
    report("walk", walked, started);
    for per_peek in [100, 1_000] {
        let started = Instant::now();
        drain(&mut spool, entries / 2, per_peek)?;
        report(&format!("peek and release {per_peek}, sync each"), entries / 2, started);
    }
    println!(
        "\n{} bytes an entry on disk, {} entries left",
        bytes / count,
        spool.figures().entries()
    );
    live(&mut spool, entries)
}

fn open(directory: &Path) -> Result<Spool, SpoolError> {
    let clock = Arc::new(SystemClock::new());
    Spool::open(Arc::new(RealDisk), clock, directory, Settings::default())
}

/// A spool that is sent as fast as it fills.
fn live(spool: &mut Spool, entries: u64) -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    let mut random = Random(9);
    for offset in 0..entries {
        spool.append(verdict(&mut random, offset, Importance::Normal))?;
        if offset % 100 == 99 {
            let read = spool.peek(100, 1 << 20)?;
            spool.release(read.last().ok_or("nothing to send")?.sequence);
            spool.sync()?;
        }
    }
    report("live: append, peek, release, sync of 100", entries, started);
    Ok(())
}

fn fill(spool: &mut Spool, entries: u64, per_sync: u64) -> Result<(), SpoolError> {
    let mut random = Random(7);
    for offset in 0..entries {
        let importance = Importance::ALL[usize::from(offset % 2 == 0)];
        spool.append(verdict(&mut random, offset, importance))?;
        if offset % per_sync == per_sync - 1 {
            spool.sync()?;
        }
    }
    spool.sync()
}

fn drain(spool: &mut Spool, entries: u64, per_peek: usize) -> Result<(), SpoolError> {
    let mut drained = 0;
    while drained < entries {
        let read = spool.peek(per_peek, usize::MAX)?;
        let Some(last) = read.last() else { break };
        spool.release(last.sequence);
        spool.sync()?;
        drained += read.len() as u64;
    }
    Ok(())
}

fn report(what: &str, entries: u64, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("| {what} | {entries} | {seconds:.2} | {:.0} |", entries as f64 / seconds);
}
