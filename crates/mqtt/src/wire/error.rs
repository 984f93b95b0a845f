//! What is wrong with a packet.

/// A packet that breaks the protocol. The connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the broker sent a packet that breaks the protocol: {0}")]
    Malformed(String),
    #[error("cannot write a packet: {0}")]
    Unwritable(String),
}

pub(super) fn malformed(why: impl Into<String>) -> WireError {
    WireError::Malformed(why.into())
}
