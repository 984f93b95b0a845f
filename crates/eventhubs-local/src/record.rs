//! An event as the log keeps it: when and where it was enqueued, and the sender's sections cut so
//! that delivering is copying. Knows no disk and no connection.

use crate::amqp::message::{Sections, binary, pairs, section, text};
use crate::amqp::value::DecodeError;

/// Message annotations that are the broker's to set; a sender's own are dropped.
const RESERVED: [&str; 5] = [
    SEQUENCE_NUMBER,
    OFFSET,
    ENQUEUED_TIME,
    PARTITION_KEY,
    // What Event Hubs sets on events from publishers, which are not supported here.
    "x-opt-publisher",
];
const SEQUENCE_NUMBER: &str = "x-opt-sequence-number";
const OFFSET: &str = "x-opt-offset";
const ENQUEUED_TIME: &str = "x-opt-enqueued-time";
pub(crate) const PARTITION_KEY: &str = "x-opt-partition-key";

/// The longest partition key, in bytes. Event Hubs takes 128 characters.
const KEY_BYTES_MAX: usize = 512;

/// The first byte of every record: its layout. A new layout gets a new number.
const VERSION: u8 = 1;
/// Version, time, offset; lengths of key, header and annotations; number of annotations. Then
/// the key, the header section, the annotations' pairs, and the sections behind them.
const HEAD_BYTES: usize = 1 + 8 + 8 + 2 + 4 + 4 + 4;

/// Consecutive events of a partition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The sequence number of the first.
    pub(crate) first: u64,
    /// Their records one after another.
    pub(crate) bytes: Vec<u8>,
    /// Where each record ends.
    pub(crate) ends: Vec<usize>,
}

/// Why a message is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    #[error("the message cannot be decoded: {0}")]
    Decode(#[from] DecodeError),
    #[error("the partition key is longer than {KEY_BYTES_MAX} bytes")]
    Key,
    #[error("the batch holds no event")]
    Empty,
}

impl Batch {
    /// Cuts a sent message into events. A batch has one event in each of its data sections, and
    /// its partition key is also theirs.
    pub(crate) fn of_message(message: &[u8], is_batch: bool) -> Result<Self, EventError> {
        let mut batch = Self::default();
        if !is_batch {
            batch.push_message(message, None)?;
            return Ok(batch);
        }
        batch.bytes.reserve(message.len() * 2);
        let mut key = None;
        for section in Sections::of(message) {
            let section = section?;
            match section.code {
                section::MESSAGE_ANNOTATIONS => key = partition_key(section.value)?,
                section::DATA => batch.push_message(binary(section.value)?, key)?,
                _ => {}
            }
        }
        if batch.ends.is_empty() { Err(EventError::Empty) } else { Ok(batch) }
    }

    fn push_message(
        &mut self,
        message: &[u8],
        envelope_key: Option<&str>,
    ) -> Result<(), EventError> {
        let event = Parts::of_message(message, envelope_key)?;
        event.encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    /// Appends a record that was read.
    pub(crate) fn push_record(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    /// One more than the last sequence number.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.ends.len() as u64
    }

    /// The record with this sequence number.
    pub(crate) fn record(&self, sequence: u64) -> Option<&[u8]> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        let start = if index == 0 { 0 } else { *self.ends.get(index - 1)? };
        self.bytes.get(start..*self.ends.get(index)?)
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &[u8]> {
        (self.first..self.end()).filter_map(|sequence| self.record(sequence))
    }

    /// Says when the events were enqueued and where in the log the first begins, in bytes, and
    /// returns where the last ends.
    pub(crate) fn stamp(&mut self, enqueued_ms: i64, mut offset: u64) -> u64 {
        let mut start = 0;
        for end in &self.ends {
            self.bytes[start + 1..start + 9].copy_from_slice(&enqueued_ms.to_le_bytes());
            self.bytes[start + 9..start + 17].copy_from_slice(&offset.to_le_bytes());
            offset += (end - start) as u64;
            start = *end;
        }
        offset
    }

    /// The partition key of the first event: it decides where all of them go.
    pub(crate) fn key(&self) -> Option<&str> {
        Event::parse(self.record(self.first)?)?.key()
    }
}

/// A sent message, cut.
#[derive(Default)]
struct Parts<'a> {
    key: Option<&'a str>,
    header: &'a [u8],
    annotations: Vec<(&'a [u8], &'a [u8])>,
    rest: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Delivery annotations end here: they are meant for the next peer alone.
    fn of_message(message: &'a [u8], envelope_key: Option<&'a str>) -> Result<Self, EventError> {
        let mut parts = Self { key: envelope_key, ..Self::default() };
        let mut length = 0;
        for section in Sections::of(message) {
            let section = section?;
            match section.code {
                section::HEADER => parts.header = section.whole,
                section::DELIVERY_ANNOTATIONS => {}
                section::MESSAGE_ANNOTATIONS => {
                    parts.key = partition_key(section.value)?.or(parts.key);
                    parts.annotations = pairs(section.value)?;
                    parts.annotations.retain(|(key, _)| !is_reserved(key));
                }
                _ if parts.rest.is_empty() => parts.rest = &message[length..],
                _ => {}
            }
            length += section.whole.len();
        }
        Ok(parts)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let key = self.key.unwrap_or_default();
        let annotations = self.annotations.iter().map(|(key, value)| key.len() + value.len());
        let annotations_bytes: usize = annotations.sum();
        out.push(VERSION);
        out.extend([0; 16]);
        out.extend((key.len() as u16).to_le_bytes());
        out.extend((self.header.len() as u32).to_le_bytes());
        out.extend((annotations_bytes as u32).to_le_bytes());
        out.extend((self.annotations.len() as u32).to_le_bytes());
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(self.header);
        for (key, value) in &self.annotations {
            out.extend_from_slice(key);
            out.extend_from_slice(value);
        }
        out.extend_from_slice(self.rest);
    }
}

fn partition_key(annotations: &[u8]) -> Result<Option<&str>, EventError> {
    for (key, value) in pairs(annotations)? {
        if text(key) == Some(PARTITION_KEY) {
            let key = text(value).filter(|key| !key.is_empty());
            let is_long = key.is_some_and(|key| key.len() > KEY_BYTES_MAX);
            return if is_long { Err(EventError::Key) } else { Ok(key) };
        }
    }
    Ok(None)
}

fn is_reserved(key: &[u8]) -> bool {
    text(key).is_some_and(|key| RESERVED.contains(&key))
}

/// A record, cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) enqueued_ms: i64,
    /// Where it begins among the bytes of all events of its partition.
    pub(crate) offset: u64,
    key: &'a [u8],
    header: &'a [u8],
    annotations_count: u32,
    annotations: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Event<'a> {
    /// Cuts a record; `None` when another version of this crate wrote it.
    pub(crate) fn parse(record: &'a [u8]) -> Option<Self> {
        let (head, body) = record.split_first_chunk::<HEAD_BYTES>()?;
        let u32_at =
            |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (key, body) = body.split_at_checked(u16::from_le_bytes([head[17], head[18]]).into())?;
        let (header, body) = body.split_at_checked(u32_at(19) as usize)?;
        let (annotations, rest) = body.split_at_checked(u32_at(23) as usize)?;
        (head[0] == VERSION).then_some(Self {
            enqueued_ms: i64::from_le_bytes(*head[1..].first_chunk()?),
            offset: u64::from_le_bytes(*head[9..].first_chunk()?),
            key,
            header,
            annotations_count: u32_at(27),
            annotations,
            rest,
        })
    }

    /// The key that chose the partition.
    pub(crate) fn key(&self) -> Option<&'a str> {
        std::str::from_utf8(self.key).ok().filter(|key| !key.is_empty())
    }

    /// The sections behind the annotations: properties and body.
    pub(crate) fn sections(&self) -> &'a [u8] {
        self.rest
    }

    /// Appends the message as receivers get it.
    pub(crate) fn encode(&self, sequence: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(self.header);
        out.extend([0x00, 0x53, section::MESSAGE_ANNOTATIONS, 0xd1]);
        let start = out.len();
        out.extend([0; 8]);
        symbol(SEQUENCE_NUMBER, out);
        out.push(0x81);
        out.extend(sequence.to_be_bytes());
        symbol(OFFSET, out);
        decimal(self.offset, out);
        symbol(ENQUEUED_TIME, out);
        out.push(0x83);
        out.extend(self.enqueued_ms.to_be_bytes());
        if !self.key.is_empty() {
            symbol(PARTITION_KEY, out);
            out.push(0xb1);
            out.extend((self.key.len() as u32).to_be_bytes());
            out.extend_from_slice(self.key);
        }
        out.extend_from_slice(self.annotations);
        let size = (out.len() - start - 4) as u32;
        let own = 3 + u32::from(!self.key.is_empty());
        let count = self.annotations_count.wrapping_add(own).wrapping_mul(2);
        out[start..start + 4].copy_from_slice(&size.to_be_bytes());
        out[start + 4..start + 8].copy_from_slice(&count.to_be_bytes());
        out.extend_from_slice(self.rest);
    }

    /// No fewer bytes than [`encode`](Self::encode) appends.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        160 + self.key.len() + self.header.len() + self.annotations.len() + self.rest.len()
    }
}

fn symbol(name: &str, out: &mut Vec<u8>) {
    out.extend([0xa3, name.len() as u8]);
    out.extend_from_slice(name.as_bytes());
}

/// Appends a number as a string, without an allocation: this runs once for each event delivered.
fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend([0xa1, (digits.len() - start) as u8]);
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::amqp::value::{Reader, Value};

    fn encoded(code: u8, value: Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        Value::described(code.into(), value).encode(&mut bytes);
        bytes
    }

    fn message(key: Option<&str>, body: &[u8]) -> Vec<u8> {
        let mut annotations = vec![
            (Value::symbol("mine"), Value::Uint(7)),
            (Value::symbol(SEQUENCE_NUMBER), Value::Long(999)),
        ];
        annotations.extend(key.map(|key| (Value::symbol(PARTITION_KEY), Value::string(key))));
        [
            encoded(section::HEADER, Value::List(vec![Value::Bool(true)])),
            encoded(section::DELIVERY_ANNOTATIONS, Value::Map(vec![])),
            encoded(section::MESSAGE_ANNOTATIONS, Value::Map(annotations)),
            encoded(section::APPLICATION_PROPERTIES, Value::Map(vec![])),
            encoded(section::DATA, Value::Binary(body.to_vec())),
        ]
        .concat()
    }

    fn delivered(batch: &Batch, sequence: u64) -> Vec<u8> {
        let event = Event::parse(batch.record(sequence).unwrap()).unwrap();
        let mut out = Vec::new();
        event.encode(sequence, &mut out);
        assert!(out.len() <= event.encoded_bytes_max());
        out
    }

    #[test]
    fn a_receiver_gets_the_senders_sections_and_the_brokers_annotations() {
        let mut batch = Batch::of_message(&message(Some("a key"), b"body"), false).unwrap();
        assert_eq!(batch.key(), Some("a key"));
        batch.first = 41;
        batch.stamp(1_000, 77);
        let bytes = delivered(&batch, 41);
        let sections: Vec<_> = Sections::of(&bytes).map(|section| section.unwrap()).collect();
        let codes: Vec<_> = sections.iter().map(|section| section.code).collect();
        assert_eq!(codes, [0x70, 0x72, 0x74, 0x75]);
        let annotations = Reader::new(sections[1].value).value().unwrap();
        let expected = vec![
            (Value::symbol(SEQUENCE_NUMBER), Value::Long(41)),
            (Value::symbol(OFFSET), Value::string("77")),
            (Value::symbol(ENQUEUED_TIME), Value::Timestamp(1_000)),
            (Value::symbol(PARTITION_KEY), Value::string("a key")),
            (Value::symbol("mine"), Value::Uint(7)),
        ];
        assert_eq!(annotations, Value::Map(expected));
        assert_eq!(binary(sections[3].value), Ok(&b"body"[..]));
    }

    #[test]
    fn a_batch_is_cut_into_its_events() {
        let envelope = Value::Map(vec![(Value::symbol(PARTITION_KEY), Value::string("all"))]);
        let bytes = [
            encoded(section::MESSAGE_ANNOTATIONS, envelope),
            encoded(section::DATA, Value::Binary(message(None, b"one"))),
            encoded(section::DATA, Value::Binary(message(Some("own"), &[b'2'; 300]))),
        ]
        .concat();
        let mut batch = Batch::of_message(&bytes, true).unwrap();
        assert_eq!((batch.ends.len(), batch.key()), (2, Some("all")));
        let end = batch.stamp(5, 10);
        let events: Vec<_> = batch.records().map(|record| Event::parse(record).unwrap()).collect();
        assert_eq!(events[0].offset, 10);
        assert_eq!(events[1].offset, 10 + batch.ends[0] as u64);
        assert_eq!(end, 10 + batch.bytes.len() as u64);
        assert_eq!((events[0].key, events[1].key), (&b"all"[..], &b"own"[..]));
        assert!(delivered(&batch, 1).ends_with(&[b'2'; 300]));
    }

    #[test]
    fn a_batch_with_one_bad_event_is_refused_whole() {
        let bytes = [
            encoded(section::DATA, Value::Binary(message(None, b"one"))),
            encoded(section::DATA, Value::Binary(vec![1, 2, 3])),
        ]
        .concat();
        assert!(matches!(Batch::of_message(&bytes, true), Err(EventError::Decode(_))));
        assert_eq!(Batch::of_message(&[], true), Err(EventError::Empty));
        let long = message(Some(&"k".repeat(KEY_BYTES_MAX + 1)), b"");
        assert_eq!(Batch::of_message(&long, false), Err(EventError::Key));
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 7, 10, 4_096, u64::MAX] {
            let mut out = Vec::new();
            decimal(number, &mut out);
            assert_eq!(text(&out), Some(number.to_string().as_str()));
        }
    }

    proptest! {
        #[test]
        fn a_mutated_message_or_record_never_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = message(Some("key"), b"body");
            let mut record = Batch::of_message(&bytes, false).unwrap().bytes;
            for (at, byte) in changes {
                let at_record = at.index(record.len());
                record[at_record] = byte;
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Batch::of_message(&bytes, false).ok();
            Batch::of_message(&bytes, true).ok();
            if let Some(event) = Event::parse(&record) {
                event.encode(0, &mut Vec::new());
            }
        }
    }
}
