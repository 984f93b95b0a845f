//! The clock of a machine: the runtime's paused time, from a wall clock that may be wrong and jump.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;
use twinge_platform::Clock;

/// Clones show the same time.
#[derive(Clone, Debug, Default)]
pub(crate) struct VirtualClock(Arc<Times>);

#[derive(Debug, Default)]
struct Times {
    /// The right time when the machine was started, and how wrong this clock is, milliseconds.
    booted_ms: AtomicI64,
    skew_ms: AtomicI64,
    /// The most that it was ahead.
    ahead_ms: AtomicI64,
    booted: Mutex<Option<Instant>>,
}

impl VirtualClock {
    /// The machine starts at `now_ms`; called within its runtime.
    pub(crate) fn boot(&self, now_ms: i64) {
        self.0.booted_ms.store(now_ms, Ordering::Relaxed);
        *self.0.booted.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Sets the wall clock alone, and keeps it wrong over restarts.
    pub(crate) fn jump(&self, by_ms: i64) {
        let skew_ms = self.0.skew_ms.fetch_add(by_ms, Ordering::Relaxed) + by_ms;
        self.0.ahead_ms.fetch_max(skew_ms, Ordering::Relaxed);
    }

    /// Puts it right, as far as it goes: a time that was seen stays seen, and who follows a channel
    /// by a clock that was set back waits until that time has come.
    pub(crate) fn set_right(&self) {
        self.0.skew_ms.store(self.0.ahead_ms.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now_ms(&self) -> i64 {
        let passed = i64::try_from(self.monotonic_ms()).unwrap_or(i64::MAX);
        self.0.booted_ms.load(Ordering::Relaxed) + self.0.skew_ms.load(Ordering::Relaxed) + passed
    }

    fn monotonic_ms(&self) -> u64 {
        let booted = *self.0.booted.lock().unwrap_or_else(PoisonError::into_inner);
        booted.map_or(0, |booted| booted.elapsed().as_millis() as u64)
    }
}
