//! Event time: how its text or number becomes milliseconds since 1970, and back.

use jiff::{Timestamp, civil, tz::TimeZone};
use serde::{Deserialize, Serialize};

/// How a schema's time field is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeFormat {
    /// RFC 3339 (`2026-01-31T12:00:00Z`). A time without zone is taken as UTC, a blank may stand
    /// for the `T`, and a date alone is its midnight.
    #[default]
    Rfc3339,
    /// Seconds since 1970, fractions allowed.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
}

impl TimeFormat {
    /// Reads a time written as text; `None` when it cannot be read in this format.
    pub fn read_text(self, text: &str) -> Option<i64> {
        match self {
            Self::Rfc3339 => read_rfc3339(text.trim()),
            Self::EpochS | Self::EpochMs => self.read_number(text.trim().parse().ok()?),
        }
    }

    /// Reads a time given as a number; `None` for RFC 3339 or a number that is no time.
    pub fn read_number(self, number: f64) -> Option<i64> {
        let milliseconds = match self {
            Self::Rfc3339 => return None,
            Self::EpochS => number * 1000.0,
            Self::EpochMs => number,
        };
        // The years -9999 to 9999, so that every accepted time can also be printed.
        (milliseconds.abs() <= 253_402_200_000_000.0).then(|| milliseconds.round() as i64)
    }

    /// The word in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rfc3339 => "rfc3339",
            Self::EpochS => "epoch-s",
            Self::EpochMs => "epoch-ms",
        }
    }

    /// Guesses the format from a sample of texts: the first that reads all of them.
    pub fn infer<'a>(texts: &(impl Iterator<Item = &'a str> + Clone)) -> Option<Self> {
        texts.clone().next()?;
        // A plain number counts as a time only within 1990 to 2100, or any column of numbers
        // would pass for one.
        let within = |format: Self, low: f64, high: f64| {
            texts.clone().all(|text| {
                text.trim().parse::<f64>().is_ok_and(|n| n >= low && n <= high)
                    && format.read_text(text).is_some()
            })
        };
        if texts.clone().all(|text| Self::Rfc3339.read_text(text).is_some()) {
            Some(Self::Rfc3339)
        } else if within(Self::EpochS, 631_152_000.0, 4_102_444_800.0) {
            Some(Self::EpochS)
        } else if within(Self::EpochMs, 631_152_000_000.0, 4_102_444_800_000.0) {
            Some(Self::EpochMs)
        } else {
            None
        }
    }
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
pub fn to_rfc3339(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| format!("{milliseconds} ms"), |timestamp| timestamp.to_string())
}

fn read_rfc3339(text: &str) -> Option<i64> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_millisecond());
    }
    // What names a zone or an offset and was not read above has one that is not to be trusted.
    let after_date = text.get(10..).unwrap_or_default();
    if after_date.contains(['Z', 'z', '+', '-', '[']) {
        return None;
    }
    let civil: civil::DateTime = text.parse().ok()?;
    Some(TimeZone::UTC.to_timestamp(civil).ok()?.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_each_format() {
        let cases = [
            (TimeFormat::Rfc3339, "1970-01-01T00:00:01Z", Some(1000)),
            (TimeFormat::Rfc3339, "1970-01-01T01:00:01+01:00", Some(1000)),
            (TimeFormat::Rfc3339, "1970-01-01 00:00:01", Some(1000)),
            (TimeFormat::Rfc3339, "1970-01-02", Some(86_400_000)),
            (TimeFormat::Rfc3339, "yesterday", None),
            (TimeFormat::Rfc3339, "2024-01-01T12:00:00[Europe/Berlin]", None),
            (TimeFormat::Rfc3339, "2024-01-01T12:00:00+25:59:59.5", None),
            (TimeFormat::EpochS, "1.5", Some(1500)),
            (TimeFormat::EpochMs, "1500", Some(1500)),
            (TimeFormat::EpochMs, "nan", None),
            (TimeFormat::EpochS, "1e300", None),
        ];
        for (format, text, expected) in cases {
            assert_eq!(format.read_text(text), expected, "{format:?} {text}");
        }
    }

    #[test]
    fn the_format_is_inferred_only_from_plausible_times() {
        let infer = |texts: &[&str]| TimeFormat::infer(&texts.iter().copied());
        assert_eq!(infer(&["2013-07-04 00:00:00"]), Some(TimeFormat::Rfc3339));
        assert_eq!(infer(&["1700000000", "1700000060"]), Some(TimeFormat::EpochS));
        assert_eq!(infer(&["1700000000000"]), Some(TimeFormat::EpochMs));
        assert_eq!(infer(&["1", "2", "3"]), None);
        assert_eq!(infer(&[]), None);
    }

    #[test]
    fn printing_and_reading_agree() {
        for milliseconds in [0, 1_767_225_600_123, -1] {
            let text = to_rfc3339(milliseconds);
            assert_eq!(TimeFormat::Rfc3339.read_text(&text), Some(milliseconds), "{text}");
        }
    }
}
