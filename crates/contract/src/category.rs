//! How a category's text becomes a number that fits an input row.
//!
//! Texts never enter a module. Their code is the upper 52 bits of the 64-bit FNV-1a hash of the
//! UTF-8 bytes (<https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>), as a whole number: it
//! fits an `f64` exactly and any language can make it in five lines. The trainer refuses data in
//! which two categories share a code.

/// The code of a category's text: a whole number below 2^52.
///
/// ```
/// assert_eq!(twinge_contract::category::code("chip"), twinge_contract::category::code("chip"));
/// assert_ne!(twinge_contract::category::code("chip"), twinge_contract::category::code("online"));
/// ```
pub fn code(text: &str) -> f64 {
    (fnv1a(text.as_bytes()) >> 12) as f64
}

/// The 64-bit FNV-1a hash of `bytes`.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_published_one() {
        // Test vectors of the FNV draft, appendix C.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_code_is_a_whole_number_that_an_f64_holds() {
        for text in ["", "a", "grüße", "a long category name with spaces"] {
            let code = code(text);
            assert_eq!(code.fract(), 0.0);
            assert!((0.0..4_503_599_627_370_496.0).contains(&code), "{text}: {code}");
        }
    }
}
