//! The stock Rust SDK takes the broker for Event Hubs. It runs on current-thread runtimes with a
//! deadline around every call: fe2o3-amqp 0.16.2 has two races on others.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use azure_messaging_eventhubs::models::{EventData, ReceivedEventData};
use azure_messaging_eventhubs::{
    ConsumerClient, EventDataBatchOptions, OpenReceiverOptions, ProducerClient, RetryOptions,
    SendEventOptions, StartLocation, StartPosition,
};
use common::{HUB, Running, choose_cryptography, settings};
use futures::StreamExt;
use tempfile::tempdir;

type Error = azure_messaging_eventhubs::EventHubsError;

async fn within<T>(action: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), action).await.expect("done in time")
}

fn retry_once() -> RetryOptions {
    RetryOptions {
        initial_delay: azure_core::time::Duration::milliseconds(10),
        max_delay: azure_core::time::Duration::milliseconds(20),
        max_retries: 1,
        max_total_elapsed: azure_core::time::Duration::seconds(5),
    }
}

/// Where the SDK is told to connect: its parser drops the port.
fn endpoint(connection_string: &str) -> String {
    choose_cryptography();
    let rest = connection_string.strip_prefix("Endpoint=sb://").unwrap();
    format!("amqp://{}", rest.split(';').next().unwrap())
}

async fn try_producer(connection_string: &str, hub: &str) -> Result<ProducerClient, Error> {
    let builder = ProducerClient::builder()
        .with_custom_endpoint(endpoint(connection_string))
        .with_retry_options(retry_once());
    within(builder.open_with_connection_string(connection_string, Some(hub))).await
}

async fn producer(connection_string: &str) -> ProducerClient {
    try_producer(connection_string, HUB).await.unwrap()
}

async fn consumer(connection_string: &str) -> ConsumerClient {
    let builder = ConsumerClient::builder()
        .with_custom_endpoint(endpoint(connection_string))
        .with_retry_options(retry_once());
    within(builder.open_with_connection_string(connection_string, Some(HUB))).await.unwrap()
}

fn at(partition: &str) -> SendEventOptions {
    SendEventOptions { partition_id: Some(partition.to_owned()) }
}

fn from(location: StartLocation, inclusive: bool) -> OpenReceiverOptions {
    OpenReceiverOptions {
        start_position: Some(StartPosition { location, inclusive }),
        ..OpenReceiverOptions::default()
    }
}

fn body(event: &ReceivedEventData) -> String {
    String::from_utf8(event.event_data().body().unwrap().to_vec()).unwrap()
}

/// The first `count` events of a partition.
async fn receive(
    client: &ConsumerClient,
    partition: &str,
    count: usize,
    options: OpenReceiverOptions,
) -> Vec<ReceivedEventData> {
    let receiver = client.open_receiver_on_partition(partition.to_owned(), Some(options));
    let receiver = within(receiver).await.unwrap();
    let events = within(receiver.stream_events().take(count).collect::<Vec<_>>()).await;
    within(receiver.close()).await.unwrap();
    events.into_iter().map(Result::unwrap).collect()
}

async fn receive_all(connection_string: &str, partition: &str, count: usize) -> Vec<String> {
    let client = consumer(connection_string).await;
    let events = receive(&client, partition, count, from(StartLocation::Earliest, false)).await;
    within(client.close()).await.unwrap();
    events.iter().map(body).collect()
}

async fn send_batch(client: &ProducerClient, options: EventDataBatchOptions, bodies: &[String]) {
    let batch = within(client.create_batch(Some(options))).await.unwrap();
    for body in bodies {
        let event = EventData::builder().with_body(body.as_bytes()).build();
        assert!(batch.try_add_event_data(event, None).unwrap(), "{body} fits");
    }
    within(client.send_batch(batch, None)).await.unwrap();
}

fn numbered(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name} {number}")).collect()
}

fn in_partition(partition: &str) -> EventDataBatchOptions {
    let partition_id = Some(partition.to_owned());
    EventDataBatchOptions { partition_id, ..EventDataBatchOptions::default() }
}

#[tokio::test]
async fn hub_and_partition_properties() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let client = producer(&broker.connection_string).await;
    let hub = within(client.get_eventhub_properties()).await.unwrap();
    assert_eq!((hub.name.as_str(), hub.partition_ids.len()), (HUB, 4));
    assert_eq!(hub.partition_ids, ["0", "1", "2", "3"]);
    let age = SystemTime::now().duration_since(hub.created_on.unwrap()).unwrap();
    assert!(age < Duration::from_mins(1));
    let empty = within(client.get_partition_properties("2")).await.unwrap();
    assert!(empty.is_empty);
    assert_eq!(
        (empty.last_enqueued_sequence_number, empty.last_enqueued_offset.as_str()),
        (-1, "-1")
    );
    within(client.send_event("one", Some(at("2")))).await.unwrap();
    within(client.send_event("two", Some(at("2")))).await.unwrap();
    let full = within(client.get_partition_properties("2")).await.unwrap();
    assert!(!full.is_empty);
    assert_eq!((full.beginning_sequence_number, full.last_enqueued_sequence_number), (0, 1));
    assert_ne!(full.last_enqueued_offset, "1", "an offset counts bytes");
    assert!(within(client.get_partition_properties("9")).await.is_err());
    broker.stop();
}

#[tokio::test]
async fn an_event_keeps_its_properties() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let client = producer(&broker.connection_string).await;
    let event = EventData::builder()
        .with_body(b"a body".as_slice())
        .with_content_type("text/plain".to_owned())
        .with_message_id("an id")
        .with_correlation_id(7_u64)
        .add_property("text".to_owned(), "a value")
        .add_property("number".to_owned(), 42_i64)
        .build();
    within(client.send_event(event.clone(), Some(at("1")))).await.unwrap();
    let reader = consumer(&broker.connection_string).await;
    let events = receive(&reader, "1", 1, from(StartLocation::Earliest, false)).await;
    let received = events[0].event_data();
    assert_eq!(received.body(), event.body());
    assert_eq!(received.properties(), event.properties());
    assert_eq!(received.content_type(), Some("text/plain"));
    assert_eq!(received.message_id(), event.message_id());
    assert_eq!(received.correlation_id(), event.correlation_id());
    assert_eq!(events[0].sequence_number(), Some(0));
    assert_eq!(events[0].partition_key(), &None);
    let age = SystemTime::now().duration_since(events[0].enqueued_time().unwrap());
    assert!(age.unwrap_or_default() < Duration::from_mins(1));
}

#[tokio::test]
async fn a_batch_arrives_in_order() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let client = producer(&broker.connection_string).await;
    // More than a receiver gives credit for at once.
    let bodies = numbered("event", 3_000);
    send_batch(&client, in_partition("0"), &bodies).await;
    assert_eq!(receive_all(&broker.connection_string, "0", 3_000).await, bodies);
}

#[tokio::test]
async fn a_partition_key_decides_and_is_told() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let client = producer(&broker.connection_string).await;
    // Hashes from azure-sdk-for-net: their remainder by four is the partition.
    for (key, hash) in [("7", -15263_i32), ("131", 30562), ("7149583486996073602", 12977)] {
        let partition = (hash % 4).unsigned_abs().to_string();
        let options = EventDataBatchOptions {
            partition_key: Some(key.to_owned()),
            ..EventDataBatchOptions::default()
        };
        send_batch(&client, options, &numbered(key, 2)).await;
        let reader = consumer(&broker.connection_string).await;
        let events = receive(&reader, &partition, 2, from(StartLocation::Earliest, false)).await;
        assert_eq!(events[1].partition_key().as_deref(), Some(key));
    }
    // Without a key the partitions take turns.
    let before = counts(&client).await;
    for _ in 0..8 {
        within(client.send_event("turn", None)).await.unwrap();
    }
    let after = counts(&client).await;
    let grown: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(grown, [2, 2, 2, 2]);
}

async fn counts(client: &ProducerClient) -> Vec<i64> {
    let mut counts = Vec::new();
    for partition in ["0", "1", "2", "3"] {
        let properties = within(client.get_partition_properties(partition)).await.unwrap();
        counts.push(properties.last_enqueued_sequence_number);
    }
    counts
}

#[tokio::test]
async fn receivers_start_where_they_want() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let client = producer(&broker.connection_string).await;
    send_batch(&client, in_partition("0"), &numbered("early", 3)).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let between = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(30)).await;
    send_batch(&client, in_partition("0"), &numbered("late", 3)).await;
    let reader = consumer(&broker.connection_string).await;
    let all = receive(&reader, "0", 6, from(StartLocation::Earliest, false)).await;
    let offset = all[1].offset().clone().unwrap();
    for (location, inclusive, expected) in [
        (StartLocation::Offset(offset.clone()), true, "early 1"),
        (StartLocation::Offset(offset), false, "early 2"),
        (StartLocation::SequenceNumber(1), true, "early 1"),
        (StartLocation::SequenceNumber(1), false, "early 2"),
        (StartLocation::EnqueuedTime(between), false, "late 0"),
        (StartLocation::EnqueuedTime(all[0].enqueued_time().unwrap()), true, "early 0"),
    ] {
        let name = format!("{location:?} {inclusive}");
        let events = receive(&reader, "0", 1, from(location, inclusive)).await;
        assert_eq!(body(&events[0]), expected, "{name}");
    }
}

#[tokio::test]
async fn the_latest_position_sees_only_new_events() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let client = producer(&broker.connection_string).await;
    within(client.send_event("old", Some(at("0")))).await.unwrap();
    let reader = consumer(&broker.connection_string).await;
    let options = Some(from(StartLocation::Latest, false));
    let receiver =
        within(reader.open_receiver_on_partition("0".to_owned(), options)).await.unwrap();
    let mut events = receiver.stream_events();
    // The SDK attaches when the stream is first asked.
    let waited = tokio::time::timeout(Duration::from_millis(300), events.next()).await;
    assert!(waited.is_err(), "the old event is not delivered");
    within(client.send_event("new", Some(at("0")))).await.unwrap();
    assert_eq!(body(&within(events.next()).await.unwrap().unwrap()), "new");
}

#[tokio::test]
async fn a_higher_epoch_displaces_and_a_lower_is_refused() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let client = producer(&broker.connection_string).await;
    within(client.send_event("first", Some(at("0")))).await.unwrap();
    let with_epoch =
        |owner_level| OpenReceiverOptions { owner_level, ..from(StartLocation::Earliest, false) };
    let reader = consumer(&broker.connection_string).await;
    let open = |epoch| reader.open_receiver_on_partition("0".to_owned(), Some(with_epoch(epoch)));
    let old = within(open(Some(1))).await.unwrap();
    let mut old_events = old.stream_events();
    assert_eq!(body(&within(old_events.next()).await.unwrap().unwrap()), "first");

    let other = consumer(&broker.connection_string).await;
    let new = other.open_receiver_on_partition("0".to_owned(), Some(with_epoch(Some(2))));
    let new = within(new).await.unwrap();
    let mut new_events = new.stream_events();
    assert_eq!(body(&within(new_events.next()).await.unwrap().unwrap()), "first");
    let displaced = within(old_events.next()).await.unwrap().unwrap_err();
    assert!(format!("{displaced:?}").contains("Consumer disconnected"), "{displaced:?}");

    for epoch in [Some(1), None] {
        let third = consumer(&broker.connection_string).await;
        let refused = third.open_receiver_on_partition("0".to_owned(), Some(with_epoch(epoch)));
        let refused = match within(refused).await {
            Ok(receiver) => {
                let mut events = receiver.stream_events();
                within(events.next()).await.unwrap().err()
            }
            Err(error) => Some(error),
        };
        let refused = format!("{:?}", refused.expect("the receiver is refused"));
        assert!(refused.contains("Consumer disconnected"), "{epoch:?}: {refused}");
    }
    within(client.send_event("second", Some(at("0")))).await.unwrap();
    assert_eq!(body(&within(new_events.next()).await.unwrap().unwrap()), "second");
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let (start, rest) = broker.connection_string.split_once("SharedAccessKey=").unwrap();
    let (_key, end) = rest.split_once(';').unwrap();
    let wrong = format!("{start}SharedAccessKey=d3Jvbmc=;{end}");
    let refused = match try_producer(&wrong, HUB).await {
        Ok(client) => within(client.send_event("refused", None)).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(format!("{refused:?}").contains("401"), "{refused:?}");
    let right = producer(&broker.connection_string).await;
    within(right.send_event("taken", None)).await.unwrap();
}

#[derive(Debug)]
struct AnyToken;

#[async_trait::async_trait]
impl TokenCredential for AnyToken {
    async fn get_token(
        &self,
        _scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let expires_on = OffsetDateTime::now_utc() + azure_core::time::Duration::hours(1);
        Ok(AccessToken::new(Secret::new("a token"), expires_on))
    }
}

/// Logins by Entra ID send tokens that no one here can check.
#[tokio::test]
async fn other_tokens_are_taken_only_when_it_is_told_so() {
    for accept_any_jwt in [true, false] {
        let directory = tempdir().unwrap();
        let mut settings = settings(directory.path());
        settings.accept_any_jwt = accept_any_jwt;
        let broker = Running::with(settings);
        let builder = ProducerClient::builder()
            .with_custom_endpoint(endpoint(&broker.connection_string))
            .with_retry_options(retry_once());
        let opened = within(builder.open("127.0.0.1", HUB, Arc::new(AnyToken))).await;
        let sent = match opened {
            Ok(client) => within(client.send_event("event", None)).await,
            Err(error) => Err(error),
        };
        assert_eq!(sent.is_ok(), accept_any_jwt, "{sent:?}");
    }
}

#[tokio::test]
async fn an_unknown_hub_or_partition_is_told() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let client = try_producer(&broker.connection_string, "nowhere").await.unwrap();
    let refused = within(client.send_event("lost", None)).await.unwrap_err();
    assert!(
        format!("{refused:?}").contains("not-found") || format!("{refused:?}").contains("NotFound"),
        "{refused:?}"
    );
    let client = producer(&broker.connection_string).await;
    assert!(within(client.send_event("lost", Some(at("4")))).await.is_err());
}

#[tokio::test]
async fn a_megabyte_passes_and_more_is_refused() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let client = producer(&broker.connection_string).await;
    let large = vec![b'x'; 1_000_000];
    let event = |bytes: &[u8]| EventData::builder().with_body(bytes).build();
    for _ in 0..3 {
        within(client.send_event(event(&large), Some(at("0")))).await.unwrap();
    }
    let too_large = vec![b'x'; 1_300_000];
    assert!(within(client.send_event(event(&too_large), Some(at("0")))).await.is_err());
    let reader = consumer(&broker.connection_string).await;
    let events = receive(&reader, "0", 3, from(StartLocation::Earliest, false)).await;
    assert!(events.iter().all(|event| event.event_data().body() == Some(&large[..])));
}

/// These are more frames than the SDK's session lets the broker send before it gives new credit:
/// the broker must ask for the window.
#[tokio::test]
async fn many_large_events_do_not_stall() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let client = producer(&broker.connection_string).await;
    let large = vec![b'x'; 1_000_000];
    for _ in 0..160 {
        let event = EventData::builder().with_body(large.as_slice()).build();
        within(client.send_event(event, Some(at("0")))).await.unwrap();
    }
    let reader = consumer(&broker.connection_string).await;
    let events = receive(&reader, "0", 160, from(StartLocation::Earliest, false)).await;
    assert!(events.iter().all(|event| event.event_data().body() == Some(&large[..])));
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let directory = tempdir().unwrap();
    let bodies = numbered("kept", 50);
    let first = Running::start(directory.path());
    let connection = first.connection_string.clone();
    send_batch(&producer(&connection).await, in_partition("3"), &bodies).await;
    first.stop();
    let second = Running::start(directory.path());
    assert!(second.connection_string.contains(&second.address.to_string()));
    assert_eq!(key_of(&second.connection_string), key_of(&connection), "the key stays");
    let client = producer(&second.connection_string).await;
    send_batch(&client, in_partition("3"), &numbered("more", 2)).await;
    let properties = within(client.get_partition_properties("3")).await.unwrap();
    assert_eq!(properties.last_enqueued_sequence_number, 51);
    let received = receive_all(&second.connection_string, "3", 52).await;
    assert_eq!(received[..50], bodies);
    assert_eq!(received[50..], numbered("more", 2));
}

fn key_of(connection_string: &str) -> &str {
    connection_string.split_once("SharedAccessKey=").unwrap().1
}

struct Program(Child, String);

impl Program {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eventhubs-local"));
        command.args(["--listen", "127.0.0.1:0", "--hub", "events=4", "--data"]).arg(directory);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self(child, line.trim().to_owned())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().unwrap();
    }
}

/// Events of a round that are acknowledged before the kill, which falls into the next.
const ACKNOWLEDGED_MIN: usize = 5;

/// SIGKILL while events are sent: those that were acknowledged are there, once and in order.
#[tokio::test]
async fn sigkill_loses_nothing_that_was_acknowledged() {
    let directory = tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let mut program = Program::start(directory.path());
        let connection = program.1.clone();
        let client = producer(&connection).await;
        let enough = tokio::sync::Notify::new();
        let sending = async {
            for number in 0.. {
                if number == ACKNOWLEDGED_MIN {
                    enough.notify_one();
                }
                let body = format!("{round} {number}");
                let sent = within(client.send_event(body.clone(), Some(at("0")))).await;
                if sent.is_err() {
                    break;
                }
                acknowledged.push(body);
            }
        };
        let killing = async {
            within(enough.notified()).await;
            program.0.kill().unwrap();
        };
        tokio::select! {
            () = sending => {}
            () = killing => {}
        }
    }
    assert!(acknowledged.len() >= 3 * ACKNOWLEDGED_MIN, "{} were acknowledged", acknowledged.len());
    let program = Program::start(directory.path());
    let client = producer(&program.1).await;
    let kept = within(client.get_partition_properties("0")).await.unwrap();
    let count = usize::try_from(kept.last_enqueued_sequence_number + 1).unwrap();
    let received = receive_all(&program.1, "0", count).await;
    // At most the one under way in each round was kept without its acknowledgement arriving.
    assert!(count <= acknowledged.len() + 3);
    let mut rest = received.iter();
    assert!(acknowledged.iter().all(|body| rest.any(|received| received == body)));
}
