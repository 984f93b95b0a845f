//! What a host knows and nobody may read: not in its log at its most talkative, not in what it
//! serves, not in its state.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{Workshop, wait_for};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex};

const KEY: &str = "nobody-may-read-this-key";
const SECRET: &str = "nobody-may-read-this-secret";
const TOKEN: &str = "nobody-may-read-this-token";
const ADDRESS: &str = "nobody-may-read-this-address";

/// Takes down the heads of requests and refuses them all.
fn refuser() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Arc::<Mutex<String>>::default();
    let noted = Arc::clone(&heard);
    // Ends with the process; nobody can ask a listener to stop.
    std::thread::spawn(move || {
        for mut line in listener.incoming().flatten() {
            let mut reader = BufReader::new(line.try_clone().unwrap());
            let mut head = String::new();
            while reader.read_line(&mut head).is_ok_and(|bytes| bytes > 2) {}
            noted.lock().unwrap().push_str(&head);
            drop(line.write_all(
                b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            ));
        }
    });
    (address, heard)
}

/// Killed whatever happens.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn address(log: &str) -> Option<String> {
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut serving = entries.filter(|entry| {
        let message = entry["fields"]["message"].as_str().unwrap_or_default();
        message.starts_with("serving HTTP")
    });
    serving.next().and_then(|entry| entry["fields"]["address"].as_str().map(str::to_owned))
}

/// Every file below a folder, and what it holds.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if let Ok(bytes) = fs::read(&path) {
            found.push((path.display().to_string(), bytes));
        }
    }
}

#[test]
fn secrets_are_in_no_log_no_page_and_no_state() {
    let workshop = Workshop::new();
    let (refuser, heard) = refuser();
    for (name, secret) in [("secret", SECRET), ("token", TOKEN)] {
        fs::write(workshop.path(name), secret).unwrap();
    }
    let config = workshop.path("host.toml");
    let text = format!(
        "[[alerts.webhook]]\nname = \"ops\"\nurl = \"http://{refuser}/{ADDRESS}\"\nsecret_file = \"{}\"\n",
        workshop.path("secret").display()
    );
    fs::write(&config, text).unwrap();
    let mut command = workshop.host("quiet");
    command.arg("--config").arg(&config).args(["--listen", "127.0.0.1:0"]);
    fs::create_dir(workshop.path("page")).unwrap();
    fs::write(workshop.path("page/index.html"), "<html><head></head><body></body></html>").unwrap();
    command.args(["--console", "127.0.0.1:0", "--page"]).arg(workshop.path("page"));
    command.arg("--console-token-file").arg(workshop.path("token"));
    command.env("RUST_LOG", "trace").env("OTEL_METRIC_EXPORT_INTERVAL", "100");
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{refuser}"));
    command.env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-key={KEY}"));
    let file = |name: &str| File::create(workshop.path(name)).unwrap();
    let host = Host(command.stdout(file("out")).stderr(file("log")).spawn().unwrap());
    let log = || fs::read_to_string(workshop.path("log")).unwrap_or_default();
    wait_for("an address", || address(&log()).is_some());
    let address = address(&log()).unwrap();
    let events = workshop.events(2, 6000).join("\n");
    let answer = ureq::post(format!("http://{address}/v1/events")).send(&events).unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    // They were used; nothing is found where nothing was.
    wait_for("metrics and an alert", || {
        let heard = heard.lock().unwrap();
        heard.contains(KEY) && heard.contains(ADDRESS) && heard.contains("sha256=")
    });
    wait_for("word of the refusals", || log().matches("403").count() >= 2);
    let page = |path: &str| {
        let answer = ureq::get(format!("http://{address}{path}")).call().unwrap();
        answer.into_body().read_to_string().unwrap()
    };
    let pages = page("/v1/status") + &page("/metrics");
    drop(host);
    assert!(log().contains("\"TRACE\""), "the log is not at its most talkative");

    let mut found = vec![("pages".to_owned(), pages.into_bytes())];
    files(&workshop.path("quiet.state"), &mut found);
    for name in ["out", "log"] {
        found.push((name.to_owned(), fs::read(workshop.path(name)).unwrap()));
    }
    for secret in [KEY, SECRET, TOKEN, ADDRESS] {
        let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|one| one == secret.as_bytes());
        let told = found.iter().find(|(_, bytes)| holds(bytes));
        assert!(told.is_none(), "{:?} holds {secret}", told.map(|(name, _)| name));
    }
}
