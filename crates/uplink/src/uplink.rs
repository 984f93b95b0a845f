//! What every way to a cloud has in common. Does not know any of them.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

/// A way to a cloud. One batch is on its way at a time, so order is kept.
#[async_trait]
pub trait Uplink: Send + Debug {
    /// The most that one [`send`](Self::send) takes.
    fn limits(&self) -> Limits;

    /// Sends records in order. On success the cloud has all of them; after an error it may have any
    /// part of them, and they are sent again. Dropping the future is safe in the same way.
    async fn send(&mut self, batch: &[Outgoing<'_>]) -> Result<(), UplinkError>;

    /// Says good-bye, in bounded time. Nothing is sent after it.
    async fn close(&mut self) {}
}

/// How much one batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub entries_max: usize,
    /// Bytes of all records together. A record that is longer goes alone.
    pub bytes_max: usize,
}

/// A record on its way: one CloudEvents 1.0 event as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// The entity, if there is one: what must keep its order.
    pub key: Option<&'a str>,
    /// The event.
    pub bytes: &'a [u8],
}

/// Why records did not arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UplinkError {
    /// Nothing can be sent now. The same records may pass later: the network is away, the cloud is
    /// busy or fails, or a token must be renewed.
    #[error("{reason}")]
    Away {
        /// What happened, where, and what to do if it does not heal by itself. Holds no secret.
        reason: String,
        /// How long the cloud asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// Some record will never be taken.
    #[error("{reason}")]
    Refused {
        /// Which of the batch; `None` when the cloud did not say.
        index: Option<usize>,
        /// What the cloud said about it.
        reason: String,
    },
}

impl UplinkError {
    pub(crate) fn away(reason: impl Into<String>) -> Self {
        Self::Away { reason: reason.into(), retry_after: None }
    }

    /// One record, refused before it is sent.
    pub(crate) fn refused(index: usize, reason: impl Into<String>) -> Self {
        Self::Refused { index: Some(index), reason: reason.into() }
    }
}
