//! The few attributes of a CloudEvent that choose its way. Does not know what the event tells.

use std::borrow::Cow;

use serde::Deserialize;

/// What is read from a record.
#[derive(Debug, Deserialize)]
pub(crate) struct Attributes<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) id: Cow<'a, str>,
    #[serde(borrow, default)]
    source: Cow<'a, str>,
    #[serde(borrow, default)]
    subject: Option<Cow<'a, str>>,
}

impl<'a> Attributes<'a> {
    /// Reads a record, and checks that the whole of it is JSON.
    pub(crate) fn read(record: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(record)
            .map_err(|error| format!("the record is no CloudEvent as JSON: {error}"))
    }

    /// One word for what it is: `verdict` for `io.twinge.verdict.v1`; other types in full.
    pub(crate) fn kind_name(&self) -> &str {
        let own = self.kind.strip_prefix("io.twinge.").and_then(|kind| kind.rsplit_once(".v"));
        own.map_or(&self.kind, |(name, _version)| name)
    }

    /// The detector, if its source is `/twinge/<detector>`; else the source.
    pub(crate) fn detector(&self) -> &str {
        self.source.strip_prefix("/twinge/").unwrap_or(&self.source)
    }

    /// The entity.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read() {
        let record = br#"{"specversion":"1.0","id":"a","type":"io.twinge.dead-letter.v1",
            "source":"/twinge/pump","subject":"p\u0031","data":{"type":"no"}}"#;
        let read = Attributes::read(record).unwrap();
        assert_eq!((read.kind_name(), read.detector()), ("dead-letter", "pump"));
        assert_eq!(read.subject(), Some("p1"));
        let read = Attributes::read(br#"{"type":"com.example.read","source":"urn:x"}"#).unwrap();
        assert_eq!((read.kind_name(), read.detector()), ("com.example.read", "urn:x"));
        assert_eq!(read.subject(), None);
    }

    #[test]
    fn what_is_no_event_is_told() {
        for record in [&b""[..], b"{", b"[]", b"{}", b"{\"type\":1}", b"{\"type\":\"a\"}}", b"\xff"]
        {
            assert!(Attributes::read(record).unwrap_err().contains("no CloudEvent"));
        }
    }
}
