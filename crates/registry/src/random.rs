//! Numbers for jitter and for injected faults: reproducible, and fit for nothing secret.

use std::sync::atomic::{AtomicU64, Ordering};

/// `SplitMix64` (<https://doi.org/10.1145/2660193.2660195>), shared by whoever asks.
#[derive(Debug)]
pub(crate) struct Random(AtomicU64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number below `limit`, which is not zero. The slight bias does not matter here.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut bits = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % limit
    }
}
