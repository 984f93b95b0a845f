//! Verdicts and dead letters to a hub of their own, with the entity as partition key.

use async_trait::async_trait;
use serde_json::Value;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::timeout;
use twinge_eventhubs::{HubError, Producer, RECORD_BYTES_MAX, Record, Ticket};
use twinge_stream::sink::{Sink, SinkError};

/// How long a commit waits for room before it says so.
const ROOM: Duration = Duration::from_secs(5);

/// How long a checkpoint waits for the hub to have everything.
const ARRIVAL: Duration = Duration::from_mins(1);

/// Bytes kept of the original event in a dead letter that would be too large: few enough that the
/// letter fits when JSON needs six for each.
const ORIGINAL_BYTES: usize = 24 << 10;

/// Records on their way to a hub.
#[derive(Debug)]
pub(super) struct HubSink {
    hub: String,
    producer: Producer,
    pending: Vec<Record>,
    tickets: VecDeque<Ticket>,
}

impl HubSink {
    /// A sink to `hub`.
    pub(super) fn new(hub: &str, producer: Producer) -> Self {
        let hub = hub.to_owned();
        Self { hub, producer, pending: Vec::new(), tickets: VecDeque::new() }
    }

    fn error(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SinkError {
        SinkError { place: format!("hub `{}`", self.hub), source: source.into() }
    }

    fn too_slow(&self) -> SinkError {
        let reason = self.producer.trouble();
        self.error(reason.unwrap_or_else(|| "it takes records more slowly than they come".into()))
    }
}

#[async_trait]
impl Sink for HubSink {
    fn write(&mut self, key: Option<&str>, record: &[u8]) {
        let body = if record.len() > RECORD_BYTES_MAX { shorten(record) } else { record.to_vec() };
        self.pending.push(Record { key: key.map(str::to_owned), body });
    }

    async fn commit(&mut self) -> Result<(), SinkError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let ticket = match timeout(ROOM, self.producer.room()).await {
            Ok(Ok(room)) => Ok(room.send(std::mem::take(&mut self.pending))),
            Ok(Err(error)) => Err(Some(error)),
            Err(_elapsed) => Err(None),
        };
        match ticket {
            Ok(ticket) => self.tickets.push_back(ticket),
            Err(Some(error)) => return Err(self.error(error)),
            Err(None) => return Err(self.too_slow()),
        }
        Ok(())
    }

    async fn sync(&mut self) -> Result<(), SinkError> {
        while let Some(ticket) = self.tickets.front_mut() {
            let waited: Result<Result<(), HubError>, _> = timeout(ARRIVAL, ticket.wait()).await;
            match waited {
                Ok(Ok(())) => drop(self.tickets.pop_front()),
                Ok(Err(error)) => return Err(self.error(error)),
                Err(_elapsed) => return Err(self.too_slow()),
            }
        }
        Ok(())
    }
}

/// A dead letter that fits: the beginning of the original, and how long it was. The whole lies where
/// its `origin` says.
fn shorten(record: &[u8]) -> Vec<u8> {
    let Ok(mut letter) = serde_json::from_slice::<Value>(record) else { return Vec::new() };
    for field in ["original", "original_base64"] {
        let Some(Value::String(text)) = letter["data"].get_mut(field) else { continue };
        let bytes = text.len();
        let end = text.floor_char_boundary(ORIGINAL_BYTES);
        text.truncate(end);
        letter["data"]["original_cut_from"] = bytes.into();
    }
    serde_json::to_vec(&letter).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_of_a_huge_event_fits_and_says_what_is_missing() {
        let control = serde_json::json!({"data": {"original": "\0".repeat(1_000_000)}});
        assert!(shorten(control.to_string().as_bytes()).len() < RECORD_BYTES_MAX);
        let original = "ä".repeat(500_000);
        let letter =
            serde_json::json!({"id": "1", "data": {"original": original, "reason": "not-json"}});
        let short = shorten(letter.to_string().as_bytes());
        assert!(short.len() < RECORD_BYTES_MAX);
        let short: Value = serde_json::from_slice(&short).unwrap();
        assert_eq!(short["data"]["original_cut_from"], 1_000_000);
        assert_eq!(short["data"]["reason"], "not-json");
        assert!(original.starts_with(short["data"]["original"].as_str().unwrap()));
    }
}
