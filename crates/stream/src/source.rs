//! Where events come from.

use crate::lines::LinesError;
use async_trait::async_trait;
use thiserror::Error;
use twinge_journal::JournalError;
use twinge_registry::Metadata;
use twinge_runner::{Arrival, Place};

/// A partition of events in order.
#[async_trait]
pub trait Source: Send + Sync {
    /// What a runner on it works on.
    fn place(&self, detector: &str) -> Place;

    /// Goes to where a checkpoint stands, or to its own beginning, and answers with the offset that
    /// comes next. A later one than was asked for means that what lies between is gone. Called
    /// once, before the first [`Self::next`].
    async fn seek(&mut self, start: Start) -> Result<u64, SourceError>;

    /// The offset at which the partition ended after this run had locked out every other, or an earlier
    /// one that is not known better yet: no run before has seen an event from there on. `None` where
    /// it cannot be known. Asked after [`Self::seek`] and each delivery.
    fn end(&self) -> Option<u64> {
        None
    }

    /// The next arrivals, at least one and at most `most`; waits for them, and may be dropped while
    /// it waits. `None` when there will be no more.
    async fn next(&mut self, most: usize) -> Result<Option<Delivery>, SourceError>;

    /// Everything below `offset` is checkpointed and will not be asked for again.
    fn release(&mut self, offset: u64);

    /// What a checkpoint after the latest delivery tells beside Twinge's own words, for other
    /// programs; nothing where it tells what the one before told.
    fn metadata(&self) -> Option<Metadata> {
        None
    }

    /// Whether an arrival tells when it came in: how long it waited is known then.
    fn keeps_times(&self) -> bool {
        true
    }

    /// Sets the ingestion time of a source that keeps none, as it was when reading began.
    fn set_started(&mut self, started_ms: i64);
}

/// Where a source begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The offset that was not processed yet; nothing where there is no checkpoint.
    pub offset: Option<u64>,
    /// What the source said with the delivery before.
    pub position: u64,
    /// Counts owners of the partition; an older owner's number is smaller.
    pub epoch: u64,
}

/// Arrivals and where the source stands after them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// In order.
    pub arrivals: Vec<Arrival>,
    /// To be given to [`Source::seek`] to go on from here.
    pub position: u64,
}

/// Why a source cannot go on.
#[derive(Debug, Error)]
pub enum SourceError {
    /// A file.
    #[error("source file cannot be read")]
    Lines(#[from] LinesError),
    /// A journal.
    #[error("source journal cannot be read")]
    Journal(#[from] JournalError),
    /// A source that a program adds.
    #[error("{place} cannot be read")]
    Other {
        /// The source.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A record of the journal that is not one of ours.
    #[error("record {0} of the journal is not readable: it was written by another version")]
    Record(u64),
}
