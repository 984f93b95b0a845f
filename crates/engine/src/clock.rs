//! The clock that deadlines of compiled code are measured by. It stands still while nothing runs, so
//! that a device at rest is not woken for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// How often it advances.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// A clock that advances an engine's epoch during calls; cheap to clone. It ends with its last clone.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    state: Arc<State>,
    ticker: Thread,
}

#[derive(Debug, Default)]
struct State {
    /// Calls under way.
    calls: AtomicUsize,
    has_ended: AtomicBool,
}

/// A call that is under way; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Call<'a>(&'a State);

impl Clock {
    /// Calls `advance` about every [`TICK`] while there are calls, and never sooner than a tick after
    /// one began.
    pub(crate) fn start(advance: impl Fn() + Send + 'static) -> Self {
        let state = Arc::new(State::default());
        let told = Arc::clone(&state);
        let tick = move || {
            while !told.has_ended.load(Ordering::SeqCst) {
                if told.calls.load(Ordering::SeqCst) == 0 {
                    thread::park();
                } else {
                    thread::sleep(TICK);
                    advance();
                }
            }
        };
        let thread = thread::Builder::new().name("twinge-clock".into());
        let thread = thread.spawn(tick).expect("a thread can be started");
        Self(Arc::new(Handle { state, ticker: thread.thread().clone() }))
    }

    /// Begins a call.
    pub(crate) fn call(&self) -> Call<'_> {
        let Handle { state, ticker } = &*self.0;
        if state.calls.fetch_add(1, Ordering::SeqCst) == 0 {
            ticker.unpark();
        }
        Call(state)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.state.has_ended.store(true, Ordering::SeqCst);
        self.ticker.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Longest that a test waits for a thread to be scheduled.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn wait_for(what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
            thread::yield_now();
        }
    }

    #[test]
    fn it_goes_during_calls_only_and_ends_with_its_last_clone() {
        let ticks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ticks);
        let clock = Clock::start(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let twice = [clock.call(), clock.call()];
        wait_for("three ticks", || ticks.load(Ordering::SeqCst) >= 3);
        drop(twice);
        // A tick may be under way; after that there is none.
        thread::sleep(TICK * 4);
        let stood = ticks.load(Ordering::SeqCst);
        thread::sleep(TICK * 10);
        assert_eq!(ticks.load(Ordering::SeqCst), stood);
        let began = Instant::now();
        let call = clock.call();
        wait_for("another tick", || ticks.load(Ordering::SeqCst) > stood);
        assert!(began.elapsed() >= TICK, "a tick came too soon");
        drop(call);
        drop(clock);
        wait_for("the end of the thread", || Arc::strong_count(&ticks) == 1);
    }
}
