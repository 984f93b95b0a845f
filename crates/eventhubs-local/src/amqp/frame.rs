//! Frames: where each begins and ends, and which channel it is of. Does not know what is in one.

use super::value::Value;

/// The largest frame that is taken, in bytes; it is announced in `open`.
pub(crate) const FRAME_BYTES_MAX: u32 = 256 * 1024;
/// The smallest bound a peer may set.
pub(crate) const FRAME_BYTES_MIN: u32 = 512;
/// A frame's head: size, data offset, type, channel.
pub(crate) const HEAD_BYTES: usize = 8;

pub(crate) const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
pub(crate) const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

pub(super) const AMQP_FRAME: u8 = 0;
pub(super) const SASL_FRAME: u8 = 1;

/// A frame as it lies in the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawFrame<'a> {
    pub(crate) is_sasl: bool,
    pub(crate) channel: u16,
    pub(crate) body: &'a [u8],
    /// Length with its head, in bytes.
    pub(crate) length: usize,
}

/// The frame at the start of `bytes`; `None` while it is not whole.
pub(crate) fn split_frame(bytes: &[u8]) -> Result<Option<RawFrame<'_>>, String> {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let data_offset = usize::from(head[4]) * 4;
    if size > FRAME_BYTES_MAX {
        return Err(format!("a frame of {size} bytes: at most {FRAME_BYTES_MAX} are taken"));
    }
    let length = size as usize;
    if data_offset < HEAD_BYTES || length < data_offset || head[5] > SASL_FRAME {
        return Err("a frame with a wrong size, data offset or type".to_owned());
    }
    Ok(bytes.get(data_offset..length).map(|body| RawFrame {
        is_sasl: head[5] == SASL_FRAME,
        channel: u16::from_be_bytes([head[6], head[7]]),
        body,
        length,
    }))
}

pub(super) fn encode_frame(
    kind: u8,
    channel: u16,
    descriptor: u64,
    fields: Vec<Value>,
    out: &mut Vec<u8>,
) {
    let start = begin_frame(kind, channel, out);
    Value::described(descriptor, Value::List(fields)).encode(out);
    end_frame(start, out);
}

pub(super) fn begin_frame(kind: u8, channel: u16, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend([0, 0, 0, 0, 2, kind]);
    out.extend(channel.to_be_bytes());
    start
}

pub(super) fn end_frame(start: usize, out: &mut [u8]) {
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// The frame that only says that its sender lives.
pub(crate) fn encode_heartbeat(out: &mut Vec<u8>) {
    let start = begin_frame(AMQP_FRAME, 0, out);
    end_frame(start, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_heads_are_errors() {
        let too_large = (FRAME_BYTES_MAX + 1).to_be_bytes();
        let heads: [&[u8]; 4] = [
            &[too_large[0], too_large[1], too_large[2], too_large[3], 2, 0, 0, 0],
            &[0, 0, 0, 7, 2, 0, 0, 0],
            &[0, 0, 0, 20, 1, 0, 0, 0],
            &[0, 0, 0, 20, 2, 9, 0, 0],
        ];
        for head in heads {
            assert!(split_frame(head).is_err(), "{head:?}");
        }
        assert_eq!(split_frame(&[0, 0, 0, 20, 2, 0, 0]), Ok(None));
        assert_eq!(split_frame(&[0, 0, 0, 9, 2, 0, 0, 0]), Ok(None));
    }
}
