//! The bytes of an entry in a journal, version 1 (docs/spool.md): a head by postcard and the body,
//! which is the key and the message, compressed. Knows no disk.

use serde::{Deserialize, Serialize};

use crate::entry::{Entry, Importance, Queued};
use crate::state::NUMBER_MAX;

/// The version is the variant's number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Record<'a> {
    #[serde(borrow)]
    V1(RecordV1<'a>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecordV1<'a> {
    pub(crate) sequence: u64,
    pub(crate) second: u64,
    pub(crate) packing: Packing,
    /// Length of the body once unpacked.
    body_bytes: u32,
    /// How much of the body is the key.
    key_bytes: Option<u32>,
    packed: &'a [u8],
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Packing {
    /// Not at all: it did not get shorter.
    Plain,
    /// As an LZ4 block (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md>).
    Lz4,
    /// As an LZ4 block that goes on after this dictionary.
    Lz4WithDictionary(u32),
}

/// The key, if any, and the message.
pub(crate) fn body(entry: &Entry) -> Vec<u8> {
    let key = entry.key.as_deref().unwrap_or_default();
    [key.as_bytes(), &entry.bytes].concat()
}

/// The record of an entry whose body is packed like this.
pub(crate) fn encode(queued: &Queued, packing: Packing, packed: &[u8]) -> Vec<u8> {
    let record = Record::V1(RecordV1 {
        sequence: queued.sequence,
        second: queued.second,
        packing,
        body_bytes: queued.entry.length() as u32,
        key_bytes: queued.entry.key.as_ref().map(|key| key.len() as u32),
        packed,
    });
    postcard::to_stdvec(&record).expect("postcard writes bytes and integers to memory")
}

pub(crate) fn pack(body: &[u8], dictionary: Option<(u32, &[u8])>) -> (Packing, Vec<u8>) {
    let (packing, packed) = match dictionary {
        Some((number, bytes)) => {
            (Packing::Lz4WithDictionary(number), lz4_flex::block::compress_with_dict(body, bytes))
        }
        None => (Packing::Lz4, lz4_flex::block::compress(body)),
    };
    if packed.len() < body.len() { (packing, packed) } else { (Packing::Plain, body.to_vec()) }
}

/// `None` for bytes that are no record of version 1, or that count beyond [`NUMBER_MAX`].
pub(crate) fn parse(bytes: &[u8]) -> Option<RecordV1<'_>> {
    let Record::V1(record) = postcard::from_bytes(bytes).ok()?;
    (record.sequence.max(record.second) <= NUMBER_MAX).then_some(record)
}

impl RecordV1<'_> {
    pub(crate) fn dictionary(&self) -> Option<u32> {
        match self.packing {
            Packing::Lz4WithDictionary(number) => Some(number),
            Packing::Plain | Packing::Lz4 => None,
        }
    }

    /// The entry; `None` if the body cannot be unpacked or is longer than `body_bytes_max`.
    pub(crate) fn unpack(
        &self,
        importance: Importance,
        dictionary: &[u8],
        body_bytes_max: usize,
    ) -> Option<Queued> {
        let body_bytes = self.body_bytes as usize;
        if body_bytes > body_bytes_max {
            return None;
        }
        let mut body = match self.packing {
            Packing::Plain => self.packed.to_vec(),
            Packing::Lz4 => lz4_flex::block::decompress(self.packed, body_bytes).ok()?,
            Packing::Lz4WithDictionary(_) => {
                lz4_flex::block::decompress_with_dict(self.packed, body_bytes, dictionary).ok()?
            }
        };
        let key_bytes = self.key_bytes.map(|bytes| bytes as usize);
        if body.len() != body_bytes || key_bytes.is_some_and(|bytes| bytes > body_bytes) {
            return None;
        }
        let key = match key_bytes {
            Some(bytes) => Some(String::from_utf8(body.drain(..bytes).collect()).ok()?),
            None => None,
        };
        let entry = Entry { importance, key, bytes: body };
        Some(Queued { sequence: self.sequence, second: self.second, entry })
    }
}
