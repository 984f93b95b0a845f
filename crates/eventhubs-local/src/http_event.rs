//! Events as HTTP brings them, made into the messages that AMQP senders send. Knows no socket and
//! no hub.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::amqp::message::section;
use crate::amqp::value::Value;
use crate::record::{Batch, EventError, PARTITION_KEY};

const BATCH_TYPE: &str = "application/vnd.microsoft.servicebus.json";
const BROKER_PROPERTIES: &str = "BrokerProperties";

/// Whether the body is an array of messages.
pub(crate) fn is_batch(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case(BATCH_TYPE)
}

/// Events of one request: they go to one partition.
#[derive(Debug)]
pub(crate) struct Posted {
    key: Option<String>,
    messages: Vec<Vec<u8>>,
}

/// Why a request holds no events.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    #[error("the body is no JSON array of messages, each with a Body: {0}")]
    Batch(serde_json::Error),
    #[error("the body holds no message")]
    Empty,
    #[error("the header BrokerProperties is no JSON object of them: {0}")]
    BrokerProperties(String),
    #[error("message {0} has a Body that is no base64")]
    Base64(usize),
    #[error("message {number} has the property {name:?}, which is no string, number or boolean")]
    Property { number: usize, name: String },
    #[error("the partition keys {0:?} and {1:?} are in one request: send one for each")]
    Keys(String, String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PostedMessage {
    body: String,
    #[serde(default)]
    is_body_base64: bool,
    #[serde(default)]
    broker_properties: BrokerProperties,
    #[serde(default)]
    user_properties: Map<String, Json>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BrokerProperties {
    partition_key: Option<String>,
}

impl Posted {
    /// Takes a body apart. A publisher's name is the partition key of all that it sends.
    pub(crate) fn read(
        body: &[u8],
        is_batch: bool,
        headers: &HeaderMap,
        publisher: Option<&str>,
    ) -> Result<Self, PostError> {
        let mut key = publisher.map(str::to_owned);
        agree(&mut key, header_properties(headers)?.partition_key)?;
        if !is_batch {
            return Ok(Self { key, messages: vec![encode(body, Vec::new())] });
        }
        let posted: Vec<PostedMessage> = serde_json::from_slice(body).map_err(PostError::Batch)?;
        let mut messages = Vec::with_capacity(posted.len());
        for (number, message) in posted.into_iter().enumerate() {
            agree(&mut key, message.broker_properties.partition_key.clone())?;
            messages.push(message.encode(number)?);
        }
        if messages.is_empty() { Err(PostError::Empty) } else { Ok(Self { key, messages }) }
    }

    /// The same events as an AMQP sender's batch.
    pub(crate) fn into_batch(self) -> Result<Batch, EventError> {
        let mut envelope = Vec::new();
        if let Some(key) = self.key {
            let annotations = vec![(Value::symbol(PARTITION_KEY), Value::String(key))];
            push(&mut envelope, section::MESSAGE_ANNOTATIONS, Value::Map(annotations));
        }
        for message in self.messages {
            push(&mut envelope, section::DATA, Value::Binary(message));
        }
        Batch::of_message(&envelope, true)
    }
}

impl PostedMessage {
    fn encode(self, number: usize) -> Result<Vec<u8>, PostError> {
        let body = if self.is_body_base64 {
            STANDARD.decode(&self.body).or(Err(PostError::Base64(number)))?
        } else {
            self.body.into_bytes()
        };
        let mut properties = Vec::with_capacity(self.user_properties.len());
        for (name, value) in self.user_properties {
            let Some(value) = property(value) else {
                return Err(PostError::Property { number, name });
            };
            properties.push((Value::String(name), value));
        }
        Ok(encode(&body, properties))
    }
}

fn property(value: Json) -> Option<Value> {
    match value {
        Json::String(text) => Some(Value::String(text)),
        Json::Bool(flag) => Some(Value::Bool(flag)),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Some(Value::Long(integer)),
            None => number.as_f64().map(Value::Double),
        },
        _ => None,
    }
}

fn header_properties(headers: &HeaderMap) -> Result<BrokerProperties, PostError> {
    let Some(properties) = headers.get(BROKER_PROPERTIES) else {
        return Ok(BrokerProperties::default());
    };
    serde_json::from_slice(properties.as_bytes())
        .map_err(|error| PostError::BrokerProperties(error.to_string()))
}

/// Two keys in one request would have to go to two partitions.
fn agree(key: &mut Option<String>, other: Option<String>) -> Result<(), PostError> {
    match (&*key, other) {
        (Some(key), Some(other)) if *key != other => Err(PostError::Keys(key.clone(), other)),
        (None, other @ Some(_)) => {
            *key = other;
            Ok(())
        }
        _ => Ok(()),
    }
}

fn encode(body: &[u8], properties: Vec<(Value, Value)>) -> Vec<u8> {
    let mut message = Vec::with_capacity(body.len() + 16);
    if !properties.is_empty() {
        push(&mut message, section::APPLICATION_PROPERTIES, Value::Map(properties));
    }
    push(&mut message, section::DATA, Value::Binary(body.to_vec()));
    message
}

fn push(message: &mut Vec<u8>, code: u8, value: Value) {
    Value::described(code.into(), value).encode(message);
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(properties: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(properties) = properties {
            headers.insert(BROKER_PROPERTIES, HeaderValue::from_str(properties).unwrap());
        }
        headers
    }

    fn batch(
        body: &str,
        properties: Option<&str>,
        publisher: Option<&str>,
    ) -> Result<Batch, String> {
        let posted = Posted::read(body.as_bytes(), true, &headers(properties), publisher);
        posted.map_err(|error| error.to_string())?.into_batch().map_err(|error| error.to_string())
    }

    #[test]
    fn a_batch_goes_where_its_key_says() {
        let body =
            r#"[{"Body":"one"},{"Body":"dHdv","IsBodyBase64":true,"UserProperties":{"n":1}}]"#;
        let key = r#"{"PartitionKey":"pump"}"#;
        for (properties, publisher, expected) in [
            (None, None, None),
            (Some(key), None, Some("pump")),
            (None, Some("me"), Some("me")),
            (Some(key), Some("pump"), Some("pump")),
        ] {
            let batch = batch(body, properties, publisher).unwrap();
            assert_eq!((batch.ends.len(), batch.key()), (2, expected));
        }
        let own = r#"[{"Body":"one","BrokerProperties":{"PartitionKey":"own"}}]"#;
        assert_eq!(batch(own, None, None).unwrap().key(), Some("own"));
    }

    #[test]
    fn what_is_no_batch_is_told() {
        let key = Some(r#"{"PartitionKey":"pump"}"#);
        for (body, properties, publisher, told) in [
            ("", None, None, "no JSON array"),
            ("{}", None, None, "no JSON array"),
            ("[]", None, None, "holds no message"),
            (r#"[{"body":"x"}]"#, None, None, "missing field `Body`"),
            (r#"[{"Body":{}}]"#, None, None, "expected a string"),
            (r#"[{"Body":"?","IsBodyBase64":true}]"#, None, None, "no base64"),
            (r#"[{"Body":"","UserProperties":{"p":[]}}]"#, None, None, "\"p\""),
            (r#"[{"Body":""}]"#, Some("pump"), None, "the header BrokerProperties"),
            (r#"[{"Body":""}]"#, key, Some("me"), "in one request"),
        ] {
            let error = batch(body, properties, publisher).unwrap_err();
            assert!(error.contains(told), "{body}: {error}");
        }
    }

    #[test]
    fn the_content_type_tells_a_batch() {
        for (kind, expected) in [
            (BATCH_TYPE, true),
            ("Application/Vnd.Microsoft.ServiceBus.JSON; charset=utf-8", true),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(kind).unwrap());
            assert_eq!(is_batch(&headers), expected, "{kind}");
        }
        assert!(!is_batch(&HeaderMap::new()));
    }
}
