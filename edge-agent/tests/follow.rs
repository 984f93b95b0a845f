//! The agent follows its channel: a promoted module takes over on the live stream, a rollback
//! returns to the one before, and a registry that is away keeps nothing from running.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use twinge_contract::manifest::Manifest;
use twinge_fit::read::{Format, RowReader};
use twinge_fit::{Config, Table, Trained, infer, train};
use twinge_generator::{Params, World, csv_header};
use twinge_registry::{Author, Directory, KnownSerial, Name, Registry};
use twinge_testkit::program::{self, Running};
use twinge_trust::{Digest, Keyring, Role, SigningKey, Statement, TrustedKey};

struct Fleet {
    directory: TempDir,
    key: SigningKey,
    keyring: Keyring,
    events: Vec<String>,
    sent: usize,
}

impl Fleet {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = SigningKey::from_seed([7; 32]);
        let roles = [Role::Retrainer, Role::Promoter];
        let keyring =
            Keyring::default().with(TrustedKey::new(key.public(), &roles, "test")).unwrap();
        fs::write(directory.path().join("trust.json"), keyring.to_json()).unwrap();
        let stream = params(2).check().unwrap().stream();
        let events = stream.take(20_000).map(|event| event.to_json(World::Flows, false)).collect();
        Self { directory, key, keyring, events, sent: 0 }
    }

    fn author(&self) -> Author<'_> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now_ms = i64::try_from(now.as_millis()).unwrap();
        Author {
            key: &self.key,
            keyring: &self.keyring,
            now_ms,
            lifetime_ms: 3_600_000,
            known: KnownSerial::Nothing,
            promoted: None,
        }
    }

    fn registry(&self) -> Registry {
        Registry::new(Arc::new(Directory::open(self.directory.path().join("registry")).unwrap()))
    }

    /// Publishes and promotes a module.
    fn promote(&self, trained: &Trained) -> Digest {
        let digest = Digest::of(&trained.module);
        let envelope = statement(&trained.module, &trained.manifest).sign(&self.key);
        block_on(async {
            let registry = self.registry();
            registry
                .publish(&trained.module, &envelope, &name("stable"), &self.author())
                .await
                .unwrap();
            registry
                .promote(&name("flows"), &name("stable"), &digest, &self.author())
                .await
                .unwrap();
        });
        digest
    }

    fn rollback(&self, from: &Digest) {
        let rolled = async {
            self.registry()
                .rollback(&name("flows"), &name("stable"), from, None, &self.author())
                .await
        };
        block_on(rolled).unwrap();
    }

    fn agent(&self) -> Agent {
        let path = |name: &str| self.directory.path().join(name);
        let mut command = program::command(env!("CARGO_BIN_EXE_edge-agent"));
        command.args([
            "run",
            "--detector",
            "flows",
            "--poll-seconds",
            "0.05",
            "--listen",
            "127.0.0.1:0",
        ]);
        command.arg("--registry").arg(path("registry")).arg("--trust").arg(path("trust.json"));
        command.arg("--state").arg(path("state")).arg("--verdicts").arg(path("verdicts.ndjson"));
        command.arg("--dead-letters").arg(path("dead-letters.ndjson"));
        Agent(Running::start(&mut command))
    }

    /// Sends events until the agent's champion is `digest`; the swap needs a stream to warm up on.
    fn send_until_champion(&mut self, agent: &Agent, digest: &Digest) {
        let began = Instant::now();
        while agent.status()["champion"] != json!(digest) {
            assert!(
                began.elapsed() < program::patience(),
                "no swap to {digest}: {}",
                agent.status()
            );
            let until = (self.sent + 100).min(self.events.len());
            assert!(self.sent < until, "events ran out before the swap");
            agent.send(&self.events[self.sent..until]);
            self.sent = until;
            // Accepted is not scored: what the swap waits for must not be spent in advance.
            while agent.status()["offset"].as_u64() < Some(self.sent as u64) {
                assert!(began.elapsed() < program::patience(), "not scored: {}", agent.status());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

struct Agent(Running);

impl Agent {
    fn send(&self, events: &[String]) {
        let post = ureq::post(format!("http://{}/v1/events", self.0.address()));
        let response = post.content_type("application/x-ndjson").send(events.join("\n")).unwrap();
        assert_eq!(response.status().as_u16(), 202);
    }

    fn status(&self) -> Value {
        let url = format!("http://{}/v1/status", self.0.address());
        let body = ureq::get(url).call().unwrap().body_mut().read_to_string().unwrap();
        serde_json::from_str::<Value>(&body).unwrap()["runners"][0].clone()
    }
}

#[test]
fn a_channel_is_followed_there_and_back_and_without_a_registry() {
    let mut fleet = Fleet::new();
    let (first, second) = (trained(1), trained(2));
    let first_digest = fleet.promote(&first);
    let agent = fleet.agent();
    fleet.send_until_champion(&agent, &first_digest);
    let second_digest = fleet.promote(&second);
    fleet.send_until_champion(&agent, &second_digest);
    fleet.rollback(&second_digest);
    fleet.send_until_champion(&agent, &first_digest);
    wait_for_verdicts(&fleet);
    drop(agent);

    // Without a registry, the agent starts from what it has kept, and goes on where it was.
    let registry = fleet.directory.path().join("registry");
    fs::rename(&registry, fleet.directory.path().join("away")).unwrap();
    let agent = fleet.agent();
    // It was killed after the swap; what came since its checkpoint swaps again at the same offset.
    fleet.send_until_champion(&agent, &first_digest);
    let more: Vec<String> = fleet.events[fleet.sent..fleet.sent + 100].to_vec();
    agent.send(&more);
    fleet.sent += 100;
    wait_for_verdicts(&fleet);
    let modules: std::collections::BTreeSet<String> = verdicts(&fleet)
        .into_iter()
        .map(|verdict| verdict["data"]["module"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(modules, [first_digest.to_string(), second_digest.to_string()].into());
}

/// Every event sent has one verdict, whatever swapped in between.
fn wait_for_verdicts(fleet: &Fleet) {
    let began = Instant::now();
    let by_origin = || {
        let all = verdicts(fleet);
        let offsets =
            all.iter().map(|verdict| verdict["data"]["origin"]["offset"].as_u64().unwrap());
        offsets.collect::<std::collections::BTreeSet<_>>().len()
    };
    while by_origin() < fleet.sent {
        assert!(
            began.elapsed() < program::patience(),
            "{} of {} events have a verdict",
            by_origin(),
            fleet.sent
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn verdicts(fleet: &Fleet) -> Vec<Value> {
    let text =
        fs::read_to_string(fleet.directory.path().join("verdicts.ndjson")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines = whole.lines().filter(|line| !line.contains(twinge_contract::drift::DRIFT_TYPE));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn trained(seed: u64) -> Trained {
    let mut csv = csv_header(World::Flows, true) + "\n";
    for event in params(1).check().unwrap().stream().take(3000) {
        csv += &(event.to_csv(true) + "\n");
    }
    let schema = infer::infer(csv.as_bytes(), Format::Csv).unwrap().schema;
    let table =
        Table::read(RowReader::new(csv.as_bytes(), Format::Csv, &schema).unwrap(), |_| {}).unwrap();
    let version = seed.to_string();
    let config = Config { name: "flows".into(), version, schema, ..Config::default() };
    train(&table, &config.check().unwrap(), seed, &mut |_| true).unwrap()
}

fn params(seed: u64) -> Params {
    Params { entities: 20, ..Params::new(World::Flows, seed) }
}

fn statement(module: &[u8], manifest: &Manifest) -> Statement {
    Statement {
        detector: manifest.name.clone(),
        version: manifest.version.clone(),
        module_digest: Digest::of(module),
        module_bytes: module.len() as u64,
        manifest: serde_json::to_value(manifest).unwrap(),
        metrics: Value::Null,
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Where the agent reads standard input, it ends with it.
#[test]
fn standard_input_goes_through_and_the_agent_ends_with_it() {
    use std::io::Write;
    let fleet = Fleet::new();
    let module = fleet.directory.path().join("flows.wasm");
    fs::write(&module, trained(1).module).unwrap();
    let mut command = program::command(env!("CARGO_BIN_EXE_edge-agent"));
    command.arg("run").arg("--module").arg(&module).arg("--allow-unsigned");
    command
        .arg("--state")
        .arg(fleet.directory.path().join("state"))
        .current_dir(fleet.directory.path());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = fleet.events[..500].join("\n");
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 500);
    assert!(
        !Path::new(&fleet.directory.path().join("dead-letters.ndjson"))
            .metadata()
            .is_ok_and(|file| file.len() > 0)
    );
}
