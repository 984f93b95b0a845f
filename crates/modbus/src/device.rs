//! Settings that were found usable: a device, and where its values lie and what they mean.

use crate::grouping::Span;
use crate::register::{Format, NumberFormat, Raw};
use crate::settings::{Kind, RegisterSettings, Settings, SettingsError, Type};
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv6Addr;
use std::time::Duration;

/// Registered for Modbus.
const PORT: u16 = 502;

const HOUR_MS: u64 = 3_600_000;

/// A device to poll.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) endpoint: Endpoint,
    pub(crate) every: Duration,
    pub(crate) timeout: Duration,
    pub(crate) entity: String,
    pub(crate) entity_field: String,
    pub(crate) time_field: String,
    pub(crate) gap: u16,
    pub(crate) registers: Vec<Register>,
}

/// Whom requests go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) unit: u8,
}

/// A value of a device.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Register {
    pub(crate) name: String,
    pub(crate) span: Span,
    pub(crate) format: Format,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, unit } = self;
        if host.contains(':') {
            write!(formatter, "[{host}]:{port} unit {unit}")
        } else {
            write!(formatter, "{host}:{port} unit {unit}")
        }
    }
}

impl Settings {
    /// Whether a device can be polled by this.
    pub fn check(&self) -> Result<(), SettingsError> {
        Device::of(self).map(|_device| ())
    }
}

impl Device {
    pub(crate) fn of(settings: &Settings) -> Result<Self, SettingsError> {
        let endpoint = Endpoint::of(settings)?;
        check_milliseconds("every_ms", settings.every_ms)?;
        check_milliseconds("timeout_ms", settings.timeout_ms)?;
        let entity = expand(&settings.entity, &endpoint)?;
        check_names(settings)?;
        let register = |(index, said)| {
            Register::of(said, settings).map_err(|mut error: SettingsError| {
                error.key = format!("register[{index}].{}", error.key);
                error
            })
        };
        let registers =
            settings.registers.iter().enumerate().map(register).collect::<Result<_, _>>()?;
        Ok(Self {
            endpoint,
            every: Duration::from_millis(settings.every_ms),
            timeout: Duration::from_millis(settings.timeout_ms),
            entity,
            entity_field: settings.entity_field.clone(),
            time_field: settings.time_field.clone(),
            gap: settings.gap,
            registers,
        })
    }
}

fn check_milliseconds(key: &str, value: u64) -> Result<(), SettingsError> {
    if (1..=HOUR_MS).contains(&value) {
        return Ok(());
    }
    Err(SettingsError::new(key, format!("is {value}: say 1 to {HOUR_MS}, which is an hour")))
}

/// Every field of the row has a name, and no two have the same.
fn check_names(settings: &Settings) -> Result<(), SettingsError> {
    if settings.registers.is_empty() {
        return Err(SettingsError::new(
            "register",
            "is empty: a device needs one register or more",
        ));
    }
    let fixed = [("time_field", &settings.time_field), ("entity_field", &settings.entity_field)];
    let fixed = fixed.map(|(key, name)| (key.to_owned(), name));
    let registers = settings.registers.iter().enumerate();
    let registers = registers.map(|(index, said)| (format!("register[{index}].name"), &said.name));
    let mut seen = BTreeSet::new();
    for (key, name) in fixed.into_iter().chain(registers) {
        if name.is_empty() {
            return Err(SettingsError::new(key, "is missing: it names a field of the event"));
        }
        if !seen.insert(name) {
            let reason = format!("is `{name}`, and another field of the event has that name");
            return Err(SettingsError::new(key, reason));
        }
    }
    Ok(())
}

impl Endpoint {
    fn of(settings: &Settings) -> Result<Self, SettingsError> {
        let said = &settings.address;
        let (host, port) = split_address(said).ok_or_else(|| {
            let reason = format!("is `{said}`: say host:port, or host for port {PORT}");
            SettingsError::new("address", reason)
        })?;
        let unit = u8::try_from(settings.unit).ok().filter(|unit| matches!(unit, 0..=247 | 255));
        let unit = unit.ok_or_else(|| {
            let reason = format!("is {}: a unit is 0 to 247, or 255", settings.unit);
            SettingsError::new("unit", reason)
        })?;
        Ok(Self { host, port, unit })
    }
}

fn split_address(said: &str) -> Option<(String, u16)> {
    let (host, port) = match said.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':')?)),
        None if said.parse::<Ipv6Addr>().is_ok() => (said, None),
        None => match said.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (said, None),
        },
    };
    let is_named = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    let is_one = !host.contains(':') || host.parse::<Ipv6Addr>().is_ok();
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port > 0))?;
    (is_named && is_one && !host.contains(['[', ']'])).then(|| (host.to_owned(), port))
}

/// Puts what is known of the device into a pattern.
fn expand(pattern: &str, endpoint: &Endpoint) -> Result<String, SettingsError> {
    let entity = pattern
        .replace("{host}", &endpoint.host)
        .replace("{port}", &endpoint.port.to_string())
        .replace("{unit}", &endpoint.unit.to_string());
    let reason = if entity.is_empty() {
        "is empty: it names whose values these are".to_owned()
    } else if entity.contains(['{', '}']) {
        format!("is `{pattern}`: only {{host}}, {{port}} and {{unit}} are replaced in it")
    } else {
        return Ok(entity);
    };
    Err(SettingsError::new("entity", reason))
}

impl Register {
    /// Keys of errors are those inside the register's table.
    fn of(said: &RegisterSettings, settings: &Settings) -> Result<Self, SettingsError> {
        let (kind, start) = place(said)?;
        let format = if kind.is_bits() {
            bit_format(said)?
        } else if said.bit.is_some() || said.value_type == Some(Type::Bool) {
            flag_format(said, settings)?
        } else {
            number_format(said, settings)?
        };
        let count = match format {
            Format::Coil | Format::Flag { .. } => 1,
            Format::Number(number) => number.value_type.words(),
        };
        if u32::from(start) + u32::from(count) > 65_536 {
            let key = if said.reference.is_some() { "reference" } else { "address" };
            let reason = format!("of `{}` leaves no room for {count} words", said.name);
            return Err(SettingsError::new(key, reason));
        }
        Ok(Self { name: said.name.clone(), span: Span { kind, start, count }, format })
    }
}

fn place(said: &RegisterSettings) -> Result<(Kind, u16), SettingsError> {
    let name = &said.name;
    match (&said.reference, said.kind, said.address) {
        (Some(reference), None, None) => reference.place().ok_or_else(|| {
            let reason = format!(
                "of `{name}` is no register: say 00001 to 465536, the first digit 0, 1, 3 or 4"
            );
            SettingsError::new("reference", reason)
        }),
        (Some(_), _, _) => {
            let reason = format!("of `{name}` stands beside kind or address: say one or the other");
            Err(SettingsError::new("reference", reason))
        }
        (None, Some(kind), Some(address)) => match u16::try_from(address) {
            Ok(address) => Ok((kind, address)),
            Err(_beyond) => {
                let reason =
                    format!("of `{name}` is {address}: the protocol counts from 0 to 65535");
                Err(SettingsError::new("address", reason))
            }
        },
        (None, kind, _) => {
            let key = if kind.is_none() { "kind" } else { "address" };
            let reason = format!("of `{name}` is missing: say kind and address, or reference");
            Err(SettingsError::new(key, reason))
        }
    }
}

/// A coil or discrete input is true or false, and nothing else can be said of it.
fn bit_format(said: &RegisterSettings) -> Result<Format, SettingsError> {
    let of_words = [
        ("type", said.value_type.is_some_and(|value_type| value_type != Type::Bool)),
        ("bit", said.bit.is_some()),
        ("missing", said.missing.is_some()),
        ("scale", said.scale.is_some()),
        ("offset", said.offset.is_some()),
    ];
    match of_words.iter().find(|(_, is_said)| *is_said) {
        None => Ok(Format::Coil),
        Some((key, _)) => {
            let reason =
                format!("of `{}` means nothing: coils and discrete inputs are bool", said.name);
            Err(SettingsError::new(*key, reason))
        }
    }
}

fn flag_format(said: &RegisterSettings, settings: &Settings) -> Result<Format, SettingsError> {
    let name = &said.name;
    if !matches!(said.value_type, None | Some(Type::Bool | Type::U16)) {
        let reason = format!("of `{name}` has no bits to pick: a bit is of a u16");
        return Err(SettingsError::new("type", reason));
    }
    for (key, is_said) in [("scale", said.scale.is_some()), ("offset", said.offset.is_some())] {
        if is_said {
            let reason = format!("of `{name}` means nothing: a bit is true or false");
            return Err(SettingsError::new(key, reason));
        }
    }
    let mask = match said.bit {
        None => u16::MAX,
        Some(bit @ 0..16) => 1 << bit,
        Some(bit) => {
            let reason = format!("of `{name}` is {bit}: a word has bits 0 to 15");
            return Err(SettingsError::new("bit", reason));
        }
    };
    let missing = match missing(said, Type::U16)? {
        Some(Raw::Bits(bits)) => Some(bits as u16),
        _ => None,
    };
    Ok(Format::Flag { mask, missing, bytes: settings.byte_order })
}

fn number_format(said: &RegisterSettings, settings: &Settings) -> Result<Format, SettingsError> {
    for (key, number) in [("scale", said.scale), ("offset", said.offset)] {
        if number.is_some_and(|number| !number.is_finite()) {
            let reason = format!("of `{}` is not a finite number", said.name);
            return Err(SettingsError::new(key, reason));
        }
    }
    let is_scaled = said.scale.is_some() || said.offset.is_some();
    let scaling = is_scaled.then(|| (said.scale.unwrap_or(1.0), said.offset.unwrap_or(0.0)));
    let value_type = said.value_type.unwrap_or(Type::U16);
    Ok(Format::Number(NumberFormat {
        value_type,
        scaling,
        missing: missing(said, value_type)?,
        bytes: settings.byte_order,
        words: settings.word_order,
    }))
}

fn missing(said: &RegisterSettings, value_type: Type) -> Result<Option<Raw>, SettingsError> {
    let Some(number) = said.missing else { return Ok(None) };
    Raw::of(number, value_type).map(Some).ok_or_else(|| {
        let reason = format!("of `{}` is no raw value of its type: such are integers, and -1 is the one with all bits set", said.name);
        SettingsError::new("missing", reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn device(changes: &[(&str, Value)]) -> Result<Device, SettingsError> {
        let mut said = json!({
            "address": "plc",
            "register": [{"name": "a", "kind": "holding", "address": 1}],
        });
        for (pointer, value) in changes {
            match pointer.strip_prefix("register.") {
                Some(key) => said["register"][0][key] = value.clone(),
                None => said[*pointer] = value.clone(),
            }
        }
        Device::of(&serde_json::from_value(said).unwrap())
    }

    #[test]
    fn what_cannot_be_used_names_its_key() {
        let twice = json!([
            {"name": "a", "reference": 1},
            {"name": "a", "reference": 2},
        ]);
        for (changes, key, part) in [
            (vec![("address", json!(""))], "address", "host:port"),
            (vec![("address", json!("plc:x"))], "address", "host:port"),
            (vec![("address", json!("plc:0"))], "address", "host:port"),
            (vec![("address", json!("1:2:3"))], "address", "host:port"),
            (vec![("address", json!("tcp://plc"))], "address", "host:port"),
            (vec![("unit", json!(248))], "unit", "0 to 247"),
            (vec![("unit", json!(300))], "unit", "0 to 247"),
            (vec![("every_ms", json!(0))], "every_ms", "1 to 3600000"),
            (vec![("timeout_ms", json!(4_000_000))], "timeout_ms", "an hour"),
            (vec![("entity", json!(""))], "entity", "empty"),
            (vec![("entity", json!("p-{slave}"))], "entity", "{unit}"),
            (vec![("entity_field", json!(""))], "entity_field", "missing"),
            (vec![("time_field", json!("entity"))], "entity_field", "another field"),
            (vec![("register", json!([]))], "register", "one register"),
            (vec![("register", twice)], "register[1].name", "another field"),
            (vec![("register.name", json!("time"))], "register[0].name", "another field"),
            (vec![("register.name", json!(""))], "register[0].name", "missing"),
            (vec![("register.kind", json!(null))], "register[0].kind", "or reference"),
            (vec![("register.address", json!(null))], "register[0].address", "or reference"),
            (vec![("register.address", json!(65_536))], "register[0].address", "65535"),
            (
                vec![("register.address", json!(65_533)), ("register.type", json!("u64"))],
                "register[0].address",
                "4 words",
            ),
            (vec![("register.reference", json!(40_001))], "register[0].reference", "one or the"),
            (
                vec![("register", json!([{"name": "a", "reference": 20_001}]))],
                "register[0].reference",
                "no register",
            ),
            (
                vec![("register", json!([{"name": "a", "reference": 465_536, "type": "f32"}]))],
                "register[0].reference",
                "2 words",
            ),
            (
                vec![("register.kind", json!("coil")), ("register.type", json!("u16"))],
                "register[0].type",
                "bool",
            ),
            (
                vec![("register.kind", json!("discrete")), ("register.scale", json!(2))],
                "register[0].scale",
                "bool",
            ),
            (vec![("register.bit", json!(16))], "register[0].bit", "0 to 15"),
            (
                vec![("register.bit", json!(1)), ("register.type", json!("f32"))],
                "register[0].type",
                "u16",
            ),
            (
                vec![("register.bit", json!(1)), ("register.offset", json!(1))],
                "register[0].offset",
                "true or false",
            ),
            (vec![("register.missing", json!(65_536))], "register[0].missing", "raw value"),
            (vec![("register.missing", json!(0.5))], "register[0].missing", "raw value"),
        ] {
            let error = device(&changes).unwrap_err();
            assert_eq!(error.key, key, "{error}");
            assert!(error.reason.contains(part), "{error}");
            assert!(error.to_string().starts_with(&format!("key `{key}` of a Modbus device")));
        }
        let settings = Settings {
            address: "plc".into(),
            registers: vec![RegisterSettings {
                name: "a".into(),
                kind: Some(Kind::Input),
                address: Some(0),
                scale: Some(f64::NAN),
                ..RegisterSettings::default()
            }],
            ..Settings::default()
        };
        assert_eq!(settings.check().unwrap_err().key, "register[0].scale");
    }

    #[test]
    fn unknown_words_are_refused_by_their_name() {
        for (said, part) in [
            (json!({"address": "plc", "evry_ms": 1}), "evry_ms"),
            (json!({"register": [{"name": "a", "adress": 1}]}), "adress"),
            (json!({"register": [{"name": "a", "kind": "holdings"}]}), "holdings"),
            (json!({"register": [{"name": "a", "type": "u8"}]}), "u8"),
            (json!({"word_order": "middle"}), "middle"),
        ] {
            let error = serde_json::from_value::<Settings>(said).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn addresses_and_entities() {
        for (said, host, port) in [
            ("plc", "plc", 502),
            ("10.0.0.5:1502", "10.0.0.5", 1502),
            ("::1", "::1", 502),
            ("[::1]", "::1", 502),
            ("[::1]:1502", "::1", 1502),
        ] {
            let device = device(&[("address", json!(said)), ("unit", json!(7))]).unwrap();
            assert_eq!((device.endpoint.host.as_str(), device.endpoint.port), (host, port));
            assert_eq!(device.entity, format!("{host}/7"));
        }
        let pattern = [("entity", json!("press-{unit}@{host}:{port}")), ("unit", json!(255))];
        assert_eq!(device(&pattern).unwrap().entity, "press-255@plc:502");
    }

    #[test]
    fn types_have_sensible_defaults() {
        let format = |changes: &[_]| device(changes).unwrap().registers[0].format;
        assert!(matches!(format(&[]), Format::Number(number) if number.value_type == Type::U16));
        assert_eq!(format(&[("register.kind", json!("coil"))]), Format::Coil);
        assert!(matches!(format(&[("register.bit", json!(3))]), Format::Flag { mask: 8, .. }));
        assert!(matches!(
            format(&[("register.type", json!("bool"))]),
            Format::Flag { mask: u16::MAX, .. }
        ));
        let scaled = format(&[("register.offset", json!(-40))]);
        assert!(matches!(scaled, Format::Number(n) if n.scaling == Some((1.0, -40.0))));
    }
}
