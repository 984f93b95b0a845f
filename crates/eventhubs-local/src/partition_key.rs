//! Which partition a key belongs to: Bob Jenkins' lookup3 as the Event Hubs gateway uses it
//! (<https://burtleburtle.net/bob/c/lookup3.c>, `hashlittle2` with both seeds zero), so that an
//! entity is in the same partition here and in Azure. Knows no hub.

/// The partition, below `count`, of the events with this key.
pub(crate) fn partition_of(key: &str, count: u16) -> u16 {
    let (first, second) = lookup3(key.as_bytes());
    // The gateway cuts the hash to 16 signed bits before it takes the remainder.
    let hash = ((first ^ second) as u16).cast_signed();
    (i32::from(hash) % i32::from(count.max(1))).unsigned_abs() as u16
}

fn lookup3(bytes: &[u8]) -> (u32, u32) {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let mut state = [start; 3];
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk::<12>()
        && !after.is_empty()
    {
        add(&mut state, block);
        mix(&mut state);
        rest = after;
    }
    if !rest.is_empty() {
        // The reference adds the bytes of the last block one by one: those missing are zeros.
        let mut block = [0; 12];
        block[..rest.len()].copy_from_slice(rest);
        add(&mut state, &block);
        finish(&mut state);
    }
    (state[2], state[1])
}

fn add(state: &mut [u32; 3], block: &[u8; 12]) {
    for (word, bytes) in state.iter_mut().zip(block.as_chunks().0) {
        *word = word.wrapping_add(u32::from_le_bytes(*bytes));
    }
}

/// Each step takes one word from another, mixes that in rotated, and adds the third to it.
fn mix(state: &mut [u32; 3]) {
    for (step, turns) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
        let (changed, other, third) = (step % 3, (step + 2) % 3, (step + 1) % 3);
        state[changed] =
            state[changed].wrapping_sub(state[other]) ^ state[other].rotate_left(turns);
        state[other] = state[other].wrapping_add(state[third]);
    }
}

fn finish(state: &mut [u32; 3]) {
    for (step, turns) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        let (changed, other) = ((step + 2) % 3, (step + 1) % 3);
        state[changed] =
            (state[changed] ^ state[other]).wrapping_sub(state[other].rotate_left(turns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(key: &str) -> i16 {
        let (first, second) = lookup3(key.as_bytes());
        ((first ^ second) as u16).cast_signed()
    }

    /// The vectors of azure-sdk-for-net's PartitionResolverTests.cs.
    #[test]
    fn hashes_are_the_gateways() {
        for (key, expected) in [
            ("7", -15263),
            ("131", 30562),
            ("7149583486996073602", 12977),
            ("FWfAT", -22341),
            ("sOdeEAsyQoEuEFPGerWO", -6503),
            (
                "FAyAIctPeCgmiwLKbJcyswoHglHVjQdvtBowLACDNORsYvOcLddNJYDmhAVkbyLOrHTKLneMNcbgWVlasVywO\
                 ByANjs",
                5226,
            ),
            (
                "1XYM6!(7(lF5wq4k4m*e$Nc!1ezLJv*1YK1Y-C^*&B$O)lq^iUkG(TNzXG;Zi#z2Og*Qq0#^*k):vXh$3,C7W\
                 e7%W0meJ;b3,rQCg^J;^twXgs5E$$hWKxqp",
                23950,
            ),
            (
                "E(x;RRIaQcJs*P;D&jTPau-4K04oqr:lF6Z):ERpo&;9040qyV@G1_c9mgOs-8_8/10Fwa-7b7-yP!T-!IH&9\
                 68)FWuI;(^g$2fN;)HJ^^yTn:",
                -29304,
            ),
            ("!c*_!I@1^c", 15372),
            ("p4*!jioeO/z-!-;w:dh", -3104),
            ("$0cb", 26269),
            ("-4189260826195535198", 453),
        ] {
            assert_eq!(hash(key), expected, "{key}");
        }
    }

    #[test]
    fn partitions_are_in_range() {
        for count in 1..=32 {
            for key in ["7", "FWfAT", "", "$0cb", "ключ"] {
                assert!(partition_of(key, count) < count, "{key} of {count}");
            }
        }
    }
}
