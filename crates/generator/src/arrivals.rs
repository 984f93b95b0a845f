//! When events come and whose they are.
//!
//! Arrivals are a Poisson process. The entity of rank k is drawn with probability close to
//! 1 / (2 sqrt(k n)): like Zipf's law with exponent 1/2, and in constant time, because the sum of
//! 1 / sqrt(k) has a closed inverse.

use core::f64::consts::TAU;

use crate::random::{Purpose, Random, mix};
use crate::{Params, World};

pub(crate) const DAY_MS: f64 = 86_400_000.0;

/// Multiplies ranks so that the active entities are not those with the small indices. It is a
/// prime above `MAX_ENTITIES`, so no two ranks meet.
const SCATTER: u64 = 2_654_435_761;

/// An event before it has values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) time_ms: i64,
    /// The entity's index.
    pub(crate) entity: u32,
    /// The mean time between this entity's events.
    pub(crate) interval_ms: f64,
}

/// The endless arrivals of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    random: Random,
    start_ms: i64,
    /// The time since the start, kept with its fraction so that high rates are not rounded away.
    elapsed_ms: f64,
    gap_mean_ms: f64,
    /// 0 for an even day, towards 1 for silent nights.
    rhythm: f64,
    entities: u32,
    /// sqrt(entities + 1) - 1, the whole of the activity.
    activity: f64,
    offset: u64,
}

impl Arrivals {
    pub(crate) fn new(params: &Params) -> Self {
        Self {
            random: Random::new(params.seed, Purpose::Arrivals),
            start_ms: params.start_ms,
            elapsed_ms: 0.0,
            gap_mean_ms: 1000.0 / params.events_per_second,
            rhythm: if params.world == World::Cards { 0.75 } else { 0.0 },
            entities: params.entities,
            activity: libm::sqrt(f64::from(params.entities) + 1.0) - 1.0,
            offset: mix(params.seed) >> 32,
        }
    }

    /// The next arrival; the first is at the start itself.
    pub(crate) fn next(&mut self) -> Arrival {
        let time_ms = self.start_ms + self.elapsed_ms as i64;
        self.elapsed_ms += self.gap_mean_ms * self.random.exponential() / self.intensity(time_ms);
        let rank = self.rank();
        let index = (u64::from(rank) * SCATTER + self.offset) % u64::from(self.entities);
        Arrival { time_ms, entity: index as u32, interval_ms: self.interval_ms(rank) }
    }

    /// How busy this time of the day is; 1 on the average, most at 15:00 UTC, least at 03:00.
    fn intensity(&self, time_ms: i64) -> f64 {
        1.0 - self.rhythm * libm::cos(TAU * (day_part(time_ms) - 3.0 / 24.0))
    }

    /// Draws a rank, 0 for the most active entity.
    fn rank(&mut self) -> u32 {
        let root = 1.0 + self.random.unit() * self.activity;
        ((root * root) as u32).clamp(1, self.entities) - 1
    }

    fn interval_ms(&self, rank: u32) -> f64 {
        let first = f64::from(rank) + 1.0;
        let share = (libm::sqrt(first + 1.0) - libm::sqrt(first)) / self.activity;
        self.gap_mean_ms / share
    }
}

/// The part of the UTC day that has passed, from 0 to 1.
pub(crate) fn day_part(time_ms: i64) -> f64 {
    time_ms.rem_euclid(DAY_MS as i64) as f64 / DAY_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_has_its_own_entity() {
        for entities in [1_u32, 2, 97, 1000] {
            let mut indices: Vec<u64> = (0..u64::from(entities))
                .map(|rank| (rank * SCATTER + 12_345) % u64::from(entities))
                .collect();
            indices.sort_unstable();
            assert!(indices.into_iter().eq(0..u64::from(entities)));
        }
    }

    #[test]
    fn the_rate_is_kept_and_activity_is_unequal() {
        let params = Params { entities: 100, ..Params::new(World::Sensors, 3) };
        let mut arrivals = Arrivals::new(&params);
        let mut counts = vec![0_u32; 100];
        let mut last_ms = 0;
        for _ in 0..50_000 {
            let arrival = arrivals.next();
            counts[arrival.entity as usize] += 1;
            last_ms = arrival.time_ms - params.start_ms;
        }
        assert!((475_000..525_000).contains(&last_ms), "{last_ms} ms for 50,000 events");
        counts.sort_unstable();
        assert!(counts[99] > 5 * counts[0] && counts[0] > 100, "{counts:?}");
    }
}
