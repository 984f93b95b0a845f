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
    let hash = ((first ^ second) as u16).cast_signed();
    // The sign is dropped after the remainder, so this is the remainder of the absolute value.
    usize::from(hash.unsigned_abs()) % partitions
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

/// Jenkins' `mix`: each step names the word that changes first; the rest follows in a circle.
fn mix(words: &mut [u32; 3]) {
    for (first, bits) in [(0, 4), (1, 6), (2, 8), (0, 16), (1, 19), (2, 4)] {
        let (second, third) = ((first + 2) % 3, (first + 1) % 3);
        words[first] = words[first].wrapping_sub(words[second]) ^ words[second].rotate_left(bits);
        words[second] = words[second].wrapping_add(words[third]);
    }
}

/// Jenkins' `final`.
fn finish(words: &mut [u32; 3]) {
    for (changed, by, bits) in
        [(2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24)]
    {
        words[changed] = (words[changed] ^ words[by]).wrapping_sub(words[by].rotate_left(bits));
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
