//! Why an operation on the registry failed.

use twinge_trust::{Digest, TrustError};

use crate::bounds::WRITE_ATTEMPTS_MAX;
use crate::{NameError, REPORT_BYTES_MAX, Refusal, StoreError, TransitionError};

/// Why an operation on the registry failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A statement names no valid detector.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The channel cannot change that way.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// An object is not what a trusted key signed.
    #[error("verify {path}: it is not what a key that is trusted here signed; publish it again")]
    Untrusted {
        /// The object.
        path: String,
        /// What is wrong with it.
        #[source]
        source: TrustError,
    },
    /// The payload of a stored envelope is not a channel.
    #[error("read {path}: it holds no channel; restate the channel with a promoter's key")]
    MalformedChannel {
        /// The object.
        path: String,
        /// Where and why reading stopped.
        #[source]
        source: serde_json::Error,
    },
    /// The stored channel document is not genuine, so nothing is signed on top of it.
    #[error("build on {path}: it cannot be believed; restate the channel with a promoter's key")]
    NotGenuine {
        /// The object.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Refusal,
    },
    /// No device would believe the new document, so it was not written.
    #[error("write {path}: devices would refuse it; sign with a trusted key of the right role")]
    WouldBeRefused {
        /// The object.
        path: String,
        /// What devices would say.
        #[source]
        source: Refusal,
    },
    /// Only a promoter may do this.
    #[error("restate {path}: key {key_id} is no promoter's; sign with one that is")]
    NotAPromoter {
        /// The channel.
        path: String,
        /// The key.
        key_id: String,
    },
    /// There is no such channel.
    #[error("find channel {path}: there is none; publish a module to it first")]
    NoChannel {
        /// Where it would be.
        path: String,
    },
    /// There is no such module, or only half of it.
    #[error("fetch module {digest}: {path} is missing; publish the module again")]
    NoModule {
        /// The module.
        digest: Digest,
        /// The object that is missing.
        path: String,
    },
    /// Under the name of one module lies another, signed one.
    #[error("fetch module {wanted}: {found} lies in its place; publish the module again")]
    OtherModule {
        /// The module wanted.
        wanted: Digest,
        /// The module found.
        found: Digest,
    },
    /// An artefact's statement is there and its bytes are not.
    #[error("fetch artefact: {path} is missing beside its statement; put the artefact again")]
    HalfArtefact {
        /// The object that is missing.
        path: String,
    },
    /// Under the name of one artefact lies another, signed one.
    #[error("fetch artefact {path}: one for another machine or engine lies there; put it again")]
    OtherArtefact {
        /// The object.
        path: String,
    },
    /// The same bytes were published as something else.
    #[error("publish {digest}: it is already published as {published}; publish it as that")]
    StatementDiffers {
        /// The module.
        digest: Digest,
        /// The detector and version that it was published as.
        published: String,
    },
    /// The version of a root was given to two documents.
    #[error("put {path}: another root has that version; fetch it and build on it")]
    RootDiffers {
        /// The object.
        path: String,
    },
    /// A report is too large.
    #[error("report for {path}: {bytes} bytes are more than the {REPORT_BYTES_MAX} allowed")]
    ReportTooLarge {
        /// Where it would lie.
        path: String,
        /// How large it is.
        bytes: usize,
    },
    /// The document that lies there is older than one that was seen.
    #[error(
        "build on {path}: serial {found} is behind {seen}, which was seen here before; somebody \
         put an old document back: restate the channel"
    )]
    BehindSeen {
        /// The object.
        path: String,
        /// The serial that was seen.
        seen: u64,
        /// The serial that lies there.
        found: u64,
    },
    /// The document that lies there carries a promoter's word that is older than one that was seen.
    #[error(
        "build on {path}: what acts by it is the promoter's choice of serial {found}, and serial \
         {seen} was chosen since; somebody with a retrainer's key put it back: restate the channel \
         with the champion that is meant, and revoke that key"
    )]
    BehindPromoted {
        /// The object.
        path: String,
        /// The serial of the newest document by a promoter that was seen.
        seen: u64,
        /// That of the one which is carried along; zero where there is none.
        found: u64,
    },
    /// The document changed since it was looked at.
    #[error("build on {path}: serial {found} lies there, and {expected} was looked at; look again")]
    Moved {
        /// The object.
        path: String,
        /// The serial that was looked at.
        expected: u64,
        /// The serial that lies there.
        found: u64,
    },
    /// Others kept writing first.
    #[error("write {path}: others wrote first {WRITE_ATTEMPTS_MAX} times; try again later")]
    Contended {
        /// The object.
        path: String,
    },
}
