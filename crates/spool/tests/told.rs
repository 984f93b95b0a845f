//! How drops are told. A file of its own: what a log subscriber sees depends on which others the
//! process has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::{SMALL, append_all, try_open};
use twinge_platform::{ManualClock, SimulatedDisk};
use twinge_spool::Importance::Normal;

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicU64>, Arc<Mutex<String>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        event.record(&mut &*self);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

impl tracing::field::Visit for &Warnings {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "normal_room" {
            *self.1.lock().unwrap() = format!("{value:?}");
        }
    }
}

#[test]
fn drops_are_told_once_a_minute_with_their_sum() {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        let clock = ManualClock::new(0);
        let mut spool = try_open(&SimulatedDisk::new(0), &clock, SMALL).unwrap();
        append_all(&mut spool, Normal, 0..5_000, 1_000);
        assert_eq!(warnings.0.load(Ordering::SeqCst), 1);
        let told: u64 = warnings.1.lock().unwrap().parse().unwrap();
        clock.advance(59_000);
        append_all(&mut spool, Normal, 5_000..5_100, 1_000);
        assert_eq!(warnings.0.load(Ordering::SeqCst), 1);
        clock.advance(1_000);
        spool.peek(1, 1).unwrap();
        assert_eq!(warnings.0.load(Ordering::SeqCst), 2);
        let more: u64 = warnings.1.lock().unwrap().parse().unwrap();
        assert_eq!(told + more, spool.figures().normal.dropped.room);
    });
}
