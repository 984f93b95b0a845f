//! `eventhubs-local`: serves event hubs on this machine until it is told to stop.
#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use twinge_eventhubs_local::{Broker, HubSettings, Settings};
use twinge_platform::{RealDisk, SystemClock};

/// Serves event hubs on this machine: Azure's clients take it for Event Hubs.
///
/// Prints the connection string as one line once it serves. It has no TLS and so listens on
/// loopback addresses alone.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, env = "TWINGE_EVENTHUBS_LISTEN", default_value = "127.0.0.1:5672")]
    listen: SocketAddr,

    /// Where to listen for senders that speak HTTP as Event Hubs does; port 0 picks a free one.
    #[arg(long, env = "TWINGE_EVENTHUBS_HTTP", value_name = "ADDRESS")]
    http: Option<SocketAddr>,

    /// A hub and its number of partitions, as in events=4; can be given again. Hubs that the
    /// directory has already are served too.
    #[arg(
        long = "hub", env = "TWINGE_EVENTHUBS_HUBS", value_name = "NAME=PARTITIONS",
        value_delimiter = ',', value_parser = parse_hub
    )]
    hubs: Vec<HubSettings>,

    /// Where events, the key and the list of hubs are kept.
    #[arg(long, env = "TWINGE_EVENTHUBS_DATA", value_name = "DIR")]
    data: PathBuf,

    /// How many bytes each partition keeps; the oldest events go first.
    #[arg(long, env = "TWINGE_EVENTHUBS_RETENTION_BYTES", default_value_t = 1 << 30)]
    retention_bytes: u64,

    /// How many seconds events are kept; without it only bytes count.
    #[arg(long, env = "TWINGE_EVENTHUBS_RETENTION_SECONDS", value_name = "SECONDS")]
    retention_seconds: Option<u64>,

    /// Also write the connection string to this file. It holds the key.
    #[arg(long, env = "TWINGE_EVENTHUBS_CONNECTION_STRING_FILE", value_name = "FILE")]
    connection_string_file: Option<PathBuf>,

    /// Accept any token of type jwt unseen, for tests of logins by Microsoft Entra ID.
    #[arg(long, env = "TWINGE_EVENTHUBS_ACCEPT_ANY_JWT")]
    accept_any_jwt: bool,
}

fn parse_hub(text: &str) -> Result<HubSettings, String> {
    let wrong = || format!("{text:?} is not like events=4");
    let (name, partitions) = text.split_once('=').ok_or_else(wrong)?;
    let partitions = partitions.parse().or(Err(wrong()))?;
    Ok(HubSettings { name: name.to_owned(), partitions })
}

impl Arguments {
    fn settings(&self) -> Settings {
        let mut settings = Settings::new(&self.data, self.hubs.clone());
        settings.listen = self.listen;
        settings.http = self.http;
        settings.retention_bytes = self.retention_bytes;
        settings.retention_age = self.retention_seconds.map(Duration::from_secs);
        settings.accept_any_jwt = self.accept_any_jwt;
        settings
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("failed to {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// For people on a terminal, as JSON anywhere else. `RUST_LOG` chooses what is told.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.init();
    } else {
        log.json().init();
    }
}

fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let clock = Arc::new(SystemClock::new());
    let broker = Broker::open(arguments.settings(), Arc::new(RealDisk), clock)?;
    let runtime = tokio::runtime::Runtime::new().context("start a runtime")?;
    runtime.block_on(async {
        // Signals are caught before anyone can know that the broker serves.
        let stop = stop_on_signal()?;
        announce(arguments, &broker.connection_string())?;
        Ok(broker.run(stop).await?)
    })
}

#[expect(clippy::print_stdout, reason = "the connection string is what this program prints")]
fn announce(arguments: &Arguments, connection_string: &str) -> anyhow::Result<()> {
    if let Some(path) = &arguments.connection_string_file {
        let named = || format!("write the connection string to {}", path.display());
        write_private(path, connection_string).with_context(named)?;
    }
    println!("{connection_string}");
    std::io::stdout().flush().context("print the connection string")
}

/// Only the owner may read the key. The file appears whole: who waits for it reads all of it.
fn write_private(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.unfinished", std::process::id()));
    let unfinished = path.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    writeln!(file, "{text}")?;
    std::fs::rename(&unfinished, path)
}

/// A token that the first SIGINT or SIGTERM cancels.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    #[cfg(unix)]
    let signals = {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).context("wait for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("wait for signals")?;
        async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
    };
    #[cfg(not(unix))]
    let signals = async {
        tokio::signal::ctrl_c().await.ok();
    };
    // The tracker is not waited for: this task ends with the program.
    tokio_util::task::TaskTracker::new().spawn(async move {
        signals.await;
        cancelled.cancel();
    });
    Ok(stop)
}
