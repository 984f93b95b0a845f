//! What lies between a publisher and the store, and futures without a runtime.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use twinge_registry::{Etag, MemoryStore, Metadata, Object, Store, StoreError, StorePath};

use super::random::Random;

/// A store that a publisher uses, until it dies or is cut off. Others may go first before each
/// operation.
#[derive(Debug)]
pub(crate) struct Wire {
    inner: Arc<MemoryStore>,
    written: Arc<Mutex<Vec<Vec<u8>>>>,
    cut: AtomicBool,
    /// Writes until the publisher dies.
    writes_left: AtomicI64,
}

impl Wire {
    /// `written` gets every channel document, in order.
    pub(crate) fn new(inner: Arc<MemoryStore>, written: Arc<Mutex<Vec<Vec<u8>>>>) -> Self {
        let (cut, writes_left) = (AtomicBool::new(false), AtomicI64::new(i64::MAX));
        Self { inner, written, cut, writes_left }
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    pub(crate) fn die_after(&self, writes: i64) {
        self.writes_left.store(writes, Ordering::Relaxed);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.writes_left.load(Ordering::Relaxed) <= 0
    }

    async fn pass(&self, action: &'static str, path: &str) -> Result<(), StoreError> {
        let mut passed = false;
        std::future::poll_fn(|_| {
            if std::mem::replace(&mut passed, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        if self.cut.load(Ordering::Relaxed) || self.is_dead() {
            let source = std::io::Error::other("the publisher is cut off or dead").into();
            return Err(StoreError::Unanswered { action, path: path.to_owned(), source });
        }
        Ok(())
    }

    fn note(&self, path: &StorePath, bytes: &[u8]) {
        self.writes_left.fetch_sub(1, Ordering::Relaxed);
        if path.is_below("channels") {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.push(bytes.to_vec());
        }
    }
}

#[async_trait]
impl Store for Wire {
    async fn get_within(
        &self,
        path: &StorePath,
        bytes_max: u64,
    ) -> Result<Option<Object>, StoreError> {
        self.pass("read", path.as_str()).await?;
        self.inner.get_within(path, bytes_max).await
    }

    async fn create_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
    ) -> Result<Etag, StoreError> {
        self.pass("create", path.as_str()).await?;
        let etag = self.inner.create_with(path, bytes, metadata).await?;
        self.note(path, bytes);
        Ok(etag)
    }

    async fn replace_with(
        &self,
        path: &StorePath,
        bytes: &[u8],
        metadata: &Metadata,
        expected: &Etag,
    ) -> Result<Etag, StoreError> {
        self.pass("replace", path.as_str()).await?;
        let etag = self.inner.replace_with(path, bytes, metadata, expected).await?;
        self.note(path, bytes);
        Ok(etag)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<StorePath>, StoreError> {
        self.pass("list", prefix).await?;
        self.inner.list(prefix).await
    }

    async fn delete(&self, path: &StorePath) -> Result<(), StoreError> {
        self.pass("delete", path.as_str()).await?;
        self.inner.delete(path).await
    }
}

/// Runs a future that waits for nothing but its turn.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            return outcome;
        }
    }
}

/// Runs several at once, one step of one of them at a time, by chance.
pub(crate) fn interleave(
    mut futures: Vec<Pin<Box<dyn Future<Output = ()> + '_>>>,
    random: &mut Random,
) {
    while !futures.is_empty() {
        let turn = random.within(0..futures.len() as u64) as usize;
        let mut context = Context::from_waker(Waker::noop());
        if futures[turn].as_mut().poll(&mut context).is_ready() {
            drop(futures.swap_remove(turn));
        }
    }
}
