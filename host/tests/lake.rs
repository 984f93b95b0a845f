//! What appears in a lake while the host runs: events of a stream that has become quiet, and labels.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Running, Workshop, by_id, finish, wait_for};
use serde_json::{Value, json};
use std::process::Command;

fn lake(workshop: &Workshop, verb: &str) -> String {
    let mut host = Command::new(env!("CARGO_BIN_EXE_host"));
    let told = finish(host.args(["lake", verb, "--lake"]).arg(workshop.path("lake")));
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap()
}

fn rows(workshop: &Workshop) -> u64 {
    let lines = lake(workshop, "list");
    let files = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    files.map(|file| file["rows"].as_u64().unwrap()).sum()
}

fn labels(workshop: &Workshop) -> Vec<Value> {
    lake(workshop, "labels").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn post(host: &Running, path: &str, body: &str) {
    let answer = ureq::post(format!("http://{}{path}", host.address)).send(body).unwrap();
    assert_eq!(answer.status().as_u16(), 202);
}

#[test]
fn a_few_events_and_labels_appear_though_nothing_follows() {
    let workshop = Workshop::new();
    let start = || {
        let mut host = workshop.host("quiet");
        host.args(["--lake-seconds", "1", "--checkpoint-seconds", "1", "--lake"]);
        Running::listening(host.arg(workshop.path("lake")))
    };
    let host = start();
    post(&host, "/v1/events", &workshop.events(3, 7).join("\n"));
    wait_for("the events to be listed", || rows(&workshop) == 7);
    let id = by_id(&workshop.verdicts("quiet")).into_keys().next().unwrap();
    let label = |word: &str| json!({ "verdict_id": id, "label": word, "by": "ann" }).to_string();
    post(&host, "/v1/labels", &label("anomaly"));
    wait_for("the label to appear", || labels(&workshop).len() == 1);
    post(&host, "/v1/labels", &label("false-alarm"));
    // It may not have been copied yet: the last copy is made at the end.
    assert_eq!(host.stop(), Some(0));
    assert_eq!(labels(&workshop).len(), 2);

    let host = start();
    post(&host, "/v1/labels", &label("normal"));
    wait_for("a label of the next run", || labels(&workshop).len() == 3);
    assert_eq!(host.stop(), Some(0));
    let words: Vec<Value> =
        labels(&workshop).into_iter().map(|label| label["label"].clone()).collect();
    assert_eq!(words, ["anomaly", "false-alarm", "normal"]);
    assert_eq!(rows(&workshop), 7);
}
