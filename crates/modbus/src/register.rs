//! What the words of one register mean: decoding, scaling, and what counts as no reading.

use crate::settings::{Number, Order, Type};

/// How a register's words or bit become a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    /// A coil or discrete input.
    Coil,
    /// A bit of a word, or whether any is set.
    Flag {
        /// Bits of the word that count.
        mask: u16,
        /// Word that means no reading.
        missing: Option<u16>,
        /// Order of the word's bytes.
        bytes: Order,
    },
    /// A number of one to four words.
    Number(NumberFormat),
}

/// How words become a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NumberFormat {
    pub(crate) value_type: Type,
    /// Scale and offset, where either was said.
    pub(crate) scaling: Option<(f64, f64)>,
    pub(crate) missing: Option<Raw>,
    pub(crate) bytes: Order,
    pub(crate) words: Order,
}

/// A value as it is in the device, to be compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Raw {
    /// The bits of an integer.
    Bits(u64),
    /// A float.
    Float(f64),
}

/// A value of a register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    /// Finite.
    Float(f64),
}

impl Raw {
    /// What `number` looks like in a register of `value_type`; nothing where it cannot be there.
    pub(crate) fn of(number: Number, value_type: Type) -> Option<Self> {
        match (value_type, number) {
            (Type::F32, number) => Some(Self::Float(f64::from(number.as_f64() as f32))),
            (Type::F64, number) => Some(Self::Float(number.as_f64())),
            (_, Number::Float(_)) => None,
            (value_type, Number::Integer(number)) => {
                let width = u32::from(value_type.words()) * 16;
                let number = i128::from(number);
                let fits = (-(1_i128 << (width - 1))..1_i128 << width).contains(&number);
                // The lowest bits of two's complement, whatever the sign.
                fits.then(|| Self::Bits(number.cast_unsigned() as u64 & (u64::MAX >> (64 - width))))
            }
        }
    }
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            Self::Integer(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

impl Format {
    /// The value in a register's words; nothing where the device has none.
    pub(crate) fn decode(&self, words: &[u16]) -> Option<Value> {
        match self {
            // Bits do not come in words.
            Self::Coil => None,
            Self::Flag { mask, missing, bytes } => {
                let word = raw_bits(words, *bytes, Order::Big) as u16;
                (*missing != Some(word)).then_some(Value::Bool(word & mask != 0))
            }
            Self::Number(format) => format.decode(words),
        }
    }
}

impl NumberFormat {
    fn decode(&self, words: &[u16]) -> Option<Value> {
        let bits = raw_bits(words, self.bytes, self.words);
        let raw = match self.value_type {
            Type::U16 | Type::U32 | Type::U64 | Type::Bool => Value::Unsigned(bits),
            Type::I16 => Value::Signed(i64::from((bits as u16).cast_signed())),
            Type::I32 => Value::Signed(i64::from((bits as u32).cast_signed())),
            Type::I64 => Value::Signed(bits.cast_signed()),
            Type::F32 => Value::Float(f64::from(f32::from_bits(bits as u32))),
            Type::F64 => Value::Float(f64::from_bits(bits)),
        };
        let is_missing = match (self.missing, raw) {
            (Some(Raw::Float(missing)), Value::Float(raw)) => missing == raw,
            (Some(Raw::Bits(missing)), _) => missing == bits,
            _ => false,
        };
        if is_missing {
            return None;
        }
        match (self.scaling, raw) {
            (None, Value::Float(raw)) => finite(raw),
            (None, raw) => Some(raw),
            (Some((scale, offset)), raw) => finite(raw.as_f64() * scale + offset),
        }
    }
}

impl Value {
    /// The nearest float.
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Bool(value) => f64::from(u8::from(value)),
            Self::Unsigned(value) => value as f64,
            Self::Signed(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// JSON has no word for what is not finite, and no detector learns from it.
fn finite(value: f64) -> Option<Value> {
    value.is_finite().then_some(Value::Float(value))
}

/// Up to four words as one number, the highest bits first.
fn raw_bits(words: &[u16], bytes: Order, order: Order) -> u64 {
    let append = |bits: u64, word: &u16| {
        let word = if bytes == Order::Little { word.swap_bytes() } else { *word };
        bits << 16 | u64::from(word)
    };
    match order {
        Order::Big => words.iter().fold(0, append),
        Order::Little => words.iter().rev().fold(0, append),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::hash::{BuildHasher, RandomState};

    const ORDERS: [Order; 2] = [Order::Big, Order::Little];

    /// xorshift64*, enough to shuffle test data.
    pub(crate) struct Random(pub(crate) u64);

    impl Random {
        /// With a seed that is printed, or that of a run before in `TWINGE_TEST_SEED`.
        pub(crate) fn new() -> Self {
            let said = std::env::var("TWINGE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
            let seed = said.unwrap_or_else(|| RandomState::new().hash_one(0) | 1);
            #[expect(clippy::print_stderr, reason = "who sees it fail needs the seed")]
            {
                eprintln!("TWINGE_TEST_SEED={seed}");
            }
            Self(seed)
        }

        pub(crate) fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
        }

        pub(crate) fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }
    }

    fn plain(value_type: Type) -> NumberFormat {
        NumberFormat {
            value_type,
            scaling: None,
            missing: None,
            bytes: Order::Big,
            words: Order::Big,
        }
    }

    /// The words of a device with these orders, the slow way: by bytes.
    pub(crate) fn encode(bits: u64, count: usize, bytes: Order, order: Order) -> Vec<u16> {
        let big_endian = bits.to_be_bytes();
        let mut words: Vec<u16> = big_endian[8 - 2 * count..]
            .chunks(2)
            .map(|pair| match bytes {
                Order::Big => u16::from_be_bytes([pair[0], pair[1]]),
                Order::Little => u16::from_le_bytes([pair[0], pair[1]]),
            })
            .collect();
        if order == Order::Little {
            words.reverse();
        }
        words
    }

    #[test]
    fn the_four_layouts_of_a_float_in_two_words() {
        // 123.456 is 0x42F6E979; makers call these ABCD, CDAB, BADC and DCBA.
        for (words, bytes, order) in [
            ([0x42F6, 0xE979], Order::Big, Order::Big),
            ([0xE979, 0x42F6], Order::Big, Order::Little),
            ([0xF642, 0x79E9], Order::Little, Order::Big),
            ([0x79E9, 0xF642], Order::Little, Order::Little),
        ] {
            let format = NumberFormat { bytes, words: order, ..plain(Type::F32) };
            assert_eq!(format.decode(&words), Some(Value::Float(f64::from(123.456_f32))));
        }
    }

    #[test]
    fn every_type_comes_back_in_every_order() {
        let mut random = Random::new();
        for _ in 0..2000 {
            let bits = random.next() >> random.below(64);
            for (bytes, words) in ORDERS.iter().flat_map(|a| ORDERS.iter().map(|b| (*a, *b))) {
                let decode = |value_type: Type| {
                    let format = NumberFormat { bytes, words, ..plain(value_type) };
                    format.decode(&encode(bits, value_type.words().into(), bytes, words))
                };
                let float = |value: f64| value.is_finite().then_some(Value::Float(value));
                assert_eq!(decode(Type::U16), Some(Value::Unsigned(bits & 0xFFFF)));
                assert_eq!(
                    decode(Type::I16),
                    Some(Value::Signed((bits as u16).cast_signed().into()))
                );
                assert_eq!(decode(Type::U32), Some(Value::Unsigned(bits & 0xFFFF_FFFF)));
                assert_eq!(
                    decode(Type::I32),
                    Some(Value::Signed((bits as u32).cast_signed().into()))
                );
                assert_eq!(decode(Type::U64), Some(Value::Unsigned(bits)));
                assert_eq!(decode(Type::I64), Some(Value::Signed(bits.cast_signed())));
                assert_eq!(decode(Type::F32), float(f32::from_bits(bits as u32).into()));
                assert_eq!(decode(Type::F64), float(f64::from_bits(bits)));
            }
        }
    }

    #[test]
    fn what_is_not_finite_or_marked_is_no_reading() {
        for bits in [f64::NAN.to_bits(), f64::INFINITY.to_bits(), f64::NEG_INFINITY.to_bits()] {
            assert_eq!(plain(Type::F64).decode(&encode(bits, 4, Order::Big, Order::Big)), None);
        }
        let overflows = NumberFormat { scaling: Some((1e308, 0.0)), ..plain(Type::U16) };
        assert_eq!(overflows.decode(&[1000]), None);
        assert_eq!(overflows.decode(&[1]), Some(Value::Float(1e308)));
        let marked = |value_type, number| NumberFormat {
            missing: Some(Raw::of(number, value_type).unwrap()),
            ..plain(value_type)
        };
        assert_eq!(marked(Type::U16, Number::Integer(-1)).decode(&[0xFFFF]), None);
        assert_eq!(marked(Type::I16, Number::Integer(0x8000)).decode(&[0x8000]), None);
        assert_eq!(marked(Type::I16, Number::Integer(-32768)).decode(&[0x8000]), None);
        assert_eq!(marked(Type::U64, Number::Integer(-1)).decode(&[0xFFFF; 4]), None);
        assert_eq!(
            marked(Type::U64, Number::Integer(65_535)).decode(&[0xFFFF; 4]),
            Some(Value::Unsigned(u64::MAX))
        );
        // 0.1 is another number in 32 bits, and the register holds that one.
        let [high, low] = [0x3DCC, 0xCCCD];
        assert_eq!(marked(Type::F32, Number::Float(0.1)).decode(&[high, low]), None);
        assert_eq!(Raw::of(Number::Integer(65_536), Type::U16), None);
        assert_eq!(Raw::of(Number::Integer(-32_769), Type::I16), None);
        assert_eq!(Raw::of(Number::Float(1.0), Type::U16), None);
    }

    #[test]
    fn flags_look_at_a_bit_or_at_the_whole_word() {
        let flag = |mask, missing| Format::Flag { mask, missing, bytes: Order::Big };
        assert_eq!(flag(1 << 3, None).decode(&[0b1000]), Some(Value::Bool(true)));
        assert_eq!(flag(1 << 3, None).decode(&[0b0111]), Some(Value::Bool(false)));
        assert_eq!(flag(u16::MAX, None).decode(&[2]), Some(Value::Bool(true)));
        assert_eq!(flag(u16::MAX, Some(0xFFFF)).decode(&[0xFFFF]), None);
        let swapped = Format::Flag { mask: 1, missing: None, bytes: Order::Little };
        assert_eq!(swapped.decode(&[0x0100]), Some(Value::Bool(true)));
    }
}
