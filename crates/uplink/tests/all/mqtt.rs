//! The MQTT and `IoT Hub` uplinks against Mosquitto.

use std::time::Duration;

use tempfile::tempdir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_mqtt::testing::Mosquitto;
use twinge_uplink::{Drain, DrainSettings, Kind, Outgoing, Settings, Uplink, UplinkError};

use crate::common::{MemoryBacklog, Refused, assert_all_in_order, event, number_of, shared, until};

async fn send(uplink: &mut dyn Uplink, numbers: &[u64], key: &str) -> Result<(), UplinkError> {
    let events: Vec<_> = numbers.iter().map(|number| event(*number, "s")).collect();
    let batch: Vec<_> = events.iter().map(|bytes| Outgoing { key: Some(key), bytes }).collect();
    tokio::time::timeout(Duration::from_mins(1), uplink.send(&batch)).await.unwrap()
}

const PROBE: &str = "probe";

/// Whoever listens at the broker: topics and payloads of what comes in.
struct Listener {
    messages: twinge_mqtt::Messages,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Listener {
    async fn start(broker: &Mosquitto) -> Self {
        let settings = twinge_mqtt::Settings::new(broker.url(), "listener");
        let (publisher, messages, driver) =
            twinge_mqtt::connect(&settings, vec!["#".to_owned()]).unwrap();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        tracker.spawn(driver.run(stop.clone()));
        tracker.close();
        let mut listener = Self { messages, stop, tracker };
        // A subscription holds once the broker sends what is published to it.
        let probe = || publisher.publish(PROBE, "", twinge_mqtt::Options::default());
        let subscribed = async {
            loop {
                probe().await.unwrap();
                if let Ok(message) =
                    tokio::time::timeout(Duration::from_millis(200), listener.messages.next()).await
                {
                    listener.messages.ack(message.unwrap().receipt);
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), subscribed).await.unwrap();
        listener
    }

    async fn next(&mut self) -> (String, Vec<u8>) {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(30), self.messages.next()).await;
            let message = message.unwrap().unwrap();
            self.messages.ack(message.receipt);
            if message.topic != PROBE {
                return (message.topic, message.payload.to_vec());
            }
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tracker.wait().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_arrive_in_order_under_their_topics() {
    let directory = tempdir().unwrap();
    let Some(broker) = Mosquitto::start(directory.path(), "") else { return };
    let mut listener = Listener::start(&broker).await;
    for version in [twinge_uplink::MqttVersion::V5, twinge_uplink::MqttVersion::V311] {
        let settings = Settings {
            broker: Some(broker.url()),
            version: Some(version),
            topic: Some("plant/{device}/{detector}/{kind}/{entity}".to_owned()),
            ..Settings::new(Kind::Mqtt)
        };
        settings.check().unwrap();
        let mut uplink = settings.open("gw 1").unwrap();
        let numbers: Vec<_> = (0..300).collect();
        send(&mut *uplink, &numbers, "p/1+").await.unwrap();
        for number in numbers {
            let (topic, payload) = listener.next().await;
            assert_eq!(topic, "plant/gw 1/pump/verdict/p%2F1%2B");
            assert_eq!(payload, event(number, "s"), "to the byte");
        }
        uplink.close().await;
    }
    listener.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_no_event_is_named() {
    let mut uplink =
        Settings { broker: Some("mqtt://127.0.0.1:9".to_owned()), ..Settings::new(Kind::Mqtt) }
            .open("gateway")
            .unwrap();
    let good = event(1, "s");
    let batch = [&good[..], b"no event"].map(|bytes| Outgoing { key: None, bytes });
    let refused = uplink.send(&batch).await;
    assert!(matches!(refused, Err(UplinkError::Refused { index: Some(1), .. })), "{refused:?}");
    uplink.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_loses_nothing() {
    let directory = tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(directory.path(), "") else { return };
    let settings = Settings {
        broker: Some(broker.url()),
        timeout_seconds: Some(3),
        ..Settings::new(Kind::Mqtt)
    };
    let (backlog, refused) = (shared::<MemoryBacklog>(), shared::<Refused>());
    let quick = DrainSettings { entries_per_second: 1e6, ..DrainSettings::default() };
    let drain = Drain::new(settings.open("gw").unwrap(), backlog.clone(), refused.clone(), quick);
    let (bell, figures) = (drain.bell(), drain.figures());
    let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
    tracker.spawn(drain.run(stop.clone()));
    let mut wanted = Vec::new();
    let mut arrived = Vec::new();
    for _ in 0..2 {
        let mut listener = Listener::start(&broker).await;
        let added: Vec<_> = (0..200).map(|_| backlog.add(&bell, Some("p"), false)).collect();
        let last = *added.last().unwrap();
        wanted.extend(added);
        while arrived.last() != Some(&last) {
            arrived.push(number_of(&listener.next().await.1));
        }
        until("all is released", || backlog.len() == 0).await;
        listener.stop().await;
        broker.kill();
        // While it is away, records wait.
        let failures = figures.status().failures;
        wanted.push(backlog.add(&bell, Some("p"), true));
        until("it is found to be away", || figures.status().failures > failures).await;
        assert_eq!(backlog.len(), 1);
        assert!(broker.restart());
        // What was sent while nobody listened is acknowledged all the same.
        arrived.push(*wanted.last().unwrap());
        until("it is sent", || backlog.len() == 0).await;
    }
    stop.cancel();
    tracker.close();
    tokio::time::timeout(Duration::from_secs(10), tracker.wait()).await.unwrap();
    assert_all_in_order(&arrived, &wanted);
    assert!(refused.sequences().is_empty());
}

/// A broker as `IoT Hub` is to its devices: user name, token as password, topics.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn iot_hub_gets_messages_whose_body_routes_can_query() {
    let directory = tempdir().unwrap();
    let Some(broker) = Mosquitto::start(directory.path(), "") else { return };
    let mut listener = Listener::start(&broker).await;
    let file = directory.path().join("connection");
    std::fs::write(&file, "HostName=h.azure-devices.net;DeviceId=pump-7;SharedAccessKey=aHVzaA==")
        .unwrap();
    let settings = Settings {
        broker: Some(broker.url()),
        connection_string_file: Some(file),
        ..Settings::new(Kind::IotHub)
    };
    settings.check().unwrap();
    let mut uplink = settings.open("any").unwrap();
    send(&mut *uplink, &[7, 8], "p").await.unwrap();
    for number in [7, 8] {
        let (topic, payload) = listener.next().await;
        assert_eq!(
            topic,
            format!(
                "devices/pump-7/messages/events/$.ct=application%2Fjson&$.ce=utf-8&$.mid={number}\
                 &type=io.twinge.verdict.v1"
            )
        );
        assert_eq!(payload, event(number, "s"));
    }
    let long = serde_json::to_vec(&serde_json::json!({ "type": "t", "x": "x".repeat(256 << 10) }));
    let refused = uplink.send(&[Outgoing { key: None, bytes: &long.unwrap() }]).await;
    assert!(matches!(refused, Err(UplinkError::Refused { index: Some(0), .. })), "{refused:?}");
    assert!(!format!("{uplink:?}").contains("hush"));
    uplink.close().await;
    listener.stop().await;
    let open = Settings { broker: Some("mqtt://h.azure-devices.net".to_owned()), ..settings };
    let error = open.check().unwrap_err();
    assert_eq!(error.key, "broker");
}
