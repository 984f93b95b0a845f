//! Rights for devices, as a host is told to give them: by flags, by its file, and where it cannot.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Running, Workshop, finish};
use std::fs;
use std::process::Command;

const CONTAINER: &str = "https://someone.blob.core.windows.net/models";

/// Whether a host gives out challenges, of which every trade of rights has one.
fn challenges(host: &mut Command) -> u16 {
    let host = Running::listening(host.env("AZURE_STORAGE_KEY", "a2V5"));
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let answer = agent.get(format!("http://{}/v1/devices/challenge", host.address)).call().unwrap();
    answer.status().as_u16()
}

#[test]
fn a_host_gives_rights_when_it_is_told_to() {
    let workshop = Workshop::new();
    assert_eq!(challenges(&mut workshop.host("untold")), 404);
    assert_eq!(challenges(workshop.host("flag").args(["--device-rights", CONTAINER])), 200);
    let config = workshop.path("host.toml");
    fs::write(&config, format!("[devices]\nrights = \"{CONTAINER}\"\nrights_days = 1\n")).unwrap();
    assert_eq!(challenges(workshop.host("file").arg("--config").arg(&config)), 200);
}

#[test]
fn a_host_that_cannot_give_rights_says_why() {
    let workshop = Workshop::new();
    let config = workshop.path("host.toml");
    let container = format!("[devices]\nrights = \"{CONTAINER}\"\n");
    let listening = format!("listen = \"127.0.0.1:0\"\n{container}");
    let cases = [
        (format!("{listening}rights_days = 8"), "between an hour"),
        (
            "listen = \"127.0.0.1:0\"\n[devices]\nrights = \"models\"".into(),
            "a directory knows none",
        ),
        (format!("{listening}right_days = 1"), "did you mean `rights_days`?"),
        (container, "give --listen"),
    ];
    for (text, part) in cases {
        fs::write(&config, &text).unwrap();
        let mut host = Command::new(env!("CARGO_BIN_EXE_host"));
        host.args(["--check", "--allow-unsigned", "--module"]).arg(&workshop.module);
        let output = finish(host.arg("--replay").arg("x").arg("--config").arg(&config));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(said.contains(part), "{text}: {said}");
    }
}
