//! The Event Hubs uplink against the local broker's HTTP door: what is sent is read back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use twinge_eventhubs_local::{Broker, HubSettings, KeptEvent, Reader, Settings as BrokerSettings};
use twinge_platform::{ManualClock, RealDisk, SystemClock};
use twinge_uplink::{
    Bell, Drain, DrainSettings, Kind, Outgoing, PartitionKey, Settings, Uplink, UplinkError,
};

use crate::common::{MemoryBacklog, Refused, event, number_of, shared, until};

const HUB: &str = "verdicts";

struct Hub {
    address: SocketAddr,
    reader: Reader,
    connection_string: String,
    directory: TempDir,
    _stop: DropGuard,
}

impl Hub {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let hubs = vec![HubSettings { name: HUB.to_owned(), partitions: 4 }];
        let mut settings = BrokerSettings::new(directory.path().join("broker"), hubs);
        settings.http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let clock = Arc::new(SystemClock::new());
        let broker = Broker::open(settings, Arc::new(RealDisk), clock).unwrap();
        let (address, reader) = (broker.http_address().unwrap(), broker.reader());
        let connection_string = broker.connection_string();
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(broker.run(stop.clone()));
        Self { address, reader, connection_string, directory, _stop: stop.drop_guard() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn settings(&self) -> Settings {
        let text = format!("{}EntityPath={HUB}\n", self.connection_string);
        Settings {
            endpoint: Some(format!("http://{}", self.address)),
            connection_string_file: Some(self.file("connection", &text)),
            ..Settings::new(Kind::EventHubs)
        }
    }

    fn partitions(&self) -> Vec<Vec<KeptEvent>> {
        (0..4).map(|partition| self.reader.events(HUB, partition, 0).unwrap()).collect()
    }
}

fn open(settings: &Settings) -> Box<dyn Uplink> {
    settings.check().unwrap();
    settings.open("gateway ö").unwrap()
}

/// Sends events with these numbers, of the entities that `entity` gives them.
async fn send(
    uplink: &mut dyn Uplink,
    numbers: std::ops::Range<u64>,
    entity: fn(u64) -> Option<&'static str>,
) -> Result<(), UplinkError> {
    let events: Vec<_> = numbers
        .map(|number| (entity(number), event(number, entity(number).unwrap_or("-"))))
        .collect();
    let batch: Vec<_> = events.iter().map(|(key, bytes)| Outgoing { key: *key, bytes }).collect();
    uplink.send(&batch).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_of_a_device_is_in_order_in_one_partition() {
    let hub = Hub::start();
    // So small that a batch takes several requests.
    let mut uplink = open(&Settings { batch_bytes: Some(2_000), ..hub.settings() });
    send(&mut *uplink, 0..100, |number| Some(["a", "b", "c"][number as usize % 3])).await.unwrap();
    send(&mut *uplink, 100..120, |_| None).await.unwrap();
    let filled: Vec<_> = hub.partitions().into_iter().filter(|events| !events.is_empty()).collect();
    assert_eq!(filled.len(), 1);
    let numbers: Vec<_> = filled[0].iter().map(|event| number_of(&event.body)).collect();
    assert_eq!(numbers, (0..120).collect::<Vec<_>>());
    for kept in &filled[0] {
        assert_eq!(kept.partition_key.as_deref(), Some("gateway ö"));
        let property = |name: &str| {
            kept.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(property("type"), Some("io.twinge.verdict.v1"));
        assert_eq!(property("device"), Some("gateway ö"));
    }
    assert_eq!(filled[0][0].body, event(0, "a"), "to the byte");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entities_spread_and_each_keeps_its_order() {
    let hub = Hub::start();
    let partition_key = Some(PartitionKey::Entity);
    let mut uplink = open(&Settings { partition_key, ..hub.settings() });
    let entity = |number: u64| [Some("a"), Some("b"), Some("ключ"), None][number as usize % 4];
    send(&mut *uplink, 0..60, entity).await.unwrap();
    send(&mut *uplink, 60..80, entity).await.unwrap();
    let events: Vec<_> = hub.partitions().concat();
    assert_eq!(events.len(), 80);
    for (place, key) in ["a", "b", "ключ", "gateway ö"].into_iter().enumerate() {
        let of_key = events.iter().filter(|event| event.partition_key.as_deref() == Some(key));
        let numbers: Vec<_> = of_key.map(|event| number_of(&event.body)).collect();
        let wanted: Vec<_> = (0..80).filter(|number| number % 4 == place as u64).collect();
        assert_eq!(numbers, wanted, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_is_the_key_of_its_events() {
    let hub = Hub::start();
    let mut uplink = open(&Settings { publisher: Some("gateway-1".to_owned()), ..hub.settings() });
    send(&mut *uplink, 0..5, |_| Some("a")).await.unwrap();
    let events = hub.partitions().concat();
    assert_eq!(events.len(), 5);
    assert!(events.iter().all(|event| event.partition_key.as_deref() == Some("gateway-1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_others_is_read_again_when_it_is_refused() {
    let hub = Hub::start();
    let path = hub.file("token", &token(&hub, 1));
    let settings = Settings {
        connection_string_file: None,
        token_file: Some(path.clone()),
        hub: Some(HUB.to_owned()),
        ..hub.settings()
    };
    let mut uplink = open(&settings);
    let error = send(&mut *uplink, 0..2, |_| None).await.unwrap_err();
    let UplinkError::Away { reason, .. } = error else { panic!("{error:?} is not away") };
    assert!(reason.contains("has expired") && reason.contains("fresh token"), "{reason}");
    assert!(!reason.contains("sig="), "{reason}");
    // Whoever renews it does: the next try finds it without being told.
    std::fs::write(&path, token(&hub, 4_000_000_000)).unwrap();
    send(&mut *uplink, 0..2, |_| None).await.unwrap();
    assert_eq!(hub.partitions().concat().len(), 2);
}

/// A token as somebody else would make it.
fn token(hub: &Hub, expiry_s: i64) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hmac::{Hmac, KeyInit, Mac};
    let key = hub.connection_string.split_once("SharedAccessKey=").unwrap().1;
    let mut mac =
        Hmac::<sha2::Sha256>::new_from_slice(key.split(';').next().unwrap().as_bytes()).unwrap();
    let resource = format!("https%3a%2f%2fhost%2f{HUB}");
    mac.update(format!("{resource}\n{expiry_s}").as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let signature = signature.replace('+', "%2b").replace('/', "%2f").replace('=', "%3d");
    format!(
        "SharedAccessSignature sr={resource}&sig={signature}&se={expiry_s}\
         &skn=RootManageSharedAccessKey"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_rotated_is_read_again_and_a_wrong_clock_is_told() {
    let hub = Hub::start();
    let settings = hub.settings();
    let good = std::fs::read_to_string(settings.connection_string_file.as_ref().unwrap()).unwrap();
    let wrong = good.replace("SharedAccessKey=", "SharedAccessKey=hush");
    hub.file("connection", &wrong);
    let mut uplink = open(&settings);
    let error = send(&mut *uplink, 0..1, |_| None).await.unwrap_err();
    assert!(matches!(&error, UplinkError::Away { reason, .. } if reason.contains("signature")));
    assert!(!format!("{error:?} {uplink:?}").contains("hush"));
    hub.file("connection", &good);
    send(&mut *uplink, 0..1, |_| None).await.unwrap();
    let slow = Arc::new(ManualClock::new(1_000_000_000_000));
    let mut uplink = settings.open_with("gateway", slow).unwrap();
    let error = send(&mut *uplink, 0..1, |_| None).await.unwrap_err();
    assert!(matches!(&error, UplinkError::Away { reason, .. } if reason.contains("expired")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_is_not_there_is_away() {
    let hub = Hub::start();
    let mut uplink = open(&Settings { hub: Some("others".to_owned()), ..hub.settings() });
    let error = send(&mut *uplink, 0..1, |_| None).await.unwrap_err();
    assert!(matches!(&error, UplinkError::Away { reason, .. } if reason.contains("no hub")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_with_bad_records_arrives_whole_and_in_order() {
    let hub = Hub::start();
    let (backlog, refused) = (shared::<MemoryBacklog>(), shared::<Refused>());
    let (mut wanted, mut bad) = (Vec::new(), Vec::new());
    for number in 0..3_000 {
        if number % 700 == 300 {
            bad.push(backlog.add_bytes(&Bell::default(), b"{\"no\": \"event\"}"));
        } else {
            wanted.push(backlog.add(&Bell::default(), Some("p"), false));
        }
    }
    let settings = DrainSettings { entries_per_second: 1e6, ..DrainSettings::default() };
    let drain = Drain::new(open(&hub.settings()), backlog.clone(), refused.clone(), settings);
    let (figures, stop, tracker) = (drain.figures(), CancellationToken::new(), TaskTracker::new());
    let began = std::time::Instant::now();
    tracker.spawn(drain.run(stop.clone()));
    until("all is sent", || backlog.len() == 0).await;
    println!("{} records in {:?}", wanted.len(), began.elapsed());
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    let events = hub.partitions().concat();
    let numbers: Vec<_> = events.iter().map(|event| number_of(&event.body)).collect();
    assert_eq!(numbers, wanted);
    assert_eq!(refused.sequences(), bad);
    assert_eq!(figures.status().sent, wanted.len() as u64);
}
