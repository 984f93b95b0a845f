//! Phases of the day: what is expected at noon is not what is expected at night.
//!
//! A time lies between two phases and counts for both, more for the nearer one, so that what is
//! expected changes with the time and not in steps.

/// Phases of a day in a reference that has any: two hours apart.
pub const PHASES: usize = 12;

/// A day, ms.
pub const DAY_MS: f64 = 86_400_000.0;

/// The two phases around a time, of `phases` a day, and the weight of each; the weights sum to 1.
/// `time_ms` is since 1970; phase 0 is midnight UTC.
pub fn around(time_ms: f64, phases: usize) -> [(usize, f64); 2] {
    if phases < 2 || !time_ms.is_finite() {
        return [(0, 1.0), (0, 0.0)];
    }
    let days = time_ms / DAY_MS;
    let place = (days - libm::floor(days)) * phases as f64;
    let before = (place as usize).min(phases - 1);
    let beyond = place - before as f64;
    [(before, 1.0 - beyond), ((before + 1) % phases, beyond)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_lies_between_two_phases() {
        let hour = DAY_MS / 24.0;
        assert_eq!(around(0.0, 12), [(0, 1.0), (1, 0.0)]);
        assert_eq!(around(7.0 * DAY_MS + 3.0 * hour, 12), [(1, 0.5), (2, 0.5)]);
        assert_eq!(around(-hour, 12), [(11, 0.5), (0, 0.5)]);
        assert_eq!(around(5.0, 0), [(0, 1.0), (0, 0.0)]);
        assert_eq!(around(f64::NAN, 12), [(0, 1.0), (0, 0.0)]);
    }
}
