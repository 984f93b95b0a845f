//! A value against what is usual at this hour, on working days and on weekends.
//!
//! The profile has 48 places and moves towards each value a little; the first value of a place sets
//! it. Values count by their logarithm, so that a trough can surprise as much as a peak. Without
//! event times every event falls into one place, and the profile is a moving average.
//!
//! Words: the profile, a mask of the places that are set, and a [`tail`] of deviations.

use crate::channel::{Event, tail};
use libm::{floor, log1p};

const HOURS: usize = 24;
const PLACES: usize = 2 * HOURS;
const HOUR_MS: f64 = 3_600_000.0;

/// Gain of a place of the profile.
const GAIN: f64 = 0.15;

/// Largest value in units of the scale; further out the logarithm says no more.
const SCALED_MAX: f64 = 1e12;

/// Words of state.
pub const WORDS: u32 = (PLACES + 1 + tail::WORDS) as u32;

pub(crate) fn step(event: &Event, per_scale: f64, words: &mut [f64]) -> f64 {
    let (profile, rest) = words.split_at_mut(PLACES);
    let place = place(event.time_ms);
    let scaled = (event.value * per_scale).clamp(-SCALED_MAX, SCALED_MAX);
    let value = if scaled < 0.0 { -log1p(-scaled) } else { log1p(scaled) };
    // A mask of 48 bits is a whole number that an f64 holds.
    let mask = rest[0] as u64;
    let deviation = if mask >> place & 1 == 1 { value - profile[place] } else { 0.0 };
    profile[place] = value - (1.0 - GAIN) * deviation;
    rest[0] = (mask | 1 << place) as f64;
    let size = if deviation < 0.0 { -deviation } else { deviation };
    tail::step(&mut rest[1..], size, tail::FLOOR)
}

/// Hour of the day, with weekends (UTC) apart from working days.
fn place(time_ms: f64) -> usize {
    let hours = floor(time_ms / HOUR_MS);
    let days = floor(hours / 24.0);
    let hour = (hours - days * 24.0) as usize;
    // The first of January 1970 was a Thursday.
    let weekday = days + 3.0 - floor((days + 3.0) / 7.0) * 7.0;
    hour + if weekday >= 5.0 { HOURS } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_the_calendar() {
        assert_eq!(place(0.0), 0);
        assert_eq!(place(2.0 * 86_400_000.0 + 5.5 * HOUR_MS), HOURS + 5, "a Saturday");
        assert_eq!(place(4.0 * 86_400_000.0 + 23.0 * HOUR_MS), 23, "a Monday");
        assert_eq!(place(-HOUR_MS), 23, "a Wednesday of 1969");
    }

    #[test]
    fn the_usual_value_of_another_hour_is_a_surprise() {
        let mut words = [0.0; WORDS as usize];
        let mut at = |hour: f64, plain: f64| {
            let event = Event { time_ms: hour * HOUR_MS, value: plain };
            step(&event, 1.0, &mut words)
        };
        let mut quiet = 0.0f64;
        for hour in 0..24 * 28 {
            let usual = if hour % 24 == 12 { 100.0 } else { 10.0 };
            let wobble = f64::from(hour % 5) * 0.1;
            let surprise = at(f64::from(hour), usual + wobble);
            if hour > 24 * 14 {
                quiet = quiet.max(surprise);
            }
        }
        assert!(at(24.0 * 28.0 + 3.0, 100.0) > quiet + 1.0);
    }
}
