//! A store that asks again where no answer came, and finds out what became of a write.
//!
//! A write whose answer is lost may have been done. Asked again, a creation meets its own object,
//! and a replacement its own tag: both look like somebody else's. So a conflict after a lost answer
//! is looked into: if what lies there is what was to be written, it was ours. A conflict at the
//! first attempt is always somebody else's, which is why the backend below must not ask again on
//! its own.
//!
//! What this cannot tell apart are two writers of the same bytes and metadata: after a lost answer,
//! both may be told that they wrote it. Where it matters who did, the content says who.

use std::time::Duration;

use async_trait::async_trait;

use crate::random::Random;
use crate::{Etag, Metadata, Object, Store, StoreError, StorePath};

/// How often is asked, and how long is waited in between.
#[derive(Clone, Copy, Debug)]
pub struct RetrySettings {
    /// How often is asked at most, at least once.
    pub attempts_max: u32,
    /// The pause after the first attempt; each further one is twice as long.
    pub pause_first: Duration,
    /// The longest pause.
    pub pause_max: Duration,
}

impl Default for RetrySettings {
    /// Six attempts in about three seconds, beside what the attempts themselves take.
    fn default() -> Self {
        Self {
            attempts_max: 6,
            pause_first: Duration::from_millis(100),
            pause_max: Duration::from_secs(5),
        }
    }
}

/// A [`Store`] over another, of which only some answers are lost.
///
/// An error that [is ambiguous](StoreError::is_ambiguous) still comes through when all attempts are
/// used up. [`StoreError::Changed`] after a lost answer says that something else is there now; ours
/// may have been there before. A deletion that was sent twice may take away what somebody created
/// in between, so names that are deleted are better not used again.
#[derive(Debug)]
pub struct Retrying<S> {
    inner: S,
    settings: RetrySettings,
    jitter: Random,
}

impl<S: Store> Retrying<S> {
    /// Asks `inner` again. The seed decides over the jitter of the pauses, so that many writers
    /// that were cut off at once do not come back at once.
    pub fn new(inner: S, settings: RetrySettings, jitter_seed: u64) -> Self {
        Self { inner, settings, jitter: Random::new(jitter_seed) }
    }

    /// The store below.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Waits before the next attempt, or gives the error back if there is none.
    pub(crate) async fn pause(
        &self,
        attempts: &mut u32,
        error: StoreError,
    ) -> Result<(), StoreError> {
        *attempts += 1;
        if !error.is_ambiguous() || *attempts >= self.settings.attempts_max {
            return Err(error);
        }
        tracing::debug!(%error, attempts, "no answer from the store; trying again");
        let doubled = self.settings.pause_first.saturating_mul(1 << (*attempts - 1).min(16));
        let longest = doubled.min(self.settings.pause_max);
        let thousandths = 500 + self.jitter.below(501) as u32;
        match longest * thousandths / 1000 {
            Duration::ZERO => tokio::task::yield_now().await,
            pause => tokio::time::sleep(pause).await,
        }
        Ok(())
    }

    /// The tag of our own write, if that is what the conflict is about.
    async fn resolve(
        &self,
        conflict: StoreError,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        match self.get(path).await? {
            Some(found) if found.bytes == bytes && found.metadata == *metadata => Ok(found.etag),
            _ => Err(conflict),
        }
    }
}

#[async_trait]
impl<S: Store> Store for Retrying<S> {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        let mut attempts = 0;
        loop {
            match self.inner.get_within(path, bytes_max).await {
                Ok(object) => return Ok(object),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        let mut attempts = 0;
        loop {
            match self.inner.create_with(path, bytes, metadata).await {
                Ok(etag) => return Ok(etag),
                Err(conflict @ StoreError::AlreadyExists { .. }) if attempts > 0 => {
                    return self.resolve(conflict, path, bytes, metadata).await;
                }
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        let mut attempts = 0;
        loop {
            match self.inner.replace_with(path, bytes, metadata, expected).await {
                Ok(etag) => return Ok(etag),
                Err(conflict @ StoreError::Changed { .. }) if attempts > 0 => {
                    return self.resolve(conflict, path, bytes, metadata).await;
                }
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        let mut attempts = 0;
        loop {
            match self.inner.list(prefix).await {
                Ok(paths) => return Ok(paths),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        let mut attempts = 0;
        loop {
            match self.inner.delete(path).await {
                Ok(()) => return Ok(()),
                Err(error) => self.pause(&mut attempts, error).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract_suite::{Suite, check_store_contract};
    use crate::faulty::{Fault, Faults, Faulty};
    use crate::{Directory, MemoryStore};

    const QUICK: RetrySettings =
        RetrySettings { attempts_max: 60, pause_first: Duration::ZERO, pause_max: Duration::ZERO };
    const LOSSY: Suite = Suite { list_objects: 20, large_bytes: 100_000, answers_get_lost: true };

    fn path(text: &str) -> StorePath {
        StorePath::new(text).unwrap()
    }

    /// On one thread, so that a seed always tells the same story.
    fn check_seed(store: impl Store + 'static, seed: u64) {
        let faulty = Faulty::new(store, Faults::default(), seed);
        let store = Arc::new(Retrying::new(faulty, QUICK, seed));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let run = || runtime.block_on(check_store_contract(store.clone(), &LOSSY));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
        assert!(outcome.is_ok(), "seed {seed}");
        assert!(store.inner().faults_seen() > 100, "seed {seed} has too few faults");
    }

    #[test]
    fn the_contract_holds_in_memory_through_faults() {
        for seed in 0..300 {
            check_seed(MemoryStore::default(), seed);
        }
    }

    #[test]
    fn the_contract_holds_in_a_directory_through_faults() {
        for seed in 0..8 {
            let folder = tempfile::tempdir().unwrap();
            check_seed(Directory::open(folder.path()).unwrap(), seed);
        }
    }

    fn story(faults: &[Fault]) -> (Arc<MemoryStore>, Retrying<Faulty<Arc<MemoryStore>>>) {
        let store = Arc::new(MemoryStore::default());
        let faulty = Faulty::scripted(store.clone(), faults);
        (store, Retrying::new(faulty, RetrySettings { attempts_max: 3, ..QUICK }, 0))
    }

    #[tokio::test]
    async fn a_write_whose_answer_was_lost_is_found_again() {
        for fault in [Fault::Before, Fault::Lost, Fault::LateBefore, Fault::LateAfter] {
            let (store, retrying) = story(&[fault, Fault::None, Fault::None, fault]);
            let etag = retrying.create(&path("a"), b"1").await.unwrap();
            assert_eq!(store.get(&path("a")).await.unwrap().unwrap().etag, etag, "{fault:?}");

            let (store, retrying) = story(&[Fault::None, fault]);
            let first = retrying.create(&path("a"), b"1").await.unwrap();
            let second = retrying.replace(&path("a"), b"1", &first).await.unwrap();
            assert_ne!(first, second, "{fault:?}");
            assert_eq!(store.get(&path("a")).await.unwrap().unwrap().etag, second, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn what_others_wrote_stays_a_conflict() {
        let (store, retrying) = story(&[Fault::Before]);
        store.create(&path("a"), b"theirs").await.unwrap();
        let refused = retrying.create(&path("a"), b"ours").await;
        assert!(matches!(refused, Err(StoreError::AlreadyExists { .. })), "{refused:?}");

        let (store, retrying) = story(&[Fault::Before]);
        let etag = store.create(&path("a"), b"old").await.unwrap();
        let owner = Metadata::new([("ownerid", "theirs")]).unwrap();
        store.replace_with(&path("a"), b"new", &owner, &etag).await.unwrap();
        let refused = retrying.replace(&path("a"), b"new", &etag).await;
        assert!(matches!(refused, Err(StoreError::Changed { .. })), "{refused:?}");
    }

    #[tokio::test]
    async fn it_gives_up_in_the_end() {
        let (store, retrying) = story(&[Fault::Before; 4]);
        let error = retrying.create(&path("a"), b"1").await.unwrap_err();
        assert!(error.is_ambiguous(), "{error}");
        assert!(store.get(&path("a")).await.unwrap().is_none());
        retrying.create(&path("a"), b"1").await.unwrap();
        assert_eq!(retrying.inner().faults_seen(), 4, "three attempts and then one");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound() {
        let store = Faulty::scripted(MemoryStore::default(), &[Fault::Before; 12]);
        let settings = RetrySettings { attempts_max: 12, ..RetrySettings::default() };
        let begin = tokio::time::Instant::now();
        assert!(Retrying::new(store, settings, 7).list("").await.is_err());
        // 0.1 + 0.2 + ... + 3.2 s and five times 5 s, of which jitter takes up to half away.
        let waited = begin.elapsed().as_secs_f64();
        assert!((15.6..=31.4).contains(&waited), "{waited} s");
    }
}
