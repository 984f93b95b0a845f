//! The time, which verbs alone look at.

use std::time::{SystemTime, UNIX_EPOCH};

/// One day, in milliseconds.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// The time, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
