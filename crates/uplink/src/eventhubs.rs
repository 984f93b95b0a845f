//! Event Hubs over HTTPS (<https://learn.microsoft.com/rest/api/eventhub/send-batch-events>): for
//! devices that need no AMQP. Does not know what the events tell.
//!
//! Order lives within a partition, and a partition is chosen by a key. By default all records of a
//! device have one key, so they keep one order and go in one request for each batch. With a key for
//! each entity they spread over the partitions, at the price of a request for each entity in a
//! batch; order is then kept for each entity alone. Where one of several requests fails the whole
//! batch is sent again: consumers drop duplicates by `id`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use twinge_platform::Clock;

use crate::event::Attributes;
use crate::request::Poster;
use crate::sas::ConnectionString;
use crate::secret::{Secret, SecretSource};
use crate::uplink::{Limits, Outgoing, Uplink, UplinkError};

const BATCH_TYPE: &str = "application/vnd.microsoft.servicebus.json";
const BROKER_PROPERTIES: HeaderName = HeaderName::from_static("brokerproperties");
/// What a partition key may be long, in characters.
const KEY_CHARS_MAX: usize = 128;
/// The largest request that Event Hubs takes, in bytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// How long a made token is valid, and how much of that is left when the next is made.
const TOKEN_S: i64 = 3_600;
const TOKEN_LEFT_S: i64 = 600;

/// What chooses the partition of a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionKey {
    /// The device: all its records keep one order.
    #[default]
    Device,
    /// The entity: records of one entity keep their order. Those without one go by the device.
    Entity,
}

/// An event hub.
#[derive(Debug)]
pub(crate) struct EventHubs {
    pub(crate) poster: Poster,
    pub(crate) access: Access,
    pub(crate) keying: PartitionKey,
    pub(crate) device: String,
    /// Records go to a publisher of the hub, whose name is their key.
    pub(crate) is_publisher: bool,
    pub(crate) limits: Limits,
}

#[async_trait]
impl Uplink for EventHubs {
    fn limits(&self) -> Limits {
        self.limits
    }

    async fn send(&mut self, batch: &[Outgoing<'_>]) -> Result<(), UplinkError> {
        for Group { key, indices } in self.groups(batch) {
            for body in bodies(batch, &indices, &self.device, self.limits.bytes_max)? {
                let (only, bytes) = (body.only(), body.bytes);
                self.post(key.as_deref(), bytes).await.map_err(|error| match (error, only) {
                    (UplinkError::Refused { reason, .. }, only @ Some(_)) => {
                        UplinkError::Refused { index: only, reason }
                    }
                    (error, _) => error,
                })?;
            }
        }
        Ok(())
    }
}

/// Records of a batch that go to one partition, in their order.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    /// `None` where the publisher's name is the key.
    key: Option<String>,
    indices: Vec<usize>,
}

impl EventHubs {
    fn groups(&self, batch: &[Outgoing<'_>]) -> Vec<Group> {
        if self.is_publisher || self.keying == PartitionKey::Device {
            let key = (!self.is_publisher).then(|| self.device.clone());
            return vec![Group { key, indices: (0..batch.len()).collect() }];
        }
        let mut places = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for (index, record) in batch.iter().enumerate() {
            let key = record.key.unwrap_or(&self.device);
            let place = *places.entry(key).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Group { key: Some(key.to_owned()), indices: Vec::new() });
            }
            groups[place].indices.push(index);
        }
        groups
    }

    /// Posts with the token at hand; if that is refused, once more with one that is new.
    async fn post(&mut self, key: Option<&str>, body: Vec<u8>) -> Result<(), UplinkError> {
        let token = self.access.token().map_err(UplinkError::away)?;
        let answer = self.poster.post(headers(key, &token)?, body.clone(), Some(&token)).await?;
        if answer.status != reqwest::StatusCode::UNAUTHORIZED {
            return self.poster.judge(&answer, &self.access.renewal());
        }
        self.access.forget();
        let renewed = self.access.token().map_err(UplinkError::away)?;
        if renewed == token {
            return self.poster.judge(&answer, &self.access.renewal());
        }
        let answer = self.poster.post(headers(key, &renewed)?, body, Some(&renewed)).await?;
        self.poster.judge(&answer, &self.access.renewal())
    }
}

fn headers(key: Option<&str>, token: &Secret) -> Result<HeaderMap, UplinkError> {
    let mut authorization = HeaderValue::try_from(token.expose())
        .map_err(|_why| UplinkError::away("the token has characters that no header can carry"))?;
    authorization.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, authorization);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(BATCH_TYPE));
    if let Some(key) = key {
        headers.insert(BROKER_PROPERTIES, broker_properties(key));
    }
    Ok(headers)
}

/// JSON in a header: all that is not ASCII is escaped.
fn broker_properties(key: &str) -> HeaderValue {
    let key: String = key.chars().take(KEY_CHARS_MAX).collect();
    let json = serde_json::json!({ "PartitionKey": key }).to_string();
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, ' '..='~') {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(ascii, "\\u{unit:04x}").expect("a String takes everything");
            }
        }
    }
    HeaderValue::try_from(ascii).expect("printable ASCII is a header's value")
}

/// One request's body and which of the batch it holds.
struct Body<'a> {
    bytes: Vec<u8>,
    indices: &'a [usize],
}

impl Body<'_> {
    fn only(&self) -> Option<usize> {
        if let [only] = self.indices { Some(*only) } else { None }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'a> {
    body: &'a str,
    user_properties: Properties<'a>,
}

/// What consumers can filter by without reading the body.
#[derive(Serialize)]
struct Properties<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    device: &'a str,
}

/// The bodies that hold these records, each of at most so many bytes or of one record.
fn bodies<'a>(
    batch: &[Outgoing<'_>],
    indices: &'a [usize],
    device: &str,
    bytes_max: usize,
) -> Result<Vec<Body<'a>>, UplinkError> {
    let mut bodies = Vec::new();
    let (mut bytes, mut held): (Vec<u8>, Range<usize>) = (Vec::new(), 0..0);
    for (place, index) in indices.iter().enumerate() {
        let message = encode(batch[*index].bytes, device)
            .map_err(|reason| UplinkError::refused(*index, reason))?;
        if !held.is_empty() && bytes.len() + message.len() + 2 > bytes_max {
            bytes.push(b']');
            bodies
                .push(Body { bytes: std::mem::take(&mut bytes), indices: &indices[held.clone()] });
            held.start = place;
        }
        bytes.push(if bytes.is_empty() { b'[' } else { b',' });
        bytes.extend_from_slice(&message);
        held.end = place + 1;
    }
    if !held.is_empty() {
        bytes.push(b']');
        bodies.push(Body { bytes, indices: &indices[held] });
    }
    Ok(bodies)
}

fn encode(record: &[u8], device: &str) -> Result<Vec<u8>, String> {
    let attributes = Attributes::read(record)?;
    let body =
        std::str::from_utf8(record).map_err(|error| format!("the record is no text: {error}"))?;
    let message = Message { body, user_properties: Properties { kind: &attributes.kind, device } };
    let message = serde_json::to_vec(&message).map_err(|error| error.to_string())?;
    if message.len() + 2 > REQUEST_BYTES_MAX {
        return Err(format!(
            "the record makes a request of {} bytes, and Event Hubs takes {REQUEST_BYTES_MAX}",
            message.len() + 2
        ));
    }
    Ok(message)
}

/// What opens the hub.
#[derive(Debug)]
pub(crate) enum Access {
    /// Tokens are made here from the key of a connection string.
    Key { source: SecretSource, resource: String, clock: Arc<dyn Clock>, made: Option<Made> },
    /// Somebody else makes and renews the token.
    Token { source: SecretSource, read: Option<Secret> },
}

#[derive(Debug)]
pub(crate) struct Made {
    token: Secret,
    expiry_s: i64,
}

impl Access {
    fn token(&mut self) -> Result<Secret, String> {
        match self {
            Self::Token { source, read } => {
                if read.is_none() {
                    *read = Some(source.read()?);
                }
                Ok(read.clone().expect("it was just read"))
            }
            Self::Key { source, resource, clock, made } => {
                let now_s = clock.now_ms().div_euclid(1_000);
                // Also after the clock was set back: its token would be valid for too long.
                let is_good =
                    |made: &&Made| (TOKEN_LEFT_S..=TOKEN_S).contains(&(made.expiry_s - now_s));
                if let Some(made) = made.as_ref().filter(is_good) {
                    return Ok(made.token.clone());
                }
                let key = read_connection_string(source)?;
                let expiry_s = now_s + TOKEN_S;
                let token = key.token(resource, expiry_s);
                *made = Some(Made { token: token.clone(), expiry_s });
                Ok(token)
            }
        }
    }

    /// The next token is read or made anew.
    fn forget(&mut self) {
        match self {
            Self::Key { made, .. } => *made = None,
            Self::Token { read, .. } => *read = None,
        }
    }

    /// What to do when the hub refuses the token.
    fn renewal(&self) -> String {
        match self {
            Self::Key { source, .. } => {
                format!("check that the key in {source} may send to this hub")
            }
            Self::Token { source, .. } => format!("put a fresh token into {source}"),
        }
    }
}

pub(crate) fn read_connection_string(source: &SecretSource) -> Result<ConnectionString, String> {
    let text = source.read()?;
    ConnectionString::parse(text.expose())
        .map_err(|lack| format!("the connection string in {source} {lack}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: &str, length: usize) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({ "type": kind, "data": "\"".repeat(length) }))
            .unwrap()
    }

    #[test]
    fn bodies_stay_below_the_limit_and_hold_all_in_order() {
        let records: Vec<_> = (0..40).map(|n| record(&format!("t{n}"), n * 10)).collect();
        let batch: Vec<_> = records.iter().map(|bytes| Outgoing { key: None, bytes }).collect();
        let indices: Vec<_> = (0..40).collect();
        let bodies = bodies(&batch, &indices, "d", 3_000).unwrap();
        assert!(bodies.len() > 2);
        let mut seen = Vec::new();
        for body in &bodies {
            assert!(body.bytes.len() <= 3_000, "{}", body.bytes.len());
            let messages: Vec<serde_json::Value> = serde_json::from_slice(&body.bytes).unwrap();
            assert_eq!(messages.len(), body.indices.len());
            for (message, index) in messages.iter().zip(body.indices) {
                assert_eq!(message["Body"].as_str().unwrap().as_bytes(), records[*index]);
                assert_eq!(message["UserProperties"]["type"], format!("t{index}"));
                seen.push(*index);
            }
        }
        assert_eq!(seen, indices);
    }

    #[test]
    fn a_record_that_can_never_go_is_refused_before_it_is_sent() {
        let (good, long) = (record("t", 1), record("t", REQUEST_BYTES_MAX / 4));
        for bad in [&b"no event"[..], b"\xff", &long] {
            let batch = [&good, bad].map(|bytes| Outgoing { key: None, bytes });
            let result = bodies(&batch, &[0, 1], "d", 1_000).map(|_| ());
            assert!(
                matches!(result, Err(UplinkError::Refused { index: Some(1), .. })),
                "{result:?}"
            );
        }
        // One that is longer than a batch should be goes alone.
        let middle = record("t", 2_000);
        let batch = [&good, &middle, &good].map(|bytes| Outgoing { key: None, bytes });
        let bodies = bodies(&batch, &[0, 1, 2], "d", 1_000).unwrap();
        let only: Vec<_> = bodies.iter().map(Body::only).collect();
        assert_eq!(only, [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn a_key_is_ascii_and_not_too_long() {
        for (key, expected) in [
            ("pump 7", r#"{"PartitionKey":"pump 7"}"#),
            ("\"\n", r#"{"PartitionKey":"\"\n"}"#),
            ("ö𝄞\u{7f}", r#"{"PartitionKey":"\u00f6\ud834\udd1e\u007f"}"#),
        ] {
            assert_eq!(broker_properties(key), expected);
            let read: serde_json::Value =
                serde_json::from_slice(broker_properties(key).as_bytes()).unwrap();
            assert_eq!(read["PartitionKey"], key);
        }
        assert!(broker_properties(&"k".repeat(500)).len() < 160);
    }

    #[test]
    fn tokens_are_renewed_early_and_after_the_clock_jumped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("connection");
        let text = "Endpoint=sb://h;SharedAccessKeyName=n;SharedAccessKey=";
        std::fs::write(&path, format!("{text}one\n")).unwrap();
        let clock = Arc::new(twinge_platform::ManualClock::new(1_000_000_000));
        let source = SecretSource::File(path.clone());
        let resource = "https://h/hub".to_owned();
        let mut access = Access::Key { source, resource, clock: clock.clone(), made: None };
        let first = access.token().unwrap();
        assert!(first.expose().contains("&se=1003600&"), "{}", first.expose());
        clock.advance(49 * 60_000);
        assert_eq!(access.token().unwrap(), first);
        clock.advance(2 * 60_000);
        let second = access.token().unwrap();
        assert_ne!(second, first);
        clock.set(500_000_000);
        assert!(access.token().unwrap().expose().contains("&se=503600&"));
        std::fs::write(&path, format!("{text}two\n")).unwrap();
        access.forget();
        let rotated = access.token().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(access.token().unwrap(), rotated, "a good token is not made again");
        access.forget();
        assert!(access.token().unwrap_err().contains("connection"));
        assert!(!format!("{access:?}").contains("two"));
    }
}
