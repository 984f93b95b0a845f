//! What other threads tell a connection, and the bell that wakes it. Does not know what a
//! connection makes of it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::log::AppendError;
use crate::record::Batch;

/// Names a link for as long as its connection lives: handles are used again, serials are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkId {
    pub(crate) channel: u16,
    pub(crate) handle: u32,
    pub(crate) serial: u64,
}

/// A sent message that waits to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) link: LinkId,
    pub(crate) delivery_id: u32,
    /// Its sender wants no answer.
    pub(crate) settled: bool,
    pub(crate) bytes: usize,
}

/// Why a receiver gets no events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoadError {
    Beyond(String),
    Failed,
}

#[derive(Debug)]
pub(crate) enum Letter {
    Appended { ticket: Ticket, result: Result<(), AppendError> },
    Found { link: LinkId, result: Result<u64, LoadError> },
    Loaded { link: LinkId, result: Result<Batch, LoadError> },
    Displaced { link: LinkId },
}

/// Letters to one connection. There are never more than it asked for: one for each message it
/// took in, and three for each of its links.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    letters: Mutex<Vec<Letter>>,
    bell: Arc<Notify>,
}

impl Mailbox {
    pub(crate) fn put(&self, letter: Letter) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
        self.bell.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<Letter> {
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rings for letters and, where the connection listens, for new events.
    pub(crate) fn bell(&self) -> &Arc<Notify> {
        &self.bell
    }
}
