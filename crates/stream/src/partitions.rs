//! Partitions come and go. What is done on one that is here is not known here.

use crate::error::AssemblyError;
use crate::source::{Source, SourceError};
use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::Arc;
use twinge_registry::Store;
use twinge_runner::Layout;

/// The partitions that a program owns at a time.
#[async_trait]
pub trait Partitions: Send + Debug {
    /// The next change, waited for; may be dropped while it waits. `None` when there will be none.
    async fn next(&mut self) -> Result<Option<Change>, SourceError>;

    /// A partition's pump has ended, by an error or because it was told to. Answers with an error
    /// that the program cannot go on after.
    async fn ended(
        &mut self,
        partition: &str,
        result: Result<(), AssemblyError>,
    ) -> Result<(), AssemblyError>;

    /// All pumps have ended, and the program is about to: others may take over.
    async fn close(&mut self);
}

/// What happened to a partition.
#[derive(Debug)]
pub enum Change {
    /// It is here.
    Gained(Gained),
    /// Somebody else has it.
    Lost(String),
}

/// A partition to work on.
pub struct Gained {
    /// Its name.
    pub partition: String,
    /// Its events.
    pub source: Box<dyn Source>,
    /// Where its checkpoints are.
    pub store: Arc<dyn Store>,
    /// How they lie there.
    pub layout: Layout,
}

/// A source that is one partition, from the start to its end.
#[derive(Debug)]
pub struct OnePartition(Option<Gained>);

impl OnePartition {
    /// The only partition.
    pub fn new(only: Gained) -> Self {
        Self(Some(only))
    }
}

#[async_trait]
impl Partitions for OnePartition {
    async fn next(&mut self) -> Result<Option<Change>, SourceError> {
        Ok(self.0.take().map(Change::Gained))
    }

    async fn ended(
        &mut self,
        _partition: &str,
        result: Result<(), AssemblyError>,
    ) -> Result<(), AssemblyError> {
        result
    }

    async fn close(&mut self) {}
}

impl Debug for Gained {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gained").field("partition", &self.partition).finish_non_exhaustive()
    }
}
