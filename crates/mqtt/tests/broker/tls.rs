//! TLS: the right authority, the wrong one, and a certificate that has expired.

use super::*;

use testing::{Certificates, free_port};

struct Secured {
    broker: Mosquitto,
    port: u16,
    certificates: Certificates,
}

impl Secured {
    fn start(directory: &std::path::Path, days: i32, extra: &str) -> Option<Self> {
        let certificates = Certificates::make(directory, days)?;
        let port = free_port();
        let lines = format!("{}{extra}", certificates.listener(port));
        Some(Self { broker: Mosquitto::start(directory, &lines)?, port, certificates })
    }

    fn settings(&self, version: Version) -> Settings {
        Settings {
            broker: format!("mqtts://127.0.0.1:{}", self.port),
            ca_file: Some(self.certificates.ca.clone()),
            ..settings(&self.broker, version, "secured")
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_signed_by_the_right_authority_is_spoken_to() {
    let directory = tempfile::tempdir().unwrap();
    let Some(secured) = Secured::start(directory.path(), 2, "") else { return };
    for version in VERSIONS {
        let mut client = Client::start(&secured.settings(version), &["t"]).connected().await;
        bounded(client.publisher.publish("x", "", Options::default())).await.unwrap();
        let payload = vec![7; 300_000];
        bounded(client.publisher.publish("t", payload.clone(), Options::default())).await.unwrap();
        let message = client.next().await;
        assert!(message.payload == payload);
        client.messages.ack(message.receipt);
        client.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_may_ask_for_the_clients_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let Some(certificates) = Certificates::make(directory.path(), 2) else { return };
    let port = free_port();
    let extra = format!(
        "{}cafile {}\nrequire_certificate true\n",
        certificates.listener(port),
        certificates.ca.display(),
    );
    let Some(broker) = Mosquitto::start(directory.path(), &extra) else { return };
    let secured = Secured { broker, port, certificates };
    let bare = secured.settings(Version::V5);
    let client = Client::start(&bare, &[]);
    status(&client.monitor(), |status| matches!(status, Status::Away { .. })).await;
    client.stop().await;
    let proven = Settings {
        client_certificate_file: Some(secured.certificates.certificate.clone()),
        client_key_file: Some(secured.certificates.key.clone()),
        ..bare
    };
    Client::start(&proven, &[]).connected().await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_prove_itself_is_told_and_tried_again() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let Some(secured) = Secured::start(directories[0].path(), 2, "") else { return };
    let Some(expired) = Secured::start(directories[1].path(), -1, "") else { return };
    let Some(other) = Certificates::make(directories[2].path(), 2) else { return };
    let strange = Settings { ca_file: Some(other.ca), ..secured.settings(Version::V5) };
    for (settings, why) in [(strange, "UnknownIssuer"), (expired.settings(Version::V5), "Expired")]
    {
        let client = Client::start(&settings, &[]);
        let told = |s: &Status| matches!(s, Status::Away { attempts: 2.., .. });
        let told = status(&client.monitor(), told).await;
        assert!(reason(&told).contains("no TLS connection"), "{told}");
        assert!(reason(&told).contains(why), "{told}");
        client.stop().await;
    }
}
