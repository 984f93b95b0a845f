//! A device under test: a module of its own, a configuration, a state, and the agent on them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "each test uses some of it; a test that cannot go on fails"
)]

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use twinge_mqtt::testing::Mosquitto;
use twinge_mqtt::{Messages, Publisher};
use twinge_testkit::program::{Running, command, patience};
use twinge_testkit::{Kind, MadeModule};

/// A device in a directory of its own.
pub(crate) struct Device {
    pub(crate) directory: TempDir,
}

impl Device {
    /// A device with a module file, `module.wasm`, whose score is the field `x`.
    pub(crate) fn new() -> Self {
        let this = Self { directory: tempfile::tempdir().unwrap() };
        fs::write(this.path("module.wasm"), MadeModule::new(Kind::Good, "1").bytes()).unwrap();
        this
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the configuration: what every device here has, and `more`.
    pub(crate) fn configure(&self, more: &str) {
        let directory = self.directory.path().display();
        let common = format!(
            "state = \"{directory}/state\"\nallow_unsigned = true\nbatch_rows_max = 256\n\
             checkpoint_seconds = 0.2\nlisten = \"127.0.0.1:0\"\ndevice = \"press-7\"\n"
        );
        let detector = format!("[[detector]]\nmodule = \"{directory}/module.wasm\"\n");
        fs::write(self.path("agent.toml"), format!("{common}{more}\n{detector}")).unwrap();
    }

    /// A command of the agent in this device's directory.
    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = command(env!("CARGO_BIN_EXE_edge-agent"));
        command.args(verb.split(' ')).current_dir(self.directory.path());
        command
    }

    /// Runs the agent with the device's configuration.
    pub(crate) fn start(&self) -> Running {
        Running::start(self.command("run --config agent.toml").env_remove("TWINGE_STATE"))
    }

    /// What a verb that ends prints.
    pub(crate) fn output(&self, verb: &str) -> (Output, String) {
        let output = self.command(verb).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output, text)
    }

    /// Lines of a file that are whole, as JSON; drifts, which belong to no event, are left out.
    pub(crate) fn lines(&self, name: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(name)).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = whole.lines().filter(|line| !line.contains(twinge_contract::drift::DRIFT_TYPE));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Waits for a condition, and fails with what `told` says.
pub(crate) fn wait_for(mut condition: impl FnMut() -> bool, told: impl Fn() -> String) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < patience(), "{}", told());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a condition for as long as `count` grows.
pub(crate) fn wait_while_it_grows(mut condition: impl FnMut() -> bool, count: impl Fn() -> usize) {
    let (mut before, mut since) = (count(), Instant::now());
    while !condition() && since.elapsed() < patience() {
        std::thread::sleep(Duration::from_millis(10));
        let now = count();
        if now > before {
            (before, since) = (now, Instant::now());
        }
    }
}

/// The body of a page of the agent.
pub(crate) fn get(agent: &Running, path: &str) -> String {
    let mut answer = ureq::get(format!("http://{}{path}", agent.address())).call().unwrap();
    answer.body_mut().read_to_string().unwrap()
}

/// Posts one event.
pub(crate) fn post(agent: &Running, body: &str) -> u16 {
    let post = ureq::post(format!("http://{}/v1/events", agent.address()));
    let post = post.config().http_status_as_error(false).build();
    post.content_type("application/x-ndjson").send(body).unwrap().status().as_u16()
}

/// A client of a broker, driven by the runtime that this is called in until that ends.
pub(crate) fn client(broker: &Mosquitto, name: &str, topics: &[&str]) -> (Publisher, Messages) {
    let settings = twinge_mqtt::Settings::new(broker.url(), name);
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    let (publisher, messages, driver) = twinge_mqtt::connect(&settings, topics).unwrap();
    tokio::spawn(driver.run(tokio_util::sync::CancellationToken::new()));
    (publisher, messages)
}
