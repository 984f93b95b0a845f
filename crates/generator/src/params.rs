//! What a caller may ask of a stream, and the check that makes it safe to use.

use crate::{Shift, World};

/// The most entities a stream can have: their addresses must fit into `10.0.0.0/8`.
pub const MAX_ENTITIES: u32 = 10_000_000;

const MAX_EVENTS_PER_SECOND: f64 = 1_000_000.0;
const MIN_EVENTS_PER_SECOND: f64 = 0.000_1;
const MAX_ANOMALY_SHARE: f64 = 0.5;
const MAX_MISSING_SHARE: f64 = 0.9;
const MIN_SHIFT: f64 = 0.1;
const MAX_SHIFT: f64 = 10.0;
/// 2100-01-01T00:00:00Z. A stream is endless, and its years should keep four digits.
const MAX_START_MS: i64 = 4_102_444_800_000;

/// What a stream should be like; [`Params::check`] turns it into [`ValidParams`].
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    /// What the events are about.
    pub world: World,
    /// Equal seeds and equal other values give equal streams.
    pub seed: u64,
    /// The number of entities, from 1 to [`MAX_ENTITIES`]. They are not equally active.
    pub entities: u32,
    /// Events per second of event time over all entities, on the average of a day.
    pub events_per_second: f64,
    /// The wanted share of labelled events, from 0 to 0.5.
    pub anomaly_share: f64,
    /// The probability with which each feature value is left out, from 0 to 0.9. The planted
    /// field of a labelled event is never left out.
    pub missing_share: f64,
    /// The time of the first event, in milliseconds since 1970-01-01T00:00:00Z.
    pub start_ms: i64,
    /// A lasting change of what is normal.
    pub shift: Option<Shift>,
}

impl Params {
    /// The defaults: 1000 entities, 100 events per second, one event in a hundred anomalous,
    /// nothing missing, from 2026-01-01T00:00:00Z, in a world that stays as it is.
    pub fn new(world: World, seed: u64) -> Self {
        Self {
            world,
            seed,
            entities: 1000,
            events_per_second: 100.0,
            anomaly_share: 0.01,
            missing_share: 0.0,
            start_ms: 1_767_225_600_000,
            shift: None,
        }
    }

    /// Checks each value; the error is about the first that cannot be used.
    pub fn check(self) -> Result<ValidParams, ParamsError> {
        if !(1..=MAX_ENTITIES).contains(&self.entities) {
            return Err(ParamsError::Entities(self.entities));
        }
        // Ranges of floats contain no NaN, so these refuse it too.
        if !(MIN_EVENTS_PER_SECOND..=MAX_EVENTS_PER_SECOND).contains(&self.events_per_second) {
            return Err(ParamsError::EventsPerSecond(self.events_per_second));
        }
        if !(0.0..=MAX_ANOMALY_SHARE).contains(&self.anomaly_share) {
            return Err(ParamsError::AnomalyShare(self.anomaly_share));
        }
        if !(0.0..=MAX_MISSING_SHARE).contains(&self.missing_share) {
            return Err(ParamsError::MissingShare(self.missing_share));
        }
        if !(0..=MAX_START_MS).contains(&self.start_ms) {
            return Err(ParamsError::StartMs(self.start_ms));
        }
        if let Some(Shift { size, .. }) = self.shift
            && !(MIN_SHIFT..=MAX_SHIFT).contains(&size)
        {
            return Err(ParamsError::Shift(size));
        }
        Ok(ValidParams(self))
    }
}

/// Checked [`Params`]: a stream can always be made of them.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidParams(Params);

impl ValidParams {
    /// The checked values.
    pub fn params(&self) -> &Params {
        &self.0
    }
}

/// A value of [`Params`] that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ParamsError {
    /// The number of entities is 0 or above [`MAX_ENTITIES`].
    #[error(
        "entities = {0} cannot be used: each event belongs to an entity and memory grows with their number; \
         choose 1 to {MAX_ENTITIES}"
    )]
    Entities(u32),
    /// The rate is not a number, too small or too large.
    #[error(
        "events_per_second = {0} cannot be used: event time must move on by a sensible step; \
         choose {MIN_EVENTS_PER_SECOND} to {MAX_EVENTS_PER_SECOND}"
    )]
    EventsPerSecond(f64),
    /// The share of anomalies is not a number from 0 to 0.5.
    #[error(
        "anomaly_share = {0} cannot be used: anomalies must stay the exception; \
         choose a share from 0 to {MAX_ANOMALY_SHARE}, such as 0.01"
    )]
    AnomalyShare(f64),
    /// The share of missing values is not a number from 0 to 0.9.
    #[error(
        "missing_share = {0} cannot be used: some values must be left to look at; \
         choose a share from 0 to {MAX_MISSING_SHARE}, such as 0.05"
    )]
    MissingShare(f64),
    /// The factor of a shift is not a number from 0.1 to 10.
    #[error(
        "a shift of {0} cannot be used: it is a factor; choose {MIN_SHIFT} to {MAX_SHIFT}, such as 1.5"
    )]
    Shift(f64),
    /// The start lies before 1970 or after 2100.
    #[error(
        "start_ms = {0} cannot be used: it counts milliseconds since 1970-01-01T00:00:00Z; \
         choose 0 to {MAX_START_MS}, the start of the year 2100"
    )]
    StartMs(i64),
}
