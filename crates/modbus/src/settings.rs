//! What a user says of a device, as it stands in a configuration file. Whether it can be done is
//! found out by [`Settings::check`], which names the key that cannot.

use serde::Deserialize;
use thiserror::Error;

/// A device that is polled, and its register map.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `host:port`, `host` for port 502, or an IPv6 address, in brackets where a port follows.
    pub address: String,
    /// Unit identifier: 0 to 247, or 255 for the device at the other end itself.
    pub unit: u16,
    /// Milliseconds between the beginnings of two rounds.
    pub every_ms: u64,
    /// Milliseconds that a connection and each request may take.
    pub timeout_ms: u64,
    /// Name of the entity; `{host}`, `{port}` and `{unit}` in it are replaced.
    pub entity: String,
    /// Field of the row that holds the entity.
    pub entity_field: String,
    /// Field of the row that holds the time, as RFC 3339 in UTC with milliseconds.
    pub time_field: String,
    /// Which byte of each word comes first. The protocol says the high one.
    pub byte_order: Order,
    /// Which word of a value of several comes first.
    pub word_order: Order,
    /// Registers that nobody asked for and that are read all the same to save a request, in a row
    /// at most; coils and discrete inputs count as one each.
    pub gap: u16,
    /// The registers, in the order of the row's fields [default: *needed*].
    #[serde(rename = "register")]
    pub registers: Vec<RegisterSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: String::new(),
            unit: 1,
            every_ms: 1000,
            timeout_ms: 1000,
            entity: "{host}/{unit}".into(),
            entity_field: "entity".into(),
            time_field: "time".into(),
            byte_order: Order::Big,
            word_order: Order::Big,
            gap: 8,
            registers: Vec::new(),
        }
    }
}

/// A value of a device.
///
/// It is placed by `kind` and `address`, or by `reference`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegisterSettings {
    /// Field of the row.
    pub name: String,
    /// Table that the value is in.
    pub kind: Option<Kind>,
    /// Address in the protocol, from 0; of the first word of several.
    pub address: Option<u32>,
    /// Number in the manual, in place of `kind` and `address`.
    pub reference: Option<Reference>,
    /// What the words mean [default: `"u16"`; of a bit, coil or discrete input `"bool"`].
    #[serde(rename = "type")]
    pub value_type: Option<Type>,
    /// The value is `raw * scale + offset`, reckoned in 64-bit floats [default: 1].
    pub scale: Option<f64>,
    /// What is added to the scaled value [default: 0].
    pub offset: Option<f64>,
    /// Bit of the word, 0 for the lowest: the value is true where it is set.
    pub bit: Option<u8>,
    /// Raw value that means that there is none. For integers its bits count: 65535 and -1 are the
    /// same word.
    pub missing: Option<Number>,
}

/// The four tables of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Bits that can be written; function 1.
    Coil,
    /// Bits that cannot; function 2.
    Discrete,
    /// Words that can be written; function 3.
    Holding,
    /// Words that cannot; function 4.
    Input,
}

/// What the words of a register mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// One word.
    U16,
    /// One word in two's complement.
    I16,
    /// Two words.
    U32,
    /// Two words in two's complement.
    I32,
    /// Two words, IEEE 754 binary32; widened to 64 bits exactly.
    F32,
    /// Four words.
    U64,
    /// Four words in two's complement.
    I64,
    /// Four words, IEEE 754 binary64.
    F64,
    /// A bit; a whole word is true unless it is 0.
    Bool,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The high one.
    Big,
    /// The low one.
    Little,
}

/// A raw value.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// As an integer.
    Integer(i64),
    /// With a fraction or exponent.
    Float(f64),
}

/// The conventional number of a register: the first digit is the table (0 coils, 1 discrete inputs,
/// 3 input registers, 4 holding registers), the other four or five count from 1.
///
/// A number has lost its leading zeros. Up to 9999 it is a coil and up to 49999 it has five digits;
/// a coil beyond 9999 is written as a text of six digits, `"010000"`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Reference {
    /// As a number.
    Number(u32),
    /// As a text of five or six digits.
    Text(String),
}

/// A key of the settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("key `{key}` of a Modbus device {reason}")]
pub struct SettingsError {
    /// The key, such as `register[2].address`; tables count from 0.
    pub key: String,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

impl SettingsError {
    pub(crate) fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { key: key.into(), reason: reason.into() }
    }
}

impl Reference {
    /// Table and address in the protocol.
    pub(crate) fn place(&self) -> Option<(Kind, u16)> {
        let digits = match self {
            Self::Number(number) if *number <= 99_999 => format!("{number:05}"),
            Self::Number(number) => format!("{number:06}"),
            Self::Text(text) => text.clone(),
        };
        if !matches!(digits.len(), 5 | 6) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (table, number) = digits.split_at(1);
        let kind = match table {
            "0" => Kind::Coil,
            "1" => Kind::Discrete,
            "3" => Kind::Input,
            "4" => Kind::Holding,
            _ => return None,
        };
        let number: u32 = number.parse().ok()?;
        Some((kind, u16::try_from(number.checked_sub(1)?).ok()?))
    }
}

impl Kind {
    /// Whether its items are single bits.
    pub(crate) fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// Items that one request can ask for (V1.1b3, sections 6.1 to 6.4).
    pub(crate) fn count_max(self) -> u16 {
        if self.is_bits() { 2000 } else { 125 }
    }
}

impl Type {
    /// Words that a value takes.
    pub(crate) fn words(self) -> u16 {
        match self {
            Self::U16 | Self::I16 | Self::Bool => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_table_and_address() {
        let place = |number| Reference::Number(number).place();
        let text = |text: &str| Reference::Text(text.into()).place();
        for (found, expected) in [
            (place(1), Some((Kind::Coil, 0))),
            (place(9999), Some((Kind::Coil, 9998))),
            (place(10_001), Some((Kind::Discrete, 0))),
            (place(30_008), Some((Kind::Input, 7))),
            (place(40_101), Some((Kind::Holding, 100))),
            (place(49_999), Some((Kind::Holding, 9998))),
            (place(165_536), Some((Kind::Discrete, 65_535))),
            (place(300_001), Some((Kind::Input, 0))),
            (place(400_101), Some((Kind::Holding, 100))),
            (place(465_536), Some((Kind::Holding, 65_535))),
            (text("00017"), Some((Kind::Coil, 16))),
            (text("010000"), Some((Kind::Coil, 9999))),
            (text("40001"), Some((Kind::Holding, 0))),
            (place(0), None),
            (place(20_001), None),
            (place(40_000), None),
            (place(50_000), None),
            (place(99_999), None),
            (place(465_537), None),
            (place(4_000_001), None),
            (text("4x001"), None),
            (text("+0001"), None),
            (text(""), None),
            (text("€01"), None),
        ] {
            assert_eq!(found, expected);
        }
    }
}
