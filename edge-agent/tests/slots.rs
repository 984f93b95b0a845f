//! Two slots on a device: a bad champion is left without a registry, and a swap loses and repeats no
//! event, also when the agent is killed around it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails, and tells what is needed to see it again"
)]

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use twinge_registry::{Author, Directory, KnownSerial, Name, Registry};
use twinge_testkit::program::{self, Running};
use twinge_testkit::{Keys, Kind, MadeModule, statement};
use twinge_trust::Digest;

/// As the promise is: so many events after the first bad verdict, the other module acts again.
const RETURN_EVENTS_MAX: usize = 200;

/// A registry, an agent that follows it, and everything that was sent to it.
struct Device {
    directory: TempDir,
    keys: Keys,
    agent: Option<Running>,
    sent: usize,
}

impl Device {
    fn new() -> Self {
        let this = Self {
            directory: tempfile::tempdir().unwrap(),
            keys: Keys::default(),
            agent: None,
            sent: 0,
        };
        let root = this.keys.root().envelope().to_json();
        fs::write(this.directory.path().join("root.json"), root).unwrap();
        this
    }

    /// Publishes a module and promotes it; answers with its digest.
    fn promote(&self, module: &MadeModule) -> String {
        let (bytes, keyring) = (module.bytes(), self.keys.keyring());
        let envelope = statement(&bytes, &module.manifest()).sign(&self.keys.retrainer);
        let digest = Digest::of(&bytes);
        let author = Author {
            key: &self.keys.promoter,
            keyring: &keyring,
            now_ms: now_ms(),
            lifetime_ms: 3_600_000,
            known: KnownSerial::Nothing,
            promoted: None,
        };
        block_on(async {
            let registry = Directory::open(self.directory.path().join("registry")).unwrap();
            let registry = Registry::new(Arc::new(registry));
            let (detector, stable) = (name("test"), name("stable"));
            registry.publish(&bytes, &envelope, &stable, &author).await.unwrap();
            registry.promote(&detector, &stable, &digest, &author).await.unwrap();
        });
        digest.to_string()
    }

    fn start(&mut self) {
        self.start_with("5000");
    }

    /// Starts the agent with a deadline in milliseconds.
    fn start_with(&mut self, deadline: &str) {
        let path = |name: &str| self.directory.path().join(name);
        let mut command = program::command(env!("CARGO_BIN_EXE_edge-agent"));
        command.args(["run", "--detector", "test", "--poll-seconds", "0.05"]);
        command.args(["--listen", "127.0.0.1:0", "--deadline-ms", deadline]);
        command.args(["--checkpoint-seconds", "0.2"]);
        command.arg("--registry").arg(path("registry")).arg("--trust").arg(path("root.json"));
        command.arg("--state").arg(path("state")).arg("--verdicts").arg(path("verdicts.ndjson"));
        command.arg("--dead-letters").arg(path("dead-letters.ndjson"));
        self.agent = Some(Running::start(&mut command));
    }

    /// Sends events of which no two are equal, so that one sent again is known.
    fn send(&mut self, count: usize, input: f64) {
        let event = |number| json!({"entity": format!("e{}", number % 7), "x": input, "n": number});
        let lines: Vec<String> =
            (self.sent..self.sent + count).map(|number| event(number).to_string()).collect();
        let address = self.agent.as_ref().unwrap().address();
        let post = ureq::post(format!("http://{address}/v1/events"));
        let sent = post.content_type("application/x-ndjson").send(lines.join("\n"));
        assert_eq!(sent.unwrap().status().as_u16(), 202);
        self.sent += count;
    }

    fn status(&self) -> Value {
        let url = format!("http://{}/v1/status", self.agent.as_ref().unwrap().address());
        let body = ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str::<Value>(&body).unwrap()["runners"][0].clone()
    }

    /// Sends normal events until the agent acts on a module; the swap needs a stream to warm up on.
    fn send_until_acting(&mut self, digest: &str) {
        let began = Instant::now();
        while self.status()["champion"] != *digest {
            assert!(
                began.elapsed() < program::patience(),
                "not acting on {digest}: {}",
                self.status()
            );
            self.send(50, 0.25);
            self.wait_until_scored();
        }
    }

    fn wait_until_scored(&self) {
        let began = Instant::now();
        while self.status()["offset"].as_u64() < Some(self.sent as u64) {
            assert!(began.elapsed() < program::patience(), "not scored: {}", self.status());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The module that gave each event's verdict, by offset; an error when an event has none, two,
    /// or one verdict with two contents.
    fn verdicts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join("verdicts.ndjson")).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut by_offset = BTreeMap::<u64, &str>::new();
        let is_verdict = |line: &&str| !line.contains(twinge_contract::drift::DRIFT_TYPE);
        for line in whole.lines().filter(is_verdict) {
            let verdict: Value = serde_json::from_str(line).unwrap();
            let offset = verdict["data"]["origin"]["offset"].as_u64().unwrap();
            let before = by_offset.insert(offset, line);
            assert!(before.is_none_or(|before| before == line), "{before:?} and {line}");
        }
        let module = |line: &str| {
            let verdict: Value = serde_json::from_str(line).unwrap();
            verdict["data"]["module"].as_str().unwrap().to_owned()
        };
        assert_eq!(by_offset.len(), self.sent, "every event has a verdict");
        by_offset.into_values().map(module).collect()
    }

    /// SIGKILL.
    fn kill(&mut self) {
        self.agent = None;
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(agent) = &self.agent
        {
            println!("the agent's log:\n{}", agent.log());
        }
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn a_bad_champion_is_left_without_a_registry_and_an_incident_rolls_nothing_back() {
    for (kind, input) in [
        (Kind::Alarms, -1.0),
        (Kind::Traps, -1.0),
        (Kind::NeverEnds, -1.0),
        // Both modules call this an anomaly.
        (Kind::Alarms, 7.0),
    ] {
        let mut device = Device::new();
        let good = device.promote(&MadeModule::new(Kind::Good, "1"));
        // Waiting for what never ends takes eleven deadlines.
        device.start_with(if kind == Kind::NeverEnds { "100" } else { "5000" });
        device.send_until_acting(&good);
        let bad = device.promote(&MadeModule::new(kind, "2"));
        device.send_until_acting(&bad);
        let registry = device.directory.path().join("registry");
        fs::rename(&registry, device.directory.path().join("away")).unwrap();
        let first_bad = device.sent;
        for _ in 0..20 {
            device.send(20, input);
            device.wait_until_scored();
        }
        let (status, modules) = (device.status(), device.verdicts());
        let left = modules[first_bad..].iter().position(|module| *module == good);
        if input > 0.0 {
            assert_eq!((left, &status["champion"]), (None, &json!(bad)), "an incident");
            continue;
        }
        let left = left.unwrap_or_else(|| panic!("{kind:?} is never left: {status}"));
        assert!(left <= RETURN_EVENTS_MAX, "{kind:?} is left after {left} events");
        assert!(modules[first_bad + left..].iter().all(|module| *module == good), "{kind:?}");
        assert_eq!(status["champion"], json!(good), "{kind:?}");
        assert_eq!(status["condemned"][0]["digest"], json!(bad), "{kind:?}");

        // It knows that over a restart, with the registry back and asking for it again.
        fs::remove_dir_all(&registry).ok();
        fs::rename(device.directory.path().join("away"), &registry).unwrap();
        device.kill();
        device.start();
        device.send(600, 0.25);
        device.wait_until_scored();
        assert_eq!(device.status()["champion"], json!(good), "{kind:?} after a restart");
        device.verdicts();
    }
}

#[test]
fn kills_around_swaps_lose_and_repeat_no_event() {
    const KILLS: u64 = 8;
    let seed = std::env::var("TWINGE_SEED").map_or(1, |seed| seed.parse().unwrap());
    let kills = std::env::var("TWINGE_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    println!("TWINGE_SEED={seed}");
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut device = Device::new();
    device.promote(&MadeModule::new(Kind::Good, "0"));
    device.start();
    for kill in 1..=kills {
        // A new champion while events come in, and a kill at some time around the swap to it.
        let digest = device.promote(&MadeModule::new(Kind::Good, &kill.to_string()));
        let batches = random.next_u64() % 14;
        for _ in 0..batches {
            device.send(1 + (random.next_u64() % 90) as usize, 0.25);
        }
        std::thread::sleep(Duration::from_millis(random.next_u64() % 120));
        device.kill();
        device.start();
        device.send_until_acting(&digest);
    }
    let modules = device.verdicts();
    let swaps = modules.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64;
    assert_eq!(swaps, kills, "each module took over once and for all");
}
