//! The client against a real Mosquitto, in both protocol versions.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "../../src/testing.rs"]
#[expect(dead_code, unreachable_pub, reason = "this test does not use every part of the module")]
mod testing;

mod delivery;
mod hub;
mod refusal;
mod scripted;
mod tls;

use std::time::Duration;

use testing::Mosquitto;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinge_mqtt::{
    Message, Messages, Monitor, Options, Outgoing, PublishError, Publisher, QoS, Settings, Status,
    Version,
};

/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// A client whose driver runs.
struct Client {
    publisher: Publisher,
    messages: Messages,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Client {
    fn start(settings: &Settings, filters: &[&str]) -> Self {
        let filters = filters.iter().map(ToString::to_string).collect();
        let parts = twinge_mqtt::connect(settings, filters).unwrap();
        Self::run(parts)
    }

    fn run((publisher, messages, driver): (Publisher, Messages, twinge_mqtt::Driver)) -> Self {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(driver.run(stop.clone()));
        tasks.close();
        Self { publisher, messages, stop, tasks }
    }

    fn monitor(&self) -> Monitor {
        self.publisher.monitor().clone()
    }

    async fn connected(self) -> Self {
        status(&self.monitor(), |status| matches!(status, Status::Connected { .. })).await;
        self
    }

    async fn next(&mut self) -> Message {
        bounded(self.messages.next()).await.expect("the driver runs")
    }

    async fn stop(self) {
        self.stop.cancel();
        bounded(self.tasks.wait()).await;
    }
}

async fn bounded<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits until the status is as wanted.
async fn status(monitor: &Monitor, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut watched = monitor.status();
    bounded(watched.wait_for(|status| wanted(status))).await.expect("the driver runs").clone()
}

/// Waits until a condition that nothing announces comes true.
async fn until(condition: impl Fn() -> bool) {
    bounded(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

fn settings(broker: &Mosquitto, version: Version, client_id: &str) -> Settings {
    Settings { version, ..Settings::new(broker.url(), client_id) }
}

fn outgoing(topic: &str, payload: impl Into<Vec<u8>>) -> Outgoing {
    Outgoing {
        topic: topic.to_owned(),
        payload: payload.into().into(),
        options: Options::default(),
    }
}

fn at_most_once() -> Options {
    Options { qos: QoS::AtMostOnce, ..Options::default() }
}

fn reason(status: &Status) -> &str {
    match status {
        Status::Away { reason, .. } => reason,
        other => panic!("not away but {other}"),
    }
}

fn all_taken(answers: &[Result<(), PublishError>]) {
    let failed: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
