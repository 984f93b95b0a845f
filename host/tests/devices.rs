//! Rights for devices, as a host is told to give them: by flags, by its file, and where it cannot.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Running, Workshop, finish, listeners, wait_for};
use std::fs;
use std::process::Command;

const CONTAINER: &str = "https://someone.blob.core.windows.net/models";

/// Every trade of rights has one of these.
const CHALLENGE: &str = "/v1/devices/challenge";
/// What a host says of its desk, with the address.
const DESK: &str = "serving rights for devices";

fn with_key(host: &mut Command) -> &mut Command {
    host.env("AZURE_STORAGE_KEY", "a2V5")
}

fn get(address: &str, path: &str) -> u16 {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    agent.get(format!("http://{address}{path}")).call().unwrap().status().as_u16()
}

#[test]
fn a_host_gives_rights_at_an_address_of_their_own_and_nothing_else_there() {
    let workshop = Workshop::new();
    let mut host = workshop.host("both");
    host.args(["--device-rights", CONTAINER, "--device-rights-listen", "127.0.0.1:0"]);
    host.args(["--listen", "127.0.0.1:0"]);
    let host = Running::serving(with_key(&mut host), &[DESK, "serving HTTP"]);
    let desk = &host.others[0];
    for (path, at_desk, elsewhere) in [
        (CHALLENGE, 200, 404),
        ("/livez", 200, 200),
        ("/metrics", 404, 200),
        ("/v1/status", 404, 200),
        ("/v1/labels", 404, 405),
        ("/v1/events", 404, 405),
        ("/v2", 404, 200),
    ] {
        assert_eq!(get(desk, path), at_desk, "{path} at the desk");
        assert_eq!(get(&host.address, path), elsewhere, "{path} elsewhere");
    }
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_host_that_only_gives_rights_listens_nowhere_else() {
    let workshop = Workshop::new();
    let config = workshop.path("host.toml");
    let table = format!("[devices]\nrights = \"{CONTAINER}\"\nrights_days = 1\n");
    fs::write(&config, table + "listen = \"127.0.0.1:0\"\n").unwrap();
    let mut host = workshop.host("file");
    let host = Running::serving(with_key(host.arg("--config").arg(&config)), &[DESK]);
    assert_eq!(get(&host.address, CHALLENGE), 200);
    wait_for("readiness", || get(&host.address, "/readyz") == 200);
    assert_eq!(listeners(host.id()), 1);
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn a_host_that_cannot_give_rights_says_why() {
    let workshop = Workshop::new();
    let config = workshop.path("host.toml");
    let container = format!("[devices]\nrights = \"{CONTAINER}\"\n");
    let listen = "listen = \"127.0.0.1:0\"\n";
    let cases = [
        (format!("{container}{listen}rights_days = 8"), "between an hour"),
        (format!("[devices]\n{listen}rights = \"models\""), "a directory knows none"),
        (format!("{container}{listen}right_days = 1"), "did you mean `rights_days`?"),
        // That the host listens for events is no address for devices.
        (format!("{listen}{container}"), "give --device-rights-listen"),
        (format!("[devices]\n{listen}"), "goes with device_rights"),
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
