//! A broker that asks for what Azure `IoT` Hub asks for.

use super::*;

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use twinge_mqtt::iothub::{Access, Device};
use twinge_mqtt::{Password, PasswordError, Passwords};

const CONNECTION: &str =
    "HostName=plant.azure-devices.net;DeviceId=pump-7;SharedAccessKey=c2VjcmV0LWtleQ==";

/// The passwords of a device at a time that stands still, renewed at once.
#[derive(Debug)]
struct At {
    device: Device,
    time: Mutex<SystemTime>,
    renew: bool,
}

impl Passwords for At {
    fn password(&self, now: SystemTime) -> Result<Option<Password>, PasswordError> {
        let tokens = Access::default().passwords(self.device.clone());
        let time = *self.time.lock().unwrap();
        let password = tokens.password(time)?.unwrap();
        let renew_at = self.renew.then_some(now);
        Ok(Some(Password { renew_at, ..password }))
    }
}

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A broker that knows the device by the token of one time, and lets it write to its topic only.
fn hub(directory: &std::path::Path, device: &Device, at: SystemTime) -> Option<Mosquitto> {
    let (passwords, acl) = (directory.join("passwords"), directory.join("acl"));
    let token = device.token(at + Duration::from_hours(1));
    testing::add_password(&passwords, &device.username(), token.expose())?;
    testing::add_password(&passwords, "observer", "observer")?;
    let rules = format!(
        "user {}\ntopic write devices/{}/messages/events/#\nuser observer\ntopic read devices/#\n",
        device.username(),
        device.id(),
    );
    std::fs::write(&acl, rules).unwrap();
    let extra = format!(
        "allow_anonymous false\npassword_file {}\nacl_file {}\n",
        passwords.display(),
        acl.display(),
    );
    Mosquitto::start(directory, &extra)
}

fn observer(directory: &std::path::Path, broker: &Mosquitto) -> Settings {
    let password = directory.join("observer");
    std::fs::write(&password, "observer").unwrap();
    Settings {
        username: Some("observer".into()),
        password_file: Some(password),
        ..settings(broker, Version::V5, "observer")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_proves_itself_with_a_token_and_writes_to_its_topic() {
    let directory = tempfile::tempdir().unwrap();
    let device: Device = CONNECTION.parse().unwrap();
    let Some(broker) = hub(directory.path(), &device, time(1_700_000_000)) else { return };
    let mut observer = Client::start(&observer(directory.path(), &broker), &["devices/#"]);
    // The hub's host is not here, and this broker has no certificate for it.
    let settings = Settings { broker: broker.url(), ..device.settings() };
    let passwords = Arc::new(At {
        device: device.clone(),
        time: Mutex::new(time(1_600_000_000)),
        renew: false,
    });
    let parts = twinge_mqtt::connect_with(&settings, Vec::new(), passwords.clone()).unwrap();
    let client = Client::run(parts);
    let told = |status: &Status| matches!(status, Status::Away { attempts: 2.., .. });
    let told = status(&client.monitor(), told).await;
    assert!(reason(&told).contains("not authorized"), "{told}");
    assert!(!format!("{told:?}").contains("SharedAccessSignature"));
    *passwords.time.lock().unwrap() = time(1_700_000_000);
    let client = client.connected().await;
    let topic = device.events_topic(&[("$.ct", "application/json"), ("$.ce", "utf-8")]);
    let publish = || client.publisher.publish(topic.clone(), "{}", Options::default());
    // The observer's subscription may be younger than the first messages.
    let message = loop {
        bounded(publish()).await.unwrap();
        let soon = tokio::time::timeout(Duration::from_millis(100), observer.messages.next());
        if let Ok(message) = soon.await {
            break message.unwrap();
        }
    };
    assert_eq!(message.topic, "devices/pump-7/messages/events/$.ct=application%2Fjson&$.ce=utf-8");
    assert_eq!(message.payload, "{}");
    client.stop().await;
    observer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_token_is_taken_by_connecting_anew_without_a_failure() {
    let directory = tempfile::tempdir().unwrap();
    let device: Device = CONNECTION.parse().unwrap();
    let Some(broker) = hub(directory.path(), &device, time(1_700_000_000)) else { return };
    let settings = Settings { broker: broker.url(), ..device.settings() };
    let (now, renew) = (Mutex::new(time(1_700_000_000)), true);
    let passwords = Arc::new(At { device: device.clone(), time: now, renew });
    let parts = twinge_mqtt::connect_with(&settings, Vec::new(), passwords).unwrap();
    let client = Client::run(parts);
    let monitor = client.monitor();
    let topic = device.events_topic(&[]);
    while monitor.counts().connects < 2 {
        bounded(client.publisher.publish(&topic, "{}", Options::default())).await.unwrap();
    }
    let counts = monitor.counts();
    assert_eq!((counts.disconnects, counts.publish_failures), (0, 0));
    client.stop().await;
}
