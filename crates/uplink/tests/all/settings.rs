//! The `[uplink]` table: what is read, and what is told of a mistake.

use twinge_uplink::{Kind, Settings};

fn read(pairs: &[(&str, &str)]) -> Result<Settings, serde_json::Error> {
    let table = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    serde_json::from_value(serde_json::Value::Object(table))
}

#[test]
fn a_table_is_read_and_other_keys_are_refused() {
    let settings =
        read(&[("kind", "http"), ("url", "https://cloud/"), ("format", "ndjson")]).unwrap();
    assert_eq!(settings.kind, Kind::Http);
    let drain = settings.drain().unwrap();
    assert_eq!((drain.entries_per_second, drain.linger.as_millis()), (500.0, 50));
    for (pairs, told) in [
        (&[("kind", "amqp")][..], "eventhubs"),
        (&[("url", "https://cloud/")], "kind"),
        (&[("kind", "http"), ("token", "hush")], "token_file"),
        (&[("kind", "eventhubs"), ("connection_string", "hush")], "connection_string_file"),
        (&[("kind", "eventhubs"), ("partition_key", "time")], "entity"),
    ] {
        let error = read(pairs).unwrap_err().to_string();
        assert!(error.contains(told) && !error.contains("hush"), "{error}");
    }
}

#[test]
fn each_key_at_fault_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let string = "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=hush";
    let http = Settings { url: Some("https://cloud/".to_owned()), ..Settings::new(Kind::Http) };
    let hubs = Settings {
        connection_string_file: file("string", string),
        hub: Some("verdicts".to_owned()),
        ..Settings::new(Kind::EventHubs)
    };
    http.check().unwrap();
    hubs.check().unwrap();
    let text = |text: &str| Some(text.to_owned());
    for (settings, key, told) in [
        (Settings::new(Kind::Http), "url", "is missing"),
        (Settings { url: text("cloud"), ..http.clone() }, "url", "no address"),
        (Settings { hub: text("h"), ..http.clone() }, "hub", "for the kind eventhubs"),
        (
            Settings { token_file: Some("/nowhere".into()), ..http.clone() },
            "token_file",
            "/nowhere",
        ),
        (Settings { token_file: file("none", "\n"), ..http.clone() }, "token_file", "is empty"),
        (Settings { ca_file: Some("/nowhere".into()), ..http.clone() }, "ca_file", "/nowhere"),
        (Settings { ca_file: file("ca", "no pem"), ..http.clone() }, "ca_file", "no certificate"),
        (Settings { batch_entries: Some(0), ..http.clone() }, "batch_entries", "from 1"),
        (Settings { batch_bytes: Some(9 << 20), ..http.clone() }, "batch_bytes", "1048576"),
        (Settings { timeout_seconds: Some(0), ..http.clone() }, "timeout_seconds", "from 1"),
        (Settings { linger_ms: Some(90_000), ..http.clone() }, "linger_ms", "60000"),
        (
            Settings { entries_per_second: Some(f64::NAN), ..http.clone() },
            "entries_per_second",
            "from 0.1",
        ),
        (Settings { url: text("https://x/"), ..hubs.clone() }, "url", "for the kind http"),
        (Settings { hub: None, ..hubs.clone() }, "hub", "is missing"),
        (
            Settings { connection_string_file: None, ..hubs.clone() },
            "connection_string_file",
            "is missing",
        ),
        (
            Settings { token_file: file("token", "hush"), ..hubs.clone() },
            "connection_string_file",
            "keep one",
        ),
        (
            Settings { connection_string_file: file("bad", "hush"), ..hubs.clone() },
            "connection_string_file",
            "no Endpoint",
        ),
        (
            Settings {
                connection_string_file: None,
                connection_string_env: text("TWINGE_UPLINK_NOT_SET"),
                ..hubs.clone()
            },
            "connection_string_env",
            "not set",
        ),
        (
            Settings {
                connection_string_file: None,
                token_file: file("token", "hush"),
                ..hubs.clone()
            },
            "namespace",
            "is missing",
        ),
        (Settings { endpoint: text("http://cloud"), ..hubs.clone() }, "endpoint", "plain http"),
        (Settings { endpoint: text("https://h/hub"), ..hubs.clone() }, "endpoint", "a host"),
        (Settings { namespace: text("a/b"), ..hubs.clone() }, "namespace", "a host"),
    ] {
        let error = settings.check().unwrap_err();
        assert_eq!(error.key, key, "{error}");
        let shown = error.to_string();
        assert!(shown.contains(told) && !shown.contains("hush"), "{shown}");
        assert!(shown.contains(&format!("`uplink.{key}`")), "{shown}");
    }
}
