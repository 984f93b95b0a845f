//! An event and its two written forms: a line of NDJSON and a line of CSV.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::{Anomaly, World};

/// One event of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// 0, 1, 2 and so on along the stream.
    pub id: u64,
    /// The event time, in milliseconds since 1970-01-01T00:00:00Z; never before the last event's.
    pub time_ms: i64,
    /// Whose event it is, such as `card-000017`.
    pub entity: String,
    /// The features, in the order of [`World::fields`].
    pub values: Vec<Value>,
    /// Why the event is anomalous, if it is.
    pub label: Option<Anomaly>,
}

/// One feature of an event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A finite number, rounded to the decimals that suit its field.
    Number(f64),
    /// A word; it needs no quoting in CSV.
    Text(&'static str),
    /// Left out.
    Missing,
}

impl Event {
    /// One line of NDJSON, without its newline: `time` (RFC 3339 with milliseconds), the entity
    /// field and the features; with a label also `label` (0 or 1) and `anomaly` (the kind or
    /// null). A missing value is left out.
    ///
    /// The world must be the stream's own.
    ///
    /// # Panics
    ///
    /// Never: the members are strings and numbers, and writing to memory cannot fail.
    pub fn to_json(&self, world: World, with_label: bool) -> String {
        let line = JsonLine { event: self, world, with_label };
        serde_json::to_string(&line).expect("the members are strings and numbers")
    }

    /// One line of CSV, without its newline; [`csv_header`] names the columns. A missing value is
    /// an empty cell, and so is the `anomaly` of an event without a label. Nothing needs quoting.
    pub fn to_csv(&self, with_label: bool) -> String {
        let mut cells = vec![rfc3339(self.time_ms), self.entity.clone()];
        cells.extend(self.values.iter().map(|value| match value {
            Value::Number(number) => number.to_string(),
            Value::Text(word) => (*word).to_owned(),
            Value::Missing => String::new(),
        }));
        if with_label {
            cells.push(u8::from(self.label.is_some()).to_string());
            cells.push(self.anomaly_name().unwrap_or_default().to_owned());
        }
        cells.join(",")
    }

    fn anomaly_name(&self) -> Option<&'static str> {
        self.label.map(|anomaly| anomaly.kind.name())
    }
}

/// The names of the columns that [`Event::to_csv`] writes, without a newline.
pub fn csv_header(world: World, with_label: bool) -> String {
    let mut names = vec![world.time_field(), world.entity_field()];
    names.extend(world.fields().iter().map(|field| field.name));
    if with_label {
        names.extend(["label", "anomaly"]);
    }
    names.join(",")
}

struct JsonLine<'a> {
    event: &'a Event,
    world: World,
    with_label: bool,
}

impl Serialize for JsonLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.world.time_field(), &rfc3339(self.event.time_ms))?;
        map.serialize_entry(self.world.entity_field(), &self.event.entity)?;
        for (field, value) in self.world.fields().iter().zip(&self.event.values) {
            match value {
                Value::Number(number) if is_whole(*number) => {
                    map.serialize_entry(field.name, &(*number as i64))?;
                }
                Value::Number(number) => map.serialize_entry(field.name, number)?,
                Value::Text(word) => map.serialize_entry(field.name, word)?,
                Value::Missing => {}
            }
        }
        if self.with_label {
            map.serialize_entry("label", &u8::from(self.event.label.is_some()))?;
            map.serialize_entry("anomaly", &self.event.anomaly_name())?;
        }
        map.end()
    }
}

/// Whole numbers are written without a point, as CSV does.
fn is_whole(number: f64) -> bool {
    libm::trunc(number) == number && libm::fabs(number) < 9_007_199_254_740_992.0
}

/// A time as RFC 3339 with milliseconds, such as `2026-01-01T00:00:00.000Z`.
fn rfc3339(time_ms: i64) -> String {
    const DAY_MS: i64 = 86_400_000;
    let (year, month, day) = civil_date(time_ms.div_euclid(DAY_MS));
    let day_ms = time_ms.rem_euclid(DAY_MS);
    let (hour, minute) = (day_ms / 3_600_000, day_ms / 60_000 % 60);
    let (second, milli) = (day_ms / 1000 % 60, day_ms % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day of a number of days since 1970-01-01, after Howard Hinnant's
/// `civil_from_days` <https://howardhinnant.github.io/date_algorithms.html>: years begin in March,
/// so that the leap day is the last of its year.
fn civil_date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let era_day = days.rem_euclid(146_097);
    let era_year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    let march_month = (5 * year_day + 2) / 153;
    let day = year_day - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + era_year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AnomalyKind;

    #[test]
    fn times_are_written_as_rfc3339() {
        let check = |time_ms, text| assert_eq!(rfc3339(time_ms), text);
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_767_225_600_000, "2026-01-01T00:00:00.000Z");
        check(1_772_323_199_999, "2026-02-28T23:59:59.999Z");
        check(4_107_542_399_007, "2100-02-28T23:59:59.007Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn lines_leave_out_what_is_missing() {
        let event = Event {
            id: 0,
            time_ms: 0,
            entity: "sensor-000001".to_owned(),
            values: vec![
                Value::Number(21.5),
                Value::Missing,
                Value::Number(400.0),
                Value::Missing,
                Value::Text("run"),
            ],
            label: Some(Anomaly { kind: AnomalyKind::Spike, field: "temperature_c" }),
        };
        assert_eq!(
            event.to_json(World::Sensors, true),
            r#"{"time":"1970-01-01T00:00:00.000Z","sensor":"sensor-000001","temperature_c":21.5,"pressure_kpa":400,"mode":"run","label":1,"anomaly":"spike"}"#
        );
        assert_eq!(
            csv_header(World::Sensors, true),
            "time,sensor,temperature_c,vibration_mm_s,pressure_kpa,current_a,mode,label,anomaly"
        );
        assert_eq!(
            event.to_csv(true),
            "1970-01-01T00:00:00.000Z,sensor-000001,21.5,,400,,run,1,spike"
        );
        let plain = Event { label: None, ..event };
        assert!(plain.to_json(World::Sensors, true).ends_with(r#""label":0,"anomaly":null}"#));
        assert!(plain.to_json(World::Sensors, false).ends_with(r#""mode":"run"}"#));
        assert!(plain.to_csv(true).ends_with(",run,0,"));
    }
}
