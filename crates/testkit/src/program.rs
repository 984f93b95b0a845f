//! A program under test: started, watched by its log, killed at the end whatever happens.

use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of a log that are kept, to be told when a test fails.
const LINES_KEPT: usize = 200;

/// The variable that names another program to test in place of the one that was built: a command and
/// its arguments, such as an emulator and what it runs.
const OTHER_PROGRAM: &str = "TWINGE_TEST_AGENT";

/// Longest that a test waits for a program: longer for another one than was built here, which may run
/// beneath an emulator.
pub fn patience() -> Duration {
    let is_another = std::env::var_os(OTHER_PROGRAM).is_some();
    Duration::from_mins(if is_another { 10 } else { 1 })
}

/// The command of the program at `built`, or of the one that is to be tested in its place.
pub fn command(built: &str) -> Command {
    let other = std::env::var(OTHER_PROGRAM).unwrap_or_default();
    let mut words = other.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(built));
    command.args(words);
    command
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    child: Child,
    address: String,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Running {
    /// Starts a program and waits until its log tells where it listens.
    pub fn start(command: &mut Command) -> Self {
        command.env("RUST_LOG", "info").stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                let told = kept(&log);
                drop(child.kill());
                panic!("the program ended before it listened:\n{told}");
            };
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            push(&log, line);
            if let Some(address) = entry["fields"]["address"].as_str() {
                break address.to_owned();
            }
        };
        let rest = Arc::clone(&log);
        // Read on, so that the program never waits for a full pipe.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                push(&rest, line);
            }
        });
        Self { child, address, log }
    }

    /// Where it listens, as `ip:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The latest lines of its log.
    pub fn log(&self) -> String {
        kept(&self.log)
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Whether it ends within a time, once somebody told it to.
    pub fn has_ended(&mut self, patience: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < patience {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn push(log: &Mutex<VecDeque<String>>, line: String) {
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.push_back(line);
    if log.len() > LINES_KEPT {
        log.pop_front();
    }
}

fn kept(log: &Mutex<VecDeque<String>>) -> String {
    let log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
}
