//! The broker as programs see it. Does not know who runs it.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use twinge_platform::{Clock, Disk};

use crate::context::Core;
use crate::directory::{self, Lock};
use crate::error::BrokerError;
use crate::http;
use crate::hub::{Hubs, Storage};
use crate::log::Retention;
use crate::reader::Reader;
use crate::sas::SasKey;
use crate::serve::serve;
use crate::settings::Settings;

/// A broker that has its directory and its address, and serves once it runs.
///
/// Dropping it without running it, or while it runs, loses no event that was acknowledged.
pub struct Broker {
    core: Arc<Core>,
    listener: TcpListener,
    address: SocketAddr,
    http: Option<(TcpListener, SocketAddr)>,
    _lock: Lock,
}

impl Broker {
    /// Takes the directory, recovers what it holds and binds the address. From now on clients can
    /// connect; they are answered when the broker [runs](Self::run). Blocks while it reads the
    /// newest segment of each partition.
    ///
    /// # Errors
    /// Wrong settings, a directory that another broker has or that cannot be read, an address
    /// that is in use.
    pub fn open(
        settings: Settings,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BrokerError> {
        let Settings {
            listen,
            http,
            hubs,
            directory,
            retention_bytes,
            retention_age,
            key_name,
            accept_any_jwt,
        } = settings.checked()?;
        let lock = directory::lock(&directory)?;
        let key = SasKey::new(&key_name, directory::key(&directory)?);
        let kept = directory::hubs(&*disk, &directory, &hubs, clock.now_ms())?;
        let retention = Retention { bytes: retention_bytes, age: retention_age };
        let storage = Storage { disk, clock: Arc::clone(&clock), directory, retention };
        let hubs = Hubs::open(kept, &storage)?;
        let (listener, address) = bind(listen)?;
        let http = http.map(bind).transpose()?;
        let core = Arc::new(Core { hubs, key, accept_any_jwt, clock });
        Ok(Self { core, listener, address, http, _lock: lock })
    }

    /// Where the broker listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the broker listens for senders that speak HTTP.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|(_, address)| *address)
    }

    /// A look at what the hubs hold, for as long as the broker runs.
    pub fn reader(&self) -> Reader {
        Reader::new(&self.core)
    }

    /// What clients need to connect. It holds the key: show it to no one else.
    pub fn connection_string(&self) -> String {
        let Self { address, core, .. } = self;
        let (name, key) = (&core.key.name, core.key.secret());
        format!(
            "Endpoint=sb://{address};SharedAccessKeyName={name};SharedAccessKey={key};\
             UseDevelopmentEmulator=true;"
        )
    }

    /// Serves until it is told to stop; then closes all connections.
    ///
    /// # Errors
    /// When the runtime cannot take the socket.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BrokerError> {
        let listener = watch(self.listener)?;
        tracing::info!(address = %self.address, "the broker serves");
        match self.http {
            None => serve(listener, self.core, &stop).await?,
            Some((http_listener, address)) => {
                tracing::info!(%address, "the broker serves HTTP");
                let door = http::serve(watch(http_listener)?, Arc::clone(&self.core), stop.clone());
                tokio::try_join!(serve(listener, self.core, &stop), door)?;
            }
        }
        tracing::info!(address = %self.address, "the broker stopped");
        Ok(())
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|source| BrokerError::Bind { address, source })
}

fn watch(listener: TcpListener) -> Result<tokio::net::TcpListener, BrokerError> {
    tokio::net::TcpListener::from_std(listener)
        .map_err(|source| BrokerError::System { action: "watch the socket", source })
}

impl fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Broker").field("address", &self.address).finish_non_exhaustive()
    }
}
