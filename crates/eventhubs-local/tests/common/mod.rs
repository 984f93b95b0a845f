//! A broker on a thread of its own, as a program that embeds it runs it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;
use twinge_eventhubs_local::{Broker, HubSettings, Settings};
use twinge_platform::{RealDisk, SystemClock};

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) connection_string: String,
    stop: CancellationToken,
    kill: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

pub(crate) const HUB: &str = "events";

pub(crate) fn settings(directory: &Path) -> Settings {
    Settings::new(directory, vec![HubSettings { name: HUB.to_owned(), partitions: 4 }])
}

/// The SDK's cryptography: a build of the whole workspace has two, of which it cannot choose.
pub(crate) fn choose_cryptography() {
    rustls::crypto::ring::default_provider().install_default().ok();
}

impl Running {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::with(settings(directory))
    }

    pub(crate) fn with(settings: Settings) -> Self {
        let clock = Arc::new(SystemClock::new());
        Self::of(Broker::open(settings, Arc::new(RealDisk), clock).unwrap())
    }

    pub(crate) fn of(broker: Broker) -> Self {
        choose_cryptography();
        let (address, connection_string) = (broker.address(), broker.connection_string());
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let (stopped, killed) = (stop.clone(), kill.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    result = broker.run(stopped) => result.unwrap(),
                    () = killed.cancelled() => {}
                }
            });
        });
        Self { address, connection_string, stop, kill, thread: Some(thread) }
    }

    /// Stops it as a program does.
    pub(crate) fn stop(mut self) {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Running {
    /// Drops the broker in the middle of what it does.
    fn drop(&mut self) {
        self.kill.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
