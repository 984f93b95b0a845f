//! What is sent comes in, once it is acknowledged it does not come again, and nothing is lost
//! when the broker goes away.

use super::*;

use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_both_ways_in_both_versions() {
    let directory = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(directory.path(), "") else { return };
    for version in VERSIONS {
        let mut client =
            Client::start(&settings(&broker, version, "both"), &["a/+", "b/#"]).connected().await;
        let options = Options {
            content_type: Some("application/json".into()),
            user_properties: vec![("site".into(), "north".into())],
            ..Options::default()
        };
        // Granted subscriptions are needed before a message can come in.
        bounded(client.publisher.publish("none", "", Options::default())).await.unwrap();
        bounded(client.publisher.publish("a/1", "one", options)).await.unwrap();
        bounded(client.publisher.publish("b/2/3", "two", at_most_once())).await.unwrap();
        let message = client.next().await;
        assert_eq!((message.topic.as_str(), &message.payload[..]), ("a/1", &b"one"[..]));
        assert_eq!(
            (message.qos, message.duplicate, message.retain),
            (QoS::AtLeastOnce, false, false)
        );
        if version == Version::V5 {
            assert_eq!(message.content_type.as_deref(), Some("application/json"));
            assert_eq!(message.user_properties, [("site".to_owned(), "north".to_owned())]);
        }
        client.messages.ack(message.receipt);
        let message = client.next().await;
        assert_eq!((message.qos, message.receipt), (QoS::AtMostOnce, None));
        let monitor = client.monitor();
        until(|| monitor.counts().acks == 1).await;
        client.stop().await;
        let counts = monitor.counts();
        assert_eq!((counts.messages, counts.published, counts.connects), (2, 3, 1));
        assert_eq!((counts.publish_failures, counts.disconnects, counts.acks_stale), (0, 0, 0));
        assert_eq!(*monitor.status().borrow(), Status::Stopped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_stays_away_and_what_is_not_comes_again() {
    let directory = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(directory.path(), "") else { return };
    for version in VERSIONS {
        let settings = settings(&broker, version, &format!("again-{version:?}"));
        let mut client = Client::start(&settings, &["t"]).connected().await;
        all_taken(
            &bounded(client.publisher.publish_many((0..10).map(|n| outgoing("t", [n])))).await,
        );
        let mut receipts = Vec::new();
        for n in 0..10 {
            let message = client.next().await;
            assert_eq!(message.payload[..], [n]);
            receipts.push(message.receipt.unwrap());
        }
        client.messages.ack(receipts[..6].iter().copied());
        // Used twice: passed over, not sent twice.
        client.messages.ack([receipts[0]]);
        let monitor = client.monitor();
        client.stop().await;
        assert_eq!((monitor.counts().acks, monitor.counts().acks_stale), (6, 1));

        let mut client = Client::start(&settings, &["t"]).connected().await;
        for n in 6..10 {
            let message = client.next().await;
            assert_eq!((&message.payload[..], message.duplicate), (&[n][..], true));
            client.messages.ack(message.receipt);
        }
        client.stop().await;
        let mut client = Client::start(&settings, &["t"]).connected().await;
        bounded(client.publisher.publish("t", "end", Options::default())).await.unwrap();
        assert_eq!(client.next().await.payload, "end");
        client.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_the_client_was_away_is_delivered_later() {
    let directory = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(directory.path(), "") else { return };
    for version in VERSIONS {
        let receiver = settings(&broker, version, &format!("later-{version:?}"));
        let client = Client::start(&receiver, &["later"]).connected().await;
        bounded(client.publisher.publish("x", "", Options::default())).await.unwrap();
        client.stop().await;
        let sender = Client::start(&settings(&broker, version, "sender"), &[]);
        bounded(sender.publisher.publish("later", "kept", Options::default())).await.unwrap();
        let mut client = Client::start(&receiver, &["later"]);
        assert_eq!(client.next().await.payload, "kept");
        client.stop().await;
        sender.stop().await;
    }
}

/// Takes messages and acknowledges them until each number below `count` came.
async fn take_all(client: &mut Client, count: u32) {
    let (mut seen, mut batch) = (BTreeSet::new(), Vec::new());
    while seen.len() < count as usize {
        batch.clear();
        bounded(client.messages.next_many(&mut batch, 64)).await;
        for message in &batch {
            seen.insert(u32::from_le_bytes(message.payload[..].try_into().unwrap()));
        }
        client.messages.ack(batch.iter().filter_map(|message| message.receipt));
    }
    assert_eq!(seen, (0..count).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_broker_restarts_in_the_middle() {
    const COUNT: u32 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(directory.path(), "") else { return };
    for version in VERSIONS {
        let name = |part: &str| format!("{part}-{version:?}");
        let mut receiver =
            Client::start(&settings(&broker, version, &name("in")), &["n"]).connected().await;
        bounded(receiver.publisher.publish("x", "", Options::default())).await.unwrap();
        let sender = Client::start(&settings(&broker, version, &name("out")), &[]);
        let (publisher, monitor) = (sender.publisher.clone(), sender.monitor());
        let sending = async move {
            let numbers = (0..COUNT).map(|n| outgoing("n", n.to_le_bytes()));
            all_taken(&publisher.publish_many(numbers).await);
        };
        let restart = async {
            until(|| monitor.counts().published > u64::from(COUNT / 10)).await;
            broker.stop();
            assert!(broker.restart());
        };
        bounded(async { tokio::join!(sending, restart, take_all(&mut receiver, COUNT)) }).await;
        assert_eq!(monitor.counts().connects, 2, "the restart came in the middle");
        receiver.stop().await;
        sender.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_of_an_earlier_connection_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(directory.path(), "") else { return };
    for version in VERSIONS {
        let settings = settings(&broker, version, &format!("old-{version:?}"));
        let mut client = Client::start(&settings, &["t"]).connected().await;
        bounded(client.publisher.publish("t", "held", Options::default())).await.unwrap();
        let early = client.next().await;
        let saved = || broker.saved().windows(4).any(|bytes| bytes == b"held");
        until(saved).await;
        broker.kill();
        assert!(broker.restart());
        let again = client.next().await;
        assert_eq!(again.payload, "held");
        client.messages.ack(early.receipt);
        let monitor = client.monitor();
        until(|| monitor.counts().acks_stale == 1).await;
        assert_eq!(monitor.counts().acks, 0);
        client.messages.ack(again.receipt);
        until(|| monitor.counts().acks == 1).await;
        client.stop().await;
        broker.kill();
        std::fs::remove_file(directory.path().join("mosquitto.db")).unwrap();
        assert!(broker.restart());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_holds_the_broker_back_and_loses_nothing() {
    const COUNT: u32 = 3_000;
    let directory = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(directory.path(), "") else { return };
    for version in VERSIONS {
        let slow = Settings {
            keep_alive_seconds: 1,
            queue_bytes_max: 20_000,
            ..settings(&broker, version, &format!("slow-{version:?}"))
        };
        let mut client = Client::start(&slow, &["n"]).connected().await;
        bounded(client.publisher.publish("x", "", Options::default())).await.unwrap();
        let sender = Client::start(&settings(&broker, version, "fast"), &[]);
        let numbers = (0..COUNT).map(|n| outgoing("n", n.to_le_bytes()));
        all_taken(&bounded(sender.publisher.publish_many(numbers)).await);
        // Much longer than the broker waits for a client that is silent.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let waiting = client.monitor().counts().messages;
        assert!((50..u64::from(COUNT)).contains(&waiting), "{waiting} messages were read ahead");
        take_all(&mut client, COUNT).await;
        assert_eq!(client.monitor().counts().connects, 1, "the broker kept the connection");
        client.stop().await;
        sender.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_pass_and_what_is_beyond_the_bound_blocks_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let Some(broker) = Mosquitto::start(directory.path(), "") else { return };
    for version in VERSIONS {
        let wide = settings(&broker, version, &format!("wide-{version:?}"));
        let narrow = Settings {
            packet_bytes_max: 1 << 20,
            ..settings(&broker, version, &format!("narrow-{version:?}"))
        };
        let mut wide = Client::start(&wide, &["big", "small"]).connected().await;
        let mut narrow = Client::start(&narrow, &["big", "small"]).connected().await;
        for client in [&wide, &narrow] {
            bounded(client.publisher.publish("x", "", Options::default())).await.unwrap();
        }
        let payload: Vec<u8> = (0..10_000_000u32).map(|n| (n % 251) as u8).collect();
        let big = bounded(wide.publisher.publish("big", payload.clone(), Options::default()));
        big.await.unwrap();
        bounded(wide.publisher.publish("small", "end", Options::default())).await.unwrap();
        let message = wide.next().await;
        assert!(message.payload == payload && message.oversize_bytes.is_none());
        let message = narrow.next().await;
        assert_eq!((message.topic.as_str(), message.payload.len()), ("big", 0));
        assert!(message.oversize_bytes.unwrap() > payload.len());
        narrow.messages.ack(message.receipt);
        assert_eq!(narrow.next().await.payload, "end");
        let monitor = narrow.monitor();
        assert_eq!(monitor.counts().messages_oversize, 1);
        assert_eq!(monitor.counts().connects, 1);
        wide.stop().await;
        narrow.stop().await;
    }
}
