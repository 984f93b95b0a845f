//! What people are told and what they answer: alerts, labels, and rows that are asked about one by one.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{FIELDS, Running, Workshop, finish, table_rows, wait_for};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

const SECRET: &str = "a secret of twenty-four";

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

/// Status and body of a POST.
fn post(host: &Running, path: &str, body: &str) -> (u16, Value) {
    let answer = agent().post(format!("http://{}{path}", host.address)).send(body).unwrap();
    let status = answer.status().as_u16();
    let text = answer.into_body().read_to_string().unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn fetch(host: &Running, path: &str) -> (u16, String) {
    let answer = agent().get(format!("http://{}{path}", host.address)).call().unwrap();
    (answer.status().as_u16(), answer.into_body().read_to_string().unwrap())
}

/// The sum of a metric over all of its labels.
fn metric(host: &Running, name: &str) -> f64 {
    let (_, text) = fetch(host, "/metrics");
    let values = text
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    values.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// The signature and the body of a post.
type Post = (String, Vec<u8>);

/// Takes posts: the first is answered with 503, the others with 200.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<Post>>>);

impl Receiver {
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let this = self.clone();
        std::thread::spawn(move || {
            let mut is_first = true;
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                // A connection is kept; each request of it is answered.
                while let Some((head, body)) = request(&mut reader) {
                    let status = if is_first { "503 Service Unavailable" } else { "200 OK" };
                    if !is_first {
                        this.0.lock().unwrap().push((head, body));
                    }
                    is_first = false;
                    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
                }
            }
        });
        format!("http://{address}/hook?key=nobody-may-log-this")
    }

    fn alerts(&self) -> Vec<Value> {
        let posts = self.0.lock().unwrap();
        posts.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }
}

fn request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&lower);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Some((head, body))
}

fn told_host(workshop: &Workshop, url: &str) -> Running {
    let (config, secret) = (workshop.path("host.toml"), workshop.path("secret"));
    fs::write(&secret, SECRET).unwrap();
    let text = format!(
        "[alerts]\nlog = true\n[[alerts.webhook]]\nname = \"ops\"\nurl = \"{url}\"\nsecret_file = \"{}\"\n",
        secret.display()
    );
    fs::write(&config, text).unwrap();
    Running::listening(workshop.host("told").arg("--config").arg(&config))
}

fn send(host: &Running, events: &[String], before: f64) {
    for part in events.chunks(1000) {
        assert_eq!(post(host, "/v1/events", &part.join("\n")).0, 202);
    }
    let expected = before + events.len() as f64;
    wait_for("all events", || metric(host, "twinge_events_total") >= expected);
}

#[test]
fn alerts_reach_a_webhook_signed_and_a_restart_repeats_none() {
    let workshop = Workshop::new();
    let receiver = Receiver::default();
    let url = receiver.start();
    let host = told_host(&workshop, &url);
    assert_eq!(metric(&host, "twinge_alerts_total"), 0.0);
    send(&host, &workshop.events(2, 6000), 0.0);
    wait_for("an alert", || !receiver.alerts().is_empty());
    wait_for("all alerts", || {
        receiver.alerts().len() as f64 >= metric(&host, "twinge_alerts_total")
    });
    assert!(metric(&host, "twinge_alert_failures_total") >= 1.0, "the 503 was not counted");
    assert!(metric(&host, "twinge_alerts_open") >= 1.0);
    assert_eq!(host.stop(), Some(0));

    let host = told_host(&workshop, &url);
    // They are told once everything has started.
    wait_for("episodes of the run before", || metric(&host, "twinge_alerts_open") >= 1.0);
    let open = metric(&host, "twinge_alerts_open");
    send(&host, &workshop.events(3, 3000), 0.0);
    wait_for("all alerts", || {
        let opened =
            receiver.alerts().iter().filter(|alert| alert["data"]["state"] == "opened").count();
        opened as f64 >= metric(&host, "twinge_alerts_total") + open
    });
    assert_eq!(host.stop(), Some(0));

    let alerts = receiver.alerts();
    let ids: BTreeSet<&str> = alerts.iter().map(|alert| alert["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), alerts.len(), "an alert was sent twice");
    let opened: Vec<&Value> = alerts.iter().filter(|a| a["data"]["state"] == "opened").collect();
    let episodes: BTreeSet<&str> =
        opened.iter().map(|alert| alert["data"]["episode"].as_str().unwrap()).collect();
    assert_eq!(episodes.len(), opened.len(), "an episode was opened twice");
    for (head, body) in receiver.0.lock().unwrap().iter() {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(body);
        let expected =
            format!("x-twinge-signature: sha256={}", hex::encode(mac.finalize().into_bytes()));
        assert!(head.contains(&expected), "{head}");
        assert!(head.contains("content-type: application/cloudevents+json"), "{head}");
    }
}

#[test]
fn alerts_that_cannot_work_are_refused_at_the_start() {
    let workshop = Workshop::new();
    let config = workshop.path("host.toml");
    for (text, word) in [
        ("[alerts]\nhub = \"hub:alerts\"", "Event Hubs"),
        ("[alerts]\ngap_seconds = -1", "gap_seconds"),
        ("[[alerts.webhook]]\nname = \"a\"\nurl = \"http://example.com\"", "https"),
        (
            "[[alerts.webhook]]\nname = \"a\"\nurl = \"https://example.com\"\nsecret_file = \"nowhere\"",
            "nowhere",
        ),
        ("[[alerts.silence]]\nreason = \"x\"", "no end"),
        ("[alerts]\nlog = false", "no place"),
    ] {
        fs::write(&config, text).unwrap();
        let mut host = workshop.host("refused");
        let output =
            finish(host.args(["--check", "--listen", "127.0.0.1:0", "--config"]).arg(&config));
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {log}");
        assert!(log.contains(word), "{text}: {log}");
    }
}

#[test]
fn labels_are_on_disk_before_they_are_thanked_for() {
    let workshop = Workshop::new();
    let host = Running::listening(&mut workshop.host("labels"));
    let right = r#"{"verdict_id":"ab12","label":"anomaly","by":"ann"}"#;
    let place = r#"{"entity":"p1","time":"2026-01-31T12:00:00Z","label":"false-alarm","by":"bob","note":"cleaning"}"#;
    let (status, body) = post(&host, "/v1/labels", &format!("{right}\n{place}\n"));
    assert_eq!((status, &body), (202, &json!({ "accepted": 2, "known": 0 })));
    assert!(host.kill(), "it ran");
    let text = fs::read_to_string(workshop.path("labels.state/labels.ndjson")).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    let host = Running::listening(&mut workshop.host("labels"));
    let (status, body) = post(&host, "/v1/labels", right);
    assert_eq!((status, &body), (202, &json!({ "accepted": 0, "known": 1 })));
    let (status, body) = post(&host, "/v1/labels", r#"{"label":"anomaly","by":"ann"}"#);
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().contains("verdict_id"), "{body}");
    assert_eq!(metric(&host, "twinge_labels_total"), 1.0);
}

/// A host with a detector of rows that have neither entity nor time.
fn table_host(workshop: &Workshop) -> Command {
    let module = workshop.train_table();
    let mut host = Command::new(env!("CARGO_BIN_EXE_host"));
    host.arg("--allow-unsigned").arg("--module").arg(module).env("RUST_LOG", "info");
    host.arg("--state").arg(workshop.path("parts.state"));
    host.arg("--verdicts").arg(workshop.verdicts("parts"));
    host.arg("--dead-letters").arg(workshop.dead_letters("parts"));
    host
}

#[test]
fn rows_that_are_asked_about_get_the_scores_of_the_stream_bit_for_bit() {
    let workshop = Workshop::new();
    let host = Running::listening(&mut table_host(&workshop));
    let rows = table_rows(700);
    let event = |[a, b, c]: &[f64; 3]| json!({ "width": a, "height": b, "weight": c }).to_string();
    let events: Vec<String> = rows.iter().map(event).collect();
    send(&host, &events, 0.0);
    let streamed: Vec<Value> = {
        let mut lines = Vec::new();
        wait_for("verdicts", || {
            let text = fs::read_to_string(workshop.verdicts("parts")).unwrap_or_default();
            lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            lines.len() == rows.len()
        });
        lines
    };
    let tensor = |index: usize| {
        let data: Vec<f64> = rows.iter().map(|row| row[index]).collect();
        json!({ "name": FIELDS[index], "datatype": "FP64", "shape": [rows.len(), 1], "data": data })
    };
    let body = json!({ "id": "7", "inputs": [tensor(2), tensor(0), tensor(1)] }).to_string();
    let (status, answer) = post(&host, "/v2/models/parts/infer", &body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["id"], &answer["model_name"]), (&json!("7"), &json!("parts")));
    let output = |name: &str| {
        let outputs = answer["outputs"].as_array().unwrap();
        outputs.iter().find(|output| output["name"] == name).unwrap().clone()
    };
    let (score, verdict, severity) = (output("score"), output("verdict"), output("severity"));
    let mut anomalies = 0;
    for (row, record) in streamed.iter().enumerate() {
        let data = &record["data"];
        let (one, other) = (data["score"].as_f64().unwrap(), score["data"][row].as_f64().unwrap());
        assert_eq!(one.to_bits(), other.to_bits(), "row {row}: {one} and {other}");
        assert_eq!(data["verdict"], verdict["data"][row], "row {row}");
        assert_eq!(data["severity"], severity["data"][row], "row {row}");
        anomalies += usize::from(data["verdict"] == "anomalous");
    }
    assert!(anomalies > 0, "nothing was anomalous: the test tells nothing");
    let attribution = output("attribution");
    assert_eq!(attribution["shape"], json!([rows.len(), 3]));
    assert_eq!(attribution["data"].as_array().unwrap().len(), rows.len() * 3);

    let (status, text) = fetch(&host, "/v2/models/parts");
    assert_eq!(status, 200);
    let metadata: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        metadata["inputs"][0],
        json!({ "name": "width", "datatype": "FP64", "shape": [-1] })
    );
    for path in ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/parts/ready"] {
        assert_eq!(fetch(&host, path).0, 200, "{path}");
    }
    for (inputs, word) in [
        (json!([tensor(0), tensor(1)]), "`weight` is missing"),
        (
            json!([tensor(0), tensor(1), tensor(2), { "name": "depth", "datatype": "FP64", "shape": [1], "data": [1] }]),
            "no field",
        ),
        (
            json!([tensor(0), tensor(1), { "name": "weight", "datatype": "FP64", "shape": [2], "data": [1] }]),
            "1 values",
        ),
        (
            json!([tensor(0), tensor(1), { "name": "weight", "datatype": "BYTES", "shape": [1], "data": ["x"] }]),
            "datatype",
        ),
        (
            json!([tensor(0), tensor(1), { "name": "weight", "datatype": "FP64", "shape": [5000], "data": [] }]),
            "4096",
        ),
    ] {
        let (status, answer) =
            post(&host, "/v2/models/parts/infer", &json!({ "inputs": inputs }).to_string());
        let error = answer["error"].as_str().unwrap();
        assert!(status == 400 && error.contains(word), "{status}: {error}");
    }
    assert_eq!(post(&host, "/v2/models/other/infer", &body).0, 404);
}

#[test]
fn a_detector_that_remembers_is_refused_with_a_sentence() {
    let workshop = Workshop::new();
    let host = Running::listening(&mut workshop.host("stateful"));
    let (status, answer) = post(&host, "/v2/models/sensors/infer", r#"{"inputs":[]}"#);
    assert_eq!(status, 400);
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("remembers") && error.contains("/v1/events"), "{error}");
    assert_eq!(fetch(&host, "/v2/models/sensors/ready").0, 400);
    assert_eq!(fetch(&host, "/v2/models/sensors").0, 200);
}
