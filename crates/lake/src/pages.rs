//! What the pages of a Parquet file claim of themselves, before a decoder sets aside memory by it.
//!
//! The decoder reserves what a page says that it unpacks to, up to 2 GiB, whatever is there. But with
//! Snappy or without compression a page cannot unpack to more than some dozens of times its length:
//! one that says so lies. Knows the head of a page (Thrift's compact protocol,
//! <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>) and nothing of
//! what is in it.

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

/// Bytes that a byte of a page can unpack to at most: Snappy writes 64 with three.
const UNPACKED_PER_BYTE: u64 = 64;
/// What may be more for short pages.
const UNPACKED_SLACK_BYTES: u64 = 4096;
/// How deep structures of a head may nest; statistics in a page's head have the depth of two.
const DEPTH_MAX: u32 = 8;

/// Stands in place of a type behind the last field of a structure.
const END: u8 = 0;

/// Why a file is not decoded.
pub(crate) fn lie(file: &[u8], metadata: &ParquetMetaData) -> Option<&'static str> {
    let columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    for (start, length) in columns.map(ColumnChunkMetaData::byte_range) {
        let end = usize::try_from(start.saturating_add(length)).unwrap_or(usize::MAX);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let Some(mut pages) = file.get(start..end) else {
            return Some("a column lies beyond the end of the file");
        };
        while !pages.is_empty() {
            let mut head = Head { rest: pages };
            let Some(sizes) = head.sizes() else { return Some("the head of a page is no head") };
            let [Ok(unpacked), Ok(packed)] = sizes.map(u64::try_from) else {
                return Some("a page has less than no bytes");
            };
            if unpacked > packed.saturating_mul(UNPACKED_PER_BYTE) + UNPACKED_SLACK_BYTES {
                return Some("a page claims to unpack to more than it can");
            }
            let Some(rest) = head.rest.get(packed as usize..) else {
                return Some("a page lies beyond the end of its column");
            };
            pages = rest;
        }
    }
    None
}

/// A page's head, read from its start on. Each step gives nothing where the bytes are no Thrift.
struct Head<'a> {
    rest: &'a [u8],
}

impl Head<'_> {
    /// Fields 2 and 3: the length of the page once unpacked, and as it lies in the file. Moves behind
    /// the head.
    fn sizes(&mut self) -> Option<[i64; 2]> {
        let mut sizes = [None; 2];
        let mut id = 0;
        loop {
            let (field, kind) = self.field(id)?;
            id = field;
            match (field, kind) {
                (_, END) => break,
                (2 | 3, 5) => sizes[usize::from(field == 3)] = Some(self.signed()?),
                _ => self.skip(kind, DEPTH_MAX)?,
            }
        }
        Some([sizes[0]?, sizes[1]?])
    }

    /// Number and type of the next field of a structure, or its [`END`].
    fn field(&mut self, before: i64) -> Option<(i64, u8)> {
        let byte = self.byte()?;
        let (step, kind) = (i64::from(byte >> 4), byte & 15);
        let has_number = step == 0 && kind != END;
        let field = if has_number { self.signed()? } else { before.checked_add(step)? };
        Some((field, kind))
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            // Whether it is true stands in its type.
            1 | 2 => {}
            3 => drop(self.byte()?),
            4..=6 => drop(self.varint()?),
            7 => self.rest = self.rest.get(8..)?,
            8 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.rest = self.rest.get(length..)?;
            }
            9 | 10 => {
                let byte = self.byte()?;
                let short = u64::from(byte >> 4);
                let count = if short == 15 { self.varint()? } else { short };
                for _ in 0..count {
                    // In a list, what is true or false takes a byte.
                    if matches!(byte & 15, 1 | 2) {
                        self.byte()?;
                    } else {
                        self.skip(byte & 15, depth)?;
                    }
                }
            }
            12 => {
                let mut id = 0;
                loop {
                    let (field, kind) = self.field(id)?;
                    if kind == END {
                        break;
                    }
                    id = field;
                    self.skip(kind, depth)?;
                }
            }
            // Maps stand in no head.
            _ => return None,
        }
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A number with its sign in the lowest bit.
    fn signed(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_found_whatever_stands_around_them() {
        // Type 0, 200 bytes unpacked, 100 packed, a checksum, a data page with statistics, a list.
        let head = [
            0x15, 0, 0x15, 0x90, 0x03, 0x15, 0xc8, 0x01, 0x15, 0x07, 0x1c, 0x15, 0x02, 0x15, 0,
            0x2c, 0x18, 2, b'a', b'b', 0x11, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x39, 0x25, 2, 4,
            0, 99,
        ];
        let mut read = Head { rest: &head };
        assert_eq!(read.sizes(), Some([200, 100]));
        assert_eq!(read.rest, [99], "it moved behind the head");
        for kept in 0..head.len() - 1 {
            assert_eq!(Head { rest: &head[..kept] }.sizes(), None, "{kept} bytes");
        }
    }

    #[test]
    fn what_nests_or_counts_without_end_is_no_head() {
        assert_eq!(Head { rest: &[0x1c; 100] }.sizes(), None, "structures in structures");
        let list = [&[0x19, 0xf8][..], &[0xff; 9], &[0x01]].concat();
        assert_eq!(Head { rest: &list }.sizes(), None, "a list longer than its head");
    }
}
