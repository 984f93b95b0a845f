//! The console: the page at `/`, what the host is doing, live verdicts, and nothing that writes
//! without the token.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Running, Workshop, finish, wait_for};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;

const TOKEN: &str = "a token of some length";

/// A workshop with a page, and a free address.
fn workshop() -> (Workshop, String) {
    let workshop = Workshop::new();
    fs::create_dir(workshop.path("page")).unwrap();
    fs::write(workshop.path("page/index.html"), "<html><head></head><body></body></html>").unwrap();
    fs::write(workshop.path("token"), format!("{TOKEN}\n")).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (workshop, free.to_string())
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn get(address: &str, path: &str) -> (u16, String) {
    let mut response = agent().get(format!("http://{address}{path}")).call().unwrap();
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

fn send(address: &str, token: Option<&str>, body: &str) -> (u16, String) {
    let mut request = agent().post(format!("http://{address}/v1/console/events"));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut response = request.send(body).unwrap();
    (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
}

#[test]
fn verdicts_arrive_live_and_the_token_is_needed_to_send() {
    let (workshop, address) = workshop();
    let mut command = workshop.host("console");
    command.args(["--console", &address]).arg("--page").arg(workshop.path("page"));
    command.arg("--console-token-file").arg(workshop.path("token"));
    let host = Running::listening(&mut command);

    let (status, page) = get(&address, "/");
    assert!(status == 200 && page.contains("twinge-console"), "{page}");
    assert_eq!(get(&address, "/../token").0, 404);

    let stream = agent().get(format!("http://{address}/v1/console/verdicts")).call().unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert!(
        stream.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("default-src 'none'")
    );
    let mut lines = BufReader::new(stream.into_body().into_reader()).lines();

    let event = workshop.events(3, 1).remove(0);
    assert_eq!(send(&address, None, &event).0, 401);
    assert_eq!(send(&address, Some("a token of some lengtX"), &event).0, 401);
    assert_eq!(send(&address, Some(TOKEN), "\n").0, 400);
    let (status, answer) = send(&address, Some(TOKEN), &format!("{event}\n{{oops"));
    assert!(status == 202 && answer.contains('2'), "{answer}");

    let data = lines.find_map(|line| line.unwrap().strip_prefix("data: ").map(str::to_owned));
    let update: Value = serde_json::from_str(&data.unwrap()).unwrap();
    assert_eq!(update["points"][0]["detector"], "sensors", "{update}");
    assert!(update["lag_ms"]["sensors"].as_i64().unwrap() < 60_000, "{update}");

    wait_for("the dead letter in the overview", || {
        let overview: Value = serde_json::from_str(&get(&address, "/v1/console").1).unwrap();
        overview["may_send"] == true && overview["runners"][0]["counts"]["dead_letters"] == 1
    });
    // Somebody still looks, and the host stops all the same.
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn large_bodies_and_pages_under_other_names_are_refused() {
    let (workshop, address) = workshop();
    let mut command = workshop.host("bounds");
    command.args(["--console", &address]).arg("--page").arg(workshop.path("page"));
    command.arg("--console-token-file").arg(workshop.path("token"));
    let _host = Running::listening(&mut command);
    assert_eq!(send(&address, Some(TOKEN), &" ".repeat((1 << 20) + 1)).0, 413);
    assert_eq!(send(&address, Some(TOKEN), &" ".repeat(1 << 20)).0, 400);
    let named = |name: &str| {
        let request = agent().get(format!("http://{address}/v1/console")).header("Host", name);
        request.call().unwrap().status().as_u16()
    };
    assert_eq!((named("localhost"), named("rebound.example.org")), (200, 421));
}

#[test]
fn without_a_token_the_console_is_read_only() {
    let (workshop, address) = workshop();
    let mut command = workshop.host("read-only");
    command.args(["--console", &address]).arg("--page").arg(workshop.path("page"));
    let host = Running::listening(&mut command);
    let (status, answer) = send(&address, Some(TOKEN), "{}");
    assert!(status == 403 && answer.contains("read-only"), "{answer}");
    let overview: Value = serde_json::from_str(&get(&address, "/v1/console").1).unwrap();
    assert_eq!(overview["may_send"], false);
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn what_cannot_be_served_is_told_at_the_start() {
    let (workshop, address) = workshop();
    let said = |command: &mut std::process::Command| {
        let output = finish(command.args(["--listen", "127.0.0.1:0", "--console", &address]));
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let mut no_page = workshop.host("no-page");
    let told = said(no_page.arg("--page").arg(workshop.path("nowhere")));
    assert!(told.contains("cargo xtask page build"), "{told}");
    fs::write(workshop.path("short"), "abc").unwrap();
    let mut short = workshop.host("short");
    short.arg("--page").arg(workshop.path("page"));
    let told = said(short.arg("--console-token-file").arg(workshop.path("short")));
    assert!(told.contains("fewer than 16 characters"), "{told}");
    let _taken = TcpListener::bind(&address).unwrap();
    let told = said(workshop.host("taken").arg("--page").arg(workshop.path("page")));
    assert!(told.contains("choose a free port with --console"), "{told}");
}
