//! Events that sensors send: most of them good, each with its number in what is scored.

use crate::random::Random;
use twinge_contract::time::to_rfc3339;

/// What an event's number adds to its score: more than all that modules add, and exact.
const NUMBER: f64 = 1.0 / (1_u64 << 16) as f64;
/// What an anomaly has beyond that.
const ANOMALY: f64 = 2.0;
/// Entities that send.
pub(crate) const ENTITIES: u64 = 6;
/// Time by which a good event may come late, milliseconds.
const LATE_MS: u64 = 60_000;

/// An event, before it is sent and ever after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) entity: String,
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Anomalous,
    /// No detector can read it.
    Garbage,
}

impl Event {
    /// The event with a number, at `now_ms`.
    pub(crate) fn new(number: u64, now_ms: i64, random: &mut Random) -> Self {
        let entity = format!("e{}", random.within(0..ENTITIES));
        let kind = match random.within(0..40) {
            0 => Kind::Garbage,
            1 | 2 => Kind::Anomalous,
            _ => Kind::Normal,
        };
        let late_ms = if random.chance(0.1) { random.within(0..LATE_MS) } else { 0 };
        let time = to_rfc3339(now_ms - late_ms.cast_signed());
        let x = number as f64 * NUMBER + if kind == Kind::Anomalous { ANOMALY } else { 0.0 };
        let data = serde_json::json!({"entity": entity, "time": time, "x": x, "n": number});
        let text = match (kind, random.within(0..4)) {
            (Kind::Garbage, 0) => format!("{{\"n\":{number},\"entity\":\"{entity}\""),
            (Kind::Garbage, _) => serde_json::json!({"n": number, "x": "text"}).to_string(),
            // Its identity is a hash of what is in it.
            (_, 0) => data.to_string(),
            _ => serde_json::json!({
                "specversion": "1.0", "type": "reading", "source": "/sensors",
                "id": number.to_string(), "data": data,
            })
            .to_string(),
        };
        Self { number, entity, kind, bytes: text.into_bytes() }
    }
}

/// The number and kind of the event behind a score, and what the module added for those before it.
pub(crate) fn decode(score: f64) -> (u64, Kind, u64) {
    let (kind, rest) =
        if score >= 1.0 { (Kind::Anomalous, score - ANOMALY) } else { (Kind::Normal, score) };
    let number = (rest / NUMBER).floor();
    let before = (rest - number * NUMBER) / twinge_testkit::TELL;
    (number as u64, kind, before as u64)
}

/// The number in the text of an event that could not be read.
pub(crate) fn number_in(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("\"n\":")?;
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_tells_what_went_into_it() {
        for (number, kind) in [(0, Kind::Normal), (1_999, Kind::Normal), (17, Kind::Anomalous)] {
            let base = if kind == Kind::Anomalous { ANOMALY } else { 0.0 };
            let score = number as f64 * NUMBER + base + 341.0 * twinge_testkit::TELL;
            assert_eq!(decode(score), (number, kind, 341));
        }
        assert_eq!(number_in("{\"n\":12,\"x\":1}"), Some(12));
    }
}
