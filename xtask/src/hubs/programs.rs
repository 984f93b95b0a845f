//! The programs of a scenario: a broker and hosts as processes of their own, stopped by their process
//! ids, and the verdicts that they leave.

use crate::run::tell;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use twinge_contract::drift::DRIFT_TYPE;

/// Longest that a scenario waits for anything.
const PATIENCE: Duration = Duration::from_mins(5);

/// Waits for a condition, with a bound.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(began.elapsed())
}

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) log: PathBuf,
}

impl Process {
    /// Starts a program whose log goes to a file.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command.stdin(Stdio::null()).stderr(file).spawn();
        Ok(Self { child: child.context("cannot start a program")?, log })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, at once.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and its exit code.
    pub(crate) fn stop(&mut self) -> Result<Option<i32>> {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status()?;
        ensure!(sent.success(), "process {id} is not there any more");
        self.wait()
    }

    /// Its exit code, once it has ended.
    pub(crate) fn wait(&mut self) -> Result<Option<i32>> {
        let mut code = None;
        wait_for("a program to stop", || {
            code = self.child.try_wait()?;
            Ok(code.is_some())
        })?;
        Ok(code.and_then(|status| status.code()))
    }

    /// Whether it has ended, and well; an error when it failed.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        match self.child.try_wait()? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => bail!("a program ended with {status}:\n{}", self.last_words()),
        }
    }

    /// An error when it has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("a program ended with {status}:\n{}", self.last_words()),
        }
    }

    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn last_words(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The address that a program's log tells of its HTTP; the broker of a host has another.
pub(crate) fn http_address(log: &str) -> Option<String> {
    log.lines().find_map(|line| {
        let entry: Value = serde_json::from_str(line).ok()?;
        let fields = &entry["fields"];
        let is_http = fields["message"].as_str()?.starts_with("serving HTTP");
        fields["address"].as_str().filter(|_| is_http).map(str::to_owned)
    })
}

/// A broker in a process of its own.
#[derive(Debug)]
pub(crate) struct Broker {
    process: Process,
    program: PathBuf,
    directory: PathBuf,
    hubs: Vec<String>,
    listen: String,
    /// File that tells how to connect.
    pub(crate) connection_string: PathBuf,
}

impl Broker {
    /// Starts `eventhubs-local` on a free port.
    pub(crate) fn start(bin: &Path, directory: PathBuf, hubs: &[&str]) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        let program = bin.join("eventhubs-local");
        let hubs: Vec<String> = hubs.iter().map(ToString::to_string).collect();
        let (process, text) = Self::spawn(&program, &directory, &hubs, "127.0.0.1:0")?;
        let listen = text
            .split(';')
            .find_map(|part| part.strip_prefix("Endpoint=sb://"))
            .context("the broker printed no endpoint")?;
        let listen = listen.trim_end_matches('/').to_owned();
        let connection_string = directory.join("connection-string");
        fs::write(&connection_string, &text)?;
        Ok(Self { process, program, directory, hubs, listen, connection_string })
    }

    fn spawn(
        program: &Path,
        directory: &Path,
        hubs: &[String],
        listen: &str,
    ) -> Result<(Process, String)> {
        let mut command = Command::new(program);
        command.args(["--listen", listen, "--data"]).arg(directory.join("data"));
        for hub in hubs {
            command.args(["--hub", hub]);
        }
        let log = directory.join("broker.log");
        let mut process = Process::start(command.stdout(Stdio::piped()), log)?;
        let mut line = String::new();
        let out = process.child.stdout.take().context("the broker has an output")?;
        BufReader::new(out).read_line(&mut line)?;
        ensure!(!line.trim().is_empty(), "the broker did not start:\n{}", process.last_words());
        Ok((process, line.trim().to_owned()))
    }

    /// SIGKILL, and a new one on the same port and data.
    pub(crate) fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process = Self::spawn(&self.program, &self.directory, &self.hubs, &self.listen)?.0;
        Ok(())
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

/// Verdicts in a file that grows: a hash of each record, by its id.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    path: PathBuf,
    position: u64,
    rest: Vec<u8>,
    pub(crate) records: BTreeMap<String, u64>,
    /// Records that came again.
    pub(crate) repeated: usize,
}

/// Whether a line among verdicts tells of a drift, which belongs to no event.
fn is_drift(line: &[u8]) -> bool {
    let word = DRIFT_TYPE.as_bytes();
    line.windows(word.len()).any(|part| part == word)
}

impl Verdicts {
    pub(crate) fn of(path: PathBuf) -> Self {
        Self { path, ..Self::default() }
    }

    /// Reads what was added; an error when one id has two records.
    pub(crate) fn update(&mut self) -> Result<usize> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(0) };
        file.seek(SeekFrom::Start(self.position))?;
        let read = file.read_to_end(&mut self.rest)?;
        self.position += read as u64;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(self.records.len());
        };
        let later = self.rest.split_off(end + 1);
        let lines = std::mem::replace(&mut self.rest, later);
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if is_drift(line) {
                continue;
            }
            let id = id(line).with_context(|| {
                format!("a verdict without an id: {}", String::from_utf8_lossy(line))
            })?;
            let mut hasher = DefaultHasher::new();
            line.hash(&mut hasher);
            let hash = hasher.finish();
            if let Some(before) = self.records.insert(id.to_owned(), hash) {
                ensure!(before == hash, "verdict {id} came with two contents");
                self.repeated += 1;
            }
        }
        Ok(self.records.len())
    }

    /// Takes over those of another file; an error when one id has two contents.
    pub(crate) fn merge(&mut self, other: Self) -> Result<()> {
        for (id, hash) in other.records {
            if let Some(before) = self.records.insert(id.clone(), hash) {
                ensure!(before == hash, "verdict {id} came with two contents");
                self.repeated += 1;
            }
        }
        Ok(())
    }
}

/// The id of a record: the first `"id":"..."` of its line, which is how verdicts are written.
fn id(line: &[u8]) -> Option<&str> {
    const KEY: &[u8] = b"\"id\":\"";
    let start = line.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let end = line[start..].iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&line[start..start + end]).ok()
}

/// Threads that do nothing, as fast as they can, until they are dropped.
#[derive(Debug)]
pub(crate) struct BusyLoops {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl BusyLoops {
    pub(crate) fn start(count: usize) -> Self {
        use std::sync::atomic::{AtomicBool, Ordering};
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tell("a busy loop panicked");
            }
        }
    }
}
