//! Running other programs, and talking to the person at the terminal.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A line for the person at the terminal.
#[expect(clippy::print_stderr, reason = "xtask's conversation with its user")]
pub(crate) fn tell(line: &str) {
    eprintln!("{line}");
}

/// A line of a result.
#[expect(clippy::print_stdout, reason = "results are what xtask prints")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}

/// `cargo` with arguments, in the workspace.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// Builds the programs with the features that the whole workspace gives them: those of a single
/// package would compile the engine and Azure's SDK once more.
pub(crate) fn build_programs(profile: &str) -> Result<()> {
    succeed(&mut cargo(["build", "--quiet", "--workspace", "--bins", "--profile", profile]))
}

/// Runs a command with its output on the terminal; an error unless it succeeds.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command and answers with its standard output; its complaints are part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !done.status.success() {
        bail!(
            "{} ended with {}:\n{}",
            shown(command),
            done.status,
            String::from_utf8_lossy(&done.stderr)
        );
    }
    String::from_utf8(done.stdout)
        .with_context(|| format!("{} printed what is not UTF-8", shown(command)))
}

/// Whether a program can be started.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
