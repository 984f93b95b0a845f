//! The host's own broker, for one machine: what stands in for Azure when nothing else is named.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio_util::sync::CancellationToken;
use twinge_eventhubs::Namespace;
use twinge_eventhubs_local::{HubSettings, Settings};
use twinge_platform::{RealDisk, SystemClock};
use twinge_stream::assembly::{ExtensionError, chain};

/// Name of the file that tells others how to connect.
const CONNECTION_STRING: &str = "connection-string";

/// A broker on a thread of its own. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Broker {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Serves `hubs`, and answers with the way in, which a file in `directory` tells to others.
    pub(super) fn start<'a>(
        listen: SocketAddr,
        partitions: u16,
        directory: &Path,
        hubs: impl Iterator<Item = &'a String>,
    ) -> Result<(Self, Namespace), ExtensionError> {
        let mut names: Vec<&String> = hubs.collect();
        names.sort_unstable();
        names.dedup();
        let hubs = names.into_iter().map(|name| HubSettings { name: name.clone(), partitions });
        let settings = Settings { listen, ..Settings::new(directory, hubs.collect()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (disk, clock) = (Arc::new(RealDisk), Arc::new(SystemClock::new()));
        let broker = twinge_eventhubs_local::Broker::open(settings, disk, clock)?;
        let text = broker.connection_string();
        let (namespace, _) = Namespace::from_connection_string(&text)?;
        let file = tell(directory, &text)?;
        tracing::info!(address = %broker.address(), connection_string = %file.display(), "a broker of this host's own stands in for Event Hubs");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("twinge-broker".into()).spawn(move || {
            if let Err(error) = runtime.block_on(broker.run(stopped)) {
                tracing::error!(error = chain(&error), "the broker failed");
            }
        })?;
        Ok((Self { stop, thread: Some(thread) }, namespace))
    }
}

/// Writes the connection string where only this user reads it.
fn tell(directory: &Path, connection_string: &str) -> io::Result<PathBuf> {
    use std::io::Write;
    let path = directory.join(CONNECTION_STRING);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    writeln!(file, "{connection_string}")?;
    Ok(path)
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the broker's thread had panicked");
        }
    }
}
