//! What lies between a machine and the rest: delays, lost requests and answers, cuts, slow peers, and
//! somebody in between who serves forged documents.

use crate::random::Random;
use async_trait::async_trait;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;
use twinge_platform::SimulatedDisk;
use twinge_registry::{Etag, Metadata, Object, Store, StoreError, StorePath};

/// The way from one machine; clones are the same way.
#[derive(Clone, Debug)]
pub(crate) struct Link(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: Random,
    is_cut: bool,
    /// How often a request is lost on its way there, and an answer on its way back.
    loss: f64,
    delay_ms_max: u64,
    /// What is served in place of any channel, while somebody attacks.
    forged: Option<Vec<u8>>,
    forgeries: u64,
    /// Without power, nothing is sent.
    power: SimulatedDisk,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// It was lost before it arrived.
    Lost,
    /// It arrives, and nobody hears of it.
    AnswerLost,
}

/// No answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered;

impl Link {
    pub(crate) fn new(random: Random, power: SimulatedDisk) -> Self {
        Self(Arc::new(Mutex::new(State {
            random,
            is_cut: false,
            loss: 0.0,
            delay_ms_max: 20,
            forged: None,
            forgeries: 0,
            power,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_cut(&self, is_cut: bool) {
        self.lock().is_cut = is_cut;
    }

    pub(crate) fn set_quality(&self, loss: f64, delay_ms_max: u64) {
        let mut state = self.lock();
        (state.loss, state.delay_ms_max) = (loss, delay_ms_max);
    }

    pub(crate) fn set_forged(&self, forged: Option<Vec<u8>>) {
        self.lock().forged = forged;
    }

    pub(crate) fn forgeries(&self) -> u64 {
        self.lock().forgeries
    }

    /// Does `work` at the other end, or not.
    pub(crate) async fn ask<T>(
        &self,
        work: impl Future<Output = T> + Send,
    ) -> Result<T, Unanswered> {
        let (there, back, fate) = {
            let mut state = self.lock();
            let longest = state.delay_ms_max + 1;
            let (there, back) = (state.random.within(0..longest), state.random.within(0..longest));
            let loss = state.loss;
            let fate = match (state.random.chance(loss), state.random.chance(0.5)) {
                (false, _) => Fate::Arrives,
                (true, false) => Fate::Lost,
                (true, true) => Fate::AnswerLost,
            };
            (there, back, fate)
        };
        sleep(Duration::from_millis(there)).await;
        self.check_power().await;
        if self.lock().is_cut || fate == Fate::Lost {
            return self.nothing().await;
        }
        let answer = work.await;
        sleep(Duration::from_millis(back)).await;
        if self.lock().is_cut || fate == Fate::AnswerLost {
            return self.nothing().await;
        }
        Ok(answer)
    }

    /// Waits for an answer that does not come.
    async fn nothing<T>(&self) -> Result<T, Unanswered> {
        let patience_ms = self.lock().random.within(200..4_000);
        sleep(Duration::from_millis(patience_ms)).await;
        Err(Unanswered)
    }

    /// A machine without power does nothing more.
    async fn check_power(&self) {
        let is_dead = self.lock().power.is_dead();
        if is_dead {
            std::future::pending::<()>().await;
        }
    }

    fn forge(&self, path: &StorePath) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let forged = state.forged.clone().filter(|_| path.is_below("channels"))?;
        state.forgeries += 1;
        Some(forged)
    }
}

/// A store at the other end of a link.
#[derive(Clone, Debug)]
pub(crate) struct LinkStore {
    inner: Arc<dyn Store>,
    link: Link,
}

impl LinkStore {
    pub(crate) fn new(inner: Arc<dyn Store>, link: Link) -> Self {
        Self { inner, link }
    }

    async fn ask<T: Send>(
        &self,
        (action, path): (&'static str, &str),
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        self.link.ask(work).await.unwrap_or_else(|Unanswered| {
            let source = std::io::Error::other("the link lost it").into();
            Err(StoreError::Unanswered { action, path: path.to_owned(), source })
        })
    }
}

#[async_trait]
impl Store for LinkStore {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        let found = self.inner.get_within(path, bytes_max);
        let found = self.ask(("read", path.as_str()), found).await?;
        Ok(found.map(|object| match self.link.forge(path) {
            Some(bytes) => Object { bytes, ..object },
            None => object,
        }))
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        self.ask(("create", path.as_str()), self.inner.create_with(path, bytes, metadata)).await
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        let replaced = self.inner.replace_with(path, bytes, metadata, expected);
        self.ask(("replace", path.as_str()), replaced).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        self.ask(("list", prefix), self.inner.list(prefix)).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.ask(("delete", path.as_str()), self.inner.delete(path)).await
    }
}
