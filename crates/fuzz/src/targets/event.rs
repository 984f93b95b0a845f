//! Events, bare and as CloudEvents: the short way of reading agrees with the general one, and what is
//! read has the shape that its schema says.

use std::sync::OnceLock;
use twinge_contract::event::{
    Attributes, ENTITY_BYTES_MAX, Event, EventError, EventReader, payload,
};
use twinge_contract::schema::Schema;
use twinge_contract::time::TimeFormat;

pub(super) const WORDS: &[&[u8]] = &[
    b"\"card\"",
    b"\"time\"",
    b"\"amount\"",
    b"\"country\"",
    b"\"specversion\":\"1.0\"",
    b"\"specversion\"",
    b"\"data\":",
    b"\"data_base64\":",
    b"\"subject\":",
    b"\"id\":",
    b"\"source\":",
    b"null",
    b"true",
    b"1970-01-01T00:00:00Z",
    b"9999-12-31T23:59:59.999999999+23:59",
    b"-0",
    b"1e999",
    b"1e-400",
    b"\\u0000",
    b"\\ud800",
    b"\\",
    b"{\"a\":",
    b"[[[[",
    b"\xff",
    b"\xef\xbb\xbf",
];

/// Readers by different schemas: with everything, with numbers as times, with the least there is.
fn readers() -> &'static [EventReader] {
    static READERS: OnceLock<Vec<EventReader>> = OnceLock::new();
    READERS.get_or_init(|| {
        let full = Schema {
            entity: Some("card".to_owned()),
            time: Some("time".to_owned()),
            numeric: vec!["amount".to_owned(), "id".to_owned()],
            categorical: vec!["country".to_owned(), "specversion".to_owned()],
            ..Schema::default()
        };
        let seconds = Schema { time_format: TimeFormat::EpochS, ..full.clone() };
        let least = Schema { numeric: vec!["amount".to_owned()], ..Schema::default() };
        [full, seconds, least].iter().map(EventReader::new).collect()
    })
}

/// One event as it comes over a line.
pub(super) fn event(bytes: &[u8]) {
    for (place, reader) in readers().iter().enumerate() {
        let short = reader.read(bytes);
        let general = reader.read_with_words(bytes, None).map(|(event, words)| {
            assert_eq!(words.len(), [2, 2, 0][place], "a word for each category");
            event
        });
        check(&short, if place == 2 { 1 } else { 4 });
        assert_eq!(bits(short), bits(general), "both ways of reading give the same");
    }
    // What was read before is found again, or the whole is given back.
    let object = payload(bytes);
    assert!(object.len() <= bytes.len(), "a payload is a part of its event");
}

/// One event whose attributes came beside it: they are what stands before the first line end.
pub(super) fn cloud_event(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (head, body) = bytes.split_at(end);
    let attributes: Attributes = serde_json::from_slice(head).unwrap_or_default();
    for (place, reader) in readers().iter().enumerate() {
        let read = reader.read_with(body, &attributes);
        let with_words = reader.read_with_words(body, Some(&attributes)).map(|(event, _)| event);
        check(&read, if place == 2 { 1 } else { 4 });
        assert_eq!(bits(read), bits(with_words), "words are beside what is read");
    }
}

fn check(read: &Result<Event, EventError>, width: usize) {
    match read {
        Ok(event) => {
            assert_eq!(event.inputs.len(), width, "an input for each field");
            assert!((1..=ENTITY_BYTES_MAX).contains(&event.entity.len()), "{:?}", event.entity);
            assert!(event.inputs.iter().all(|input| !input.is_infinite()), "{:?}", event.inputs);
        }
        Err(error) => assert!(!error.reason().is_empty(), "{error} has a word for programs"),
    }
}

/// Equal to the bit: NaN stands for what is missing.
fn bits(read: Result<Event, EventError>) -> Result<(Event, Vec<u64>), EventError> {
    read.map(|mut event| {
        let bits = std::mem::take(&mut event.inputs).into_iter().map(f64::to_bits).collect();
        (event, bits)
    })
}
