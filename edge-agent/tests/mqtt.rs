//! Events of a broker in, verdicts to another out: also when the agent is killed again and again and
//! the way up comes and goes, and whatever else a broker brings.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and tells what is needed to see it again"
)]

mod device;

use device::{Device, client, get, wait_for, wait_while_it_grows};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use twinge_mqtt::testing::Mosquitto;
use twinge_mqtt::{Messages, Options, Outgoing, Publisher};
use twinge_testkit::program::patience;

/// Verdicts by entity: the ids that each has.
type Seen = Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>;

fn broker(device: &Device, name: &str) -> Option<Mosquitto> {
    fs::create_dir_all(device.path(name)).unwrap();
    Mosquitto::start(&device.path(name), "")
}

/// An event as a CloudEvent: what its sender calls it is what it is known by.
fn event(number: usize, x: f64) -> Outgoing {
    let payload = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{number}\",\"source\":\"/t\",\"type\":\"t\",\"subject\":\"e{number}\",\"data\":{{\"x\":{x}}}}}"
    );
    let topic = format!("in/e{number}");
    Outgoing { topic, payload: payload.into(), options: Options::default() }
}

async fn publish(publisher: &Publisher, events: Vec<Outgoing>) {
    for answer in publisher.publish_many(events).await {
        answer.unwrap();
    }
}

/// Notes verdicts until the runtime ends.
fn collect(mut messages: Messages) -> Seen {
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let verdict: Value = serde_json::from_slice(&message.payload).unwrap();
            let (entity, id) = (verdict["subject"].as_str().unwrap(), verdict["id"].as_str());
            let mut noted = noted.lock().unwrap();
            noted.entry(entity.to_owned()).or_default().insert(id.unwrap().to_owned());
            drop(noted);
            messages.ack(message.receipt);
        }
    });
    seen
}

/// What comes before a session was ever subscribed is nobody's.
async fn wait_for_the_subscription(publisher: &Publisher, seen: &Seen) {
    let began = Instant::now();
    let probes = 1_000_000..;
    for probe in probes {
        publish(publisher, vec![event(probe, 0.5)]).await;
        if !seen.lock().unwrap().is_empty() {
            return;
        }
        assert!(began.elapsed() < patience(), "the agent does not subscribe");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_while_the_way_up_comes_and_goes_nothing_is_lost() {
    let (kills, seed) = (number("TWINGE_KILLS", 3), number("TWINGE_SEED", 6));
    println!("TWINGE_KILLS={kills} TWINGE_SEED={seed}");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let device = Device::new();
    let Some(source) = broker(&device, "source") else { return };
    let mut upstream = broker(&device, "upstream").unwrap();
    device.configure(&format!(
        "[mqtt]\nbroker = \"{}\"\n[[mqtt.topic]]\npattern = \"in/{{entity}}\"\n\
         [uplink]\nkind = \"mqtt\"\nbroker = \"{}\"\nentries_per_second = 100000\ntimeout_seconds = 2\n",
        source.url(),
        upstream.url()
    ));
    let (publisher, _) = client(&source, "sender", &[]);
    let (_, verdicts) = client(&upstream, "collector", &["twinge/#"]);
    let seen = collect(verdicts);
    let mut agent = device.start();
    wait_for_the_subscription(&publisher, &seen).await;
    let mut sent = 0;
    for _ in 0..kills {
        let until = Instant::now() + Duration::from_millis(300 + random.next_u64() % 700);
        let upstream_goes = random.next_u64().is_multiple_of(2);
        while Instant::now() < until {
            let x = if random.next_u64().is_multiple_of(50) { 2.0 } else { 0.25 };
            publish(&publisher, (sent..sent + 100).map(|number| event(number, x)).collect()).await;
            sent += 100;
        }
        if upstream_goes {
            // Stopped, not killed: what this broker has acknowledged is its own to keep.
            upstream.stop();
        }
        publish(&publisher, (sent..sent + 200).map(|number| event(number, 0.5)).collect()).await;
        sent += 200;
        agent.kill();
        agent = device.start();
        if upstream_goes {
            upstream.restart();
        }
    }
    let is_seen = |number: &usize| seen.lock().unwrap().contains_key(&format!("e{number}"));
    // What waits on disk takes its time; what is lost shows by nothing more coming.
    wait_while_it_grows(|| (0..sent).all(|number| is_seen(&number)), || seen.lock().unwrap().len());
    let missing: Vec<_> = (0..sent).filter(|number| !is_seen(number)).collect();
    assert!(
        missing.is_empty(),
        "no verdict upstream of {} of {sent}, such as {:?}\n{}",
        missing.len(),
        &missing[..missing.len().min(9)],
        agent.log()
    );
    let twice: Vec<_> = seen
        .lock()
        .unwrap()
        .iter()
        .filter(|(_, ids)| ids.len() > 1)
        .map(|(e, _)| e.clone())
        .collect();
    assert!(twice.is_empty(), "verdicts of one event with several ids: {twice:?}");
    let metrics = get(&agent, "/metrics");
    let dropped = metrics.lines().filter(|line| line.starts_with("twinge_spool_dropped_total"));
    assert!(dropped.clone().all(|line| line.ends_with(" 0")), "{:?}", dropped.collect::<Vec<_>>());
    println!("{sent} events, {kills} kills: each has its verdict upstream, and one id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_messages_are_dead_letters_and_block_nothing() {
    let device = Device::new();
    let Some(source) = broker(&device, "source") else { return };
    device.configure(&format!(
        "verdicts = \"verdicts.ndjson\"\ndead_letters = \"dead.ndjson\"\n\
         [mqtt]\nbroker = \"{}\"\n\
         [[mqtt.topic]]\npattern = \"in/{{entity}}\"\n\
         [[mqtt.topic]]\npattern = \"values/{{entity}}/{{signal}}\"\nvalue = \"{{signal}}\"\n",
        source.url()
    ));
    let (publisher, _) = client(&source, "sender", &[]);
    let agent = device.start();
    wait_for(|| device.output("status --state state").1.contains("connected"), || agent.log());
    let message = |topic: &str, payload: Vec<u8>| Outgoing {
        topic: topic.into(),
        payload: payload.into(),
        options: Options::default(),
    };
    let mut large = b"{\"x\":\"".to_vec();
    large.resize(10 << 20, b'x');
    publish(
        &publisher,
        vec![
            message("in/a", b"not json".to_vec()),
            message("in/b", b"{\"x\":\"text\"}".to_vec()),
            message("in/c", large),
            message("in/d", b"\xff\xfe".to_vec()),
            message("in/e", b"{\"x\":0.1,\"y\":1}".to_vec()),
            message("values/f/x", b"0.5".to_vec()),
        ],
    )
    .await;
    wait_for(|| device.lines("verdicts.ndjson").len() == 2, || agent.log());
    let verdicts = device.lines("verdicts.ndjson");
    let subjects: Vec<_> = verdicts.iter().map(|verdict| verdict["subject"].clone()).collect();
    assert_eq!(subjects, ["e", "f"]);
    let reasons: Vec<_> =
        device.lines("dead.ndjson").iter().map(|letter| letter["data"]["reason"].clone()).collect();
    assert_eq!(reasons, ["not-json", "not-a-number", "too-large", "not-json"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_follow_from_bad_findings_and_not_from_others() {
    let device = Device::new();
    let Some(broker) = broker(&device, "source") else { return };
    device.configure(&format!(
        "verdicts = \"verdicts.ndjson\"\n\
         [mqtt]\nbroker = \"{}\"\n\
         [[action]]\ncommand = [\"sh\", \"-c\", \"cat >> {}\"]\n\
         [[action]]\nseverity = \"low\"\ntopic = \"stop/{{entity}}\"\npayload = \"{{severity}}\"\n",
        broker.url(),
        device.path("acted").display()
    ));
    let (_, mut commands) = client(&broker, "machine", &["stop/#"]);
    let agent = device.start();
    wait_for(|| device.output("status --state state").1.contains("connected"), || agent.log());
    let events = "{\"entity\":\"a\",\"x\":0.5}\n{\"entity\":\"b\",\"x\":1.2}\n{\"entity\":\"c\",\"x\":2.5}\n{\"entity\":\"c\",\"x\":2.6}\n";
    assert_eq!(device::post(&agent, events), 202);
    let mut got = Vec::new();
    while got.len() < 2 {
        let message = tokio::time::timeout(patience(), commands.next()).await.unwrap().unwrap();
        got.push((message.topic, String::from_utf8(message.payload.to_vec()).unwrap()));
    }
    assert_eq!(
        got,
        [("stop/b".to_owned(), "low".to_owned()), ("stop/c".to_owned(), "high".to_owned())]
    );
    wait_for(
        || fs::metadata(device.path("acted")).is_ok_and(|file| file.len() > 0),
        || agent.log(),
    );
    let acted: Value =
        serde_json::from_str(&fs::read_to_string(device.path("acted")).unwrap()).unwrap();
    assert_eq!(acted["subject"], "c", "the second one of that entity is held back");
    let text = device.output("status --state state").1;
    assert!(text.contains("1 done, 0 failed, 1 held back"), "{text}");
}
