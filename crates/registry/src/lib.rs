//! Content-addressed modules and signed channels over one storage contract.
//!
//! ```text
//! modules/<sha256>.wasm               immutable, content-addressed
//! modules/<sha256>.json               the signed statement
//! artefacts/<sha256>/<target>-<engine>-<settings>.cwasm, .json   machine code, and its statement
//! channels/<detector>/<channel>.json  the signed pointer
//! fleet/<detector>/<device>.json      what a device reports
//! trust/<version>.root.json           the root of trust, one after the other
//! ```
//!
//! [`Store`] is the contract, [`Directory`] its local backend, and `Adls` (feature `adls`) the one
//! on Azure storage; [`Channel`] holds the pure
//! transitions and [`ChannelView`] the pure decision whether a device believes a new document;
//! [`Registry`] puts them together.
//!
//! This crate reads no clock, makes no keys, and does not know what a module computes, who runs
//! it or when a challenger is good enough for the next stage.
#![forbid(unsafe_code)]

#[cfg(feature = "adls")]
mod adls;
mod artefacts;
mod author;
mod bounds;
mod channel;
#[cfg(any(test, feature = "contract-suite"))]
#[doc(hidden)]
pub mod contract_suite;
mod directory;
mod error;
#[cfg(any(test, feature = "contract-suite"))]
#[doc(hidden)]
pub mod faulty;
pub mod file;
mod frame;
mod location;
mod memory;
mod metadata;
mod modules;
mod name;
mod random;
mod registry;
mod registry_error;
mod reports;
mod retrying;
mod roots;
mod settle;
mod steps;
mod store;
mod view;

#[cfg(feature = "adls")]
pub use adls::{
    Adls, AdlsCredential, AdlsError, AdlsSettings, SAS_LIFETIME_MS_MAX, SasError, SasGrant,
    SasIssuer, SasPeriod, Secret,
};
pub use author::{Author, KnownSerial, UNVERIFIED_SERIAL_MAX};
pub use bounds::{
    ARTEFACT_BYTES_MAX, DOCUMENT_BYTES_MAX, MODULE_BYTES_MAX, REPORT_BYTES_MAX, WRITE_ATTEMPTS_MAX,
};
pub use channel::{Channel, HISTORY_MAX, Target, TransitionError};
pub use directory::Directory;
pub use error::StoreError;
pub use location::{LocationError, open_store};
pub use memory::MemoryStore;
pub use metadata::{METADATA_BYTES_MAX, METADATA_KEYS_MAX, Metadata};
pub use name::{Name, NameError};
pub use registry::Registry;
pub use registry_error::RegistryError;
pub use reports::report_path;
pub use retrying::{RetrySettings, Retrying};
pub use store::{Etag, OBJECT_BYTES_MAX, Object, Store, StorePath};
pub use view::{Accepted, ChannelView, LastSeen, Opened, Refusal};
