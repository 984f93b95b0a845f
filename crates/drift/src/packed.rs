//! Shares of phases as the text that a manifest holds. What the shares are of is not known here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Shares as bytes in base64: 255 times the root of each, which is as exact for small shares as for
/// large ones.
pub(crate) fn pack(phases: &[Vec<f64>]) -> String {
    let byte = |share: &f64| libm::round(libm::sqrt(share.clamp(0.0, 1.0)) * 255.0) as u8;
    STANDARD_NO_PAD.encode(phases.iter().flatten().map(byte).collect::<Vec<u8>>())
}

/// Packed shares of `phases` phases with `bins` places each; nothing where they are not that.
pub(crate) fn unpack(packed: &str, bins: usize, phases: usize) -> Option<Vec<Vec<f64>>> {
    if packed.is_empty() {
        return Some(Vec::new());
    }
    let bytes = STANDARD_NO_PAD.decode(packed).ok()?;
    if bytes.len() != bins * phases {
        return None;
    }
    let shares = bytes.chunks(bins).map(|bytes| {
        let squares: Vec<f64> = bytes
            .iter()
            .map(|byte| f64::from(*byte) / 255.0 * (f64::from(*byte) / 255.0))
            .collect();
        let sum: f64 = squares.iter().sum();
        (sum > 0.0).then(|| squares.iter().map(|share| share / sum).collect())
    });
    shares.collect()
}
