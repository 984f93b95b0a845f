//! Fresh rights for devices that were away: what a device asks a host for, and how both keep it.
//!
//! ```text
//! device  GET challenge ────────────────> desk     a nonce, good once and for a minute
//!         POST rights: nonce, signed ───> desk     checked against the root of trust
//!         <── a signature to read, one for each report of its own, for days
//! ```
//! [`Holder`] is the device's side and [`Desk`] the host's. Neither knows what lies in a registry.

#[cfg(feature = "adls")]
mod client;
#[cfg(feature = "adls")]
mod desk;
#[cfg(feature = "adls")]
mod holder;
#[cfg(feature = "adls")]
mod limits;
#[cfg(feature = "adls")]
mod nonces;
#[cfg(feature = "adls")]
mod store;

use crate::device::DeviceIdentity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use twinge_platform::{Clock, Disk};
use twinge_registry::{Name, Store};

#[cfg(feature = "adls")]
pub use client::RightsError;
#[cfg(feature = "adls")]
pub use desk::{Desk, DeskError, DeskPlan, Refusal};
#[cfg(feature = "adls")]
pub use holder::Holder;
#[cfg(feature = "adls")]
pub use store::RightsStore;

/// Where a host gives nonces away.
pub const CHALLENGE_PATH: &str = "/v1/devices/challenge";
/// Where a host trades signed requests for rights.
pub const RIGHTS_PATH: &str = "/v1/devices/rights";
/// Most detectors that a device may report on.
pub const DETECTORS_MAX: usize = 32;

/// Where a device asks for rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightsPlan {
    /// The host, such as `https://twinge.example.com`.
    pub url: String,
    /// The certificates that the host's may be signed with, in PEM; the system's where none is said.
    pub ca: Option<PathBuf>,
}

/// What a host asks a device to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// To be signed once.
    pub nonce: String,
    /// For how long that does.
    pub lifetime_ms: u64,
}

/// What a device may do with a registry, and until when. Holds secrets, which are not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// The address of the registry.
    pub address: String,
    /// When they were given, by the host's clock, in milliseconds since 1970.
    pub issued_ms: i64,
    /// When they end, by the same clock.
    pub expires_ms: i64,
    /// A shared access signature to read and list the registry.
    pub read: String,
    /// Those to write the device's own report, by detector.
    pub reports: BTreeMap<Name, String>,
}

impl fmt::Debug for Rights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detectors: Vec<&Name> = self.reports.keys().collect();
        let mut shown = formatter.debug_struct("Rights");
        shown.field("address", &self.address).field("issued_ms", &self.issued_ms);
        shown.field("expires_ms", &self.expires_ms).field("reports", &detectors);
        shown.finish_non_exhaustive()
    }
}

/// What a device opens a registry with, if it asks for rights.
#[derive(Debug)]
pub struct Asking<'a> {
    /// Where.
    pub plan: &'a RightsPlan,
    /// Who asks.
    pub identity: DeviceIdentity,
    /// What it reports on.
    pub detectors: Vec<Name>,
    /// Where the latest rights are kept, readable by their owner only.
    pub file: PathBuf,
    /// The disk of `file`.
    pub disk: Arc<dyn Disk>,
    /// The device's own clock, which may be wrong.
    pub clock: Arc<dyn Clock>,
}

/// Opens the container at an address with the rights that a host gives. Nothing is sent yet.
#[cfg(feature = "adls")]
pub fn open_store(location: &str, asking: Asking<'_>) -> Result<Arc<dyn Store>, RightsError> {
    Ok(Arc::new(RightsStore::new(Holder::open(location, asking)?)))
}

/// This program knows directories only.
#[cfg(not(feature = "adls"))]
pub fn open_store(_location: &str, _asking: Asking<'_>) -> Result<Arc<dyn Store>, RightsError> {
    Err(RightsError)
}

/// Rights are for containers, which this program does not know.
#[cfg(not(feature = "adls"))]
#[derive(Debug, thiserror::Error)]
#[error("this program was built without Azure storage; follow a directory, without `rights`")]
pub struct RightsError;
