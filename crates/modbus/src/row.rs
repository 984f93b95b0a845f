//! Rows of JSON: time, entity, and a field for each register, always in the same order.
//!
//! Numbers are written so that who reads them gets the same 64-bit float. Integers without scale or
//! offset are written in full, also those that no float holds exactly.

use crate::device::Device;
use crate::register::Value;
use jiff::Timestamp;

/// 0000-01-01T00:00:00Z.
const YEAR_0_MS: i64 = -62_167_219_200_000;

/// What rows of a device have in common.
#[derive(Debug)]
pub(crate) struct Row {
    /// `{"time":`
    time_key: String,
    /// `,"entity":"..."`
    entity: String,
    /// `,"name":` for each register.
    keys: Vec<String>,
}

impl Row {
    pub(crate) fn new(device: &Device) -> Self {
        let key = |register: &crate::device::Register| format!(",{}:", quoted(&register.name));
        Self {
            time_key: format!("{{{}:", quoted(&device.time_field)),
            entity: format!(",{}:{}", quoted(&device.entity_field), quoted(&device.entity)),
            keys: device.registers.iter().map(key).collect(),
        }
    }

    /// The row of these values, one for each register.
    pub(crate) fn write(&self, time_ms: i64, values: &[Option<Value>]) -> Vec<u8> {
        let mut json = format!("{}\"{}\"{}", self.time_key, rfc3339(time_ms), self.entity);
        for (key, value) in self.keys.iter().zip(values) {
            json.push_str(key);
            match value {
                None => json.push_str("null"),
                Some(Value::Bool(value)) => json.push_str(if *value { "true" } else { "false" }),
                Some(Value::Unsigned(value)) => json.push_str(&value.to_string()),
                Some(Value::Signed(value)) => json.push_str(&value.to_string()),
                Some(Value::Float(value)) => json.push_str(&float(*value)),
            }
        }
        json.push('}');
        json.into_bytes()
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("any text can be written as JSON")
}

fn float(value: f64) -> String {
    serde_json::to_string(&value).expect("any float can be written as JSON")
}

/// A clock can be set to anything: a time that RFC 3339 has no words for becomes its first or last.
fn rfc3339(time_ms: i64) -> String {
    let time = Timestamp::from_millisecond(time_ms.max(YEAR_0_MS)).unwrap_or(Timestamp::MAX);
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::tests::Random;
    use crate::settings::Settings;

    fn row(names: &[&str]) -> Row {
        let registers: Vec<_> = names
            .iter()
            .map(|name| serde_json::json!({"name": name, "kind": "input", "address": 0}))
            .collect();
        let said =
            serde_json::json!({"address": "plc", "entity": "a \"b\"", "register": registers});
        Row::new(&Device::of(&serde_json::from_value::<Settings>(said).unwrap()).unwrap())
    }

    #[test]
    fn fields_keep_the_order_of_the_map() {
        let values = [
            Some(Value::Float(101.3)),
            None,
            Some(Value::Bool(true)),
            Some(Value::Unsigned(u64::MAX)),
            Some(Value::Signed(-5)),
        ];
        let json = row(&["z", "a", "m\"", "u", "i"]).write(1_767_225_600_000, &values);
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"time":"2026-01-01T00:00:00.000Z","entity":"a \"b\"","z":101.3,"a":null,"m\"":true,"u":18446744073709551615,"i":-5}"#
        );
    }

    #[test]
    fn any_number_reads_back_to_the_same_float() {
        let mut random = Random::new();
        let row = row(&["x"]);
        for _ in 0..20_000 {
            let bits = random.next();
            let float = f64::from_bits(bits);
            let value = match random.below(3) {
                0 if float.is_finite() => Value::Float(float),
                1 => Value::Unsigned(bits >> random.below(64)),
                _ => Value::Signed(bits.cast_signed() >> random.below(64)),
            };
            let read: serde_json::Value =
                serde_json::from_slice(&row.write(0, &[Some(value)])).unwrap();
            let read = read["x"].as_f64().unwrap();
            assert_eq!(read.to_bits(), value.as_f64().to_bits(), "{value:?}");
        }
    }

    #[test]
    fn no_clock_is_too_wrong() {
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert!(rfc3339(i64::MAX).starts_with("9999-12-3"));
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00.000Z");
    }
}
