//! Records to a hub, each to the partition of its key, until the hub has them.

use crate::client::{close, producer, sdk, within};
use crate::driver::Drivers;
use crate::error::{HubError, chain};
use crate::namespace::Namespace;
use crate::partition_key::partition_of;
use crate::pause::Pauses;
use azure_core_amqp::message::AmqpMessageBody;
use azure_core_amqp::{AmqpMessage, AmqpSymbol};
use azure_messaging_eventhubs::models::EventData;
use azure_messaging_eventhubs::{EventDataBatchOptions, ProducerClient};
use futures::future::try_join_all;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

/// Largest record, in bytes: it fits with its envelope into the 256 KB of the smallest tier.
pub const RECORD_BYTES_MAX: usize = 192 << 10;

/// Groups of records that wait; whoever brings more waits too.
const GROUPS_WAITING: usize = 8;

/// Records sent in one round at most; a round is over when all its partitions have theirs.
const ROUND: usize = 16_384;

/// A record for a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its partition key; without one, any partition will do.
    pub key: Option<String>,
    /// Its body: JSON.
    pub body: Vec<u8>,
}

/// Records on their way to a hub; cheap to clone.
#[derive(Clone, Debug)]
pub struct Producer {
    hub: String,
    queue: mpsc::Sender<Group>,
    trouble: Arc<Mutex<Option<String>>>,
}

/// Room for a group of records.
#[derive(Debug)]
pub struct Room<'a> {
    hub: &'a str,
    permit: mpsc::Permit<'a, Group>,
}

/// Tells when a group of records has arrived.
#[derive(Debug)]
pub struct Ticket {
    hub: String,
    done: oneshot::Receiver<Result<(), HubError>>,
}

#[derive(Debug)]
struct Group {
    records: Vec<Record>,
    done: oneshot::Sender<Result<(), HubError>>,
}

impl Producer {
    /// Sends to a hub. The connection is made with the first records, and made anew when it is lost;
    /// records are sent again until the hub says that it has them.
    pub fn start(drivers: &Drivers, namespace: Namespace, hub: &str) -> Self {
        let (queue, groups) = mpsc::channel(GROUPS_WAITING);
        let trouble = Arc::new(Mutex::new(None));
        let sending = Sending {
            namespace,
            hub: hub.to_owned(),
            groups,
            trouble: Arc::clone(&trouble),
            client: None,
            turn: 0,
        };
        drivers.spawn(sending.run());
        Self { hub: hub.to_owned(), queue, trouble }
    }

    /// Waits for room for a group of records; may be dropped while it waits.
    pub async fn room(&self) -> Result<Room<'_>, HubError> {
        let permit = self.queue.reserve().await;
        let permit = permit.map_err(|_closed| HubError::Closed { hub: self.hub.clone() })?;
        Ok(Room { hub: &self.hub, permit })
    }

    /// Why nothing is being sent at the moment, if so.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }
}

impl Room<'_> {
    /// Hands records over. Those of one key keep their order. The ticket tells when the hub has them;
    /// one larger than the hub takes is left out and told. [`RECORD_BYTES_MAX`] fits everywhere.
    pub fn send(self, records: Vec<Record>) -> Ticket {
        let (done, answer) = oneshot::channel();
        self.permit.send(Group { records, done });
        Ticket { hub: self.hub.to_owned(), done: answer }
    }
}

impl Ticket {
    /// Waits until the hub has the records. May be dropped while it waits, and asked again.
    pub async fn wait(&mut self) -> Result<(), HubError> {
        match (&mut self.done).await {
            Ok(result) => result,
            Err(_dropped) => Err(HubError::Closed { hub: self.hub.clone() }),
        }
    }
}

/// The sending side.
struct Sending {
    namespace: Namespace,
    hub: String,
    groups: mpsc::Receiver<Group>,
    trouble: Arc<Mutex<Option<String>>>,
    client: Option<Connected>,
    /// Records without a key go to the partitions in turn.
    turn: usize,
}

struct Connected {
    client: ProducerClient,
    partitions: Vec<String>,
}

/// Messages for one partition, in order.
type Outbox = Mutex<VecDeque<AmqpMessage>>;

impl Sending {
    async fn run(mut self) {
        while let Some(first) = self.groups.recv().await {
            let mut count = first.records.len();
            let mut round = vec![first];
            while count < ROUND
                && let Ok(next) = self.groups.try_recv()
            {
                count += next.records.len();
                round.push(next);
            }
            let mut records = Vec::with_capacity(count);
            let mut tickets = Vec::with_capacity(round.len());
            for group in round {
                records.extend(group.records);
                tickets.push(group.done);
            }
            let too_large = self.send_until_there(records).await;
            for ticket in tickets {
                let result = match too_large {
                    None => Ok(()),
                    Some(bytes) => Err(HubError::TooLarge { hub: self.hub.clone(), bytes }),
                };
                // Whoever sent them may have gone away; the records are there all the same.
                drop(ticket.send(result));
            }
        }
        if let Some(connected) = self.client.take() {
            close(connected.client.close()).await;
        }
    }

    /// Records are sent again after any failure, so some may arrive twice; their ids tell. Answers
    /// with the size of one that the hub does not take at all, if there was one.
    async fn send_until_there(&mut self, records: Vec<Record>) -> Option<usize> {
        let mut pauses = Pauses::default();
        let mut outboxes: Option<Vec<Outbox>> = None;
        let mut records = Some(records);
        let mut too_large = None;
        loop {
            match self.connect().await {
                Ok(partitions) => {
                    if let Some(records) = records.take() {
                        outboxes = Some(self.sort(records, partitions));
                    }
                    match self.send(outboxes.as_deref().unwrap_or_default()).await {
                        Ok(()) => {
                            *lock(&self.trouble) = None;
                            return too_large;
                        }
                        // It was taken out; the others are sent.
                        Err(HubError::TooLarge { bytes, .. }) => {
                            too_large = Some(bytes);
                            continue;
                        }
                        Err(error) => self.tell(&error),
                    }
                    if let Some(connected) = self.client.take() {
                        close(connected.client.close()).await;
                    }
                }
                Err(error) => self.tell(&error),
            }
            sleep(pauses.next()).await;
        }
    }

    async fn connect(&mut self) -> Result<usize, HubError> {
        if self.client.is_none() {
            let client = producer(&self.namespace, &self.hub).await?;
            let asked =
                within("ask", &self.hub, self.namespace.answer, client.get_eventhub_properties())
                    .await;
            let partitions = match asked {
                Ok(properties) => properties.partition_ids,
                Err(error) => {
                    close(client.close()).await;
                    return Err(error);
                }
            };
            self.client = Some(Connected { client, partitions });
        }
        Ok(self.client.as_ref().map_or(0, |connected| connected.partitions.len()))
    }

    fn sort(&mut self, records: Vec<Record>, partitions: usize) -> Vec<Outbox> {
        let mut outboxes = vec![VecDeque::new(); partitions];
        for record in records {
            self.turn = self.turn.wrapping_add(1);
            let key = record.key.as_deref();
            let place = key.map_or(self.turn % partitions, |key| partition_of(key, partitions));
            outboxes[place].push_back(message(record));
        }
        outboxes.into_iter().map(Mutex::new).collect()
    }

    async fn send(&self, outboxes: &[Outbox]) -> Result<(), HubError> {
        let Some(Connected { client, partitions }) = &self.client else { return Ok(()) };
        let sends = partitions
            .iter()
            .zip(outboxes)
            .map(|(partition, outbox)| self.send_partition(client, partition, outbox));
        try_join_all(sends).await.map(drop)
    }

    /// Sends what is in an outbox; what was sent is removed from it.
    async fn send_partition(
        &self,
        client: &ProducerClient,
        partition: &str,
        outbox: &Outbox,
    ) -> Result<(), HubError> {
        let (hub, answer) = (self.hub.as_str(), self.namespace.answer);
        loop {
            if lock(outbox).is_empty() {
                return Ok(());
            }
            let options = EventDataBatchOptions {
                partition_id: Some(partition.to_owned()),
                ..EventDataBatchOptions::default()
            };
            let created = client.create_batch(Some(options));
            let batch = within("send to", hub, answer, created).await?;
            let mut count = 0;
            for message in lock(outbox).iter() {
                let added = batch.try_add_amqp_message(message.clone(), None);
                if !added.map_err(|error| sdk("send to", hub, error))? {
                    break;
                }
                count += 1;
            }
            if count == 0 {
                let bytes = lock(outbox).pop_front().map_or(0, |message| body_bytes(&message));
                return Err(HubError::TooLarge { hub: hub.to_owned(), bytes });
            }
            within("send to", hub, answer, client.send_batch(batch, None)).await?;
            lock(outbox).drain(..count);
        }
    }

    fn tell(&self, error: &HubError) {
        let reason = chain(error);
        let before = lock(&self.trouble).replace(reason.clone());
        // Told once, not with every try, for as long as it stays the same.
        if before.as_ref() != Some(&reason) {
            tracing::warn!(hub = self.hub, error = reason, "records cannot be sent; trying again");
        }
    }
}

fn body_bytes(message: &AmqpMessage) -> usize {
    match &message.body {
        AmqpMessageBody::Binary(parts) => parts.iter().map(Vec::len).sum(),
        _ => 0,
    }
}

fn message(record: Record) -> AmqpMessage {
    let event = EventData::builder()
        .with_body(record.body)
        .with_content_type("application/json".into())
        .build();
    let mut message = AmqpMessage::from(event);
    if let Some(key) = record.key {
        message.add_message_annotation(AmqpSymbol::from("x-opt-partition-key"), key);
    }
    message
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole between calls, whatever happened to the thread that held it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
