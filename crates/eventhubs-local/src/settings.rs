//! What a broker is told. Does not know where a program's configuration comes from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::bounds::{PARTITIONS_MAX, RETENTION_BYTES_MIN};
use crate::error::BrokerError;

const NAME_BYTES_MAX: usize = 256;

/// The name of the key that every Event Hubs namespace has at first.
pub(crate) const KEY_NAME: &str = "RootManageSharedAccessKey";

/// How a [`Broker`](crate::Broker) serves which hubs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen; port 0 picks a free one. It must be a loopback address, for there is no
    /// TLS.
    pub listen: SocketAddr,
    /// Where to listen for senders that speak HTTP, by the same rules; nowhere if there is none.
    pub http: Option<SocketAddr>,
    /// The hubs that must be there. Those that the directory has from earlier are served too.
    pub hubs: Vec<HubSettings>,
    /// Where the events, the key and the list of hubs are kept.
    pub directory: PathBuf,
    /// How many bytes a partition keeps, at least 32 MiB. Beyond it the oldest events are removed
    /// by whole segments, which are an eighth of it and at most 8 MiB.
    pub retention_bytes: u64,
    /// How long events are kept. They are removed by whole segments, so some stay for longer, the
    /// newest segment for ever.
    pub retention_age: Option<Duration>,
    /// The name of the shared access key.
    pub key_name: String,
    /// Accept any token of type `jwt` unseen. No one here can check one: this is for tests of
    /// programs that log in by Microsoft Entra ID.
    pub accept_any_jwt: bool,
}

/// A hub that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubSettings {
    /// Letters, digits, `.`, `-` and `_`; case makes no difference.
    pub name: String,
    /// 1 to 1024. It cannot change later.
    pub partitions: u16,
}

impl Settings {
    /// A broker on a free port of the loopback interface that keeps 1 GiB a partition.
    pub fn new(directory: impl Into<PathBuf>, hubs: Vec<HubSettings>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            http: None,
            hubs,
            directory: directory.into(),
            retention_bytes: 1 << 30,
            retention_age: None,
            key_name: KEY_NAME.to_owned(),
            accept_any_jwt: false,
        }
    }

    pub(crate) fn checked(self) -> Result<Self, BrokerError> {
        for address in [Some(self.listen), self.http].into_iter().flatten() {
            if !address.ip().is_loopback() {
                return Err(BrokerError::Listen { address });
            }
        }
        if self.retention_bytes < RETENTION_BYTES_MIN {
            let bytes = self.retention_bytes;
            return Err(BrokerError::Retention { bytes, bytes_min: RETENTION_BYTES_MIN });
        }
        let key_name = self.key_name.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if self.key_name.is_empty() || !key_name {
            return Err(BrokerError::KeyName { name: self.key_name });
        }
        self.hubs.iter().try_for_each(HubSettings::check)?;
        Ok(self)
    }
}

impl HubSettings {
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let name = &self.name;
        let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !starts_well || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_allowed) {
            return Err(BrokerError::HubName { name: name.clone() });
        }
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            let (name, partitions) = (name.clone(), self.partitions);
            return Err(BrokerError::Partitions { name, partitions });
        }
        Ok(())
    }
}
