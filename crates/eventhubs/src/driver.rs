//! Threads that drive the SDK, each with a single-threaded runtime.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Threads that drive the SDK. Dropping them stops what runs on them.
#[derive(Debug)]
pub struct Drivers {
    threads: Vec<Driver>,
    next: AtomicUsize,
    stop: CancellationToken,
    tracker: TaskTracker,
}

#[derive(Debug)]
struct Driver {
    runtime: Handle,
    thread: Option<JoinHandle<()>>,
}

impl Drivers {
    /// Starts `count` threads.
    pub fn start(count: usize) -> io::Result<Self> {
        // A program may be built with more than one provider of cryptography, and rustls wants to be
        // told which; whoever was first has chosen.
        rustls::crypto::ring::default_provider().install_default().ok();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let threads =
            (0..count.max(1)).map(|number| Driver::start(number, stop.clone(), tracker.clone()));
        let threads = threads.collect::<io::Result<_>>()?;
        Ok(Self { threads, next: AtomicUsize::new(0), stop, tracker })
    }

    /// The runtime of the next thread, in turn.
    pub(crate) fn runtime(&self) -> &Handle {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        &self.threads[next % self.threads.len()].runtime
    }

    /// Runs `work` on the next thread until it ends or the threads stop.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let work = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        };
        self.tracker.spawn_on(work, self.runtime());
    }
}

impl Driver {
    fn start(number: usize, stop: CancellationToken, tracker: TaskTracker) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name(format!("twinge-amqp-{number}"));
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                stop.cancelled().await;
                tracker.close();
                tracker.wait().await;
            });
        })?;
        Ok(Self { runtime: handle, thread: Some(thread) })
    }
}

impl Drop for Drivers {
    fn drop(&mut self) {
        self.stop.cancel();
        for driver in &mut self.threads {
            if let Some(thread) = driver.thread.take()
                && thread.join().is_err()
            {
                tracing::error!("a thread that drove the connection to Event Hubs had panicked");
            }
        }
    }
}
