//! The bytes of a segment, version 1 (docs/journal.md): a header, then frames. Pure: knows no
//! disk.

/// A segment starts with the magic, the version and its first offset.
pub(crate) const HEADER_BYTES: u64 = 16;
/// A frame's head: length, checksum, offset. The payload follows.
pub(crate) const FRAME_BYTES: u64 = FRAME as u64;

/// The largest first offset that a segment is believed to have: no log grows to half of all numbers,
/// and offsets are counted on from it.
pub(crate) const FIRST_MAX: u64 = u64::MAX / 2;

const FRAME: usize = 16;
const MAGIC_AND_VERSION: [u8; 8] = *b"TWINGEJ\x01";
const EXTENSION: &str = ".journal";
const OFFSET_DIGITS: usize = 20;

pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:020}{EXTENSION}")
}

/// The first offset of the segment with this file name; `None` for a file that is no segment.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let all_digits = digits.len() == OFFSET_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    if all_digits { digits.parse().ok() } else { None }
}

pub(crate) fn header(first: u64) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    header[..8].copy_from_slice(&MAGIC_AND_VERSION);
    header[8..].copy_from_slice(&first.to_le_bytes());
    header
}

/// Appends the frame of one record. The length must fit `u32`: the settings see to that.
pub(crate) fn encode(frames: &mut Vec<u8>, offset: u64, payload: &[u8]) {
    let head = Head { length: payload.len() as u32, offset, checksum: 0 };
    frames.extend_from_slice(&head.length.to_le_bytes());
    frames.extend_from_slice(&head.checksum_of(payload).to_le_bytes());
    frames.extend_from_slice(&head.offset.to_le_bytes());
    frames.extend_from_slice(payload);
}

/// The length of the frame, head included, at the start of `bytes` as its head claims it: not
/// verified, not even to fit. `None` when there is no whole head.
pub(crate) fn claimed_frame(bytes: &[u8]) -> Option<u64> {
    Head::parse(bytes).map(|head| FRAME_BYTES + u64::from(head.length))
}

/// The payload of the frame at the start of `bytes` if it is whole, intact and the record with
/// this offset.
pub(crate) fn payload(bytes: &[u8], offset: u64) -> Option<&[u8]> {
    let head = Head::parse(bytes)?;
    let payload = bytes.get(FRAME..FRAME + head.length as usize)?;
    let intact =
        head.offset == offset && head.length > 0 && head.checksum == head.checksum_of(payload);
    intact.then_some(payload)
}

struct Head {
    length: u32,
    checksum: u32,
    offset: u64,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let (checksum, rest) = rest.split_first_chunk()?;
        Some(Self {
            length: u32::from_le_bytes(*length),
            checksum: u32::from_le_bytes(*checksum),
            offset: u64::from_le_bytes(*rest.first_chunk()?),
        })
    }

    /// CRC-32 (IEEE 802.3) over length, offset and payload.
    fn checksum_of(&self, payload: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.length.to_le_bytes());
        hasher.update(&self.offset.to_le_bytes());
        hasher.update(payload);
        hasher.finalize()
    }
}

/// What a scan of the last segment found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Intact records, counted from the start.
    pub(crate) records: u64,
    /// Where they end, in bytes from the start of the file.
    pub(crate) intact_bytes: u64,
    /// Whether what follows is damage to records that had been durable, and not a torn write.
    pub(crate) damaged: bool,
}

/// Walks the frames of a whole segment, header included, whose first record is `first`.
pub(crate) fn scan(segment: &[u8], first: u64) -> Scan {
    let (records, length) = walk(&segment[HEADER_BYTES as usize..], first);
    let intact = HEADER_BYTES as usize + length;
    let damaged = is_damaged(segment, intact, first + records);
    Scan { records, intact_bytes: intact as u64, damaged }
}

/// Counts consecutive intact frames at the start of `bytes` and their length together.
fn walk(bytes: &[u8], first: u64) -> (u64, usize) {
    let (mut records, mut position) = (0, 0);
    while let Some(payload) = payload(&bytes[position..], first + records) {
        position += FRAME + payload.len();
        records += 1;
    }
    (records, position)
}

/// How many places that look like a frame are verified after a bad one: bounds the time that
/// payloads made to look like frames can cost.
const CANDIDATES_MAX: usize = 64;

/// A write that a power cut tore leaves nothing intact behind the tear, or a hole of zeros where
/// the file system had not written a sector yet. So intact records up to the end of the file
/// behind a bad one that is no hole mean damage. That they must reach the end keeps a payload
/// that imitates frames from passing for them when its own record is torn.
fn is_damaged(segment: &[u8], bad: usize, expected: u64) -> bool {
    let frames_max = (segment.len() - bad) as u64 / FRAME_BYTES;
    let later = (bad + 1..segment.len()).filter_map(|start| {
        let offset = Head::parse(&segment[start..])?.offset;
        (offset > expected && offset - expected <= frames_max).then_some((start, offset))
    });
    let resumed = later.take(CANDIDATES_MAX).find(|(start, offset)| {
        let (records, length) = walk(&segment[*start..], *offset);
        records > 0 && start + length == segment.len()
    });
    resumed.is_some_and(|(start, _)| !has_empty_sector(segment, bad, start))
}

fn has_empty_sector(segment: &[u8], from: usize, to: usize) -> bool {
    const SECTOR: usize = 512;
    segment[..to]
        .chunks_exact(SECTOR)
        .skip(from.div_ceil(SECTOR))
        .any(|sector| sector.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(payloads: &[&[u8]]) -> Vec<u8> {
        let mut bytes = header(7).to_vec();
        for (offset, payload) in (7..).zip(payloads) {
            encode(&mut bytes, offset, payload);
        }
        bytes
    }

    #[test]
    fn only_twenty_digits_name_a_segment() {
        assert_eq!(parse_segment_name(&segment_name(42)), Some(42));
        assert_eq!(parse_segment_name(&segment_name(u64::MAX)), Some(u64::MAX));
        for name in ["42.journal", "+0000000000000000042.journal", "00000000000000000042.log", ""] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_flip_before_other_records_is_damage_and_in_the_last_a_tear() {
        let whole = segment(&[b"one", b"two", b"three"]);
        let last = whole.len() - FRAME - 5;
        for bit in HEADER_BYTES as usize * 8..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = scan(&bytes, 7);
            assert!(found.records < 3, "bit {bit} went unseen");
            assert_eq!(found.damaged, bit / 8 < last, "bit {bit}");
        }
    }

    #[test]
    fn a_hole_of_zeros_is_a_torn_write() {
        let long = [b'x'; 2_000];
        let mut bytes = segment(&[b"one", &long, b"three"]);
        assert_eq!(scan(&bytes, 7).records, 3);
        bytes[512..1024].fill(0);
        assert_eq!(scan(&bytes, 7), Scan { records: 1, intact_bytes: 35, damaged: false });
        let mut zeros = segment(&[b"one"]);
        zeros.resize(5_000, 0);
        assert_eq!(scan(&zeros, 7), Scan { records: 1, intact_bytes: 35, damaged: false });
    }

    #[test]
    fn a_torn_payload_that_imitates_frames_is_a_torn_write() {
        let mut imitation = Vec::new();
        for offset in 8..40 {
            encode(&mut imitation, offset, b"not a record");
        }
        let whole = segment(&[&imitation]);
        let torn = &whole[..whole.len() - 3];
        assert_eq!(scan(torn, 7), Scan { records: 0, intact_bytes: 16, damaged: false });
    }
}
