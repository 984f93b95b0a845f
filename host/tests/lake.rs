//! What appears in a lake while the host runs: events of a stream that has become quiet, and labels.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Running, Workshop, by_id, finish, wait_for};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
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

/// The bits of each score by the event's offset.
fn scores(path: &Path) -> BTreeMap<u64, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // A last line without an end is none yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let verdicts = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let data = verdicts.map(|verdict| verdict["data"].clone());
    data.filter(|data| data["score"].is_f64())
        .map(|data| {
            let offset = data["origin"]["offset"].as_u64().unwrap();
            (offset, data["score"].as_f64().unwrap().to_bits())
        })
        .collect()
}

#[test]
fn a_detector_that_joins_knows_what_came_before() {
    const BEFORE: usize = 2000;
    let workshop = Workshop::new();
    let newcomer = workshop.train("newcomer");
    let events = workshop.events(5, BEFORE + 300);
    let start = |state: &str, detectors: &[&str], more: &[&str]| {
        let modules = [("sensors", &workshop.module), ("newcomer", &newcomer)];
        let tables: Vec<String> = modules
            .iter()
            .filter(|(name, _)| detectors.contains(name))
            .map(|(name, module)| {
                let out = |what: &str| workshop.path(&format!("{state}.{name}.{what}.ndjson"));
                format!(
                    "[[detector]]\nmodule = {module:?}\nverdicts = {:?}\ndead_letters = {:?}\n",
                    out("verdicts"),
                    out("dead")
                )
            })
            .collect();
        let config = workshop.path("host.toml");
        fs::write(&config, tables.concat()).unwrap();
        let mut host = Command::new(env!("CARGO_BIN_EXE_host"));
        host.arg("--allow-unsigned").arg("--config").arg(config).args(more);
        host.arg("--state").arg(workshop.path(state)).env("RUST_LOG", "info");
        Running::listening(&mut host)
    };
    let feed = |host: Running, events: &[String], out: &str, count: usize| {
        for batch in events.chunks(500) {
            post(&host, "/v1/events", &batch.join("\n"));
        }
        let out = workshop.path(out);
        wait_for("verdicts", || scores(&out).len() >= count);
        assert_eq!(host.stop(), Some(0));
        scores(&out)
    };
    let place = workshop.path("lake");
    let lake = ["--lake", place.to_str().unwrap(), "--lake-warm", "10000"];
    let host = start("one", &["sensors"], &lake);
    feed(host, &events[..BEFORE], "one.sensors.verdicts.ndjson", BEFORE);
    assert_eq!(rows(&workshop), BEFORE as u64);
    let host = start("one", &["sensors", "newcomer"], &lake);
    let warm = feed(host, &events[BEFORE..], "one.newcomer.verdicts.ndjson", 300);
    let host = start("other", &["newcomer"], &[]);
    let mut all = feed(host, &events, "other.newcomer.verdicts.ndjson", BEFORE + 300);
    assert_eq!(warm, all.split_off(&(BEFORE as u64)));
}
