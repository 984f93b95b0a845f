//! The pause before the next try to connect: it doubles, and is spread so that a fleet that lost
//! its broker does not come back all at once. Knows no clock and no socket.

use std::time::Duration;

/// The first pause.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The pause after `attempts` failures in a row: half of the doubled pause is fixed, the other
/// half is spread by `random`.
pub(crate) fn pause(attempts: u32, random: u64) -> Duration {
    let doubled = PAUSE_MIN.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(PAUSE_MAX);
    let half = doubled / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_are_spread() {
        assert_eq!(pause(1, u64::MAX), Duration::from_millis(100));
        assert_eq!(pause(1, 0), Duration::from_millis(50));
        assert_eq!(pause(2, u64::MAX), Duration::from_millis(200));
        assert_eq!(pause(20, u64::MAX), PAUSE_MAX);
        assert_eq!(pause(u32::MAX, 0), PAUSE_MAX / 2);
    }
}
