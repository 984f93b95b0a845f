//! A workshop for the host's tests: a module, events, and hosts that are always stopped.
#![allow(dead_code, clippy::unused_self, reason = "each test file uses a part of it")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use twinge_contract::schema::Schema;
use twinge_fit::read::{Format, RowReader};
use twinge_fit::{Config, Table, train};
use twinge_generator::{Params, World, csv_header};

/// Longest that a test waits for anything.
const PATIENCE: Duration = Duration::from_mins(2);

pub struct Workshop {
    directory: TempDir,
    pub module: PathBuf,
}

impl Workshop {
    /// A directory with an unsigned module for generated sensors.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let module = directory.path().join("sensors.wasm");
        let this = Self { directory, module };
        this.train("sensors");
        this
    }

    /// An unsigned module of this name for generated sensors.
    pub fn train(&self, name: &str) -> PathBuf {
        let path = self.path(&format!("{name}.wasm"));
        let stream = params(1).check().unwrap().stream();
        let mut csv = csv_header(World::Sensors, true) + "\n";
        for event in stream.take(6000) {
            writeln!(csv, "{}", event.to_csv(true)).unwrap();
        }
        let schema = Schema {
            entity: Some("sensor".into()),
            time: Some("time".into()),
            numeric: ["temperature_c", "vibration_mm_s", "pressure_kpa", "current_a"]
                .map(String::from)
                .into(),
            categorical: vec!["mode".into()],
            label: Some("label".into()),
            ..Schema::default()
        };
        let config = Config {
            name: name.into(),
            version: "1".into(),
            schema: schema.clone(),
            ..Config::default()
        };
        let table =
            Table::read(RowReader::new(csv.as_bytes(), Format::Csv, &schema).unwrap(), |_| {})
                .unwrap();
        let trained = train(&table, &config.check().unwrap(), 1, &mut |_| true).unwrap();
        fs::write(&path, trained.module).unwrap();
        path
    }

    /// An unsigned module for rows that have neither entity nor time.
    pub fn train_table(&self) -> PathBuf {
        let mut csv = FIELDS.join(",") + "\n";
        for [a, b, c] in table_rows(4000) {
            writeln!(csv, "{a},{b},{c}").unwrap();
        }
        let schema = Schema { numeric: FIELDS.map(String::from).into(), ..Schema::default() };
        let config = Config {
            name: "parts".into(),
            version: "1".into(),
            schema: schema.clone(),
            ..Config::default()
        };
        let rows = RowReader::new(csv.as_bytes(), Format::Csv, &schema).unwrap();
        let table = Table::read(rows, |_| {}).unwrap();
        let trained = train(&table, &config.check().unwrap(), 1, &mut |_| true).unwrap();
        let module = self.path("parts.wasm");
        fs::write(&module, trained.module).unwrap();
        module
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Events of seed `seed`, one a line.
    pub fn events(&self, seed: u64, count: usize) -> Vec<String> {
        let stream = params(seed).check().unwrap().stream();
        stream.take(count).map(|event| event.to_json(World::Sensors, false)).collect()
    }

    /// A host that keeps everything under `name`.
    pub fn host(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
        command.arg("--allow-unsigned").arg("--module").arg(&self.module);
        command.arg("--state").arg(self.path(&format!("{name}.state")));
        command
            .arg("--verdicts")
            .arg(self.verdicts(name))
            .arg("--dead-letters")
            .arg(self.dead_letters(name));
        command.stdin(Stdio::null()).env("RUST_LOG", "info");
        command
    }

    pub fn verdicts(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.verdicts.ndjson"))
    }

    pub fn dead_letters(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.dead-letters.ndjson"))
    }
}

/// Fields of such rows.
pub const FIELDS: [&str; 3] = ["width", "height", "weight"];

/// Rows of a table: what belongs together, with a few that do not, by a fixed rule.
pub fn table_rows(count: usize) -> Vec<[f64; 3]> {
    let mut state = 20_260_131_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let row = |number: usize| {
        let (a, b) = (next(), next());
        if number % 97 == 96 { [a * 9.0, -b, 40.0 * a] } else { [a, a + 0.1 * b, a * b] }
    };
    (0..count).map(row).collect()
}

fn params(seed: u64) -> Params {
    Params { entities: 60, missing_share: 0.02, ..Params::new(World::Sensors, seed) }
}

/// Records of events in a file by their id; a record that came twice must be the same to the letter. A last
/// line without an end is none yet.
pub fn by_id(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut records = BTreeMap::new();
    let is_of_event = |line: &&str| !line.contains(twinge_contract::drift::DRIFT_TYPE);
    for line in whole.lines().filter(is_of_event) {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let id = value["id"].as_str().unwrap().to_owned();
        if let Some(before) = records.insert(id, line.to_owned()) {
            assert_eq!(before, line, "one id, two records");
        }
    }
    records
}

/// Runs a host to its end.
pub fn finish(command: &mut Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.wait_with_output().unwrap()
}

/// A running host, killed when dropped.
pub struct Running {
    child: Child,
    pub address: String,
    /// What else it serves at.
    pub others: Vec<String>,
}

impl Running {
    /// Starts a host that listens, and waits for its address.
    pub fn listening(command: &mut Command) -> Self {
        Self::serving(command.args(["--listen", "127.0.0.1:0"]), &["serving HTTP"])
    }

    /// Starts a host that listens, with what it writes to its standard output.
    pub fn listening_and_told(command: &mut Command) -> (Self, ChildStdout) {
        let mut this = Self::listening(command);
        let output = this.child.stdout.take().unwrap();
        (this, output)
    }

    /// Starts a host and waits until it has said each of these, with an address; its own is the last.
    pub fn serving(command: &mut Command, words: &[&str]) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let mut others = Vec::new();
        for words in words {
            others.push(loop {
                line.clear();
                assert!(log.read_line(&mut line).unwrap() > 0, "the host ended before it served");
                let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
                let fields = &entry["fields"];
                if fields["message"].as_str().is_some_and(|message| message.starts_with(words)) {
                    break fields["address"].as_str().unwrap_or_default().to_owned();
                }
            });
        }
        // The rest of the log is read so that the host never waits for a full pipe.
        std::thread::spawn(move || log.lines().for_each(drop));
        Self { child, address: others.pop().unwrap_or_default(), others }
    }

    /// Starts a host that ends by itself.
    pub fn replaying(command: &mut Command) -> Self {
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        Self { child, address: String::new(), others: Vec::new() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, at once; false when it had ended already.
    pub fn kill(mut self) -> bool {
        let was_running = self.child.try_wait().unwrap().is_none();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        was_running
    }

    /// SIGTERM, and its exit code.
    pub fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut code = None;
        wait_for("the host to stop", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sockets on which a process of this machine listens, whatever their addresses.
pub fn listeners(process: u32) -> usize {
    let own: Vec<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    let tables = ["tcp", "tcp6"]
        .map(|name| fs::read_to_string(format!("/proc/{process}/net/{name}")).unwrap_or_default());
    // The fourth column is the state, 0A for one that listens; the tenth the number of the socket.
    let listens = |line: &&str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        columns.get(3) == Some(&"0A")
            && columns.get(9).is_some_and(|inode| own.contains(&format!("socket:[{inode}]")))
    };
    tables.iter().flat_map(|table| table.lines()).filter(listens).count()
}

/// Waits for a condition, with a bound.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
