//! Other programs, in a process of Python that answers line by line.

use crate::hubs::peers::python_with;
use crate::run::{output, root, tell};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Variables that hold numpy back on some processors, and that nobody else has.
const SLOWING: [&str; 2] = ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"];

pub(super) struct Peers {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Of each package, as installed.
    pub(super) versions: Vec<String>,
}

impl Peers {
    /// Prepares what they score and starts them; a sentence when they are not to be had.
    pub(super) fn start(
        place: &Path,
        trees: u32,
        features: u32,
    ) -> Result<std::result::Result<Self, String>> {
        let folder = root().join("xtask/src/bench");
        let wanted = fs::read_to_string(folder.join("requirements.txt"))?;
        let versions: Vec<String> = wanted.lines().map(str::to_owned).collect();
        let python = match python_with("bench-peers", &wanted.lines().collect::<Vec<_>>())? {
            Ok(python) => python,
            Err(missing) => return Ok(Err(missing)),
        };
        let script = || {
            let mut script = Command::new(&python);
            for name in SLOWING {
                script.env_remove(name);
            }
            script.arg(folder.join("peers.py"));
            script
        };
        if !place.join("peers.json").is_file() {
            tell("preparing the forest for all of them");
            let (trees, features) = (trees.to_string(), features.to_string());
            let shape = [
                "--trees",
                &trees,
                "--rows-per-tree",
                "256",
                "--features",
                &features,
                "--seed",
                "1",
            ];
            fs::create_dir_all(place)?;
            output(script().arg("prepare").arg(place).args(shape))?;
            output(script().arg("check").arg(place))?;
        }
        let mut serve = script();
        serve.arg("serve").arg(place).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = serve.stderr(Stdio::null()).spawn().context("the peers do not start")?;
        let questions = child.stdin.take().context("the peers have an input")?;
        let answers = BufReader::new(child.stdout.take().context("the peers have an output")?);
        Ok(Ok(Self { child, questions, answers, versions }))
    }

    /// Nanoseconds a row.
    pub(super) fn measure(&mut self, peer: &str, batch: usize, seconds: f64) -> Result<f64> {
        let answer = self.ask(&json!({ "peer": peer, "batch": batch, "seconds": seconds }))?;
        answer["ns_per_row"].as_f64().with_context(|| format!("{peer} answers {answer}"))
    }

    /// Events a second of River's half-space trees.
    pub(super) fn river(&mut self) -> Result<f64> {
        let answer = self.ask(&json!({ "peer": "river", "events": 20_000 }))?;
        answer["events_per_second"].as_f64().with_context(|| format!("river answers {answer}"))
    }

    fn ask(&mut self, question: &Value) -> Result<Value> {
        writeln!(self.questions, "{question}")?;
        self.questions.flush()?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the peers ended at {question}");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
