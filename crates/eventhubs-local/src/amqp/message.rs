//! The sections of a bare message, walked without copying. Does not know what Event Hubs does
//! with them.

use super::value::{DecodeError, Reader, Value, split_value};

/// The descriptors of the sections, in the order they must have.
pub(crate) mod section {
    pub(crate) const HEADER: u8 = 0x70;
    pub(crate) const DELIVERY_ANNOTATIONS: u8 = 0x71;
    pub(crate) const MESSAGE_ANNOTATIONS: u8 = 0x72;
    pub(crate) const PROPERTIES: u8 = 0x73;
    pub(crate) const APPLICATION_PROPERTIES: u8 = 0x74;
    pub(crate) const DATA: u8 = 0x75;
    pub(crate) const SEQUENCE: u8 = 0x76;
    pub(crate) const VALUE: u8 = 0x77;
    pub(crate) const FOOTER: u8 = 0x78;
}

type Result<T> = std::result::Result<T, DecodeError>;

/// One section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section<'a> {
    /// Its descriptor.
    pub(crate) code: u8,
    /// With its descriptor.
    pub(crate) whole: &'a [u8],
    /// Without.
    pub(crate) value: &'a [u8],
}

/// Walks the sections of a message; ends at the first error.
#[derive(Debug)]
pub(crate) struct Sections<'a> {
    rest: &'a [u8],
    last: u8,
}

impl<'a> Sections<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message, last: 0 }
    }

    fn read(&mut self) -> Result<Section<'a>> {
        let (code, value) = match self.rest {
            [0, 0x53, code, value @ ..] | [0, 0x80, 0, 0, 0, 0, 0, 0, 0, code, value @ ..] => {
                (*code, value)
            }
            _ => return Err(DecodeError::Sections),
        };
        let repeats = matches!(code, section::DATA | section::SEQUENCE) && code == self.last;
        if !(section::HEADER..=section::FOOTER).contains(&code) || code <= self.last && !repeats {
            return Err(DecodeError::Sections);
        }
        let (value, rest) = split_value(value)?;
        let whole = &self.rest[..self.rest.len() - rest.len()];
        (self.rest, self.last) = (rest, code);
        Ok(Section { code, whole, value })
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<Section<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let section = self.read();
        if section.is_err() {
            self.rest = &[];
        }
        Some(section)
    }
}

/// The pairs of an encoded map, each as the bytes of its key and value.
pub(crate) fn pairs(map: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
    let (count, mut rest) = match map {
        [0x40] => (0, &[][..]),
        [0xc1, _, count, rest @ ..] => (usize::from(*count), rest),
        [0xd1, _, _, _, _, a, b, c, d, rest @ ..] => {
            (u32::from_be_bytes([*a, *b, *c, *d]) as usize, rest)
        }
        _ => return Err(DecodeError::Field("annotations")),
    };
    let mut pairs = Vec::with_capacity((count / 2).min(rest.len() / 2));
    for _ in 0..count / 2 {
        let (key, after) = split_value(rest)?;
        let (value, after) = split_value(after)?;
        pairs.push((key, value));
        rest = after;
    }
    Ok(pairs)
}

/// The bytes of an encoded binary.
pub(crate) fn binary(value: &[u8]) -> Result<&[u8]> {
    match value {
        [0xa0, _, bytes @ ..] | [0xb0, _, _, _, _, bytes @ ..] => Ok(bytes),
        _ => Err(DecodeError::Field("data")),
    }
}

/// The text of an encoded string or symbol.
pub(crate) fn text(value: &[u8]) -> Option<&str> {
    let ([0xa0 | 0xa1 | 0xa3, _, bytes @ ..] | [0xb0 | 0xb1 | 0xb3, _, _, _, _, bytes @ ..]) =
        value
    else {
        return None;
    };
    std::str::from_utf8(bytes).ok()
}

/// A request to `$cbs` or `$management`: the few things their requests carry.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) message_id: Option<Value>,
    pub(crate) reply_to: Option<String>,
    properties: Vec<(Value, Value)>,
    pub(crate) body: Option<Value>,
}

impl Request {
    pub(crate) fn decode(message: &[u8]) -> Result<Self> {
        let mut request = Self::default();
        for section in Sections::of(message) {
            let Section { code, value, .. } = section?;
            match code {
                section::PROPERTIES => request.read_properties(Reader::new(value).value()?),
                section::APPLICATION_PROPERTIES => match Reader::new(value).value()? {
                    Value::Map(pairs) => request.properties = pairs,
                    _ => return Err(DecodeError::Field("application-properties")),
                },
                section::VALUE | section::DATA => request.body = Some(Reader::new(value).value()?),
                _ => {}
            }
        }
        Ok(request)
    }

    fn read_properties(&mut self, value: Value) {
        const REPLY_TO: usize = 4;
        if let Value::List(mut fields) = value {
            fields.resize(REPLY_TO + 1, Value::Null);
            self.reply_to = fields.swap_remove(REPLY_TO).into_text();
            self.message_id = Some(fields.swap_remove(0)).filter(|id| *id != Value::Null);
        }
    }

    /// An application property by its name.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        let found = self.properties.iter().find(|(key, _)| key.text() == Some(name));
        found.and_then(|(_, value)| value.text())
    }
}

/// Encodes the answer to a request.
pub(crate) fn encode_reply(
    correlation_id: Option<Value>,
    application_properties: Vec<(Value, Value)>,
    body: Value,
) -> Vec<u8> {
    const PROPERTIES: usize = 13;
    const CORRELATION_ID: usize = 5;
    let mut properties = vec![Value::Null; PROPERTIES];
    properties[CORRELATION_ID] = correlation_id.unwrap_or(Value::Null);
    let sections = [
        (section::PROPERTIES, Value::List(properties)),
        (section::APPLICATION_PROPERTIES, Value::Map(application_properties)),
        (section::VALUE, body),
    ];
    let mut message = Vec::new();
    for (code, value) in sections {
        Value::described(code.into(), value).encode(&mut message);
    }
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(sections: &[(u8, Value)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (code, value) in sections {
            Value::described((*code).into(), value.clone()).encode(&mut bytes);
        }
        bytes
    }

    fn request() -> Vec<u8> {
        let mut properties = vec![Value::Ulong(7), Value::Null, Value::Null, Value::Null];
        properties.push(Value::string("me"));
        message(&[
            (section::HEADER, Value::List(Vec::new())),
            (section::PROPERTIES, Value::List(properties)),
            (
                section::APPLICATION_PROPERTIES,
                Value::Map(vec![(Value::string("operation"), Value::string("READ"))]),
            ),
            (section::VALUE, Value::string("a token")),
        ])
    }

    #[test]
    fn a_request_is_read() {
        let request = Request::decode(&request()).unwrap();
        assert_eq!(request.message_id, Some(Value::Ulong(7)));
        assert_eq!(request.reply_to.as_deref(), Some("me"));
        assert_eq!(request.property("operation"), Some("READ"));
        assert_eq!(request.property("type"), None);
        assert_eq!(request.body, Some(Value::string("a token")));
    }

    #[test]
    fn sections_are_found_where_they_lie() {
        let data = |text: &[u8]| (section::DATA, Value::Binary(text.to_vec()));
        let bytes = message(&[data(b"one"), data(b"two"), (section::FOOTER, Value::Map(vec![]))]);
        let sections: Vec<_> = Sections::of(&bytes).map(|section| section.unwrap()).collect();
        assert_eq!(sections.iter().map(|section| section.whole.len()).sum::<usize>(), bytes.len());
        assert_eq!(binary(sections[1].value), Ok(&b"two"[..]));
    }

    #[test]
    fn sections_in_the_wrong_order_are_an_error() {
        let value = (section::VALUE, Value::Null);
        let header = (section::HEADER, Value::List(vec![]));
        for wrong in [
            message(&[value.clone(), header.clone()]),
            message(&[header.clone(), header]),
            message(&[value.clone(), value]),
            message(&[(0x79, Value::Null)]),
            vec![1, 2, 3],
        ] {
            assert!(Sections::of(&wrong).any(|section| section.is_err()), "{wrong:?}");
        }
    }

    #[test]
    fn the_pairs_of_a_map_that_claims_too_many_are_an_error() {
        assert!(pairs(&[0xd1, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40]).is_err());
        assert_eq!(pairs(&[0xc1, 3, 2, 0x40, 0x41]), Ok(vec![(&[0x40][..], &[0x41][..])]));
    }

    proptest! {
        #[test]
        fn a_mutated_message_never_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = request();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Request::decode(&bytes).ok();
        }
    }
}
