//! A share in per cent. What it is a share of is not known here.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A share in per cent, kept in hundredths; in JSON a number such as `2.5`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "f64", into = "f64")]
pub struct Percent(u16);

impl Percent {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(10_000);

    /// A whole number of per cent, at most 100.
    pub const fn new(percent: u8) -> Self {
        Self(if percent > 100 { 10_000 } else { percent as u16 * 100 })
    }

    /// Hundredths of a per cent.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// The share as a fraction of one.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// How many of `count` the share is, rounded down.
    pub fn of(self, count: usize) -> usize {
        (count as u128 * u128::from(self.0) / 10_000) as usize
    }
}

impl TryFrom<f64> for Percent {
    type Error = String;

    fn try_from(percent: f64) -> Result<Self, String> {
        if (0.0..=100.0).contains(&percent) {
            Ok(Self((percent * 100.0).round() as u16))
        } else {
            Err(format!("{percent} is no share: it must lie between 0 and 100 per cent"))
        }
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        Self::from(percent.0) / 100.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} %", f64::from(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_of_per_cent() {
        assert_eq!(serde_json::from_str::<Percent>("2.5").unwrap(), Percent(250));
        assert_eq!(serde_json::to_string(&Percent::new(10)).unwrap(), "10.0");
        for wrong in ["-1", "100.5", "1e400", "\"5\""] {
            assert!(serde_json::from_str::<Percent>(wrong).is_err(), "{wrong}");
        }
    }
}
