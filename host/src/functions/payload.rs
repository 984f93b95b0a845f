//! What Azure Functions sends to a custom handler, and what it is answered.
//!
//! <https://learn.microsoft.com/azure/azure-functions/functions-custom-handlers>: a POST with `Data`
//! (the events, under the name of the binding) and `Metadata` (where they come from). A value stands
//! there as itself or as JSON in a text, by the trigger's `dataType` and cardinality, so both are read.

use serde_json::{Map, Value};
use thiserror::Error;
use twinge_contract::event::Attributes;
use twinge_contract::time::TimeFormat;
use twinge_runner::Arrival;

/// Events of a partition.
#[derive(Debug, PartialEq)]
pub(super) struct Invocation {
    pub(super) source: String,
    pub(super) partition: String,
    pub(super) arrivals: Vec<Arrival>,
}

/// Why an invocation is not taken.
#[derive(Debug, Error)]
pub(super) enum PayloadError {
    #[error("the body is not JSON")]
    Json(#[from] serde_json::Error),
    #[error("the body has no `{0}`: the function must have an Event Hubs trigger")]
    Missing(&'static str),
    #[error("`Data` has {0} members: the function must have one input, its Event Hubs trigger")]
    Inputs(usize),
    #[error("there are {events} events and {numbers} sequence numbers")]
    Numbers { events: usize, numbers: usize },
}

impl Invocation {
    /// Reads a body; `now_ms` stands for times that are not told.
    pub(super) fn read(body: &[u8], now_ms: i64) -> Result<Self, PayloadError> {
        let body: Value = serde_json::from_slice(body)?;
        let data = body["Data"].as_object().ok_or(PayloadError::Missing("Data"))?;
        let metadata = body["Metadata"].as_object().ok_or(PayloadError::Missing("Metadata"))?;
        let mut inputs = data.values();
        let (Some(input), None) = (inputs.next(), inputs.next()) else {
            return Err(PayloadError::Inputs(data.len()));
        };
        let has_many = metadata.contains_key("SequenceNumberArray");
        let events = if has_many { many(input) } else { vec![input.clone()] };
        let of_each = |name: &str| {
            let found = metadata.get(&if has_many { format!("{name}Array") } else { name.into() });
            found.map_or_else(
                Vec::new,
                |found| if has_many { many(found) } else { vec![found.clone()] },
            )
        };
        let numbers: Vec<u64> = of_each("SequenceNumber").iter().filter_map(number).collect();
        if numbers.len() != events.len() {
            return Err(PayloadError::Numbers { events: events.len(), numbers: numbers.len() });
        }
        let (times, keys) = (of_each("EnqueuedTimeUtc"), of_each("PartitionKey"));
        let properties = of_each("Properties");
        let arrival = |(place, (event, offset)): (usize, (Value, u64))| Arrival {
            offset,
            ingested_ms: times.get(place).and_then(time_ms).unwrap_or(now_ms),
            key: keys.get(place).and_then(Value::as_str).map(str::to_owned),
            attributes: properties.get(place).and_then(attributes),
            bytes: bytes(event),
        };
        let mut arrivals: Vec<Arrival> =
            events.into_iter().zip(numbers).enumerate().map(arrival).collect();
        // They come in order; two of one number are one event.
        arrivals.sort_by_key(|arrival| arrival.offset);
        arrivals.dedup_by_key(|arrival| arrival.offset);
        let (source, partition) = origin(metadata)?;
        Ok(Self { source, partition, arrivals })
    }
}

/// Namespace, hub and group as one name, and the partition.
fn origin(metadata: &Map<String, Value>) -> Result<(String, String), PayloadError> {
    let context = metadata.get("PartitionContext").map(opened);
    let context = context.ok_or(PayloadError::Missing("PartitionContext"))?;
    let text = |names: &[&str]| {
        names.iter().find_map(|name| context[*name].as_str()).unwrap_or_default().to_owned()
    };
    let partition = text(&["PartitionId"]);
    if partition.is_empty() {
        return Err(PayloadError::Missing("PartitionId"));
    }
    // Older extensions call them otherwise.
    let parts = [
        text(&["FullyQualifiedNamespace"]),
        text(&["EventHubName", "EventHubPath"]),
        text(&["ConsumerGroup", "ConsumerGroupName"]),
    ];
    let named: Vec<&str> =
        parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    Ok((format!("functions/{}", named.join("/")), partition))
}

/// A value, or what stands in its text.
fn opened(value: &Value) -> Value {
    let inner = value.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
    inner.filter(|inner| inner.is_object() || inner.is_array()).unwrap_or_else(|| value.clone())
}

/// The members of a list, or of the list in a text.
fn many(value: &Value) -> Vec<Value> {
    match opened(value) {
        Value::Array(members) => members,
        other => vec![other],
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn time_ms(value: &Value) -> Option<i64> {
    TimeFormat::Rfc3339.read_text(value.as_str()?)
}

/// An event that the trigger has read is written again; a text is the event itself.
fn bytes(event: Value) -> Vec<u8> {
    match event {
        Value::String(text) => text.into_bytes(),
        other => other.to_string().into_bytes(),
    }
}

/// CloudEvents in binary mode: properties that begin with `cloudEvents:` or `cloudEvents_`.
fn attributes(properties: &Value) -> Option<Attributes> {
    let properties = opened(properties);
    let value = |name: &str| {
        let found =
            [":", "_"].iter().find_map(|mark| properties.get(format!("cloudEvents{mark}{name}")));
        found.and_then(Value::as_str).map(str::to_owned)
    };
    value("specversion").map(|_| Attributes {
        id: value("id"),
        source: value("source"),
        subject: value("subject"),
        time: value("time"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(data: &Value, metadata: &Value) -> Result<Invocation, PayloadError> {
        let body = json!({ "Data": data, "Metadata": metadata });
        Invocation::read(body.to_string().as_bytes(), 7)
    }

    fn context() -> Value {
        json!({
            "FullyQualifiedNamespace": "mine.servicebus.windows.net", "EventHubName": "events",
            "ConsumerGroup": "functions", "PartitionId": "3",
        })
    }

    #[test]
    fn a_batch_reads_the_same_in_every_shape_that_functions_sends() {
        let (one, two) = (json!({ "x": 1 }), json!({ "x": 2 }));
        let texts = json!([one.to_string(), two.to_string()]);
        let whole = json!([one, two]);
        let shapes = [
            texts.clone(),
            whole.clone(),
            Value::String(texts.to_string()),
            Value::String(whole.to_string()),
        ];
        for events in shapes {
            for is_text in [false, true] {
                let as_sent =
                    |value: Value| if is_text { Value::String(value.to_string()) } else { value };
                let metadata = json!({
                    "PartitionContext": as_sent(context()),
                    "SequenceNumberArray": as_sent(json!([40, 41])),
                    "EnqueuedTimeUtcArray":
                        as_sent(json!(["2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"])),
                    "PartitionKeyArray": as_sent(json!(["a", null])),
                    "PropertiesArray": as_sent(json!([{}, {
                        "cloudEvents:specversion": "1.0", "cloudEvents:id": "9",
                    }])),
                    "sys": { "MethodName": "score" },
                });
                let read = read(&json!({ "events": events }), &metadata).unwrap();
                assert_eq!(read.source, "functions/mine.servicebus.windows.net/events/functions");
                assert_eq!(read.partition, "3");
                let [first, second] = &read.arrivals[..] else { panic!("{read:?}") };
                assert_eq!((first.offset, second.offset), (40, 41));
                assert_eq!(first.bytes, br#"{"x":1}"#);
                assert_eq!(first.ingested_ms, 1_767_225_601_000);
                assert_eq!((first.key.as_deref(), second.key.as_deref()), (Some("a"), None));
                let attributes = second.attributes.as_ref().unwrap();
                assert_eq!((attributes.id.as_deref(), &first.attributes), (Some("9"), &None));
            }
        }
    }

    #[test]
    fn one_event_is_a_batch_of_one() {
        let older =
            json!({ "EventHubPath": "h", "ConsumerGroupName": "$Default", "PartitionId": "0" });
        let metadata = json!({ "PartitionContext": older, "SequenceNumber": "5" });
        for event in [json!({ "x": 1 }), json!("{\"x\":1}")] {
            let read = read(&json!({ "event": event }), &metadata).unwrap();
            assert_eq!(read.source, "functions/h/$Default");
            assert_eq!((read.arrivals[0].offset, read.arrivals[0].ingested_ms), (5, 7));
            assert_eq!(read.arrivals[0].bytes, br#"{"x":1}"#);
        }
    }

    #[test]
    fn what_is_no_batch_of_a_hub_is_told() {
        let good = json!({ "PartitionContext": context(), "SequenceNumberArray": [1] });
        let cases = [
            (json!({}), good.clone(), "0 members"),
            (json!({ "a": [], "b": [] }), good.clone(), "2 members"),
            (json!({ "a": ["x", "y"] }), good, "2 events and 1 sequence"),
            (json!({ "a": ["x"] }), json!({ "SequenceNumberArray": [1] }), "PartitionContext"),
            (json!({ "req": {} }), json!({}), "0 sequence numbers"),
        ];
        for (data, metadata, word) in cases {
            let error = read(&data, &metadata).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(Invocation::read(b"{", 0).is_err());
        assert!(Invocation::read(b"{}", 0).unwrap_err().to_string().contains("Data"));
    }
}
