//! The partition that a key belongs to, by the hash that Event Hubs itself uses, so that events sent by
//! others with the same key lie in the same partition.

/// The place of the partition of `key` among `partitions`.
///
/// The hash is Bob Jenkins' lookup3 (`hashlittle2` with seeds of zero); both halves are combined,
/// cut to 16 bits and taken as signed, as all of Azure's SDKs do.
///
/// # Panics
/// If there are no partitions.
pub fn partition_of(key: &str, partitions: usize) -> usize {
    let (first, second) = lookup3(key.as_bytes());
    let hash = i64::from((first ^ second) as u16 as i16);
    (hash % partitions as i64).unsigned_abs() as usize
}

fn lookup3(bytes: &[u8]) -> (u32, u32) {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let mut state = [start; 3];
    if bytes.is_empty() {
        return (state[2], state[1]);
    }
    // The last block, of 1 to 12 bytes, is mixed in another way.
    let whole = (bytes.len() - 1) / 12 * 12;
    for block in bytes[..whole].chunks_exact(12) {
        add(&mut state, block);
        mix(&mut state);
    }
    add(&mut state, &bytes[whole..]);
    finish(&mut state);
    (state[2], state[1])
}

/// Adds up to twelve bytes as three little-endian words.
fn add(state: &mut [u32; 3], block: &[u8]) {
    for (word, bytes) in state.iter_mut().zip(block.chunks(4)) {
        let mut padded = [0; 4];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = word.wrapping_add(u32::from_le_bytes(padded));
    }
}

fn mix([a, b, c]: &mut [u32; 3]) {
    for (bits, turn) in [4, 6, 8, 16, 19, 4].into_iter().zip(0..) {
        let (x, y, z) = match turn % 3 {
            0 => (&mut *a, &mut *c, &*b),
            1 => (&mut *b, &mut *a, &*c),
            _ => (&mut *c, &mut *b, &*a),
        };
        *x = x.wrapping_sub(*y) ^ y.rotate_left(bits);
        *y = y.wrapping_add(*z);
    }
}

fn finish([a, b, c]: &mut [u32; 3]) {
    for (bits, turn) in [14, 11, 25, 16, 4, 14, 24].into_iter().zip(0..) {
        let (x, y) = match turn % 3 {
            0 => (&mut *c, &*b),
            1 => (&mut *a, &*c),
            _ => (&mut *b, &*a),
        };
        *x = (*x ^ *y).wrapping_sub(y.rotate_left(bits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_lookup3() {
        // From the comments of Bob Jenkins' lookup3.c.
        assert_eq!(lookup3(b""), (0xdead_beef, 0xdead_beef));
        assert_eq!(lookup3(b"Four score and seven years ago"), (0x1777_0551, 0xce72_26e6));
    }

    #[test]
    fn keys_spread_over_all_partitions() {
        let mut counts = [0; 7];
        for key in 0..7000 {
            counts[partition_of(&format!("sensor-{key}"), 7)] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
