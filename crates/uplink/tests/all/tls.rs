//! HTTPS: a cloud that cannot prove itself gets nothing, and is tried again.

use crate::common::event;
use twinge_mqtt::testing::{Certificates, Mosquitto, free_port};
use twinge_uplink::{Kind, Outgoing, Settings, UplinkError};

/// What sending to a server on this port comes to, for whoever trusts this authority. The server is
/// a broker: it speaks TLS and no HTTP, and only the former matters.
async fn told(port: u16, authority: &Certificates) -> String {
    let settings = Settings {
        url: Some(format!("https://127.0.0.1:{port}/")),
        ca_file: Some(authority.ca.clone()),
        timeout_seconds: Some(5),
        ..Settings::new(Kind::Http)
    };
    settings.check().unwrap();
    let mut uplink = settings.open("gateway-1").unwrap();
    let bytes = event(1, "p");
    match uplink.send(&[Outgoing { key: Some("p"), bytes: &bytes }]).await {
        Err(UplinkError::Away { reason, .. }) => reason,
        other => panic!("{other:?} is not away"),
    }
}

#[tokio::test]
async fn a_cloud_that_cannot_prove_itself_is_away() {
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let made = directories.each_ref().map(tempfile::TempDir::path);
    let Some(good) = Certificates::make(made[0], 2) else { return };
    let Some(expired) = Certificates::make(made[1], -1) else { return };
    let Some(other) = Certificates::make(made[2], 2) else { return };
    for (certificates, directory, trusted, why) in
        [(&good, made[0], &other, "UnknownIssuer"), (&expired, made[1], &expired, "Expired")]
    {
        let port = free_port();
        let Some(_broker) = Mosquitto::start(directory, &certificates.listener(port)) else {
            return;
        };
        let reason = told(port, trusted).await;
        assert!(reason.contains(why), "{reason}");
    }
    // The same server is spoken to by whoever trusts its authority; that it knows no HTTP is another matter.
    let port = free_port();
    let Some(_broker) = Mosquitto::start(made[0], &good.listener(port)) else { return };
    let reason = told(port, &good).await;
    assert!(!reason.contains("certificate"), "{reason}");
}
