//! A score's parts in words.

use twinge_contract::verdict::Contribution;

/// The parts of a score in words; with their bits, where every one counts.
pub(super) fn attribution(parts: &[Contribution], with_bits: bool) -> String {
    let part = |part: &Contribution| {
        let bits = if with_bits { format!(":{:08x}", part.share.to_bits()) } else { String::new() };
        format!("{} {:.3}{bits}", part.field, part.share)
    };
    let parts: Vec<String> = parts.iter().map(part).collect();
    if parts.is_empty() { "none".into() } else { parts.join(", ") }
}
