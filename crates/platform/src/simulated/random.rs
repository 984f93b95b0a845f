//! Random numbers of a simulated disk.

/// A number from 0 to `most`, both included, by `SplitMix64`
/// (<https://doi.org/10.1145/2660193.2660195>). Its slight bias does not matter here.
pub(super) fn below(random: &mut u64, most: usize) -> usize {
    *random = random.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^= mixed >> 31;
    (mixed % (most as u64 + 1)) as usize
}
