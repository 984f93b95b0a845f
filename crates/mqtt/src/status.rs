//! How a connection fares: a status to watch and counters to read. Decides nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::sync::watch;

/// A subscription that the broker did not grant as asked. It is tried again now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The topic filter.
    pub filter: String,
    /// The broker's reason.
    pub reason: String,
}

/// How a connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The first connection is being made.
    Connecting,
    /// The broker has accepted the connection.
    Connected {
        /// Since when.
        since: SystemTime,
        /// Subscriptions that the broker refused.
        refused: Vec<Refusal>,
    },
    /// There is no connection; another is tried.
    Away {
        /// Since when.
        since: SystemTime,
        /// What ended the last connection or the last try.
        reason: String,
        /// How many tries failed in a row.
        attempts: u32,
        /// When the next try begins.
        next_try: SystemTime,
    },
    /// The driver was stopped, or is gone.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => formatter.write_str("connecting"),
            Self::Connected { refused, .. } if refused.is_empty() => {
                formatter.write_str("connected")
            }
            Self::Connected { refused, .. } => {
                formatter.write_str("connected, but refused the subscription")?;
                for (place, Refusal { filter, reason }) in refused.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    write!(formatter, "{comma} to {filter} ({reason})")?;
                }
                Ok(())
            }
            Self::Away { reason, attempts, .. } => {
                let tries = if *attempts == 1 { "try" } else { "tries" };
                write!(formatter, "away after {attempts} {tries}: {reason}")
            }
            Self::Stopped => formatter.write_str("stopped"),
        }
    }
}

/// The counters of a connection since its driver was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Messages that came in, redeliveries included.
    pub messages: u64,
    /// Messages whose payload was too large to take in; also counted in `messages`.
    pub messages_oversize: u64,
    /// Acknowledgements sent.
    pub acks: u64,
    /// Receipts that came too late, for a message of an earlier connection, or twice.
    pub acks_stale: u64,
    /// Publishes that the broker took.
    pub published: u64,
    /// Publishes that failed, for whatever reason.
    pub publish_failures: u64,
    /// Connections made.
    pub connects: u64,
    /// Connections lost, and tries to connect that failed.
    pub disconnects: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) messages: AtomicU64,
    pub(crate) messages_oversize: AtomicU64,
    pub(crate) acks: AtomicU64,
    pub(crate) acks_stale: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) publish_failures: AtomicU64,
    pub(crate) connects: AtomicU64,
    pub(crate) disconnects: AtomicU64,
}

/// Adds to a counter that has no order with anything else.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// A view of a connection's status and counters; clones look at the same connection.
#[derive(Debug, Clone)]
pub struct Monitor {
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) counters: Arc<Counters>,
}

impl Monitor {
    /// The status to look at now or to wait on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The counters as they stand.
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &*self.counters;
        Counts {
            messages: read(&counters.messages),
            messages_oversize: read(&counters.messages_oversize),
            acks: read(&counters.acks),
            acks_stale: read(&counters.acks_stale),
            published: read(&counters.published),
            publish_failures: read(&counters.publish_failures),
            connects: read(&counters.connects),
            disconnects: read(&counters.disconnects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_one_line() {
        let refused = [("a", "not authorized"), ("b/#", "quota exceeded")]
            .map(|(filter, reason)| Refusal { filter: filter.into(), reason: reason.into() });
        let status = Status::Connected { since: SystemTime::UNIX_EPOCH, refused: refused.to_vec() };
        let line = "connected, but refused the subscription to a (not authorized), to b/# (quota exceeded)";
        assert_eq!(status.to_string(), line);
    }
}
