//! Events of one partition, in order, over as many connections as it takes.

use crate::client::{PartitionProperties, close, consumer, epoch_ms, sdk};
use crate::driver::Drivers;
use crate::error::HubError;
use crate::namespace::Namespace;
use crate::pause::Pauses;
use azure_core_amqp::message::{AmqpAnnotationKey, AmqpApplicationProperties, AmqpMessageBody};
use azure_core_amqp::{AmqpMessage, AmqpSimpleValue, AmqpValue};
use azure_messaging_eventhubs::error::ErrorKind;
use azure_messaging_eventhubs::models::ReceivedEventData;
use azure_messaging_eventhubs::{
    ConsumerClient, EventHubsError, EventReceiver, OpenReceiverOptions, StartLocation,
    StartPosition,
};
use futures::StreamExt;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Events handed over at once at most.
const CHUNK: usize = 512;

/// Chunks that wait to be taken; further ones wait at the broker.
const CHUNKS_WAITING: usize = 4;

/// Silence after which the partition is asked whether it has anything.
const SILENCE: Duration = Duration::from_secs(15);

/// What a receiver reads.
#[derive(Clone, Debug)]
pub struct ReceiverSettings {
    /// The namespace.
    pub namespace: Namespace,
    /// The hub.
    pub hub: String,
    /// The consumer group.
    pub group: String,
    /// The partition.
    pub partition: String,
    /// Owner level: a receiver with a higher one displaces this one, wherever it is.
    pub epoch: u64,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// At the first event that is still there.
    Earliest,
    /// After the event with this sequence number.
    After(u64),
}

/// An event as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedEvent {
    /// Its number in the partition.
    pub sequence: u64,
    /// Its offset in the broker's words.
    pub offset: String,
    /// When the broker took it, milliseconds since 1970.
    pub enqueued_ms: i64,
    /// Its partition key.
    pub key: Option<String>,
    /// Application properties that are texts.
    pub properties: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Events of one partition. Dropping it closes it.
#[derive(Debug)]
pub struct Receiver {
    events: mpsc::Receiver<Result<Vec<ReceivedEvent>, HubError>>,
}

impl Receiver {
    /// Reads a partition from `position` on.
    pub fn open(drivers: &Drivers, settings: ReceiverSettings, position: Position) -> Self {
        let (out, events) = mpsc::channel(CHUNKS_WAITING);
        drivers.spawn(Reading { settings, position, out }.run());
        Self { events }
    }

    /// The next events, at least one; waits for them, and may be dropped while it waits. An error is
    /// the last thing it gives: another owner reads now. `None` when the drivers have stopped.
    pub async fn next(&mut self) -> Option<Result<Vec<ReceivedEvent>, HubError>> {
        self.events.recv().await
    }
}

/// A partition being read.
struct Reading {
    settings: ReceiverSettings,
    position: Position,
    out: mpsc::Sender<Result<Vec<ReceivedEvent>, HubError>>,
}

/// Why a connection is not read any more.
enum End {
    /// Nobody wants the events.
    Unwanted,
    Failed(HubError),
}

impl Reading {
    async fn run(mut self) {
        let mut pauses = Pauses::default();
        loop {
            let before = self.position;
            let error = match self.connect_and_read().await {
                End::Unwanted => return,
                End::Failed(error) => error,
            };
            if matches!(error, HubError::Displaced { .. } | HubError::NoSequenceNumber { .. }) {
                // Whoever listened may be gone too.
                drop(self.out.send(Err(error)).await);
                return;
            }
            if self.position != before {
                pauses = Pauses::default();
            }
            let pause = pauses.next();
            tracing::warn!(
                hub = self.settings.hub,
                partition = self.settings.partition,
                error = crate::error::chain(&error),
                ?pause,
                "the connection to a partition was lost and is made anew"
            );
            tokio::select! {
                () = self.out.closed() => return,
                () = sleep(pause) => {}
            }
        }
    }

    async fn connect_and_read(&mut self) -> End {
        let ReceiverSettings { namespace, hub, group, .. } = &self.settings;
        let opened = tokio::select! {
            () = self.out.closed() => return End::Unwanted,
            opened = consumer(namespace, hub, group) => opened,
        };
        let client = match opened {
            Ok(client) => client,
            Err(error) => return End::Failed(error),
        };
        let end = match self.open(&client).await {
            Ok(receiver) => {
                let end = self.read(&client, &receiver).await;
                close(receiver.close()).await;
                end
            }
            Err(error) => End::Failed(self.explain(error)),
        };
        close(client.close()).await;
        end
    }

    async fn open(&self, client: &ConsumerClient) -> Result<EventReceiver, EventHubsError> {
        let location = match self.position {
            Position::Earliest => StartLocation::Earliest,
            Position::After(sequence) => StartLocation::SequenceNumber(sequence.cast_signed()),
        };
        let options = OpenReceiverOptions {
            owner_level: Some(self.settings.epoch.cast_signed()),
            prefetch: Some(CHUNK as u32 * 2),
            start_position: Some(StartPosition { location, inclusive: false }),
            receive_timeout: None,
        };
        client.open_receiver_on_partition(self.settings.partition.clone(), Some(options)).await
    }

    async fn read(&mut self, client: &ConsumerClient, receiver: &EventReceiver) -> End {
        let mut stream = pin!(receiver.stream_events().ready_chunks(CHUNK));
        loop {
            let chunk = tokio::select! {
                () = self.out.closed() => return End::Unwanted,
                chunk = timeout(SILENCE, stream.next()) => chunk,
            };
            let end = match chunk {
                Ok(Some(chunk)) => self.hand_over(chunk).await,
                // The SDK's stream never ends by itself.
                Ok(None) => Err(End::Failed(self.silent())),
                Err(_elapsed) => self.check_silence(client).await,
            };
            if let Err(end) = end {
                return end;
            }
        }
    }

    async fn hand_over(
        &mut self,
        chunk: Vec<Result<ReceivedEventData, EventHubsError>>,
    ) -> Result<(), End> {
        let mut events = Vec::with_capacity(chunk.len());
        let mut failure = None;
        for received in chunk {
            match received.map_err(|error| self.explain(error)).and_then(|event| self.event(&event))
            {
                Ok(event) => events.push(event),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        if let Some(last) = events.last() {
            self.position = Position::After(last.sequence);
            if self.out.send(Ok(events)).await.is_err() {
                return Err(End::Unwanted);
            }
        }
        failure.map_or(Ok(()), |error| Err(End::Failed(error)))
    }

    /// A connection may have died without a word, and a receiver may wait for credit that was lost:
    /// when the partition has events that did not come, the connection is given up.
    async fn check_silence(&self, client: &ConsumerClient) -> Result<(), End> {
        let ReceiverSettings { namespace, hub, partition, .. } = &self.settings;
        let asked = PartitionProperties::of(client, namespace, hub, partition).await;
        let properties = asked.map_err(End::Failed)?;
        let (first, last) = (properties.first, properties.last);
        let has_more = match self.position {
            Position::Earliest => last >= first.max(0),
            Position::After(sequence) => last > sequence.cast_signed(),
        };
        if has_more { Err(End::Failed(self.silent())) } else { Ok(()) }
    }

    fn silent(&self) -> HubError {
        let hub = self.settings.hub.clone();
        HubError::Deadline { action: "receive from", hub, deadline: SILENCE }
    }

    fn explain(&self, error: EventHubsError) -> HubError {
        let (hub, partition) = (self.settings.hub.clone(), self.settings.partition.clone());
        match error.kind {
            ErrorKind::ConsumerDisconnected(_) => HubError::Displaced { hub, partition },
            _ => sdk("receive from", &hub, error),
        }
    }

    fn event(&self, received: &ReceivedEventData) -> Result<ReceivedEvent, HubError> {
        let message = received.raw_amqp_message();
        let mut event = ReceivedEvent {
            sequence: u64::MAX,
            offset: String::new(),
            enqueued_ms: 0,
            key: None,
            properties: properties(message.application_properties.as_ref()),
            body: body(message),
        };
        let annotations = message.message_annotations.iter().flat_map(|all| all.0.iter());
        for (key, value) in annotations {
            let AmqpAnnotationKey::Symbol(name) = key else { continue };
            match (name.0.as_str(), value) {
                ("x-opt-sequence-number", AmqpValue::Long(number)) => {
                    event.sequence = u64::try_from(*number).unwrap_or(u64::MAX);
                }
                ("x-opt-offset", AmqpValue::String(offset)) => event.offset.clone_from(offset),
                ("x-opt-enqueued-time", AmqpValue::TimeStamp(time)) => {
                    event.enqueued_ms = time.0.map_or(0, epoch_ms);
                }
                ("x-opt-partition-key", AmqpValue::String(key)) => event.key = Some(key.clone()),
                _ => {}
            }
        }
        if event.sequence == u64::MAX {
            let (hub, partition) = (self.settings.hub.clone(), self.settings.partition.clone());
            return Err(HubError::NoSequenceNumber { hub, partition });
        }
        Ok(event)
    }
}

fn body(message: &AmqpMessage) -> Vec<u8> {
    match &message.body {
        AmqpMessageBody::Binary(parts) => match parts.as_slice() {
            [only] => only.clone(),
            parts => parts.concat(),
        },
        AmqpMessageBody::Value(AmqpValue::String(text)) => text.clone().into_bytes(),
        AmqpMessageBody::Value(AmqpValue::Binary(bytes)) => bytes.clone(),
        // No JSON can be in it; as nothing it becomes a dead letter like other bodies without.
        _ => Vec::new(),
    }
}

fn properties(properties: Option<&AmqpApplicationProperties>) -> Vec<(String, String)> {
    let all = properties.iter().flat_map(|all| all.0.iter());
    all.filter_map(|(name, value)| match value {
        AmqpSimpleValue::String(text) => Some((name.clone(), text.clone())),
        _ => None,
    })
    .collect()
}
