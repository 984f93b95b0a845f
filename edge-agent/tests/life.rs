//! Life on a device: a configuration with a mistake, a person who asks, an entity that falls silent,
//! findings that wait for a cloud, and a stick that takes them away.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod device;

use device::{Device, get, post, wait_for};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

#[test]
fn a_wrong_key_is_named_with_file_line_and_the_nearest() {
    let device = Device::new();
    device.configure("[mqtt]\nbrocker = \"mqtt://127.0.0.1\"\n");
    let (output, text) = device.output("check --config agent.toml");
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("agent.toml:8: there is no key `brocker` in [mqtt]: did you mean `broker`?"),
        "{text}"
    );
    device.configure("[mqt]\nbroker = \"mqtt://127.0.0.1\"\n");
    let (output, text) = device.output("run --config agent.toml");
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("did you mean `mqtt`?"), "{text}");
}

#[test]
fn a_check_tries_what_the_configuration_names() {
    let device = Device::new();
    device.configure(
        "[mqtt]\nbroker = \"mqtt://127.0.0.1:1\"\n[[mqtt.topic]]\npattern = \"a/{entity}\"\n",
    );
    let (output, text) = device.output("check --config agent.toml --offline");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let (output, text) = device.output("check --config agent.toml");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("ok      state"), "{text}");
    assert!(text.contains("FAILED  mqtt://127.0.0.1:1"), "{text}");
}

#[test]
fn findings_wait_for_the_cloud_and_can_be_taken_away() {
    let device = Device::new();
    device.configure("forward = \"samples\"\nsample = 1000000\n[uplink]\nkind = \"http\"\nurl = \"http://127.0.0.1:1/\"\n");
    let mut agent = device.start();
    let line = |entity: usize, x: f64| format!("{{\"entity\":\"e{entity}\",\"x\":{x}}}\n");
    let body: String =
        (0..200).map(|entity| line(entity, if entity % 50 == 0 { 2.0 } else { 0.5 })).collect();
    assert_eq!(post(&agent, &body), 202);
    // Four anomalous ones with their events, and 196 others.
    let waits = || device.output("spool show --state state").1;
    wait_for(|| waits().contains("204 entries, 8 of them anomalous"), waits);
    let (output, text) = device.output("status --state state");
    assert!(text.contains("press-7") && text.contains("200 events, 4 anomalous"), "{text}");
    assert!(output.status.code() == Some(0) || text.contains("away"), "{text}");
    let (output, text) = device.output("spool export --state state --to out.ndjson");
    assert!(!output.status.success() && text.contains("stop it first"), "{text}");
    // A power cut; what was acknowledged is there.
    wait_for(
        || get(&agent, "/metrics").contains("twinge_spool_entries{importance=\"normal\"} 196"),
        waits,
    );
    let checkpoints = |text: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with("twinge_checkpoints_total")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let before = checkpoints(&get(&agent, "/metrics"));
    wait_for(|| checkpoints(&get(&agent, "/metrics")) > before || before > 1.0, || agent.log());
    agent.kill();
    let (output, text) = device.output("status --state state");
    assert_eq!(output.status.code(), Some(3), "{text}");
    let (output, text) = device.output("spool export --state state --to out.ndjson");
    assert!(output.status.success(), "{text}");
    let exported = device.lines("out.ndjson");
    assert_eq!(exported.len(), 204);
    let kinds = |kind: &str| exported.iter().filter(|record| record["type"] == kind).count();
    assert_eq!((kinds("io.twinge.verdict.v1"), kinds("io.twinge.event.v1")), (200, 4));
    let verdict = exported.iter().position(|one| one["type"] == "io.twinge.event.v1").unwrap() + 1;
    assert_eq!(
        exported[verdict - 1]["id"],
        Value::String(format!("{}-event", exported[verdict]["id"].as_str().unwrap()))
    );
    let (output, text) = device.output("spool clear --state state");
    assert!(!output.status.success() && text.contains("--yes"), "{text}");
    assert!(device.output("spool clear --state state --yes").0.status.success());
    assert!(device.output("spool show --state state").1.contains("0 entries"));
}

#[test]
fn an_entity_that_stops_is_a_finding_of_its_own() {
    let device = Device::new();
    device.configure("verdicts = \"verdicts.ndjson\"\n[silence]\nleast_seconds = 1.0\n");
    let agent = device.start();
    let began = Instant::now();
    let silent = || {
        let lines = device.lines("verdicts.ndjson");
        lines.into_iter().find(|line| line["type"] == "io.twinge.silence.v1")
    };
    let mut round = 0;
    while silent().is_none() {
        assert!(
            began.elapsed() < twinge_testkit::program::patience(),
            "no silence was found\n{}",
            agent.log()
        );
        let both = "{\"entity\":\"a\",\"x\":0.5}\n{\"entity\":\"b\",\"x\":0.5}\n";
        // After thirty rounds, only one of the two goes on.
        let one = "{\"entity\":\"a\",\"x\":0.5}\n";
        assert_eq!(post(&agent, if round < 30 { both } else { one }), 202);
        round += 1;
        // The time between events is what is measured here.
        std::thread::sleep(Duration::from_millis(40));
    }
    let silence = silent().unwrap();
    assert_eq!(
        (silence["subject"].as_str(), silence["data"]["verdict"].as_str()),
        (Some("b"), Some("silent"))
    );
    assert_eq!(silence["data"]["origin"]["offset"], 59);
    assert!(get(&agent, "/metrics").contains("twinge_silences_total"));
}

#[test]
fn a_log_is_followed_over_its_rotation() {
    let device = Device::new();
    let log = device.path("app.log");
    let directory = device.directory.path().display();
    device
        .configure(&format!("verdicts = \"verdicts.ndjson\"\nfollow = \"{directory}/app.log\"\n"));
    let append = |from: usize, to: usize| {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&log).unwrap();
        let lines: Vec<String> =
            (from..to).map(|n| format!("{{\"entity\":\"e{n}\",\"x\":0.5}}")).collect();
        file.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
    };
    append(0, 10);
    let mut agent = device.start();
    let count = || device.lines("verdicts.ndjson").len();
    wait_for(|| count() == 10, || agent.log());
    append(10, 20);
    fs::rename(&log, device.path("app.log.1")).unwrap();
    append(20, 30);
    wait_for(|| count() == 30, || agent.log());
    agent.kill();
    append(30, 40);
    fs::rename(device.path("app.log.1"), device.path("app.log.2")).unwrap();
    fs::rename(&log, device.path("app.log.1")).unwrap();
    append(40, 50);
    let agent = device.start();
    let subjects = || -> std::collections::BTreeSet<String> {
        let verdicts = device.lines("verdicts.ndjson");
        verdicts.iter().map(|one| one["subject"].as_str().unwrap().to_owned()).collect()
    };
    wait_for(|| subjects().len() == 50, || agent.log());
}

/// The standard build compiles a module once, and believes no code but its own.
#[test]
fn a_module_is_compiled_once_and_code_that_was_changed_is_made_anew() {
    let device = Device::new();
    device.configure("");
    let run = |entity: &str| {
        let mut agent = device.start();
        assert_eq!(post(&agent, &format!("{{\"entity\":\"{entity}\",\"x\":0.5}}\n")), 202);
        agent.kill();
    };
    run("a");
    let kept = device.path("state/compiled/artefacts");
    let Some(code) = find(&kept, "cwasm") else {
        assert!(!kept.exists(), "a build that only interprets keeps nothing");
        return;
    };
    let (bytes, made) = (fs::read(&code).unwrap(), modified(&code));
    run("b");
    assert_eq!(modified(&code), made, "kept code is used, and not made again");
    let mut changed = bytes.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(&code, &changed).unwrap();
    run("c");
    assert_eq!(fs::read(&code).unwrap(), bytes, "code that was changed is made anew");
    // Another device's key: a state directory that was copied without it.
    fs::remove_file(device.path("state/device.key")).unwrap();
    let statement = find(&kept, "json").unwrap();
    let signed = fs::read(&statement).unwrap();
    run("d");
    assert_ne!(fs::read(&statement).unwrap(), signed, "the new key signs");
}

/// The process that compiles is bounded before it has read anything of a module.
#[cfg(all(target_os = "linux", feature = "compiler"))]
#[test]
fn the_process_that_compiles_is_bounded_by_the_system() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_edge-agent"));
    let command = command.arg("compile").stdin(std::process::Stdio::piped());
    let mut child = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    let limits = || fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let has = |name: &str, most: &str| {
        let limits = limits();
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        line.split_whitespace().take(2).all(|bound| bound == most)
    };
    wait_for(|| has("Max data size", "1073741824") && has("Max cpu time", "1200"), limits);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

/// The first file below a directory with an extension.
fn find(directory: &Path, extension: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).ok()?.map(|entry| entry.unwrap().path());
    let mut entries: Vec<_> = entries.collect();
    entries.sort();
    entries.into_iter().find_map(|path| {
        if path.is_dir() {
            return find(&path, extension);
        }
        (path.extension()? == extension).then_some(path)
    })
}
