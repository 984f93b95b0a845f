//! The agent's own tests against a build for a device, under qemu where the machine is another, and
//! its verdicts against those of the build for this machine, bit for bit.

use super::build::{Build, Target, target_folder};
use crate::run::{build_programs, cargo, output, root, succeed, tell};
use crate::test::workshop;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Tests that start the agent by the command in `TWINGE_TEST_AGENT`.
const TESTS: [&str; 4] = ["follow", "life", "mqtt", "slots"];

/// Events of the comparison: cards with categories, missing values and more entities than fit.
const EVENTS: u32 = 20_000;
/// The same for a build that interprets: beneath an emulator it takes 50 ms for each.
const EVENTS_INTERPRETED: u32 = 2_000;
const ENTITIES: &str = "2000";
const ENTITIES_MAX: &str = "500";

/// Tests a build; a sentence when its machine cannot be emulated.
pub(crate) fn check(target: Target, build: Build, agent: &Path) -> Result<Option<String>> {
    let emulator = match target.emulator()? {
        Ok(emulator) => emulator,
        Err(missing) => return Ok(Some(missing)),
    };
    let mut words: Vec<String> = emulator.into_iter().map(str::to_owned).collect();
    words.push(agent.display().to_string());
    ensure!(
        words.iter().all(|word| !word.contains(char::is_whitespace)),
        "the tests take a command without spaces in its words: {words:?}"
    );
    build_programs("dev")?;
    compare(&words, if build.is_small() { EVENTS_INTERPRETED } else { EVENTS })?;
    let mut test = cargo(["test", "--quiet", "--workspace"]);
    test.args(TESTS.iter().flat_map(|test| ["--test", test]));
    // An emulator is slow, and a module that misses its deadline would rightly be sent back.
    test.env("TWINGE_DEADLINE_MS", "60000");
    succeed(test.env("TWINGE_TEST_AGENT", words.join(" ")))?;
    Ok(None)
}

/// The same events through this build and through the programs of this machine.
fn compare(words: &[String], events_count: u32) -> Result<()> {
    let directory = workshop("device verdicts")?;
    let bin = target_folder().join("debug");
    let (data, module) = (directory.join("cards.csv"), directory.join("cards.wasm"));
    let events = directory.join("cards.ndjson");
    for (file, format) in [(&data, "csv"), (&events, "ndjson")] {
        let mut generate = Command::new(bin.join("trainer"));
        generate.args(["generate", "--world", "cards", "--entities", ENTITIES]);
        generate.args(["--events", &events_count.to_string()]);
        output(generate.args(["--missing", "0.02", "--format", format]).arg("--out").arg(file))?;
    }
    let mut train = Command::new(bin.join("trainer"));
    train.args(["train", "--unsigned", "--data"]).arg(&data).arg("--out").arg(&module);
    output(train.arg("--config").arg(root().join("fixtures/demo/card-payments.toml")))?;
    let here = [bin.join("edge-agent").display().to_string()];
    let expected = verdicts(&here, &directory.join("here"), &module, &events)?;
    let found = verdicts(words, &directory.join("there"), &module, &events)?;
    let count = expected.lines().count();
    ensure!(count > events_count as usize / 2, "only {count} verdicts");
    for (number, (expected, found)) in expected.lines().zip(found.lines()).enumerate() {
        ensure!(expected == found, "verdict {number} is\n{found}\nand on this machine\n{expected}");
    }
    ensure!(expected.len() == found.len(), "one of them stopped early");
    tell(&format!("{}: {} verdicts, all bits equal", words.join(" "), found.lines().count()));
    fs::remove_dir_all(&directory)?;
    Ok(())
}

/// Verdicts of an agent, as it prints them: of a file, whose events have the same names everywhere.
fn verdicts(words: &[String], state: &Path, module: &Path, events: &Path) -> Result<String> {
    let (program, arguments) = words.split_first().context("no agent is named")?;
    let mut agent = Command::new(program);
    agent.args(arguments).args(["run", "--allow-unsigned", "--module"]).arg(module);
    agent.arg("--state").arg(state).args(["--entities-max", ENTITIES_MAX]);
    agent.arg("--dead-letters").arg(state.with_extension("dead-letters.ndjson"));
    agent.arg("--replay").arg(events).args(["--verdicts", "-"]);
    agent.env("RUST_LOG", "warn").stdin(Stdio::null()).stderr(Stdio::inherit());
    let done = agent.output().with_context(|| format!("cannot start {program}"))?;
    ensure!(done.status.success(), "{program} ended with {}", done.status);
    String::from_utf8(done.stdout).context("a verdict is not UTF-8")
}
