//! What users get wrong: each ends in a clear error or a dead letter, and nothing is lost.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Running, Workshop, by_id, finish, wait_for};
use serde_json::Value;
use std::fs;
use std::process::Output;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn bad_events_become_dead_letters_with_reason_and_original() {
    let workshop = Workshop::new();
    let good = &workshop.events(4, 1)[0];
    let long = format!("{{\"sensor\":\"s\",\"note\":\"{}\"}}", "x".repeat(10 << 20));
    let cases: [(&str, &str); 9] = [
        ("{oops", "not-json"),
        ("[1]", "not-an-object"),
        ("{\"time\":\"2026-01-01T00:00:00Z\"}", "no-entity"),
        ("{\"sensor\":\"s\"}", "no-time"),
        ("{\"sensor\":\"s\",\"time\":\"soon\"}", "unreadable-time"),
        (
            "{\"sensor\":\"s\",\"time\":\"9000-01-01T00:00:00Z\",\"pressure_kpa\":1}",
            "from-the-future",
        ),
        (
            "{\"sensor\":\"s\",\"time\":\"2026-01-01T00:00:00Z\",\"pressure_kpa\":\"high\"}",
            "not-a-number",
        ),
        ("{\"sensor\":\"s\",\"time\":\"2026-01-01T00:00:00Z\",\"pressure_kpa\":1e999}", "not-json"),
        (&long, "too-large"),
    ];
    let lines: Vec<&str> = cases.iter().flat_map(|(line, _)| [*line, good.as_str()]).collect();
    let events = workshop.path("events.ndjson");
    fs::write(&events, lines.join("\n")).unwrap();
    let output = finish(workshop.host("bad").arg("--replay").arg(&events));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        by_id(&workshop.verdicts("bad")).len(),
        cases.len(),
        "good events between bad ones are scored"
    );
    let letters = fs::read_to_string(workshop.dead_letters("bad")).unwrap();
    let letters: Vec<Value> =
        letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), cases.len());
    for ((line, reason), letter) in cases.iter().zip(letters) {
        assert_eq!(letter["data"]["reason"], *reason, "{line:.80}");
        assert_eq!(letter["data"]["original"].as_str().unwrap(), *line, "original bytes are kept");
    }
}

#[test]
fn an_event_without_any_input_is_invalid_and_unknown_fields_are_ignored() {
    let workshop = Workshop::new();
    let events = workshop.path("events.ndjson");
    let lines = ["{\"sensor\":\"s\",\"time\":\"2026-01-01T00:00:00Z\",\"colour\":\"red\"}"];
    fs::write(&events, lines.join("\n")).unwrap();
    assert!(finish(workshop.host("none").arg("--replay").arg(&events)).status.success());
    let verdict = by_id(&workshop.verdicts("none")).into_values().next().unwrap();
    assert!(verdict.contains("\"verdict\":\"invalid\""), "{verdict}");
}

#[test]
fn modules_that_are_not_trusted_are_refused() {
    let workshop = Workshop::new();
    let events = workshop.path("events.ndjson");
    fs::write(&events, workshop.events(5, 3).join("\n")).unwrap();
    let bytes = fs::read(&workshop.module).unwrap();
    let trust = workshop.path("trust.json");
    fs::write(&trust, "{\"keys\":[]}").unwrap();
    let run = |name: &str, bytes: &[u8], allow_unsigned: bool| {
        let module = workshop.path(name);
        fs::write(&module, bytes).unwrap();
        let mut host = std::process::Command::new(env!("CARGO_BIN_EXE_host"));
        host.arg("--module")
            .arg(&module)
            .arg("--replay")
            .arg(&events)
            .arg("--state")
            .arg(workshop.path(&format!("{name}.state")));
        host.arg("--verdicts")
            .arg(workshop.path("v"))
            .arg("--dead-letters")
            .arg(workshop.path("d"));
        if allow_unsigned {
            host.arg("--allow-unsigned")
        } else {
            host.arg("--trust").arg(&trust)
        };
        let output = finish(&mut host);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", said(&output));
        said(&output)
    };
    assert!(run("unsigned.wasm", &bytes, false).contains("is unsigned"));
    assert!(run("truncated.wasm", &bytes[..bytes.len() / 2], true).contains("truncated"));
    assert!(run("empty.wasm", b"", true).contains("no WebAssembly"));
    let other = wat::parse_str("(module)").unwrap();
    assert!(run("no-detector.wasm", &other, true).contains("twinge.manifest"));
    // The real module with an import in front: type section with one type, import section.
    let mut importing = bytes[..8].to_vec();
    importing.extend([1, 4, 1, 0x60, 0, 0, 2, 9, 1, 3, b'e', b'n', b'v', 1, b'f', 0, 0]);
    let manifest = bytes.windows(15).position(|window| window == b"twinge.manifest").unwrap();
    importing.extend(&bytes[manifest - 4..]);
    assert!(run("importing.wasm", &importing, true).contains("imports `env.f`"));
}

#[test]
fn a_full_disk_stops_the_host_and_loses_nothing() {
    let workshop = Workshop::new();
    let events = workshop.path("events.ndjson");
    fs::write(&events, workshop.events(6, 500).join("\n")).unwrap();
    // Every write to this device fails with "no space left".
    std::os::unix::fs::symlink("/dev/full", workshop.verdicts("full")).unwrap();
    let output = finish(
        workshop.host("full").arg("--replay").arg(&events).args(["--sink-retry-seconds", "0.3"]),
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("No space left on device"), "{}", said(&output));
    fs::remove_file(workshop.verdicts("full")).unwrap();
    let output = finish(workshop.host("full").arg("--replay").arg(&events));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(by_id(&workshop.verdicts("full")).len(), 500);
}

#[test]
fn bad_configurations_are_told_with_exit_code_two() {
    let workshop = Workshop::new();
    let config = workshop.path("host.toml");
    let cases = [
        ("", "no detector"),
        ("replya = \"x\"", "host.toml:1: there is no key `replya`: did you mean `replay`?"),
        ("replay = \"x\"\n[[detector]]\nname = \"d\"", "either `module`, or `registry` and `name`"),
        ("[[detector]]\nmodule = \"m.wasm\"", "no input"),
        ("replay = \"x\"\n[[detector]]\nmodule = \"m.wasm\"", "no trusted keys"),
        (
            "replay = \"x\"\nallow_unsigned = true\n[[detector]]\nregistry = \"r\"\nname = \"d\"",
            "--allow-unsigned",
        ),
    ];
    for (text, part) in cases {
        fs::write(&config, text).unwrap();
        let mut host = std::process::Command::new(env!("CARGO_BIN_EXE_host"));
        let output = finish(host.arg("--check").arg("--config").arg(&config));
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(said(&output).contains(part), "{text}: {}", said(&output));
    }
}

#[test]
fn two_hosts_cannot_share_a_state_directory() {
    let workshop = Workshop::new();
    let first = Running::listening(&mut workshop.host("shared"));
    let mut second = workshop.host("shared");
    let output = finish(second.args(["--listen", "127.0.0.1:0"]));
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("in use by another process"), "{}", said(&output));
    assert_eq!(first.stop(), Some(0));
}

#[test]
fn http_takes_every_form_and_tells_what_is_wrong() {
    let workshop = Workshop::new();
    let host = Running::listening(&mut workshop.host("http"));
    let url = format!("http://{}/v1/events", host.address);
    let events = workshop.events(7, 6);
    let post = |kind: &str, body: &str| {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        agent.post(&url).content_type(kind).send(body).unwrap().status().as_u16()
    };
    assert_eq!(post("application/json", &events[0]), 202);
    assert_eq!(post("application/json", &format!("[{},{}]", events[1], events[2])), 202);
    assert_eq!(post("application/x-ndjson", &events[3]), 202);
    let cloud = |id: &str, event: &str| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/t\",\"type\":\"t\",\"data\":{event}}}"
        )
    };
    assert_eq!(post("application/cloudevents+json", &cloud("1", &events[4])), 202);
    assert_eq!(
        post("application/cloudevents+json", &cloud("1", &events[4])),
        202,
        "a second delivery is taken and not scored"
    );
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let binary = agent
        .post(&url)
        .header("ce-specversion", "1.0")
        .header("ce-id", "2")
        .header("ce-source", "/t");
    assert_eq!(binary.send(events[5].as_str()).unwrap().status().as_u16(), 202);
    assert_eq!(post("application/json", "{oops"), 400);
    assert_eq!(post("application/json", "[]"), 400);
    assert_eq!(post("application/json", ""), 400);
    let get = |path: &str| agent.get(format!("http://{}{path}", host.address)).call().unwrap();
    assert_eq!(get("/livez").status().as_u16(), 200);
    wait_for("readiness", || get("/readyz").status().as_u16() == 200);
    wait_for("the verdicts", || by_id(&workshop.verdicts("http")).len() == 6);
    let metrics = get("/metrics").body_mut().read_to_string().unwrap();
    wait_for("the duplicate", || {
        get("/metrics")
            .body_mut()
            .read_to_string()
            .unwrap()
            .lines()
            .any(|line| line.starts_with("twinge_duplicates_total") && line.ends_with(" 1"))
    });
    assert!(metrics.contains("twinge_events_total"), "{metrics}");
    assert_eq!(host.stop(), Some(0));
}
