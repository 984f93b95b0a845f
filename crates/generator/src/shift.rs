//! A world that changes for good: from some event on, what is normal is another normal.
//!
//! It comes on top of what the worlds make, so that a stream with a shift has the same arrivals,
//! anomalies and draws as one without.

use crate::random::round;
use crate::{Value, World};

/// From which event on normal values are others, and by how much (`docs/generator.md`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Events before it begins.
    pub after: u64,
    /// Factor on what it moves, from 0.1 to 10; 1 moves nothing.
    pub size: f64,
}

impl Shift {
    /// Moves the values of an event of this world; missing ones and words stay.
    pub(crate) fn apply(self, world: World, values: &mut [Value]) {
        for (field, value) in world.fields().iter().zip(values) {
            if let Value::Number(number) = value {
                *number = self.moved(field.name, *number);
            }
        }
    }

    fn moved(self, field: &str, value: f64) -> f64 {
        match field {
            // Prices rise; bearings wear, pages load longer; backups grow.
            "amount" => round(value * self.size, 2),
            "vibration_mm_s" | "duration_s" => round(value * self.size, 3),
            "bytes_out" | "bytes_in" | "packets" => round(value * self.size, 0),
            // Merchants are rated anew, and a hall gets warmer.
            "merchant_risk" => round(value + 12.0 * (self.size - 1.0), 0).clamp(0.0, 100.0),
            "temperature_c" => round(value + 10.0 * (self.size - 1.0), 2),
            _ => value,
        }
    }
}
