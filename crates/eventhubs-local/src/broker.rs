//! The broker as programs see it. Does not know who runs it.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use twinge_platform::{Clock, Disk};

use crate::context::Core;
use crate::directory::{self, Lock};
use crate::error::BrokerError;
use crate::hub::{Hubs, Storage};
use crate::log::Retention;
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
        let bound = TcpListener::bind(listen).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) =
            bound.map_err(|source| BrokerError::Bind { address: listen, source })?;
        let core = Arc::new(Core { hubs, key, accept_any_jwt, clock });
        Ok(Self { core, listener, address, _lock: lock })
    }

    /// Where the broker listens.
    pub fn address(&self) -> SocketAddr {
        self.address
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
        let listener = tokio::net::TcpListener::from_std(self.listener);
        let listener = listener
            .map_err(|source| BrokerError::System { action: "watch the socket", source })?;
        tracing::info!(address = %self.address, "the broker serves");
        serve(listener, self.core, &stop).await?;
        tracing::info!(address = %self.address, "the broker stopped");
        Ok(())
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Broker").field("address", &self.address).finish_non_exhaustive()
    }
}
