//! A store that fails on purpose: for tests of whoever must live with a network in between.
//!
//! Writes of the contract are whole or not at all, so a torn write means here that the connection
//! is torn: the caller gets an error, and the write was done, was not done, or is done a little
//! later, when the caller has already begun to ask again. (Files torn by a crash are the
//! directory's own matter, and tested there.) A deletion never comes late: it has no condition, so
//! one that did would take away whatever was created since, and no caller can mend that.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::random::Random;
use crate::{Etag, Metadata, Object, Store, StoreError, StorePath};

/// Writes that are under way at once.
const LATE_WRITES_MAX: usize = 64;

/// What happens to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It fails and was not done.
    Before,
    /// It was done, and its answer is lost.
    Lost,
    /// It fails, and a write is done just before the next operation.
    LateBefore,
    /// It fails, and a write is done just after the next operation.
    LateAfter,
    /// Others go first.
    Delayed,
}

/// How often an operation has a fault, each in percent. The rest goes well.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// [`Fault::Before`].
    pub before: u8,
    /// [`Fault::Lost`].
    pub lost: u8,
    /// [`Fault::LateBefore`] and [`Fault::LateAfter`], half of each.
    pub late: u8,
    /// [`Fault::Delayed`].
    pub delayed: u8,
}

impl Default for Faults {
    fn default() -> Self {
        Self { before: 10, lost: 15, late: 15, delayed: 15 }
    }
}

/// A [`Store`] over another, with faults.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    plan: Plan,
    late: Mutex<Vec<(Fault, Write)>>,
    seen: AtomicU64,
}

#[derive(Debug)]
enum Plan {
    Seeded(Faults, Random),
    Scripted(Mutex<VecDeque<Fault>>),
}

/// A write that is still under way.
#[derive(Debug)]
struct Write {
    path: StorePath,
    bytes: Vec<u8>,
    metadata: Metadata,
    expected: Option<Etag>,
}

type WriteParts<'a> = (&'a StorePath, &'a [u8], &'a Metadata, Option<&'a Etag>);

impl<S: Store> Faulty<S> {
    /// Faults by chance, the same for the same seed and the same order of operations.
    pub fn new(inner: S, faults: Faults, seed: u64) -> Self {
        Self::planned(inner, Plan::Seeded(faults, Random::new(seed)))
    }

    /// These faults, one for each operation; all goes well after them.
    pub fn scripted(inner: S, faults: &[Fault]) -> Self {
        let faults = faults.iter().copied().collect();
        Self::planned(inner, Plan::Scripted(Mutex::new(faults)))
    }

    /// How many operations failed so far.
    pub fn faults_seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    fn planned(inner: S, plan: Plan) -> Self {
        Self { inner, plan, late: Mutex::default(), seen: AtomicU64::new(0) }
    }

    fn next_fault(&self) -> Fault {
        let (faults, random) = match &self.plan {
            Plan::Seeded(faults, random) => (faults, random),
            Plan::Scripted(faults) => {
                let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
                return faults.pop_front().unwrap_or(Fault::None);
            }
        };
        let late = if random.below(2) == 0 { Fault::LateBefore } else { Fault::LateAfter };
        let mut rest = random.below(100);
        for (percent, fault) in [
            (faults.before, Fault::Before),
            (faults.lost, Fault::Lost),
            (faults.late, late),
            (faults.delayed, Fault::Delayed),
        ] {
            match rest.checked_sub(percent.into()) {
                None => return fault,
                Some(less) => rest = less,
            }
        }
        Fault::None
    }

    /// Lets one operation happen to its fate, and earlier writes that are late with it.
    async fn pass<T>(
        &self,
        (action, path): (&'static str, &str),
        write: Option<WriteParts<'_>>,
        operation: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError>
    where
        T: Send,
    {
        let fault = self.next_fault();
        if fault == Fault::Delayed {
            // A handful of turns of the others.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        self.land(Some(Fault::LateBefore)).await;
        let done = match fault {
            Fault::None | Fault::Delayed | Fault::Lost => Some(operation.await),
            Fault::Before | Fault::LateBefore | Fault::LateAfter => None,
        };
        self.land(None).await;
        match (fault, done) {
            (Fault::None | Fault::Delayed, Some(outcome)) => return outcome,
            (Fault::LateBefore | Fault::LateAfter, _) => self.postpone(fault, write),
            _ => {}
        }
        self.seen.fetch_add(1, Ordering::Relaxed);
        let source = io::Error::other(format!("an injected fault: {fault:?}")).into();
        Err(StoreError::Unanswered { action, path: path.to_owned(), source })
    }

    /// What is not a write, or one too many, never comes.
    fn postpone(&self, fault: Fault, write: Option<WriteParts<'_>>) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((path, bytes, metadata, expected)) = write else { return };
        if late.len() < LATE_WRITES_MAX {
            let (path, bytes) = (path.clone(), bytes.to_vec());
            let (metadata, expected) = (metadata.clone(), expected.cloned());
            late.push((fault, Write { path, bytes, metadata, expected }));
        }
    }

    /// Does the writes that are late in this way, or all. Nobody waits for what comes of them.
    async fn land(&self, which: Option<Fault>) {
        let due: Vec<_> = {
            let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
            late.extract_if(.., |(fault, _)| which.is_none_or(|which| *fault == which)).collect()
        };
        for (_, write) in due {
            let Write { path, bytes, metadata, expected } = write;
            let outcome = match &expected {
                None => self.inner.create_with(&path, &bytes, &metadata).await,
                Some(expected) => self.inner.replace_with(&path, &bytes, &metadata, expected).await,
            };
            tracing::trace!(%path, ok = outcome.is_ok(), "a late write landed");
        }
    }
}

#[async_trait]
impl<S: Store> Store for Faulty<S> {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        self.pass(("read", path.as_str()), None, self.inner.get_within(path, bytes_max)).await
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        let write = (path, bytes, metadata, None);
        let operation = self.inner.create_with(path, bytes, metadata);
        self.pass(("create", path.as_str()), Some(write), operation).await
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        let write = (path, bytes, metadata, Some(expected));
        let operation = self.inner.replace_with(path, bytes, metadata, expected);
        self.pass(("replace", path.as_str()), Some(write), operation).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        self.pass(("list", prefix), None, self.inner.list(prefix)).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.pass(("delete", path.as_str()), None, self.inner.delete(path)).await
    }
}
