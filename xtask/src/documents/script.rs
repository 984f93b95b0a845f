//! A document's commands as one script, run in a folder of its own.

use super::block::{Block, Kind};
use crate::run::root;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Longest that the commands of a document may take, in seconds.
const SECONDS_MAX: &str = "300";

/// How much of what was printed an error repeats, in lines.
const LINES_MAX: usize = 30;

/// Runs what can be run of a document; how many blocks that were.
pub(super) fn run(document: &str, blocks: &[Block], bin: &Path, folder: &Path) -> Result<usize> {
    let (script, count) = script(document, blocks);
    if count == 0 {
        return Ok(0);
    }
    fs::create_dir_all(folder.join("home"))?;
    // Documents name the programs by where a build leaves them, or as installed.
    fs::create_dir_all(folder.join("target"))?;
    for (from, to) in
        [(bin, "target/release"), (bin, "target/debug"), (&root().join("examples"), "examples")]
    {
        symlink(from, folder.join(to))?;
    }
    let printed = folder.join("home/printed");
    let log = File::create(&printed)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut bash = Command::new("timeout");
    bash.args(["--kill-after=5", SECONDS_MAX, "bash", "-c", &script]).current_dir(folder);
    bash.env("PATH", format!("{}:{path}", bin.display())).env("HOME", folder.join("home"));
    bash.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TWINGE_")) {
        bash.env_remove(name);
    }
    let mut running = bash.spawn().context("bash cannot be started")?;
    let ended = running.wait()?;
    // What a document left running ends with it.
    let group = format!("-{}", running.id());
    let mut kill = Command::new("kill");
    kill.args(["-KILL", "--", &group]).stderr(Stdio::null()).status()?;
    if ended.success() {
        return Ok(count);
    }
    let printed = fs::read_to_string(printed).unwrap_or_default();
    let lines: Vec<&str> = printed.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES_MAX)..].join("\n    ");
    bail!("{document}: its commands ended with {ended}:\n    {last}")
}

/// Tells which block a script that fails was at.
const BEGIN: &str = "set -Eeuo pipefail
trap 'echo \"FAILED: the block at $TWINGE_BLOCK: $BASH_COMMAND\" >&2' ERR";

/// The script, and how many blocks of commands are in it.
fn script(document: &str, blocks: &[Block]) -> (String, usize) {
    let (mut parts, mut count) = (vec![BEGIN.to_owned()], 0);
    for block in blocks.iter().filter(|block| block.needs.is_none()) {
        let text = &block.text;
        if matches!(block.kind, Kind::Shell | Kind::Before) {
            parts.push(format!("TWINGE_BLOCK='{document}:{}'\n{text}", block.line));
            count += usize::from(block.kind == Kind::Shell);
        } else if let Some(file) = &block.file {
            parts.push(format!("cat > '{file}' <<'END OF BLOCK'\n{text}\nEND OF BLOCK"));
        }
    }
    (parts.join("\n"), count)
}
