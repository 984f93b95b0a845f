//! Small files that are written whole and show when they are damaged: a magic, a checksum, the
//! content. Does not know what the content is.

const MAGIC_BYTES: usize = 8;
/// What [`seal`] adds to the content.
pub(crate) const SEAL_BYTES: usize = MAGIC_BYTES + 8;

pub(crate) fn seal(magic: [u8; MAGIC_BYTES], content: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(SEAL_BYTES + content.len());
    file.extend_from_slice(&magic);
    file.extend_from_slice(&fnv1a(content).to_le_bytes());
    file.extend_from_slice(content);
    file
}

/// The content, if the file has this magic and is undamaged.
pub(crate) fn unseal(magic: [u8; MAGIC_BYTES], file: &[u8]) -> Option<&[u8]> {
    let (checksum, content) = file.strip_prefix(&magic)?.split_first_chunk()?;
    (u64::from_le_bytes(*checksum) == fnv1a(content)).then_some(content)
}

/// FNV-1a with 64 bits (RFC 9923): each byte goes in by a bijection, so no single damaged byte
/// stays unseen.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: [u8; 8] = *b"TWINGE?\x01";

    #[test]
    fn the_checksum_is_fnv1a() {
        // The reference values of RFC 9923.
        assert_eq!(fnv1a(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_F739_67E8);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_seen() {
        let whole = seal(MAGIC, b"some content");
        assert_eq!(unseal(MAGIC, &whole), Some(b"some content".as_slice()));
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(MAGIC, &flipped), None, "bit {bit}");
        }
        for kept in 0..whole.len() {
            assert_eq!(unseal(MAGIC, &whole[..kept]), None, "{kept} bytes");
        }
    }
}
