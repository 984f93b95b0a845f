//! Event Hubs through the SDK, against the host's own broker: every event of a hub gets its verdict in
//! another, and what is no event becomes a dead letter.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Running, Workshop, wait_for};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tokio::time::timeout;
use twinge_eventhubs::{
    Drivers, Namespace, Position, Producer, ReceivedEvent, Receiver, ReceiverSettings, Record,
    partition_of,
};

const PARTITIONS: usize = 4;
const DEADLINE: Duration = Duration::from_mins(1);

/// A host with a broker of its own, and the way into that.
struct Hubs {
    workshop: Workshop,
    drivers: Drivers,
    host: Option<Running>,
    namespace: Option<Namespace>,
}

impl Hubs {
    fn start() -> Self {
        let mut hubs = Self {
            workshop: Workshop::new(),
            drivers: Drivers::start(1).unwrap(),
            host: None,
            namespace: None,
        };
        hubs.start_host();
        hubs
    }

    fn state(&self) -> PathBuf {
        self.workshop.path("hub.state")
    }

    fn command(&self) -> Command {
        let mut host = Command::new(env!("CARGO_BIN_EXE_host"));
        host.arg("--allow-unsigned").arg("--module").arg(&self.workshop.module);
        host.arg("--state").arg(self.state()).env("RUST_LOG", "info");
        host.args(["--hub", "events", "--broker-partitions", &PARTITIONS.to_string()]);
        host.args(["--ownership-seconds", "1", "--checkpoint-events", "300"]);
        host
    }

    fn start_host(&mut self) {
        let file = self.state().join("broker/connection-string");
        // The one of the host before names a port that nobody listens at any more.
        drop(fs::remove_file(&file));
        self.host = Some(Running::listening(&mut self.command()));
        let text = fs::read_to_string(&file).unwrap();
        self.namespace = Some(Namespace::from_connection_string(text.trim()).unwrap().0);
    }

    fn namespace(&self) -> Namespace {
        self.namespace.clone().unwrap()
    }

    async fn send(&self, records: Vec<Record>) {
        let producer = Producer::start(&self.drivers, self.namespace(), "events");
        let mut ticket = producer.room().await.unwrap().send(records);
        timeout(DEADLINE, ticket.wait()).await.expect("the broker takes records").unwrap();
    }

    /// Reads a hub until `count` different ids are there; a record that came twice is the same.
    async fn read(&self, hub: &str, count: usize) -> BTreeMap<String, (ReceivedEvent, usize)> {
        let open = |partition: usize| {
            let settings = ReceiverSettings {
                namespace: self.namespace(),
                hub: hub.into(),
                group: "test".into(),
                partition: partition.to_string(),
                epoch: 1,
            };
            Receiver::open(&self.drivers, settings, Position::Earliest)
        };
        let mut receivers: Vec<Receiver> = (0..PARTITIONS).map(open).collect();
        let mut found = BTreeMap::new();
        let read = async {
            while found.len() < count {
                for (partition, receiver) in receivers.iter_mut().enumerate() {
                    let next = timeout(Duration::from_millis(50), receiver.next()).await;
                    let Ok(Some(events)) = next else { continue };
                    for event in events.unwrap() {
                        let value: Value = serde_json::from_slice(&event.body).unwrap();
                        let id = value["id"].as_str().unwrap().to_owned();
                        if let Some((before, _)) = found.insert(id, (event.clone(), partition)) {
                            assert_eq!(before.body, event.body, "one id, two records");
                        }
                    }
                }
            }
        };
        timeout(DEADLINE, read).await.unwrap_or_else(|_| panic!("{count} records of {hub}"));
        found
    }

    fn metrics(&self) -> String {
        let address = &self.host.as_ref().unwrap().address;
        let mut answer = ureq::get(format!("http://{address}/metrics")).call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    }
}

fn events(lines: &[String]) -> Vec<Record> {
    let record = |line: &String| {
        let value: Value = serde_json::from_str(line).unwrap();
        Record {
            key: Some(value["sensor"].as_str().unwrap().to_owned()),
            body: line.clone().into_bytes(),
        }
    };
    lines.iter().map(record).collect()
}

#[tokio::test]
async fn every_event_of_a_hub_has_its_verdict_in_another_also_after_kills() {
    let mut hubs = Hubs::start();
    let lines = hubs.workshop.events(7, 3000);
    for (number, part) in lines.chunks(1000).enumerate() {
        hubs.send(events(part)).await;
        if number < 2 {
            // With its broker: both come back as they were.
            assert!(hubs.host.take().unwrap().kill(), "the host was at work");
            hubs.start_host();
        }
    }
    let verdicts = hubs.read("verdicts", 3000).await;
    assert_eq!(verdicts.len(), 3000);
    let mut entities = BTreeSet::new();
    for (event, partition) in verdicts.values() {
        let value: Value = serde_json::from_slice(&event.body).unwrap();
        let entity = value["subject"].as_str().unwrap();
        assert_eq!(event.key.as_deref(), Some(entity), "the entity is the partition key");
        assert_eq!(*partition, partition_of(entity, PARTITIONS));
        assert_eq!(value["data"]["origin"]["partition"], partition.to_string());
        entities.insert(entity.to_owned());
    }
    assert!(entities.len() > 20, "{}", entities.len());
    assert_eq!(hubs.host.take().unwrap().stop(), Some(0));
}

#[tokio::test]
async fn what_is_no_event_becomes_a_dead_letter_and_the_partition_goes_on() {
    let hubs = Hubs::start();
    let lines = hubs.workshop.events(8, 200);
    let bad = |body: Vec<u8>| Record { key: Some("a key".into()), body };
    let mut records = events(&lines[..100]);
    records.push(bad(b"not json".to_vec()));
    records.push(bad(vec![0xff, 0, 0xfe]));
    records.push(bad(Vec::new()));
    records.push(bad(vec![b'['; 1_000_000]));
    records.extend(events(&lines[100..]));
    hubs.send(records).await;
    let verdicts = hubs.read("verdicts", 200).await;
    assert_eq!(verdicts.len(), 200, "the good ones");
    let letters = hubs.read("dead-letters", 4).await;
    for (event, partition) in letters.values() {
        assert_eq!(event.key.as_deref(), Some("a key"));
        assert_eq!(*partition, partition_of("a key", PARTITIONS));
    }
    let metrics = hubs.metrics();
    assert!(metrics.contains("twinge_dead_letters_total"), "{metrics}");
}

#[tokio::test]
async fn an_entity_in_two_partitions_is_reported() {
    let hubs = Hubs::start();
    let lines = hubs.workshop.events(9, 400);
    // Without a key, the events of an entity go to all partitions in turn.
    let astray = events(&lines).into_iter().map(|record| Record { key: None, ..record });
    hubs.send(astray.collect()).await;
    hubs.read("verdicts", 400).await;
    wait_for("the report", || {
        let metrics = hubs.metrics();
        let line = |line: &str| {
            line.starts_with("twinge_entities_in_two_partitions_total{") && !line.ends_with(" 0")
        };
        metrics.lines().any(line)
    });
}

#[test]
fn mistakes_in_the_settings_of_a_hub_are_told() {
    let workshop = Workshop::new();
    let file = workshop.path("connection-string");
    let cases = [
        ("Endpoint=sb://a.b;SharedAccessKeyName=k", "no `SharedAccessKey`"),
        (
            "Endpoint=sb://a.b;SharedAccessKeyName=k;SharedAccessKey=geheim;UseDevelopmentEmulator=true",
            "on this machine",
        ),
        ("geheim", "KEY=VALUE"),
    ];
    for (text, expected) in cases {
        fs::write(&file, text).unwrap();
        let mut host = workshop.host("none");
        let ended =
            host.args(["--hub", "events", "--connection-string-file"]).arg(&file).output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{told}");
        assert!(told.contains(expected) && !told.contains("geheim"), "{text}: {told}");
    }
    let mut host = workshop.host("none");
    host.args(["--hub", "events", "--broker-listen", "0.0.0.0:0"]);
    let ended = host.output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("127.0.0.1"));
}
