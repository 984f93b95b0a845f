//! The short way to read an event: a flat object of numbers and of texts without escapes, in one
//! pass and without a value in between.
//!
//! Nearly all events are such. Everything else - escapes, nested values, CloudEvents, and all that is
//! wrong - is left to the general way, so that one place alone says what an event may look like; a
//! test holds the two to the same bits.

use super::{Draft, EventReader, Role, Scalar};
use std::borrow::Cow;

/// What a CloudEvent has, and an event must not be called without a look at the rest.
pub(super) const SPECVERSION: &str = "specversion";

/// Reads an event; nothing where the general way has to.
pub(super) fn read<'r>(reader: &'r EventReader, bytes: &[u8]) -> Option<Draft<'r>> {
    let mut cursor = Cursor::new(std::str::from_utf8(bytes).ok()?);
    let mut draft = Draft::new(reader, None);
    // Fields mostly come in the order of the schema.
    let mut next = 0;
    cursor.skip_blanks();
    cursor.take(b'{')?;
    loop {
        cursor.skip_blanks();
        match reader.fields.get(next) {
            Some(field) if cursor.take_label(field.label.as_deref()) => {
                cursor.skip_blanks();
                set(&mut draft, &field.name, field.role, cursor.value()?)?;
                next += 1;
            }
            _ => {
                let name = cursor.name()?;
                let value = cursor.value()?;
                if let Some((place, role)) = reader.field(name) {
                    set(&mut draft, name, role, value)?;
                    next = place + 1;
                }
            }
        }
        cursor.skip_blanks();
        match cursor.step()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    cursor.skip_blanks();
    cursor.rest.is_empty().then_some(draft)
}

fn set(draft: &mut Draft<'_>, name: &str, role: Role, value: Value<'_>) -> Option<()> {
    let scalar = match (role, value) {
        (Role::Number(index), Value::Number(Number { value, .. })) => {
            draft.inputs[index] = value;
            return Some(());
        }
        (_, Value::Null) => return Some(()),
        (_, Value::Text(text)) => Scalar::Text(Cow::Borrowed(text)),
        (_, Value::Bool(value)) => Scalar::Bool(value),
        (Role::Time, Value::Number(Number { value, .. })) => Scalar::Float(value),
        // Where a number is a name, it is written as the general way writes it; a small whole one
        // is as it stands.
        (_, Value::Number(Number { token, is_short_integer: true, .. })) => {
            Scalar::Text(Cow::Borrowed(token))
        }
        (_, Value::Number(_)) => return None,
    };
    draft.set(name, role, &scalar).ok()
}

/// A value that is not nested.
enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number<'a>),
    Text(&'a str),
}

/// A number as it is written and as what it is.
struct Number<'a> {
    token: &'a str,
    value: f64,
    /// Up to 18 digits and nothing else.
    is_short_integer: bool,
}

/// A place in a text. Each step gives nothing where what comes is not for this way of reading.
struct Cursor<'a> {
    text: &'a str,
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, rest: text.as_bytes() }
    }

    /// Bytes that lie behind.
    fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    fn step(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.step()? == byte).then_some(())
    }

    fn take_word(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word.as_bytes());
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn take_label(&mut self, label: Option<&str>) -> bool {
        label.is_some_and(|label| self.take_word(label))
    }

    /// Takes one of two bytes, if one is there.
    fn take_either(&mut self, one: u8, other: u8) -> bool {
        let is_there = self.rest.first().is_some_and(|byte| *byte == one || *byte == other);
        self.rest = &self.rest[usize::from(is_there)..];
        is_there
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// The name of a member, and what stands between it and its value.
    fn name(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let name = self.text()?;
        self.skip_blanks();
        self.take(b':')?;
        self.skip_blanks();
        (name != SPECVERSION).then_some(name)
    }

    /// A text behind its first quote that is what it looks like.
    fn text(&mut self) -> Option<&'a str> {
        let is_end = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let (begin, length) = (self.at(), self.rest.iter().position(is_end)?);
        self.rest = &self.rest[length..];
        self.take(b'"')?;
        self.text.get(begin..begin + length)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        match self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number().map(Value::Number),
            b'"' => {
                self.step();
                self.text().map(Value::Text)
            }
            _ if self.take_word("null") => Some(Value::Null),
            _ if self.take_word("true") => Some(Value::Bool(true)),
            _ if self.take_word("false") => Some(Value::Bool(false)),
            _ => None,
        }
    }

    /// Passes over digits, adding them to what they are behind; answers with how many there were.
    /// Beyond 19 digits in all the sum means nothing.
    fn digits(&mut self, sum: &mut u64) -> usize {
        let before = self.rest.len();
        while let [digit @ b'0'..=b'9', rest @ ..] = self.rest {
            *sum = sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.rest = rest;
        }
        before - self.rest.len()
    }

    fn number(&mut self) -> Option<Number<'a>> {
        let begin = self.at();
        let is_negative = self.take_either(b'-', b'-');
        let leading = *self.rest.first()?;
        let (mut sum, mut decimals) = (0, 0);
        let whole = self.digits(&mut sum);
        if whole == 0 || (leading == b'0' && whole > 1) {
            return None;
        }
        if self.take_either(b'.', b'.') {
            decimals = self.digits(&mut sum);
            if decimals == 0 {
                return None;
            }
        }
        let has_exponent = self.take_either(b'e', b'E');
        if has_exponent {
            self.take_either(b'+', b'-');
            if self.digits(&mut 0) == 0 {
                return None;
            }
        }
        let token = self.text.get(begin..self.at())?;
        let value = match POWERS_OF_TEN.get(decimals) {
            // Two numbers that an f64 holds exactly: their quotient is rounded once, as it should be
            // (Clinger, How to Read Floating Point Numbers Accurately, 1990).
            Some(power) if !has_exponent && whole + decimals <= 19 && sum <= EXACT_MAX => {
                let magnitude = sum as f64 / power;
                if is_negative { -magnitude } else { magnitude }
            }
            _ => token.parse().ok().filter(|value: &f64| value.is_finite())?,
        };
        let is_short_integer = token.len() <= 18 && !is_negative && decimals == 0 && !has_exponent;
        Some(Number { token, value, is_short_integer })
    }
}

/// Up to here each whole number is an `f64`.
const EXACT_MAX: u64 = 1 << 53;

/// The powers of ten that are, exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
