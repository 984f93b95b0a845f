//! The lake, looked at from outside: a host that is killed again and again, and what Python's tools
//! find afterwards.

mod spark;

pub(crate) use spark::spark;

use crate::hubs::peers;
use crate::run::{build_programs, output, root, tell};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use twinge_contract::drift::DRIFT_TYPE;

/// Packages of Python, pinned.
const PYTHON: [&str; 3] = ["pyarrow==22.0.0", "duckdb==1.4.2", "pandas==2.3.3"];

/// Longest that a run of the host may take.
const PATIENCE: Duration = Duration::from_mins(20);

/// Python with the tools that read lakes; a sentence when it is not to be had.
pub(crate) fn python() -> Result<std::result::Result<PathBuf, String>> {
    peers::python_with("lake-python", &PYTHON)
}

/// Sends `events` through a host that is killed `kills` times, and looks whether the lake holds each
/// exactly once; a sentence when a tool is missing.
pub(crate) fn run(events: u64, kills: u64) -> Result<Option<String>> {
    let python = match python()? {
        Ok(python) => python,
        Err(missing) => return Ok(Some(missing)),
    };
    build_programs("dev")?;
    let directory = root().join("target/tmp/lake");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let host = Host::prepare(&directory, events)?;
    let mut killed = 0;
    for round in 1..=kills {
        killed += u64::from(host.run_until(events * round / (kills + 1))?);
    }
    ensure!(killed == kills, "{killed} of {kills} kills hit a host at work: the others came late");
    ensure!(!host.run_until(u64::MAX)?, "the last run was killed");
    host.check(&python, events)?;
    let files = host.files()?;
    // An hour is over at once for this.
    let compact = ["lake", "compact", "--older-than-hours", "0", "--lake"];
    output(Command::new(program("host")).args(compact).arg(&host.lake))?;
    ensure!(host.files()? < files, "compaction left all {files} files");
    host.check(&python, events)?;
    tell(&format!("{killed} kills, {events} events: each once in the lake, and so when compacted"));
    host.replay(20)?;
    host.train_twice()?;
    Ok(None)
}

/// A host on a file of events.
struct Host {
    directory: PathBuf,
    events: PathBuf,
    module: PathBuf,
    lake: PathBuf,
    verdicts: PathBuf,
}

impl Host {
    fn prepare(directory: &Path, count: u64) -> Result<Self> {
        let path = |name: &str| directory.join(name);
        let (training, config) =
            (path("training.csv"), root().join("fixtures/demo/card-payments.toml"));
        let generate = |events: u64, seed: &str, out: &Path| {
            let mut command = Command::new(program("trainer"));
            command.args(["generate", "--entities", "500", "--rate", "20", "--seed", seed]);
            output(command.arg("--events").arg(events.to_string()).arg("--out").arg(out))
        };
        generate(10_000, "1", &training)?;
        let (events, module) = (path("events.ndjson"), path("cards.wasm"));
        generate(count, "2", &events)?;
        let mut train = Command::new(program("trainer"));
        train.args(["train", "--unsigned", "--config"]).arg(config);
        output(train.arg("--data").arg(training).arg("--out").arg(&module))?;
        let (lake, verdicts) = (path("lake"), path("verdicts.ndjson"));
        Ok(Self { directory: directory.to_owned(), events, module, lake, verdicts })
    }

    /// Runs until so many verdicts are written, and kills it; whether it was at work then.
    fn run_until(&self, verdicts: u64) -> Result<bool> {
        let mut running = Running(self.command()?.spawn().context("the host does not start")?);
        let (began, pause) = (Instant::now(), Duration::from_millis(5));
        // Bytes of a verdict of this stream, nearly.
        let bytes = verdicts.saturating_mul(460);
        loop {
            if let Some(status) = running.0.try_wait()? {
                ensure!(status.success(), "the host failed: see {}", self.log().display());
                return Ok(false);
            }
            if fs::metadata(&self.verdicts).is_ok_and(|file| file.len() >= bytes) {
                running.0.kill()?;
                running.0.wait()?;
                return Ok(true);
            }
            ensure!(began.elapsed() < PATIENCE, "the host did not get on within {PATIENCE:?}");
            sleep(pause);
        }
    }

    /// Small checkpoints and files, so that kills fall between all of its steps.
    fn command(&self) -> Result<Command> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut host = Command::new(program("host"));
        host.args(["--allow-unsigned", "--checkpoint-events", "2000", "--lake-rows", "9000"]);
        host.arg("--module").arg(&self.module).arg("--replay").arg(&self.events);
        host.arg("--state").arg(self.directory.join("state")).arg("--lake").arg(&self.lake);
        host.arg("--verdicts").arg(&self.verdicts);
        host.arg("--dead-letters").arg(self.directory.join("dead-letters.ndjson"));
        host.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(host)
    }

    /// What Python's tools find in the lake.
    fn check(&self, python: &Path, events: u64) -> Result<()> {
        let mut check = Command::new(python);
        check.arg(root().join("xtask/src/lake/check.py"));
        check.arg(&self.lake).arg(&self.verdicts).arg(events.to_string());
        tell(output(&mut check)?.trim_end());
        Ok(())
    }

    /// How many files the lake has listed.
    fn files(&self) -> Result<usize> {
        let list = ["lake", "list", "--lake"];
        Ok(output(Command::new(program("host")).args(list).arg(&self.lake))?.lines().count())
    }

    /// Verdicts all along the stream are reached again out of the lake, to the bit.
    fn replay(&self, count: usize) -> Result<()> {
        let text = fs::read_to_string(&self.verdicts)?;
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains(DRIFT_TYPE)).collect();
        for number in 1..=count {
            let verdict: Value = serde_json::from_str(lines[(lines.len() - 1) * number / count])?;
            let id = verdict["id"].as_str().context("a verdict has an id")?;
            let mut replay = Command::new(program("trainer"));
            replay.args(["replay", "--allow-unsigned", "--json", "--detector", "card-payments"]);
            replay.args(["--id", id, "--lake"]).arg(&self.lake).arg("--module").arg(&self.module);
            let told: Value = serde_json::from_str(&output(&mut replay)?)?;
            ensure!(told["events"] == told["events_in_lake"], "{id} follows from less: {told}");
            ensure!(told["verdict"] == verdict, "{id} was {verdict}, and is {}", told["verdict"]);
        }
        tell(&format!("{count} verdicts are reached again out of the lake"));
        Ok(())
    }

    /// A dataset that is made twice is the same, and so is the module that is trained from it.
    fn train_twice(&self) -> Result<()> {
        let twice = [(); 2].map(|()| self.train_from_lake());
        let [first, second] = twice;
        let (first, second) = (first?, second?);
        ensure!(first.0 == second.0, "made twice, a dataset is {} and {}", first.0, second.0);
        ensure!(first.1 == second.1, "trained twice from {}, a module differs", first.0);
        tell(&format!("dataset {} and the module trained from it are the same twice", first.0));
        Ok(())
    }

    /// The digest of a dataset of everything, and the bytes of a module trained from it.
    fn train_from_lake(&self) -> Result<(String, Vec<u8>)> {
        let mut create = Command::new(program("trainer"));
        create.args(["dataset", "create", "--detector", "card-payments", "--lake"]);
        let dataset = output(create.arg(&self.lake))?.trim().to_owned();
        let module = self.directory.join("from-lake.wasm");
        let mut train = Command::new(program("trainer"));
        train.args(["train", "--unsigned", "--rows-max", "5000", "--dataset", &dataset, "--lake"]);
        train.arg(&self.lake).arg("--out").arg(&module);
        output(train.arg("--config").arg(root().join("fixtures/demo/card-payments.toml")))?;
        Ok((dataset, fs::read(module)?))
    }

    fn log(&self) -> PathBuf {
        self.directory.join("host.log")
    }
}

/// A process that does not outlive this one's interest in it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or it ends now.
        self.0.kill().and_then(|()| self.0.wait()).ok();
    }
}

fn program(name: &str) -> PathBuf {
    root().join("target/debug").join(name)
}
