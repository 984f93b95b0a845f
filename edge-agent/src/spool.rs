//! `edge-agent spool`: what waits, seen by a person; taken away by one who came with a USB stick.

use crate::say::say;
use crate::status::{BYTES_UNBOUNDED, SpoolStatus, ask};
use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twinge_platform::{DiskLock, RealDisk, SystemClock};
use twinge_spool::{Importance, Settings, Spool};
use twinge_stream::assembly::lock;

#[derive(Debug, Subcommand)]
pub(crate) enum SpoolVerb {
    /// What waits, and what was dropped.
    Show(SpoolFlags),
    /// Write what waits to a file, one CloudEvent a line, while the agent is stopped.
    ///
    /// Nothing is removed: what goes up later has the same ids.
    Export {
        #[command(flatten)]
        flags: SpoolFlags,
        /// The file; - is standard output.
        #[arg(long)]
        to: String,
        /// Anomalous entries only.
        #[arg(long)]
        anomalous: bool,
    },
    /// Remove what waits, while the agent is stopped.
    Clear {
        #[command(flatten)]
        flags: SpoolFlags,
        /// It is meant.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SpoolFlags {
    /// Directory of state.
    #[arg(long, env = "TWINGE_STATE", default_value = crate::defaults::STATE)]
    state: PathBuf,
}

impl SpoolVerb {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Show(flags) => show(&flags.state),
            Self::Export { flags, to, anomalous } => export(&flags.state, &to, anomalous),
            Self::Clear { flags, yes } => {
                ensure!(yes, "nothing was removed: say --yes if all that waits is to go");
                clear(&flags.state)
            }
        }
    }
}

fn show(state: &Path) -> anyhow::Result<()> {
    if let Some(status) = ask(state)? {
        match status.spool {
            Some(spool) => say(&spool.text()),
            None => say("the agent has no uplink, and so no spool"),
        }
        return Ok(());
    }
    let (mut spool, _lock) = open(state)?;
    say(&SpoolStatus::from(spool.figures()).text());
    Ok(())
}

fn export(state: &Path, to: &str, anomalous: bool) -> anyhow::Result<()> {
    let (mut spool, _lock) = open(state)?;
    let mut out: Box<dyn Write> = match to {
        "-" => Box::new(io::stdout().lock()),
        path => {
            let file = File::create_new(path);
            Box::new(BufWriter::new(file.with_context(|| format!("cannot create {path}"))?))
        }
    };
    let (mut written, mut result) = (0_u64, Ok(()));
    spool.walk(|queued| {
        if result.is_ok() && (!anomalous || queued.entry.importance == Importance::Anomalous) {
            result = out.write_all(&queued.entry.bytes).and_then(|()| out.write_all(b"\n"));
            written += 1;
        }
    })?;
    result.and_then(|()| out.flush()).with_context(|| format!("cannot write to {to}"))?;
    tracing::info!(entries = written, to, "exported; all of it still waits");
    Ok(())
}

fn clear(state: &Path) -> anyhow::Result<()> {
    let (mut spool, _lock) = open(state)?;
    let entries = spool.figures().entries();
    spool.release(u64::MAX);
    spool.sync()?;
    tracing::info!(entries, "removed");
    Ok(())
}

/// The spool of an agent that is stopped. Bounds play no part: nothing is added.
fn open(state: &Path) -> anyhow::Result<(Spool, Box<dyn DiskLock>)> {
    let directory = state.join("spool");
    ensure!(
        directory.is_dir(),
        "there is no spool in {}: name the state directory with --state",
        state.display()
    );
    if ask(state)?.is_some() {
        bail!("the agent runs: stop it first");
    }
    let lock = lock(&RealDisk, state)?;
    let settings = Settings {
        bytes_max: BYTES_UNBOUNDED,
        age_seconds_max: u64::MAX >> 1,
        ..Settings::default()
    };
    let clock = Arc::new(SystemClock::new());
    let spool = Spool::open(Arc::new(RealDisk), clock, &directory, settings);
    Ok((spool.context("the spool cannot be opened")?, lock))
}
