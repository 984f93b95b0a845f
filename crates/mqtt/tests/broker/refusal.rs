//! A broker that is not there, or does not want what it is asked for.

use super::*;

use twinge_mqtt::Refusal;

/// A password file for the user `device` and the lines that make a broker ask for it.
fn with_password(directory: &std::path::Path) -> Option<String> {
    let file = directory.join("passwords");
    testing::add_password(&file, "device", "right")?;
    Some(format!("allow_anonymous false\npassword_file {}\n", file.display()))
}

fn as_device(broker: &Mosquitto, version: Version, password: &std::path::Path) -> Settings {
    Settings {
        username: Some("device".into()),
        password_file: Some(password.to_owned()),
        ..settings(broker, version, "device")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_a_right_one_is_picked_up() {
    let directory = tempfile::tempdir().unwrap();
    let Some(extra) = with_password(directory.path()) else { return };
    let Some(broker) = Mosquitto::start(directory.path(), &extra) else { return };
    let password = directory.path().join("password");
    for version in VERSIONS {
        std::fs::write(&password, "wrong\n").unwrap();
        let client = Client::start(&as_device(&broker, version, &password), &[]);
        let monitor = client.monitor();
        let told = status(&monitor, |s| matches!(s, Status::Away { attempts: 3.., .. })).await;
        assert!(reason(&told).contains("not authorized"), "{told}");
        assert!(!format!("{told:?} {:?}", client.publisher).contains("wrong"));
        std::fs::write(&password, "right\n").unwrap();
        let client = client.connected().await;
        bounded(client.publisher.publish("t", "", Options::default())).await.unwrap();
        client.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_publish_is_told_in_version_5_and_looks_taken_in_3_1_1() {
    let directory = tempfile::tempdir().unwrap();
    let acl = directory.path().join("acl");
    std::fs::write(&acl, "topic readwrite open/#\n").unwrap();
    let extra = format!("acl_file {}\n", acl.display());
    let Some(broker) = Mosquitto::start(directory.path(), &extra) else { return };
    for version in VERSIONS {
        let client = Client::start(&settings(&broker, version, "denied"), &[]).connected().await;
        let publish = |topic: &'static str| client.publisher.publish(topic, "", Options::default());
        bounded(publish("open/t")).await.unwrap();
        let denied = bounded(publish("closed/t")).await;
        match version {
            Version::V311 => denied.unwrap(),
            Version::V5 => {
                let error = denied.unwrap_err();
                let reason = "not authorized".to_owned();
                assert_eq!(error, PublishError::Refused { reason });
                assert!(!error.is_temporary());
            }
        }
        // Mosquitto 2.0.11 closes the connection after such an answer; what follows is not lost.
        bounded(publish("open/t")).await.unwrap();
        client.stop().await;
    }
}

/// A plugin of Mosquitto's denies subscriptions; its own list of topics only denies messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_denied_subscription_is_told_and_the_others_are_served() {
    let directory = tempfile::tempdir().unwrap();
    let Some(plugin) = testing::dynamic_security() else { return };
    let rules = directory.path().join("rules.json");
    let acl = r#"{"acltype":"subscribePattern","topic":"open/#","priority":1,"allow":true}"#;
    std::fs::write(&rules, format!(
        r#"{{"defaultACLAccess":{{"publishClientSend":true,"publishClientReceive":true,"subscribe":false,"unsubscribe":true}},
        "clients":[],"groups":[{{"groupname":"all","roles":[{{"rolename":"r"}}],"clients":[]}}],
        "roles":[{{"rolename":"r","acls":[{acl}]}}],"anonymousGroup":"all"}}"#
    )).unwrap();
    let extra = format!(
        "plugin {}\nplugin_opt_config_file {}\nallow_anonymous true\n",
        plugin.display(),
        rules.display(),
    );
    let Some(broker) = Mosquitto::start(directory.path(), &extra) else { return };
    for version in VERSIONS {
        let settings = Settings {
            subscribe_retry_seconds: 1,
            keep_alive_seconds: 2,
            ..settings(&broker, version, "subscriber")
        };
        let mut client = Client::start(&settings, &["open/a", "closed/#"]);
        let refused = |status: &Status| matches!(status, Status::Connected { refused, .. } if !refused.is_empty());
        let monitor = client.monitor();
        let Status::Connected { refused, .. } = status(&monitor, refused).await else { panic!() };
        let reason = match version {
            Version::V311 => "refused without a reason",
            Version::V5 => "not authorized",
        };
        let reason = reason.to_owned();
        assert_eq!(refused, [Refusal { filter: "closed/#".into(), reason }]);
        bounded(client.publisher.publish("open/a", "served", Options::default())).await.unwrap();
        assert_eq!(client.next().await.payload, "served");
        client.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_publishes_are_answered_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let Some(mut broker) = Mosquitto::start(directory.path(), "") else { return };
    for version in VERSIONS {
        let settings = Settings { away_seconds: 1, ..settings(&broker, version, "away") };
        let client = Client::start(&settings, &[]).connected().await;
        broker.stop();
        let monitor = client.monitor();
        status(&monitor, |status| matches!(status, Status::Away { .. })).await;
        let many = (0..5_000).map(|_| outgoing("t", ""));
        let answers = bounded(client.publisher.publish_many(many)).await;
        for answer in answers {
            let error = answer.unwrap_err();
            assert!(error.is_temporary() && error.to_string().contains("away"), "{error}");
        }
        assert_eq!(monitor.counts().publish_failures, 5_000);
        assert!(broker.restart());
        let client = client.connected().await;
        bounded(client.publisher.publish("t", "", Options::default())).await.unwrap();
        client.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_waits() {
    let settings = Settings::new(format!("mqtt://127.0.0.1:{}", testing::free_port()), "nobody");
    let client = Client::start(&settings, &[]);
    let monitor = client.monitor();
    let told = status(&monitor, |status| matches!(status, Status::Away { .. })).await;
    assert!(reason(&told).contains("cannot reach 127.0.0.1"), "{told}");
    let publisher = client.publisher.clone();
    let waiting = publisher.publish("t", "", Options::default());
    let (answer, ()) = bounded(async { tokio::join!(waiting, client.stop()) }).await;
    assert_eq!(answer, Err(PublishError::Stopped));
    assert_eq!(
        bounded(publisher.publish("t", "", Options::default())).await,
        Err(PublishError::Stopped)
    );
}

#[test]
fn a_filter_that_is_none_is_told_at_once() {
    let settings = Settings::new("mqtt://127.0.0.1", "client");
    for filter in ["", "a/#/b", "a+", "a\0"] {
        let error = twinge_mqtt::connect(&settings, vec![filter.to_owned()]).unwrap_err();
        assert_eq!(error.key, "subscriptions");
    }
}
