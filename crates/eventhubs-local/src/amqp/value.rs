//! AMQP's type system as bytes, with a bound on depth and number of what is read. Knows no frame
//! and no message.

/// How deep values may nest.
const DEPTH_MAX: usize = 32;

/// How many values one reader gives out, nested ones included: bounds memory, also for arrays
/// whose elements take no bytes.
const VALUES_MAX: usize = 65_536;

/// Any value. Decimals are kept as their bytes: nothing here computes with them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Byte(i8),
    Short(i16),
    Int(i32),
    Long(i64),
    Float(f32),
    Double(f64),
    Decimal32([u8; 4]),
    Decimal64([u8; 8]),
    Decimal128([u8; 16]),
    Char(u32),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    Uuid([u8; 16]),
    Binary(Vec<u8>),
    String(String),
    Symbol(String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Array(Vec<Value>),
    Described(Box<Value>, Box<Value>),
}

/// Why bytes are no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the value ends early")]
    Truncated,
    #[error("0x{0:02x} is no constructor")]
    Constructor(u8),
    #[error("values nest deeper than {DEPTH_MAX}")]
    Depth,
    #[error("there are more than {VALUES_MAX} values")]
    Count,
    #[error("a text is not UTF-8")]
    Utf8,
    #[error("the field {0} has the wrong type or is missing")]
    Field(&'static str),
    #[error("the sections are out of order or unknown")]
    Sections,
}

type Result<T> = std::result::Result<T, DecodeError>;

impl Value {
    /// A value under a numeric descriptor.
    pub(crate) fn described(descriptor: u64, value: Value) -> Self {
        Self::Described(Box::new(Self::Ulong(descriptor)), Box::new(value))
    }

    pub(crate) fn symbol(text: &str) -> Self {
        Self::Symbol(text.to_owned())
    }

    pub(crate) fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// The text of a string or symbol. Clients use the one for the other.
    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text),
            Self::Binary(bytes) => String::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Symbol(text) => Some(text),
            Self::Binary(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The number of any integer type.
    pub(crate) fn integer(&self) -> Option<i64> {
        match *self {
            Self::Ubyte(number) => Some(number.into()),
            Self::Ushort(number) => Some(number.into()),
            Self::Uint(number) => Some(number.into()),
            Self::Ulong(number) => i64::try_from(number).ok(),
            Self::Byte(number) => Some(number.into()),
            Self::Short(number) => Some(number.into()),
            Self::Int(number) => Some(number.into()),
            Self::Long(number) => Some(number),
            _ => None,
        }
    }

    /// The value inside a described one, or the value itself.
    pub(crate) fn undescribed(&self) -> &Value {
        match self {
            Self::Described(_, value) => value,
            value => value,
        }
    }

    /// The number of a described value's descriptor.
    pub(crate) fn descriptor(&self) -> Option<u64> {
        match self {
            Self::Described(descriptor, _) => match **descriptor {
                Self::Ulong(number) => Some(number),
                _ => None,
            },
            _ => None,
        }
    }

    /// Appends the value in its shortest form.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(0x40),
            Self::Bool(true) => out.push(0x41),
            Self::Bool(false) => out.push(0x42),
            Self::Uint(0) => out.push(0x43),
            Self::Ulong(0) => out.push(0x44),
            Self::Uint(number @ ..=0xff) => out.extend([0x52, *number as u8]),
            Self::Ulong(number @ ..=0xff) => out.extend([0x53, *number as u8]),
            Self::Int(number @ -128..=127) => out.extend([0x54, *number as u8]),
            Self::Long(number @ -128..=127) => out.extend([0x55, *number as u8]),
            Self::Binary(bytes) => encode_variable(out, 0xa0, bytes),
            Self::String(text) => encode_variable(out, 0xa1, text.as_bytes()),
            Self::Symbol(text) => encode_variable(out, 0xa3, text.as_bytes()),
            Self::List(values) if values.is_empty() => out.push(0x45),
            Self::List(values) => encode_compound(out, 0xc0, values.len(), |out| {
                encode_all(values, out);
            }),
            Self::Map(pairs) => encode_compound(out, 0xc1, pairs.len() * 2, |out| {
                encode_pairs(pairs, out);
            }),
            Self::Array(values) => encode_array(out, values),
            Self::Described(descriptor, value) => {
                out.push(0);
                descriptor.encode(out);
                value.encode(out);
            }
            _ => {
                out.push(self.wide_constructor());
                self.encode_wide(out);
            }
        }
    }

    /// The constructor that fits every value of this value's type.
    fn wide_constructor(&self) -> u8 {
        match self {
            Self::Null => 0x40,
            Self::Bool(_) => 0x56,
            Self::Ubyte(_) => 0x50,
            Self::Ushort(_) => 0x60,
            Self::Uint(_) => 0x70,
            Self::Ulong(_) => 0x80,
            Self::Byte(_) => 0x51,
            Self::Short(_) => 0x61,
            Self::Int(_) => 0x71,
            Self::Long(_) => 0x81,
            Self::Float(_) => 0x72,
            Self::Double(_) => 0x82,
            Self::Decimal32(_) => 0x74,
            Self::Decimal64(_) => 0x84,
            Self::Decimal128(_) => 0x94,
            Self::Char(_) => 0x73,
            Self::Timestamp(_) => 0x83,
            Self::Uuid(_) => 0x98,
            Self::Binary(_) => 0xb0,
            Self::String(_) => 0xb1,
            Self::Symbol(_) => 0xb3,
            Self::List(_) => 0xd0,
            Self::Map(_) => 0xd1,
            Self::Array(_) => 0xf0,
            Self::Described(..) => 0x00,
        }
    }

    /// Appends what follows [`wide_constructor`](Self::wide_constructor).
    fn encode_wide(&self, out: &mut Vec<u8>) {
        match self {
            // A described value is written by `encode` alone: arrays of them become lists.
            Self::Null | Self::Described(..) => {}
            Self::Bool(flag) => out.push(u8::from(*flag)),
            Self::Ubyte(number) => out.push(*number),
            Self::Byte(number) => out.push(*number as u8),
            Self::Ushort(number) => out.extend(number.to_be_bytes()),
            Self::Short(number) => out.extend(number.to_be_bytes()),
            Self::Uint(number) | Self::Char(number) => out.extend(number.to_be_bytes()),
            Self::Int(number) => out.extend(number.to_be_bytes()),
            Self::Float(number) => out.extend(number.to_be_bytes()),
            Self::Ulong(number) => out.extend(number.to_be_bytes()),
            Self::Long(number) | Self::Timestamp(number) => out.extend(number.to_be_bytes()),
            Self::Double(number) => out.extend(number.to_be_bytes()),
            Self::Decimal32(bytes) => out.extend(bytes),
            Self::Decimal64(bytes) => out.extend(bytes),
            Self::Decimal128(bytes) | Self::Uuid(bytes) => out.extend(bytes),
            Self::Binary(bytes) => encode_wide_variable(out, bytes),
            Self::String(text) | Self::Symbol(text) => encode_wide_variable(out, text.as_bytes()),
            Self::List(values) => encode_wide_compound(out, values.len(), |out| {
                encode_all(values, out);
            }),
            Self::Map(pairs) => encode_wide_compound(out, pairs.len() * 2, |out| {
                encode_pairs(pairs, out);
            }),
            Self::Array(values) => encode_wide_compound(out, values.len(), |out| {
                encode_elements(out, values);
            }),
        }
    }
}

fn encode_all(values: &[Value], out: &mut Vec<u8>) {
    for value in values {
        value.encode(out);
    }
}

fn encode_pairs(pairs: &[(Value, Value)], out: &mut Vec<u8>) {
    for (key, value) in pairs {
        key.encode(out);
        value.encode(out);
    }
}

fn encode_variable(out: &mut Vec<u8>, narrow: u8, bytes: &[u8]) {
    match u8::try_from(bytes.len()) {
        Ok(length) => {
            out.extend([narrow, length]);
            out.extend(bytes);
        }
        Err(_long) => {
            out.push(narrow + 0x10);
            encode_wide_variable(out, bytes);
        }
    }
}

fn encode_wide_variable(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(bytes);
}

/// Appends a list, map or array with one-byte lengths, widened when it turns out to be longer.
fn encode_compound(out: &mut Vec<u8>, narrow: u8, count: usize, items: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([narrow, 0, count as u8]);
    items(out);
    let size = out.len() - start - 2;
    if size <= 0xff && count <= 0xff {
        out[start + 1] = size as u8;
        return;
    }
    let mut head = vec![narrow + 0x10];
    head.extend((size as u32 + 3).to_be_bytes());
    head.extend((count as u32).to_be_bytes());
    out.splice(start..start + 3, head);
}

fn encode_wide_compound(out: &mut Vec<u8>, count: usize, items: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend((count as u32).to_be_bytes());
    items(out);
    let size = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// An array has elements of one type; mixed or described ones, which only a caller's mistake
/// could bring here, are written as a list.
fn encode_array(out: &mut Vec<u8>, values: &[Value]) {
    let first = values.first().map_or(0x40, Value::wide_constructor);
    if first == 0 || values.iter().any(|value| value.wide_constructor() != first) {
        return Value::List(values.to_vec()).encode(out);
    }
    encode_compound(out, 0xe0, values.len(), |out| encode_elements(out, values));
}

fn encode_elements(out: &mut Vec<u8>, values: &[Value]) {
    out.push(values.first().map_or(0x40, Value::wide_constructor));
    for value in values {
        value.encode_wide(out);
    }
}

/// Reads values from the front of a slice.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    budget: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, budget: VALUES_MAX }
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn value(&mut self) -> Result<Value> {
        self.nested(DEPTH_MAX)
    }

    fn nested(&mut self, depth: usize) -> Result<Value> {
        let depth = depth.checked_sub(1).ok_or(DecodeError::Depth)?;
        match self.byte()? {
            0 => {
                let descriptor = Box::new(self.nested(depth)?);
                Ok(Value::Described(descriptor, Box::new(self.nested(depth)?)))
            }
            constructor => self.body(constructor, depth),
        }
    }

    fn body(&mut self, constructor: u8, depth: usize) -> Result<Value> {
        self.budget = self.budget.checked_sub(1).ok_or(DecodeError::Count)?;
        match constructor {
            0x40..=0x45 => Ok(empty(constructor)),
            0x50..=0x98 => self.fixed(constructor),
            0xa0 | 0xb0 | 0xa1 | 0xb1 | 0xa3 | 0xb3 => self.variable(constructor),
            0xc0 | 0xd0 | 0xc1 | 0xd1 | 0xe0 | 0xf0 => self.compound(constructor, depth),
            _ => Err(DecodeError::Constructor(constructor)),
        }
    }

    fn fixed(&mut self, constructor: u8) -> Result<Value> {
        Ok(match constructor {
            0x50 => Value::Ubyte(self.byte()?),
            0x51 => Value::Byte(self.byte()?.cast_signed()),
            0x52 => Value::Uint(self.byte()?.into()),
            0x53 => Value::Ulong(self.byte()?.into()),
            0x54 => Value::Int(self.byte()?.cast_signed().into()),
            0x55 => Value::Long(self.byte()?.cast_signed().into()),
            0x56 => Value::Bool(self.byte()? != 0),
            0x60 => Value::Ushort(u16::from_be_bytes(self.bytes()?)),
            0x61 => Value::Short(i16::from_be_bytes(self.bytes()?)),
            0x70 => Value::Uint(u32::from_be_bytes(self.bytes()?)),
            0x71 => Value::Int(i32::from_be_bytes(self.bytes()?)),
            0x72 => Value::Float(f32::from_be_bytes(self.bytes()?)),
            0x73 => Value::Char(u32::from_be_bytes(self.bytes()?)),
            0x74 => Value::Decimal32(self.bytes()?),
            0x80 => Value::Ulong(u64::from_be_bytes(self.bytes()?)),
            0x81 => Value::Long(i64::from_be_bytes(self.bytes()?)),
            0x82 => Value::Double(f64::from_be_bytes(self.bytes()?)),
            0x83 => Value::Timestamp(i64::from_be_bytes(self.bytes()?)),
            0x84 => Value::Decimal64(self.bytes()?),
            0x94 => Value::Decimal128(self.bytes()?),
            0x98 => Value::Uuid(self.bytes()?),
            _ => return Err(DecodeError::Constructor(constructor)),
        })
    }

    fn variable(&mut self, constructor: u8) -> Result<Value> {
        let length = self.length(constructor & 0x10 != 0)?;
        let bytes = self.take(length)?.to_vec();
        if constructor.trailing_zeros() >= 4 {
            return Ok(Value::Binary(bytes));
        }
        match (constructor & 0x0f, String::from_utf8(bytes)) {
            (1, Ok(text)) => Ok(Value::String(text)),
            (_, Ok(text)) => Ok(Value::Symbol(text)),
            (_, Err(_invalid)) => Err(DecodeError::Utf8),
        }
    }

    /// The reader goes inside for as long as the items last; bytes behind them are skipped.
    fn compound(&mut self, constructor: u8, depth: usize) -> Result<Value> {
        let wide = constructor & 0x10 != 0;
        let size = self.length(wide)?;
        let inside = self.take(size)?;
        let after = std::mem::replace(&mut self.rest, inside);
        let count = self.length(wide)?;
        let value = match constructor & 0xef {
            0xe0 => Value::Array(self.elements(count, depth)?),
            _ if count > self.rest.len() => return Err(DecodeError::Truncated),
            0xc0 => {
                let items = (0..count).map(|_| self.nested(depth));
                Value::List(items.collect::<Result<_>>()?)
            }
            _ => {
                let pairs = (0..count / 2).map(|_| Ok((self.nested(depth)?, self.nested(depth)?)));
                Value::Map(pairs.collect::<Result<_>>()?)
            }
        };
        self.rest = after;
        Ok(value)
    }

    fn elements(&mut self, count: usize, depth: usize) -> Result<Vec<Value>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > self.budget {
            return Err(DecodeError::Count);
        }
        let depth = depth.checked_sub(1).ok_or(DecodeError::Depth)?;
        match self.byte()? {
            0 => {
                let descriptor = self.nested(depth)?;
                let constructor = self.byte()?;
                let described = |value| Value::Described(descriptor.clone().into(), value);
                (0..count).map(|_| Ok(described(self.body(constructor, depth)?.into()))).collect()
            }
            constructor => (0..count).map(|_| self.body(constructor, depth)).collect(),
        }
    }

    fn length(&mut self, wide: bool) -> Result<usize> {
        if wide { Ok(u32::from_be_bytes(self.bytes()?) as usize) } else { Ok(self.byte()?.into()) }
    }

    fn byte(&mut self) -> Result<u8> {
        let (byte, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }
}

fn empty(constructor: u8) -> Value {
    match constructor {
        0x41 => Value::Bool(true),
        0x42 => Value::Bool(false),
        0x43 => Value::Uint(0),
        0x44 => Value::Ulong(0),
        0x45 => Value::List(Vec::new()),
        _ => Value::Null,
    }
}

/// Splits the first value off without decoding it, in constant stack.
pub(crate) fn split_value(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let mut length = 0;
    let mut wanted = 1_usize;
    while wanted > 0 {
        let rest = bytes.get(length..).ok_or(DecodeError::Truncated)?;
        match rest.first().ok_or(DecodeError::Truncated)? {
            // A descriptor and a value stand where one value was expected.
            0 => {
                wanted += 1;
                length += 1;
            }
            constructor => {
                wanted -= 1;
                length += value_length(*constructor, &rest[1..])?;
            }
        }
    }
    bytes.split_at_checked(length).ok_or(DecodeError::Truncated)
}

/// The length of a value that is not described, its constructor included, as it claims it.
fn value_length(constructor: u8, body: &[u8]) -> Result<usize> {
    let narrow = || body.first().map(|size| 2 + usize::from(*size));
    let wide = || body.first_chunk().map(|size| 5 + u32::from_be_bytes(*size) as usize);
    match constructor >> 4 {
        0x4 => Ok(1),
        0x5 => Ok(2),
        0x6 => Ok(3),
        0x7 => Ok(5),
        0x8 => Ok(9),
        0x9 => Ok(17),
        0xa | 0xc | 0xe => narrow().ok_or(DecodeError::Truncated),
        0xb | 0xd | 0xf => wide().ok_or(DecodeError::Truncated),
        _ => Err(DecodeError::Constructor(constructor)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        value.encode(&mut out);
        out
    }

    fn leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<u8>().prop_map(Value::Ubyte),
            any::<u16>().prop_map(Value::Ushort),
            prop_oneof![Just(0), 0..=300_u32, any::<u32>()].prop_map(Value::Uint),
            prop_oneof![Just(0), 0..=300_u64, any::<u64>()].prop_map(Value::Ulong),
            any::<i8>().prop_map(Value::Byte),
            any::<i16>().prop_map(Value::Short),
            prop_oneof![-200..=200, any::<i32>()].prop_map(Value::Int),
            prop_oneof![-200..=200_i64, any::<i64>()].prop_map(Value::Long),
            (-1e9_f32..1e9).prop_map(Value::Float),
            (-1e9_f64..1e9).prop_map(Value::Double),
            any::<[u8; 4]>().prop_map(Value::Decimal32),
            any::<[u8; 8]>().prop_map(Value::Decimal64),
            any::<[u8; 16]>().prop_map(Value::Decimal128),
            any::<u32>().prop_map(Value::Char),
            any::<i64>().prop_map(Value::Timestamp),
            any::<[u8; 16]>().prop_map(Value::Uuid),
            prop::collection::vec(any::<u8>(), 0..400).prop_map(Value::Binary),
            "[a-zé]{0,300}".prop_map(Value::String),
            "[a-z:-]{0,40}".prop_map(Value::Symbol),
            prop::collection::vec("[a-z]{0,20}".prop_map(Value::String), 0..20)
                .prop_map(Value::Array),
            prop::collection::vec(any::<i64>().prop_map(Value::Long), 0..300)
                .prop_map(Value::Array),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        leaf().prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::List),
                prop::collection::vec((inner.clone(), inner.clone()), 0..8).prop_map(Value::Map),
                (inner.clone(), inner).prop_map(|(d, v)| Value::Described(d.into(), v.into())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in value(), tail in prop::collection::vec(any::<u8>(), 0..9)) {
            let mut bytes = encoded(&value);
            let length = bytes.len();
            bytes.extend(&tail);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.value(), Ok(value));
            prop_assert_eq!(reader.rest(), &tail[..]);
            prop_assert_eq!(split_value(&bytes).map(|(first, _)| first.len()), Ok(length));
        }

        #[test]
        fn a_cut_value_is_an_error(value in value(), cut in any::<prop::sample::Index>()) {
            let bytes = encoded(&value);
            let cut = &bytes[..cut.index(bytes.len())];
            prop_assert!(Reader::new(cut).value().is_err());
            prop_assert!(split_value(cut).is_err());
        }

        #[test]
        fn any_bytes_are_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = Reader::new(&bytes).value() {
                prop_assert!(encoded(&value).len() < 65_536 * 32);
            }
            split_value(&bytes).ok();
        }
    }

    #[test]
    fn short_forms_are_used() {
        assert_eq!(encoded(&Value::Uint(0)), [0x43]);
        assert_eq!(encoded(&Value::Ulong(5)), [0x53, 5]);
        assert_eq!(encoded(&Value::Long(-1)), [0x55, 0xff]);
        assert_eq!(encoded(&Value::List(vec![Value::Null])), [0xc0, 2, 1, 0x40]);
        let two = Value::Array(vec![Value::string("0"), Value::string("1")]);
        assert_eq!(
            encoded(&two),
            [0xe0, 12, 2, 0xb1, 0, 0, 0, 1, b'0', 0, 0, 0, 1, b'1'],
            "an array of strings, not a list"
        );
    }

    #[test]
    fn a_megabyte_of_nested_descriptions_is_an_error() {
        let bytes = vec![0; 1 << 20];
        assert_eq!(Reader::new(&bytes).value(), Err(DecodeError::Depth));
        assert_eq!(split_value(&bytes), Err(DecodeError::Truncated));
        let lists = [0xc0, 0xff, 1].repeat(1 << 18);
        assert!(Reader::new(&lists).value().is_err());
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_is_an_error() {
        let list = [0xd0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40];
        assert_eq!(Reader::new(&list).value(), Err(DecodeError::Truncated));
        let map = [0xd1, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40];
        assert_eq!(Reader::new(&map).value(), Err(DecodeError::Truncated));
        let array_of_nulls = [0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40];
        assert_eq!(Reader::new(&array_of_nulls).value(), Err(DecodeError::Count));
    }
}
