//! What the network and the SDK do to a connection, and what a producer and a receiver make of it:
//! answers that never come, connections that break at any byte, delays. Each test goes through a proxy
//! that does so on purpose.
//!
//! Two faults of the AMQP library below the SDK look from here like the first two: a send whose answer
//! overtook its own bookkeeping waits for ever, and a token link that ends too early takes the
//! connection with it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_eventhubs::{
    Drivers, Namespace, Position, Producer, Receiver, ReceiverSettings, Record,
};
use twinge_eventhubs_local::{Broker, HubSettings, Settings};
use twinge_platform::{RealDisk, SystemClock};

const DEADLINE: Duration = Duration::from_secs(90);
const ANSWER: Duration = Duration::from_millis(1500);

/// What the proxy does to a connection, by its number.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// After so many bytes of the client, nothing of the broker comes through any more.
    DeafAfter(usize),
    /// After so many bytes in both directions, the connection is gone.
    CutAfter(usize),
    /// Every piece of data takes so long.
    Delay(Duration),
}

type Faults = dyn Fn(u64) -> Fault + Send + Sync;

/// A broker behind a proxy.
struct Place {
    _directory: TempDir,
    stop: CancellationToken,
    tracker: TaskTracker,
    drivers: Drivers,
    namespace: Namespace,
    connections: Arc<AtomicU64>,
}

impl Place {
    async fn new(faults: impl Fn(u64) -> Fault + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let hub = HubSettings { name: "events".into(), partitions: 1 };
        let settings = Settings::new(directory.path(), vec![hub]);
        let broker =
            Broker::open(settings, Arc::new(RealDisk), Arc::new(SystemClock::new())).unwrap();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let (text, address) = (broker.connection_string(), broker.address());
        let stopped = stop.clone();
        tracker.spawn(async move { broker.run(stopped).await.unwrap() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicU64::new(0));
        let (count, stopped, connected) = (connections.clone(), stop.clone(), tracker.clone());
        let faults: Arc<Faults> = Arc::new(faults);
        tracker.spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = stopped.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let client = accepted.unwrap().0;
                let fault = faults(count.fetch_add(1, Ordering::SeqCst));
                let broker = TcpStream::connect(address).await.unwrap();
                let stopped = stopped.clone();
                connected.spawn(async move {
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        () = forward(client, broker, fault) => {}
                    }
                });
            }
        });
        let text = text.replace(&address.port().to_string(), &port.to_string());
        let namespace = Namespace::from_connection_string(&text).unwrap().0.with_deadline(ANSWER);
        let drivers = Drivers::start(1).unwrap();
        Self { _directory: directory, stop, tracker, drivers, namespace, connections }
    }

    async fn send(&self, numbers: std::ops::Range<u32>) {
        let producer = Producer::start(&self.drivers, self.namespace.clone(), "events");
        let numbers: Vec<u32> = numbers.collect();
        for group in numbers.chunks(100) {
            let record = |number: &u32| Record {
                key: Some("key".into()),
                body: number.to_string().into_bytes(),
            };
            let records = group.iter().map(record).collect();
            let mut ticket = producer.room().await.unwrap().send(records);
            timeout(DEADLINE, ticket.wait()).await.expect("records arrive").unwrap();
        }
    }

    /// Reads until all numbers below `count` are there; sequence numbers come in order, each once.
    async fn read(&self, count: u32) {
        let settings = ReceiverSettings {
            namespace: self.namespace.clone(),
            hub: "events".into(),
            group: "$Default".into(),
            partition: "0".into(),
            epoch: 1,
        };
        let mut receiver = Receiver::open(&self.drivers, settings, Position::Earliest);
        let (mut found, mut next) = (BTreeSet::new(), 0);
        let read = async {
            while found.len() < count as usize {
                for event in receiver.next().await.unwrap().unwrap() {
                    assert_eq!(event.sequence, next, "no event is left out or comes twice");
                    next += 1;
                    let text = String::from_utf8(event.body).unwrap();
                    found.insert(text.parse::<u32>().unwrap());
                }
            }
        };
        timeout(DEADLINE, read).await.expect("events come");
        assert!(found.into_iter().eq(0..count));
    }

    async fn end(self) {
        let Self { stop, tracker, drivers, .. } = self;
        tokio::task::spawn_blocking(move || drop(drivers)).await.unwrap();
        stop.cancel();
        tracker.close();
        timeout(DEADLINE, tracker.wait()).await.expect("everything stops");
    }
}

async fn forward(client: TcpStream, broker: TcpStream, fault: Fault) {
    let (client_in, client_out) = client.into_split();
    let (broker_in, broker_out) = broker.into_split();
    let sent = Arc::new(AtomicU64::new(0));
    let both = Arc::new(AtomicU64::new(0));
    let up = pump(client_in, broker_out, fault, &sent, &both, true);
    let down = pump(broker_in, client_out, fault, &sent, &both, false);
    // Whichever direction ends, the connection is gone.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    fault: Fault,
    sent: &AtomicU64,
    both: &AtomicU64,
    is_up: bool,
) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let total = both.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
        if is_up {
            sent.fetch_add(read as u64, Ordering::SeqCst);
        }
        match fault {
            Fault::CutAfter(most) if total > most as u64 => return,
            Fault::DeafAfter(most) if !is_up && sent.load(Ordering::SeqCst) > most as u64 => {
                continue;
            }
            Fault::Delay(time) => sleep(time).await,
            _ => {}
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_send_that_is_never_answered_is_sent_again_over_a_new_connection() {
    // Opening takes some 3000 bytes of the client, so the answer to a batch is what gets lost.
    let place = Place::new(|number| match number {
        0 => Fault::DeafAfter(8000),
        _ => Fault::None,
    })
    .await;
    place.send(0..1000).await;
    assert!(place.connections.load(Ordering::SeqCst) >= 2, "the deaf connection was given up");
    place.read(1000).await;
    place.end().await;
}

#[tokio::test]
async fn an_opening_that_is_never_answered_is_tried_again() {
    for after in [0, 40, 400, 1200, 2400] {
        let place = Place::new(move |number| match number {
            0 => Fault::DeafAfter(after),
            _ => Fault::None,
        })
        .await;
        place.send(0..50).await;
        place.read(50).await;
        place.end().await;
    }
}

#[tokio::test]
async fn connections_that_break_at_any_byte_lose_and_repeat_no_event() {
    for seed in 0..4u64 {
        // A seeded step through lengths: openings, tokens, batches and deliveries are all hit.
        let place = Place::new(move |number| {
            let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ (seed << 17)) >> 40;
            match number % 6 {
                5 => Fault::None,
                _ => Fault::CutAfter(500 + (mixed % 30_000) as usize),
            }
        })
        .await;
        place.send(0..600).await;
        place.read(600).await;
        let connections = place.connections.load(Ordering::SeqCst);
        assert!(connections >= 3, "seed {seed}: only {connections} connections");
        place.end().await;
    }
}

#[tokio::test]
async fn delays_at_every_step_harm_nobody() {
    let place = Place::new(|_| Fault::Delay(Duration::from_millis(2))).await;
    place.send(0..500).await;
    place.read(500).await;
    assert_eq!(place.connections.load(Ordering::SeqCst), 2, "one each for sending and reading");
    place.end().await;
}
