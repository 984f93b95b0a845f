//! The nodes that answer requests: `$cbs` takes tokens, `$management` tells properties. Does not
//! know by which link an answer goes.

use crate::amqp::message::{Request, encode_reply};
use crate::amqp::value::Value;
use crate::context::{Context, Core};
use crate::hub::Hub;

/// A node that answers requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestNode {
    Cbs,
    Management,
}

const HUB_TYPE: &str = "com.microsoft:eventhub";
const PARTITION_TYPE: &str = "com.microsoft:partition";
const SAS_TYPE: &str = "servicebus.windows.net:sastoken";

/// What became of a request: an HTTP status, its description, and a body.
struct Answer(i32, String, Value);

impl Answer {
    fn failed(status: i32, description: impl Into<String>) -> Self {
        Self(status, description.into(), Value::Null)
    }
}

impl RequestNode {
    /// Does what a request asks for and returns the message that answers it.
    pub(crate) fn answer(self, request: Request, context: &mut Context) -> Vec<u8> {
        let Answer(status, description, body) = match self {
            Self::Cbs => put_token(&request, context),
            Self::Management => read(&request, context),
        };
        let properties = vec![
            (Value::string("status-code"), Value::Int(status)),
            (Value::string("status-description"), Value::String(description)),
        ];
        encode_reply(request.message_id, properties, body)
    }
}

fn put_token(request: &Request, context: &mut Context) -> Answer {
    let operation = request.property("operation").unwrap_or_default();
    if !operation.eq_ignore_ascii_case("put-token") {
        return Answer::failed(400, format!("the operation {operation:?} is not put-token"));
    }
    let (Some(kind), Some(name)) = (request.property("type"), request.property("name")) else {
        return Answer::failed(400, "the token has no type or no name");
    };
    let token = request.body.as_ref().and_then(Value::text).unwrap_or_default();
    let Core { key, accept_any_jwt, .. } = &*context.core;
    let checked = if kind.eq_ignore_ascii_case(SAS_TYPE) {
        key.check(token, name, context.core.now_s()).map_err(|error| error.to_string())
    } else if kind.eq_ignore_ascii_case("jwt") && *accept_any_jwt {
        Ok(i64::MAX)
    } else {
        Err(format!("a token of type {kind:?} cannot be checked here: use the connection string"))
    };
    match checked {
        Ok(expiry_s) => {
            context.access.grant(name, expiry_s);
            Answer(202, "Accepted".to_owned(), Value::Null)
        }
        Err(reason) => {
            tracing::info!(name, reason, "a token was refused");
            Answer::failed(401, format!("{reason}."))
        }
    }
}

fn read(request: &Request, context: &Context) -> Answer {
    let operation = request.property("operation").unwrap_or_default();
    if !operation.eq_ignore_ascii_case("READ") {
        return Answer::failed(400, format!("the operation {operation:?} is not READ"));
    }
    let name = request.property("name").unwrap_or_default();
    let key = name.to_lowercase();
    if !context.allows_asking(&key) {
        return Answer::failed(401, format!("no token was put for the event hub {name:?}"));
    }
    let Some(hub) = context.core.hubs.hub(&key) else {
        return Answer::failed(404, format!("there is no event hub {name:?}"));
    };
    match request.property("type") {
        Some(HUB_TYPE) => Answer(200, "OK".to_owned(), hub_properties(hub)),
        Some(PARTITION_TYPE) => {
            let number = request.property("partition").unwrap_or_default();
            match partition_properties(hub, number, context.core.clock.now_ms()) {
                Some(properties) => Answer(200, "OK".to_owned(), properties),
                None => Answer::failed(404, format!("{name} has no partition {number:?}")),
            }
        }
        kind => Answer::failed(400, format!("the type {kind:?} is unknown")),
    }
}

fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Map(pairs.into_iter().map(|(key, value)| (Value::string(key), value)).collect())
}

fn hub_properties(hub: &Hub) -> Value {
    let count = hub.partitions.len() as u16;
    let numbers = (0..count).map(|number| Value::String(number.to_string()));
    map([
        ("name", Value::string(&hub.name)),
        ("type", Value::string(HUB_TYPE)),
        ("created_at", Value::Timestamp(hub.created_ms)),
        ("partition_count", Value::Int(count.into())),
        ("partition_ids", Value::Array(numbers.collect())),
        ("georeplication_factor", Value::Int(1)),
    ])
}

fn partition_properties(hub: &Hub, number: &str, now_ms: i64) -> Option<Value> {
    let summary = hub.partition(number)?.log.summary();
    let is_empty = summary.start == summary.end;
    let offset = summary.last_offset.map_or("-1".to_owned(), |offset| offset.to_string());
    Some(map([
        ("name", Value::string(&hub.name)),
        ("type", Value::string(PARTITION_TYPE)),
        ("partition", Value::string(number)),
        ("begin_sequence_number", Value::Long(summary.start.cast_signed())),
        ("begin_sequence_number_epoch", Value::Int(-1)),
        ("last_enqueued_sequence_number", Value::Long(summary.end.cast_signed() - 1)),
        ("last_enqueued_sequence_number_epoch", Value::Int(-1)),
        ("last_enqueued_offset", Value::String(offset)),
        // Clients expect a time also when there was no event yet.
        ("last_enqueued_time_utc", Value::Timestamp(summary.last_enqueued_ms.unwrap_or(0))),
        ("runtime_info_retrieval_time_utc", Value::Timestamp(now_ms)),
        ("is_partition_empty", Value::Bool(is_empty)),
    ]))
}
