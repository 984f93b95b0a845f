//! Senders that speak HTTP: what is taken, where it goes, and how each mistake is answered.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use azure_messaging_eventhubs::models::EventData;
use azure_messaging_eventhubs::{
    ConsumerClient, OpenReceiverOptions, StartLocation, StartPosition,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{HUB, Running, settings};
use futures::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use tempfile::{TempDir, tempdir};
use twinge_eventhubs_local::{Broker, KeptEvent, ReadError, Reader, Settings};
use twinge_platform::{RealDisk, SystemClock};

const BATCH: &str = "application/vnd.microsoft.servicebus.json";

struct Door {
    broker: Running,
    address: SocketAddr,
    reader: Reader,
    _directory: TempDir,
}

impl Door {
    fn open() -> Self {
        let directory = tempdir().unwrap();
        let http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let settings = Settings { http, ..settings(directory.path()) };
        let clock = Arc::new(SystemClock::new());
        let broker = Broker::open(settings, Arc::new(RealDisk), clock).unwrap();
        let (address, reader) = (broker.http_address().unwrap(), broker.reader());
        Self { broker: Running::of(broker), address, reader, _directory: directory }
    }

    fn key(&self) -> String {
        let key = self.broker.connection_string.split_once("SharedAccessKey=").unwrap().1;
        key.split(';').next().unwrap().to_owned()
    }

    /// A token for a path of the broker that holds for so many seconds.
    fn token(&self, path: &str, seconds: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let expiry = now + seconds;
        let resource = format!("https%3A%2F%2F127.0.0.1%2F{}", path.replace('/', "%2F"));
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(self.key().as_bytes()).unwrap();
        mac.update(format!("{resource}\n{expiry}").as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        format!(
            "SharedAccessSignature sr={resource}&sig={signature}&se={expiry}\
             &skn=RootManageSharedAccessKey"
        )
    }

    /// Posts with these headers and returns status and body of the answer.
    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let length = body.len().to_string();
        self.exchange(path, &[headers, &[("Content-Length", &length)]].concat(), body)
    }

    fn exchange(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // The door may refuse and close before it has read all.
        stream.write_all(body).ok();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    fn events(&self, partition: u16) -> Vec<KeptEvent> {
        self.reader.events(HUB, partition, 0).unwrap()
    }

    fn all_events(&self) -> Vec<KeptEvent> {
        (0..4).flat_map(|partition| self.events(partition)).collect()
    }
}

fn bodies(events: &[KeptEvent]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8(event.body.clone()).unwrap()).collect()
}

#[test]
fn a_batch_with_a_key_arrives_in_order_in_one_partition() {
    let door = Door::open();
    let token = door.token(HUB, 60);
    let key = r#"{"PartitionKey":"pump 7"}"#;
    let headers = [("Authorization", &*token), ("Content-Type", BATCH), ("BrokerProperties", key)];
    for part in 0..3 {
        let messages: Vec<_> = (0..10)
            .map(|number| {
                let name = format!("{part} {number}");
                serde_json::json!({ "Body": name, "UserProperties": { "kind": "test" } })
            })
            .collect();
        let body = serde_json::to_vec(&messages).unwrap();
        let path = format!("/{HUB}/messages?timeout=60&api-version=2014-01");
        assert_eq!(door.post(&path, &headers, &body), (201, String::new()));
    }
    let filled: Vec<_> = (0..4)
        .map(|partition| door.events(partition))
        .filter(|events| !events.is_empty())
        .collect();
    assert_eq!(filled.len(), 1, "one key, one partition");
    let expected: Vec<_> =
        (0..3).flat_map(|part| (0..10).map(move |number| format!("{part} {number}"))).collect();
    assert_eq!(bodies(&filled[0]), expected);
    for event in &filled[0] {
        assert_eq!(event.partition_key.as_deref(), Some("pump 7"));
        assert_eq!(event.properties, [("kind".to_owned(), "test".to_owned())]);
    }
}

#[test]
fn a_single_event_and_one_of_a_publisher() {
    let door = Door::open();
    let token = door.token(HUB, 60);
    let json = [("Authorization", &*token), ("Content-Type", "application/json")];
    assert_eq!(door.post("/EVENTS/messages", &json, b"{\"n\":1}").0, 201);
    let own = door.token("events/publishers/gateway-1", 60);
    let own = [("Authorization", &*own)];
    let path = "/events/publishers/gateway-1/messages";
    assert_eq!(door.post(path, &own, b"mine").0, 201);
    assert_eq!(door.post("/events/publishers/gateway-2/messages", &own, b"theirs").0, 401);
    assert_eq!(door.post("/events/messages", &own, b"no publisher").0, 401);
    let events = door.all_events();
    assert_eq!(events.len(), 2, "{events:?}");
    let of_publisher = events.iter().find(|event| event.body == b"mine").unwrap();
    assert_eq!(of_publisher.partition_key.as_deref(), Some("gateway-1"));
    assert!(events.iter().any(|event| event.body == b"{\"n\":1}"));
}

/// The official client gets over AMQP what came over HTTP.
#[tokio::test]
async fn a_receiver_gets_what_was_posted() {
    let door = Door::open();
    let token = door.token(HUB, 60);
    let key = r#"{"PartitionKey":"7"}"#;
    let headers = [("Authorization", &*token), ("Content-Type", BATCH), ("BrokerProperties", key)];
    let body = br#"[{"Body":"{\"n\":1}","UserProperties":{"text":"a value","number":42}}]"#;
    assert_eq!(door.post("/events/messages", &headers, body).0, 201);
    let string = &door.broker.connection_string;
    let client = ConsumerClient::builder()
        .with_custom_endpoint(format!("amqp://{}", door.broker.address))
        .open_with_connection_string(string, Some(HUB));
    let received = async {
        let client = client.await.unwrap();
        let location = StartLocation::Earliest;
        let start_position = Some(StartPosition { location, inclusive: false });
        let options = OpenReceiverOptions { start_position, ..OpenReceiverOptions::default() };
        // The hash of the key, -15263 by azure-sdk-for-net, leaves 3 when divided by four.
        let receiver = client.open_receiver_on_partition("3".to_owned(), Some(options));
        receiver.await.unwrap().stream_events().next().await.unwrap().unwrap()
    };
    let received = tokio::time::timeout(Duration::from_secs(30), received).await.unwrap();
    assert_eq!(received.partition_key().as_deref(), Some("7"));
    let event = received.event_data();
    assert_eq!(event.body().unwrap(), b"{\"n\":1}");
    let expected = EventData::builder()
        .add_property("text".to_owned(), "a value")
        .add_property("number".to_owned(), 42_i64)
        .build();
    assert_eq!(event.properties(), expected.properties());
}

#[test]
fn each_mistake_has_its_answer_and_keeps_nothing() {
    let door = Door::open();
    let good = door.token(HUB, 60);
    let expired = door.token(HUB, -1);
    let elsewhere = door.token("others", 60);
    let forged = good.replace("&se=", "&se=9");
    let path = "/events/messages";
    let batch = ("Content-Type", BATCH);
    let long = vec![b' '; (1 << 20) + 1];
    let key = ("BrokerProperties", r#"{"PartitionKey":7}"#);
    for (path, headers, body, status, told) in [
        (path, vec![batch], &b"[{\"Body\":\"\"}]"[..], 401, "no token"),
        (path, vec![("Authorization", &*expired)], b"", 401, "expired"),
        (path, vec![("Authorization", &*elsewhere)], b"", 401, "another resource"),
        (path, vec![("Authorization", &*forged)], b"", 401, "signature"),
        (path, vec![("Authorization", "Bearer x")], b"", 401, "no shared access signature"),
        ("/others/messages", vec![("Authorization", &*elsewhere)], b"", 404, "no hub"),
        ("/events", vec![("Authorization", &*good)], b"", 404, "path"),
        (path, vec![("Authorization", &*good), batch], b"{}", 400, "no JSON array"),
        (path, vec![("Authorization", &*good), batch], b"[]", 400, "no message"),
        (path, vec![("Authorization", &*good), key], b"", 400, "BrokerProperties"),
        (path, vec![("Authorization", &*good)], &long, 413, "longer than"),
    ] {
        let (answered, body_of_answer) = door.post(path, &headers, body);
        assert_eq!(answered, status, "{headers:?} {body_of_answer}");
        assert!(body_of_answer.contains(told), "{body_of_answer}");
        assert!(body_of_answer.starts_with(&format!("<Error><Code>{status}</Code>")));
        assert!(!body_of_answer.contains(&door.key()));
    }
    // Without a length it is found out while it comes.
    let mut chunks = format!("{:x}\r\n", long.len()).into_bytes();
    chunks.extend_from_slice(&long);
    chunks.extend_from_slice(b"\r\n0\r\n\r\n");
    let headers = [("Authorization", &*good), ("Transfer-Encoding", "chunked")];
    assert_eq!(door.exchange(path, &headers, &chunks).0, 413);
    assert_eq!(door.all_events(), []);
}

#[test]
fn a_body_that_breaks_off_keeps_nothing_and_the_door_stays_open() {
    let door = Door::open();
    let token = door.token(HUB, 60);
    let mut stream = TcpStream::connect(door.address).unwrap();
    let head = format!(
        "POST /events/messages HTTP/1.1\r\nHost: h\r\nAuthorization: {token}\r\n\
         Content-Length: 100\r\n\r\nhalf"
    );
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    assert_eq!(door.post("/events/messages", &[("Authorization", &token)], b"whole").0, 201);
    assert_eq!(bodies(&door.all_events()), ["whole"]);
}

#[test]
fn a_reader_tells_what_is_not_there_and_ends_with_its_broker() {
    let door = Door::open();
    let reader = door.reader.clone();
    let unknown = ReadError::Unknown { hub: HUB.to_owned(), partition: 9 };
    assert_eq!(reader.events(HUB, 9, 0), Err(unknown));
    assert!(matches!(reader.events("others", 0, 0), Err(ReadError::Unknown { .. })));
    assert_eq!(reader.events(HUB, 0, 0), Ok(Vec::new()));
    door.broker.stop();
    assert_eq!(reader.events(HUB, 0, 0), Err(ReadError::Stopped));
}

#[test]
fn a_public_address_is_refused() {
    let directory = tempdir().unwrap();
    let http = Some("0.0.0.0:0".parse().unwrap());
    let settings = Settings { http, ..settings(directory.path()) };
    let clock = Arc::new(SystemClock::new());
    let error = Broker::open(settings, Arc::new(RealDisk), clock).unwrap_err();
    assert!(error.to_string().contains("no TLS"), "{error}");
}

#[test]
fn nothing_speaks_http_unless_it_is_asked_to() {
    let directory = tempdir().unwrap();
    let broker = Running::start(directory.path());
    let mut stream = TcpStream::connect(broker.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"POST /events/messages HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    broker.stop();
}
