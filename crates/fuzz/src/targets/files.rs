//! Several files in one input: a tag, a length of four bytes and as many bytes, again and again. What
//! is cut short is what there is. Checksums can be made right, so that mutations get behind them.

/// A file of an input.
#[derive(Debug)]
pub(crate) struct File<'a> {
    /// What the target takes it for.
    pub(crate) tag: u8,
    pub(crate) bytes: &'a [u8],
}

/// Most files of one input.
const FILES_MAX: usize = 8;
const HEADER_BYTES: usize = 16;
const FRAME_BYTES: usize = 16;

/// The files of an input.
pub(crate) fn files(mut input: &[u8]) -> Vec<File<'_>> {
    let mut files = Vec::new();
    while let Some((&[tag, a, b, c, d], rest)) = input.split_first_chunk::<5>()
        && files.len() < FILES_MAX
    {
        let length = (u32::from_le_bytes([a, b, c, d]) as usize).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        files.push(File { tag, bytes });
        input = rest;
    }
    files
}

/// The contents alone.
pub(crate) fn split(input: &[u8]) -> Vec<&[u8]> {
    files(input).into_iter().map(|file| file.bytes).collect()
}

/// One input of several files.
pub(crate) fn join<'a>(files: impl IntoIterator<Item = File<'a>>) -> Vec<u8> {
    let mut input = Vec::new();
    for file in files {
        input.push(file.tag);
        input.extend_from_slice(&(file.bytes.len() as u32).to_le_bytes());
        input.extend_from_slice(file.bytes);
    }
    input
}

/// Makes right the checksums of a journal's segment (docs/journal.md), as far as its frames go.
pub(crate) fn mend_segment(segment: &mut [u8]) {
    let mut at = HEADER_BYTES;
    while let Some(frame) = segment.get_mut(at..)
        && let Some((head, rest)) = frame.split_first_chunk_mut::<FRAME_BYTES>()
    {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(payload) = rest.get(..length) else { return };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&head[..4]);
        hasher.update(&head[8..]);
        hasher.update(payload);
        head[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
        at += FRAME_BYTES + length;
    }
}

/// Makes right the checksum of a small file of a spool (docs/spool.md).
pub(crate) fn mend_sealed(file: &mut [u8]) {
    let Some((head, content)) = file.split_first_chunk_mut::<16>() else { return };
    let hash = content.iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    head[8..].copy_from_slice(&hash.to_le_bytes());
}

/// The name of a segment that says of itself which record is its first.
pub(crate) fn segment_name(segment: &[u8]) -> String {
    let first = segment.get(8..16).and_then(|bytes| bytes.first_chunk::<8>());
    format!("{:020}.journal", first.map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}
