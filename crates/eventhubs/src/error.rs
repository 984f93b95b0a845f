//! Why a hub cannot be used.

use std::time::Duration;
use thiserror::Error;

/// Why a hub cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// The SDK says no.
    #[error("{action} hub `{hub}`: check its name, the network and the rights of the identity")]
    Sdk {
        /// What was being done.
        action: &'static str,
        /// The hub.
        hub: String,
        /// What the SDK says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer came.
    #[error("{action} hub `{hub}`: no answer within {deadline:?}; check the network")]
    Deadline {
        /// What was being done.
        action: &'static str,
        /// The hub.
        hub: String,
        /// How long was waited.
        deadline: Duration,
    },
    /// Somebody with a higher epoch reads the partition now.
    #[error("partition {partition} of hub `{hub}` is read by another owner now")]
    Displaced {
        /// The hub.
        hub: String,
        /// The partition.
        partition: String,
    },
    /// An event without a place in its partition.
    #[error("an event of partition {partition} of hub `{hub}` has no sequence number")]
    NoSequenceNumber {
        /// The hub.
        hub: String,
        /// The partition.
        partition: String,
    },
    /// A record that no hub takes.
    #[error("a record of {bytes} bytes is larger than hub `{hub}` takes")]
    TooLarge {
        /// The hub.
        hub: String,
        /// Its size.
        bytes: usize,
    },
    /// The program is stopping.
    #[error("hub `{hub}` is closed: the program is stopping")]
    Closed {
        /// The hub.
        hub: String,
    },
}

/// An error with everything behind it, for a log line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
