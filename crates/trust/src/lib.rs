//! What a party of Twinge believes, and why: digests, keys with roles, signed envelopes, and the
//! module that has been verified.
//!
//! Everything signed travels in a DSSE [`Envelope`]; a [`Keyring`] says whose signature counts for
//! what; bytes become runnable only by turning into a [`VerifiedModule`], machine code by turning
//! into a [`VerifiedArtefact`].
//!
//! This crate is pure. It knows no files, no network and no clock, makes no random numbers (a
//! seed is passed in), and does not know what a channel is or how a module is run.
#![forbid(unsafe_code)]

mod anchor;
mod artefact;
mod digest;
mod enrolment;
mod envelope;
mod error;
mod key;
mod keyring;
mod module;
mod rights;
mod role;
mod root;
mod spelling;
mod statement;

pub use anchor::Anchor;
pub use artefact::{ArtefactIdentity, ArtefactStatement, VerifiedArtefact};
pub use digest::Digest;
pub use enrolment::{DeviceEnvelope, Enrolment, Standing};
pub use envelope::{Envelope, SIGNATURES_MAX, Verified};
pub use error::TrustError;
pub use key::{KeyId, PublicKey, SigningKey};
pub use keyring::{Keyring, TrustedKey};
pub use module::{Provenance, VerifiedModule};
pub use rights::RightsRequest;
pub use role::Role;
pub use root::{Root, TrustedRoot};
pub use statement::Statement;

/// Writing our own documents as JSON cannot fail: they have only text for keys, and no value of
/// theirs refuses to be written.
fn written<T>(json: serde_json::Result<T>) -> T {
    json.expect("documents have only text for keys")
}
