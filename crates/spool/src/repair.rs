//! Saves what lies behind damage in a journal's segment, by giving it a segment of its own.
//! Knows the frames of docs/journal.md, version 1, but verifies no checksum: the journal does
//! that when it reads.

use std::io::{self, ErrorKind};
use std::path::Path;

use twinge_platform::Disk;

const MAGIC_AND_VERSION: [u8; 8] = *b"TWINGEJ\x01";
const FRAME_BYTES: usize = 16;
/// How many frames in a row must fit together before a place counts as the start of one.
const FRAMES_TO_BELIEVE: usize = 3;

/// Splits a segment whose record `offset`, at byte `position`, is damaged. Returns the offset of
/// the first record behind the damage; `None` if nothing is left there, or more than `bytes_max`.
///
/// The new segment is durable before the old one is cut: a crash in between leaves both, and the
/// next split finds the new one there.
pub(crate) fn split(
    disk: &dyn Disk,
    segment: &Path,
    offset: u64,
    position: u64,
    bytes_max: u64,
) -> io::Result<Option<u64>> {
    let bytes = disk.read(segment)?;
    let damaged = bytes.get(position as usize..).unwrap_or_default();
    let Some((start, resumed)) = find_frame(damaged, offset) else { return Ok(None) };
    let rest = &damaged[start..];
    if rest.len() as u64 > bytes_max {
        return Ok(None);
    }
    let content = [&MAGIC_AND_VERSION, resumed.to_le_bytes().as_slice(), rest].concat();
    match disk.create_new(&segment.with_file_name(format!("{resumed:020}.journal")), &content) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let mut file = disk.open_append(segment)?;
    file.truncate(position)?;
    file.sync()?;
    Ok(Some(resumed))
}

/// The place and offset of the first frame behind a bad one.
fn find_frame(bytes: &[u8], bad: u64) -> Option<(usize, u64)> {
    let frames_max = (bytes.len() / FRAME_BYTES) as u64;
    (1..bytes.len()).find_map(|start| {
        let (_, offset) = head(bytes.get(start..)?)?;
        let is_near = offset > bad && offset - bad <= frames_max;
        (is_near && fits_together(&bytes[start..], offset)).then_some((start, offset))
    })
}

fn fits_together(mut bytes: &[u8], first: u64) -> bool {
    for expected in (first..).take(FRAMES_TO_BELIEVE) {
        match head(bytes) {
            Some((length, offset)) if offset == expected && length > 0 => {
                let Some(rest) = bytes.get(FRAME_BYTES + length..) else { return false };
                bytes = rest;
            }
            _ => return false,
        }
        if bytes.is_empty() {
            break;
        }
    }
    true
}

/// Length and offset that a frame's head claims.
fn head(bytes: &[u8]) -> Option<(usize, u64)> {
    let (length, rest) = bytes.split_first_chunk()?;
    let offset = rest.get(4..)?.first_chunk()?;
    Some((u32::from_le_bytes(*length) as usize, u64::from_le_bytes(*offset)))
}
