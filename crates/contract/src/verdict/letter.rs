//! Many verdicts of one module on one partition: what they share is made once.

use super::{Identity, Verdict};
use crate::text::SharedText;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Ids of the verdicts of a module on a partition; see [`verdict_id`](super::verdict_id).
#[derive(Clone, Debug)]
pub struct VerdictIds {
    /// Has taken in what all of them begin with.
    begun: Sha256,
}

impl VerdictIds {
    /// Ids of the verdicts by `module` (its digest) on the events of a partition.
    pub fn new(source: &str, partition: &str, module: &str) -> Self {
        let mut begun = Sha256::new();
        for part in [source, partition, module] {
            begun.update((part.len() as u64).to_le_bytes());
            begun.update(part);
        }
        Self { begun }
    }

    /// The id of the verdict on an event.
    pub fn of(&self, identity: &Identity) -> String {
        let mut hash = self.begun.clone();
        match identity {
            Identity::Offset(offset) => hash.update(offset.to_le_bytes()),
            Identity::Hash(bytes) => hash.update(bytes),
        }
        hex(&hash.finalize()[..16])
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Writes verdicts as JSON, byte for byte as [`Verdict`] is serialised, and several times as fast:
/// what the verdict before had too is copied as it was written then.
#[derive(Debug, Default)]
pub struct VerdictWriter {
    letterhead: Option<Letterhead>,
}

/// What all verdicts of a module on a partition have.
#[derive(Debug)]
struct Letterhead {
    texts: [SharedText; 7],
    /// Up to the id, from behind it up to the subject, and from the version up to the offset.
    before_id: Vec<u8>,
    before_subject: Vec<u8>,
    before_offset: Vec<u8>,
}

impl VerdictWriter {
    /// Appends the JSON of `verdict` to `out`.
    ///
    /// # Errors
    /// None that is known: numbers and texts can be written.
    pub fn write(&mut self, verdict: &Verdict, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let head = match self.letterhead.take() {
            Some(head) if head.is_of(verdict) => head,
            _ => Letterhead::of(verdict)?,
        };
        let written = head.write(verdict, out);
        self.letterhead = Some(head);
        written
    }
}

/// The texts of a verdict that others share.
fn texts(verdict: &Verdict) -> [&SharedText; 7] {
    let (data, origin) = (&verdict.data, &verdict.data.origin);
    [
        &verdict.specversion,
        &verdict.kind,
        &verdict.source,
        &data.version,
        &data.module,
        &origin.source,
        &origin.partition,
    ]
}

impl Letterhead {
    fn of(verdict: &Verdict) -> serde_json::Result<Self> {
        let (data, origin) = (&verdict.data, &verdict.data.origin);
        let quote = |text: &SharedText| serde_json::to_string(&**text);
        let before_id = format!(
            "{{\"specversion\":{},\"type\":{},\"id\":",
            quote(&verdict.specversion)?,
            quote(&verdict.kind)?
        );
        let before_subject = format!(",\"source\":{},\"subject\":", quote(&verdict.source)?);
        let before_offset = format!(
            ",\"version\":{},\"module\":{},\"origin\":{{\"source\":{},\"partition\":{},\"offset\":",
            quote(&data.version)?,
            quote(&data.module)?,
            quote(&origin.source)?,
            quote(&origin.partition)?
        );
        Ok(Self {
            texts: texts(verdict).map(Clone::clone),
            before_id: before_id.into(),
            before_subject: before_subject.into(),
            before_offset: before_offset.into(),
        })
    }

    fn is_of(&self, verdict: &Verdict) -> bool {
        self.texts.iter().zip(texts(verdict)).all(|(ours, theirs)| ours.is_same(theirs))
    }

    fn write(&self, verdict: &Verdict, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let data = &verdict.data;
        out.extend_from_slice(&self.before_id);
        put_text(&verdict.id, out)?;
        out.extend_from_slice(&self.before_subject);
        put_text(&verdict.subject, out)?;
        if let Some(time) = &verdict.time {
            out.extend_from_slice(b",\"time\":");
            put_text(time, out)?;
        }
        out.extend_from_slice(b",\"data\":{\"verdict\":");
        put(&data.verdict, out)?;
        out.extend_from_slice(b",\"score\":");
        put(&data.score, out)?;
        out.extend_from_slice(b",\"severity\":");
        put(&data.severity, out)?;
        if data.late {
            out.extend_from_slice(b",\"late\":true");
        }
        if data.continues {
            out.extend_from_slice(b",\"continues\":true");
        }
        if !data.attribution.is_empty() {
            out.extend_from_slice(b",\"attribution\":");
            put(&data.attribution, out)?;
        }
        if let Some(sensitivity) = data.sensitivity {
            out.extend_from_slice(b",\"sensitivity\":");
            put(&sensitivity, out)?;
        }
        out.extend_from_slice(&self.before_offset);
        put(&data.origin.offset, out)?;
        out.extend_from_slice(b"}}}");
        Ok(())
    }
}

fn put(value: &impl Serialize, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(out, value)
}

/// A text in quotes; most have nothing that JSON writes otherwise.
fn put_text(text: &str, out: &mut Vec<u8>) -> serde_json::Result<()> {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        return put(&text, out);
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Outcome;
    use crate::verdict::{Contribution, Origin, Severity, VerdictData};
    use proptest::prelude::*;

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::Normal),
            Just(Outcome::Anomalous),
            Just(Outcome::WarmingUp),
            Just(Outcome::Invalid)
        ]
    }

    fn scores() -> impl Strategy<Value = f64> {
        let bits = any::<u64>().prop_map(f64::from_bits);
        bits.prop_filter("JSON has finite numbers", |score| score.is_finite())
    }

    prop_compose! {
        fn verdicts()(
            shared in proptest::collection::vec(".{0,12}", 7),
            (id, subject, time) in (".{0,40}", ".{0,20}", proptest::option::of(".{0,24}")),
            (verdict, score, offset) in (outcomes(), scores(), any::<u64>()),
            (late, continues) in (any::<bool>(), any::<bool>()),
            shares in proptest::collection::vec((".{0,8}", -1e30f32..1e30), 0..3),
            sensitivity in proptest::option::of(scores()),
        ) -> Verdict {
            let text = |place: usize| SharedText::from(shared[place].as_str());
            Verdict {
                specversion: text(0),
                kind: text(1),
                id,
                source: text(2),
                subject,
                time,
                data: VerdictData {
                    verdict,
                    score,
                    severity: Severity::of(verdict, score),
                    late,
                    continues,
                    attribution: shares
                        .into_iter()
                        .map(|(field, share)| Contribution { field, share })
                        .collect(),
                    sensitivity,
                    version: text(3),
                    module: text(4),
                    origin: Origin { source: text(5), partition: text(6), offset },
                },
            }
        }
    }

    proptest! {
        #[test]
        fn verdicts_are_written_as_they_are_serialised(
            verdicts in proptest::collection::vec(verdicts(), 1..6),
            again in proptest::collection::vec(0usize..6, 0..12),
        ) {
            let mut writer = VerdictWriter::default();
            for place in (0..verdicts.len()).chain(again) {
                let verdict = &verdicts[place % verdicts.len()];
                let mut line = b"kept".to_vec();
                writer.write(verdict, &mut line).unwrap();
                prop_assert_eq!(&line[..4], b"kept");
                let (fast, slow) = (&line[4..], serde_json::to_vec(verdict).unwrap());
                prop_assert_eq!(String::from_utf8_lossy(fast), String::from_utf8_lossy(&slow));
            }
        }
    }
}
