//! A host as custom handler of Azure Functions: what its trigger sends, what it is answered, and what is in
//! the lake afterwards.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod common;

use common::{FIELDS, Workshop, finish, table_rows, wait_for};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

struct Handler {
    child: Child,
    port: u16,
}

impl Handler {
    fn command(module: &Path) -> Command {
        let mut host = Command::new(env!("CARGO_BIN_EXE_host"));
        host.args(["functions", "--allow-unsigned", "--module"]).arg(module);
        host.env("RUST_LOG", "warn").stdin(Stdio::null());
        host
    }

    fn start(workshop: &Workshop, module: &Path) -> Self {
        // Functions chooses a port that is free, and so does this.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut host = Self::command(module);
        host.args(["--lake-seconds", "1", "--lake"]).arg(workshop.path("lake"));
        host.arg("--state").arg(workshop.path("functions.state"));
        let child = host.env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()).spawn().unwrap();
        let this = Self { child, port };
        wait_for("the handler to listen", || this.get().is_ok());
        this
    }

    fn get(&self) -> Result<(), ureq::Error> {
        ureq::get(format!("http://127.0.0.1:{}/", self.port)).call().map(drop)
    }

    fn invoke(&self, body: &Value) -> (u16, String) {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let url = format!("http://127.0.0.1:{}/score", self.port);
        let answer =
            agent.post(url).content_type("application/json").send(body.to_string()).unwrap();
        let status = answer.status().as_u16();
        (status, answer.into_body().read_to_string().unwrap())
    }

    fn stop(mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A batch of partition 2, as the trigger sends it.
fn batch(events: &[String], first: u64) -> Value {
    let numbers: Vec<u64> = (first..).take(events.len()).collect();
    let times = vec!["2026-01-01T00:00:00Z"; events.len()];
    json!({
        "Data": { "events": json!(events).to_string() },
        "Metadata": {
            "PartitionContext": json!({
                "FullyQualifiedNamespace": "mine.servicebus.windows.net", "EventHubName": "events",
                "ConsumerGroup": "functions", "PartitionId": "2",
            }).to_string(),
            "SequenceNumberArray": json!(numbers).to_string(),
            "EnqueuedTimeUtcArray": json!(times).to_string(),
            "PartitionKeyArray": vec![Value::Null; events.len()],
            "sys": { "MethodName": "score", "UtcNow": "2026-01-01T00:00:01Z" },
        },
    })
}

fn event(row: &[f64; 3]) -> String {
    let [a, b, c] = FIELDS;
    json!({ a: row[0], b: row[1], c: row[2] }).to_string()
}

/// What does not follow from where an event comes from, to the letter.
#[derive(Debug, PartialEq, Deserialize)]
struct Letters {
    data: Judgement,
}

#[derive(Debug, Deserialize)]
struct Judgement {
    score: Box<RawValue>,
    attribution: Option<Box<RawValue>>,
}

impl PartialEq for Judgement {
    fn eq(&self, other: &Self) -> bool {
        let shares =
            |judgement: &Self| judgement.attribution.as_ref().map(|shares| shares.get().to_owned());
        self.score.get() == other.score.get() && shares(self) == shares(other)
    }
}

fn letters(answer: &str) -> Vec<Letters> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Outputs")]
        outputs: Outputs,
    }
    #[derive(Deserialize)]
    struct Outputs {
        verdicts: Vec<Letters>,
    }
    serde_json::from_str::<Answer>(answer).unwrap().outputs.verdicts
}

fn rows(workshop: &Workshop) -> u64 {
    let mut host = Command::new(env!("CARGO_BIN_EXE_host"));
    let told = finish(host.args(["lake", "list", "--lake"]).arg(workshop.path("lake")));
    let lines = String::from_utf8(told.stdout).unwrap();
    let files = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    files.map(|file| file["rows"].as_u64().unwrap()).sum()
}

#[test]
fn batches_are_scored_as_a_host_scores_them_and_lie_in_the_lake_once() {
    let workshop = Workshop::new();
    let module = workshop.train_table();
    let mut events: Vec<String> = table_rows(300).iter().map(event).collect();
    events.push("{ this is no event".into());
    // What a host says of the same events.
    let input = workshop.path("events.ndjson");
    std::fs::write(&input, events.join("\n") + "\n").unwrap();
    let mut host = Command::new(env!("CARGO_BIN_EXE_host"));
    host.arg("--allow-unsigned").arg("--module").arg(&module).arg("--replay").arg(input);
    host.arg("--state")
        .arg(workshop.path("state"))
        .arg("--verdicts")
        .arg(workshop.verdicts("host"));
    host.arg("--dead-letters").arg(workshop.dead_letters("host"));
    assert!(finish(&mut host).status.success());
    let text = std::fs::read_to_string(workshop.verdicts("host")).unwrap();
    let of_host: Vec<Letters> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();

    let handler = Handler::start(&workshop, &module);
    let (first, second) = events.split_at(120);
    let (status, one) = handler.invoke(&batch(first, 40));
    assert_eq!(status, 200, "{one}");
    // The trigger did not hear the answer, and sends it again.
    let (_, again) = handler.invoke(&batch(first, 40));
    assert_eq!(one, again);
    let (status, two) = handler.invoke(&batch(second, 160));
    assert_eq!(status, 200, "{two}");
    let scored: Vec<Letters> =
        [&one, &two].into_iter().flat_map(|answer| letters(answer)).collect();
    assert_eq!(scored, of_host);
    let read = |answer: &str| serde_json::from_str::<Value>(answer).unwrap()["Outputs"].clone();
    let (one, two) = (read(&one), read(&two));
    assert_eq!(one["verdicts"][0]["data"]["origin"]["offset"], 40);
    assert_eq!(one["deadLetters"], json!([]));
    assert_eq!(two["deadLetters"].as_array().unwrap().len(), 1);
    wait_for("the lake to have them, though no batch follows", || rows(&workshop) == 301);

    let (status, told) = handler.invoke(&json!({ "Data": { "req": {} }, "Metadata": {} }));
    assert_eq!(status, 400);
    assert!(told.contains("sequence numbers"), "{told}");
    handler.stop();
    assert_eq!(rows(&workshop), 301);
}

#[test]
fn a_detector_that_remembers_is_refused_and_so_is_a_start_without_functions() {
    let workshop = Workshop::new();
    let state = workshop.path("refused.state");
    let run = |module: &Path, port: Option<&str>| {
        let mut host = Handler::command(module);
        host.arg("--state").arg(&state).env_remove("FUNCTIONS_CUSTOMHANDLER_PORT");
        if let Some(port) = port {
            host.env("FUNCTIONS_CUSTOMHANDLER_PORT", port);
        }
        let told = finish(&mut host);
        assert_eq!(told.status.code(), Some(1));
        String::from_utf8(told.stderr).unwrap()
    };
    let told = run(&workshop.module, Some("1"));
    assert!(told.contains("for each entity"), "{told}");
    let told = run(&workshop.train_table(), None);
    assert!(told.contains("FUNCTIONS_CUSTOMHANDLER_PORT is not set"), "{told}");
}
