//! How an object lies in a file: its bytes and nothing else, or a header with its metadata first.
//!
//! ```text
//! %twinge object 1
//! offset: 4294967296
//! ownerid: 6f1c
//!
//! the bytes
//! ```
//!
//! A file that does not begin with the first line is the object, byte for byte. Bytes that happen
//! to begin with it are given a header too, if an empty one, so that every object comes back as it
//! was. Knows nothing of files.

use std::borrow::Cow;

use crate::{METADATA_BYTES_MAX, METADATA_KEYS_MAX, Metadata};

/// Pinned: files of old versions are read forever.
const MAGIC: &[u8] = b"%twinge object 1\n";
const SEPARATOR: &str = ": ";

/// How much longer than its object a file can be.
pub(crate) const HEADER_BYTES_MAX: u64 =
    (MAGIC.len() + METADATA_BYTES_MAX + METADATA_KEYS_MAX * (SEPARATOR.len() + 1) + 1) as u64;

/// The file of an object.
pub(crate) fn encode<'a>(bytes: &'a [u8], metadata: &Metadata) -> Cow<'a, [u8]> {
    if metadata.is_empty() && !bytes.starts_with(MAGIC) {
        return Cow::Borrowed(bytes);
    }
    let mut file = MAGIC.to_vec();
    for (key, value) in metadata.iter() {
        file.extend_from_slice(format!("{key}{SEPARATOR}{value}\n").as_bytes());
    }
    file.push(b'\n');
    file.extend_from_slice(bytes);
    Cow::Owned(file)
}

/// The object of a file; nothing where the header is no header, which no write leaves behind.
pub(crate) fn decode(mut file: Vec<u8>) -> Option<(Vec<u8>, Metadata)> {
    if !file.starts_with(MAGIC) {
        return Some((file, Metadata::default()));
    }
    let mut entries = Vec::new();
    let mut at = MAGIC.len();
    loop {
        let window = &file[at..file.len().min(HEADER_BYTES_MAX as usize)];
        let length = window.iter().position(|byte| *byte == b'\n')?;
        let line = str::from_utf8(&window[..length]).ok()?;
        at += length + 1;
        if line.is_empty() {
            break;
        }
        let (key, value) = line.split_once(SEPARATOR)?;
        entries.push((key.to_owned(), value.to_owned()));
    }
    let metadata = Metadata::new(entries).ok()?;
    file.drain(..at);
    Some((file, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Metadata {
        Metadata::new([("ownerid", "6f1c"), ("empty", ""), ("a", "b: c")]).unwrap()
    }

    #[test]
    fn without_metadata_a_file_is_the_object() {
        for bytes in [&b""[..], b"{}", b"\0asm\x01", b"%twinge object 1", b"%twinge object 2\n"] {
            assert_eq!(encode(bytes, &Metadata::default()), bytes);
            assert_eq!(decode(bytes.to_vec()), Some((bytes.to_vec(), Metadata::default())));
        }
    }

    #[test]
    fn every_object_comes_back() {
        let twice = encode(b"x", &owner()).into_owned();
        for bytes in [&b""[..], b"\n\n", b"a: b\n", MAGIC, b"%twinge object 1\nbroken", &twice] {
            for metadata in [Metadata::default(), owner()] {
                let file = encode(bytes, &metadata).into_owned();
                assert!(file.len() as u64 <= bytes.len() as u64 + HEADER_BYTES_MAX);
                assert_eq!(decode(file), Some((bytes.to_vec(), metadata)));
            }
        }
        let entry = |number: usize| (format!("k{number:05}"), "x".repeat(249));
        let full = Metadata::new((0..METADATA_KEYS_MAX).map(entry)).unwrap();
        assert_eq!(decode(encode(b"x", &full).into_owned()), Some((b"x".to_vec(), full)));
    }

    #[test]
    fn the_format_is_pinned() {
        let file = b"%twinge object 1\na: b: c\nempty: \nownerid: 6f1c\n\nbytes";
        assert_eq!(encode(b"bytes", &owner()), &file[..]);
        assert_eq!(decode(file.to_vec()), Some((b"bytes".to_vec(), owner())));
    }

    #[test]
    fn a_broken_header_is_no_object() {
        let whole = encode(b"", &owner()).into_owned();
        for end in MAGIC.len()..whole.len() {
            assert_eq!(decode(whole[..end].to_vec()), None, "cut at {end}");
        }
        for rest in [&b"no separator\n\n"[..], b"Upper: x\n\n", b"a: \xff\n\n"] {
            assert_eq!(decode([MAGIC, rest].concat()), None);
        }
    }
}
