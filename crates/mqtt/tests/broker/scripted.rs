//! Brokers that misbehave as no real one can be made to: each is a few lines of script.

use super::*;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The broker's consent to a connection, without a session from before.
const CONNACK_311: [u8; 4] = [0x20, 2, 0, 0];
const CONNACK_5: [u8; 5] = [0x20, 3, 0, 0, 0];

async fn listener() -> (TcpListener, Settings) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = format!("mqtt://{}", listener.local_addr().unwrap());
    (listener, Settings { version: Version::V311, ..Settings::new(broker, "client") })
}

/// Reads one packet of less than 128 bytes.
async fn packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    bounded(stream.read_exact(&mut head)).await.unwrap();
    let mut body = vec![0; head[1].into()];
    bounded(stream.read_exact(&mut body)).await.unwrap();
    [&head[..], &body].concat()
}

/// Accepts a connection and its first packet.
async fn accept(listener: &TcpListener, connack: &[u8]) -> TcpStream {
    let (mut stream, _) = bounded(listener.accept()).await.unwrap();
    assert_eq!(packet(&mut stream).await[0], 0x10);
    stream.write_all(connack).await.unwrap();
    stream
}

#[tokio::test]
async fn a_broker_that_says_nothing_is_given_up() {
    let (_listener, settings) = listener().await;
    let client = Client::start(&Settings { connect_seconds: 1, ..settings }, &[]);
    let told = |status: &Status| matches!(status, Status::Away { attempts: 2.., .. });
    let told = status(&client.monitor(), told).await;
    assert!(reason(&told).contains("did not answer within 1 s"), "{told}");
    client.stop().await;
}

#[tokio::test]
async fn a_broker_that_says_nothing_more_is_given_up() {
    let (listener, settings) = listener().await;
    let client = Client::start(&Settings { keep_alive_seconds: 1, ..settings }, &[]);
    let mut stream = accept(&listener, &CONNACK_311).await;
    assert_eq!(packet(&mut stream).await, [0xc0, 0]);
    let told = |status: &Status| matches!(status, Status::Away { .. });
    let told = status(&client.monitor(), told).await;
    assert!(reason(&told).contains("does not answer a ping"), "{told}");
    client.stop().await;
}

#[tokio::test]
async fn a_broker_that_breaks_the_protocol_is_left_and_nothing_panics() {
    let garbage: [&[u8]; 7] = [
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThis is no MQTT.",
        &[0x20, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x40, 2, 0, 9],
        &[0x32, 7, 0, 1, b't', 0, 0, b'x', b'x'],
        &[0x32, 5, 0, 9, b't', 0, 1],
        &[0x30, 3, 0, 1, 0xff],
        &[0xf0, 0],
    ];
    for (version, connack) in [(Version::V311, &CONNACK_311[..]), (Version::V5, &CONNACK_5)] {
        for bytes in garbage {
            let (listener, settings) = listener().await;
            let client = Client::start(&Settings { version, ..settings }, &[]);
            let mut stream = accept(&listener, connack).await;
            stream.write_all(bytes).await.unwrap();
            let told = status(&client.monitor(), |s| matches!(s, Status::Away { .. })).await;
            assert!(reason(&told).contains("breaks the protocol"), "{bytes:x?}: {told}");
            client.stop().await;
        }
    }
}

#[tokio::test]
async fn a_publish_in_flight_is_sent_again_as_a_duplicate_and_answered_once() {
    let (listener, settings) = listener().await;
    let client = Client::start(&settings, &[]);
    let publish = client.publisher.publish("t", "x", Options::default());
    let script = async {
        let mut stream = accept(&listener, &CONNACK_311).await;
        let first = packet(&mut stream).await;
        assert_eq!(first[0], 0x32);
        drop(stream);
        let mut stream = accept(&listener, &CONNACK_311).await;
        let second = packet(&mut stream).await;
        assert_eq!(second[0], 0x3a, "marked as a duplicate");
        assert_eq!(second[1..], first[1..], "with its packet identifier");
        stream.write_all(&[0x40, 2, second[5], second[6]]).await.unwrap();
        stream
    };
    let (answer, _stream) = bounded(async { tokio::join!(publish, script) }).await;
    answer.unwrap();
    client.stop().await;
}

#[tokio::test]
async fn a_publish_that_breaks_each_connection_is_given_back() {
    let (listener, settings) = listener().await;
    let client = Client::start(&settings, &[]);
    let publish = client.publisher.publish("t", "x", Options::default());
    let script = async {
        for _ in 0..3 {
            let mut stream = accept(&listener, &CONNACK_311).await;
            packet(&mut stream).await;
        }
    };
    let (answer, ()) = bounded(async { tokio::join!(publish, script) }).await;
    assert!(matches!(answer, Err(PublishError::Away { .. })), "{answer:?}");
    client.stop().await;
}

#[tokio::test]
async fn a_broker_that_never_acknowledges_does_not_hold_a_publish_for_ever() {
    let (listener, settings) = listener().await;
    let client =
        Client::start(&Settings { answer_seconds: 1, keep_alive_seconds: 1, ..settings }, &[]);
    let publish = client.publisher.publish("t", "x", Options::default());
    let script = async {
        let mut stream = accept(&listener, &CONNACK_311).await;
        // It answers pings, but nothing else, until the client leaves.
        let mut head = [0; 2];
        while stream.read_exact(&mut head).await.is_ok() {
            let mut body = vec![0; head[1].into()];
            stream.read_exact(&mut body).await.unwrap();
            if head[0] == 0xc0 {
                stream.write_all(&[0xd0, 0]).await.unwrap();
            }
        }
    };
    let (answer, ()) = bounded(async { tokio::join!(publish, script) }).await;
    let error = answer.unwrap_err();
    assert!(error.to_string().contains("did not acknowledge"), "{error}");
    client.stop().await;
}

#[tokio::test]
async fn the_brokers_limits_are_kept() {
    let (listener, settings) = listener().await;
    let client = Client::start(&Settings { version: Version::V5, ..settings }, &[]);
    // Receive Maximum 2, Maximum Packet Size 64, no retained messages.
    let connack = [0x20, 13, 0, 0, 10, 0x21, 0, 2, 0x27, 0, 0, 0, 64, 0x25, 0];
    let many = client.publisher.publish_many([
        outgoing("t", "1"),
        outgoing("t", vec![0; 100]),
        outgoing("t", "2"),
        outgoing("t", "3"),
        Outgoing { options: Options { retain: true, ..Options::default() }, ..outgoing("t", "") },
    ]);
    let script = async {
        let mut stream = accept(&listener, &connack).await;
        let ids = [packet(&mut stream).await, packet(&mut stream).await].map(|p| [p[5], p[6]]);
        let third = tokio::time::timeout(Duration::from_millis(200), stream.peek(&mut [0])).await;
        assert!(third.is_err(), "the window of two is kept");
        for [high, low] in ids {
            stream.write_all(&[0x40, 2, high, low]).await.unwrap();
        }
        let third = packet(&mut stream).await;
        stream.write_all(&[0x40, 4, third[5], third[6], 0x97, 0]).await.unwrap();
        stream
    };
    let (answers, _stream) = bounded(async { tokio::join!(many, script) }).await;
    let refused = |place: usize, why: &str| match &answers[place] {
        Err(PublishError::Refused { reason }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    };
    assert_eq!((&answers[0], &answers[2]), (&Ok(()), &Ok(())));
    refused(1, "takes 64");
    refused(3, "quota exceeded");
    refused(4, "retains no messages");
    client.stop().await;
}

#[tokio::test]
async fn a_refused_connection_and_a_farewell_are_told_with_their_reasons() {
    let (listener, settings) = listener().await;
    let client = Client::start(&Settings { version: Version::V5, ..settings }, &[]);
    let monitor = client.monitor();
    drop(accept(&listener, &[0x20, 3, 0, 0x8a, 0]).await);
    let told = status(&monitor, |s| matches!(s, Status::Away { attempts: 1, .. })).await;
    assert!(reason(&told).contains("banned"), "{told}");
    let mut stream = accept(&listener, &CONNACK_5).await;
    stream.write_all(&[0xe0, 1, 0x8e]).await.unwrap();
    let told = status(&monitor, |s| matches!(s, Status::Away { attempts: 2, .. })).await;
    assert!(reason(&told).contains("session taken over"), "{told}");
    client.stop().await;
}
