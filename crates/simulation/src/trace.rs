//! What is told of a seed that is looked at by itself.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_ON: AtomicBool = AtomicBool::new(false);

/// Tells from now on what happens, and lets the programs tell what they log.
pub fn trace_to_output() {
    IS_ON.store(true, Ordering::Relaxed);
    let log = tracing_subscriber::fmt().without_time().with_ansi(false).with_test_writer();
    if log.with_max_level(tracing::Level::INFO).try_init().is_err() {
        tracing::debug!("somebody else takes what is logged");
    }
}

/// Tells one thing; `now_ms` is since the beginning.
#[expect(clippy::print_stdout, reason = "it was asked for")]
pub(crate) fn tell(now_ms: u64, what: impl FnOnce() -> String) {
    if IS_ON.load(Ordering::Relaxed) {
        println!("{:9.3} {}", now_ms as f64 / 1000.0, what());
    }
}
