//! What each program and subcommand prints for `--help`, word by word.

use crate::test::bin;
use anyhow::{Context, Result, ensure};
use std::fmt::Write as _;
use std::process::Command;

/// The programs, and what each is for.
const PROGRAMS: [(&str, &str); 4] = [
    ("trainer", "From a file of events to a signed module, a channel and a fleet."),
    ("host", "The cloud host."),
    ("edge-agent", "The agent beside the source."),
    ("eventhubs-local", "The broker that Azure's clients of Event Hubs accept, for one machine."),
];

/// Characters in a line.
const WIDTH: &str = "100";

/// What programs print before their subcommands.
const COMMANDS: &str = "Commands:";

/// The page.
pub(super) fn page() -> Result<String> {
    let mut page = "# Command line\n\n\
        What `--help` prints, for each program and subcommand. A flag with `[env: NAME=]` may be given as the\n\
        variable `NAME` instead. Keys of a configuration file are in [configuration.md](configuration.md).\n"
        .to_owned();
    for (program, purpose) in PROGRAMS {
        write!(page, "\n## {program}\n\n{purpose}\n")?;
        add(&mut page, program, &[])?;
    }
    Ok(page)
}

/// Adds a command and, behind it, those within it.
fn add(page: &mut String, program: &str, verbs: &[String]) -> Result<()> {
    let help = help(program, verbs)?;
    if !verbs.is_empty() {
        write!(page, "\n{} {program} {}\n", "#".repeat(2 + verbs.len()), verbs.join(" "))?;
    }
    write!(page, "\n```text\n{}\n```\n", help.trim_end())?;
    for verb in subcommands(&help) {
        add(page, program, &[verbs, &[verb]].concat())?;
    }
    Ok(())
}

/// What a command prints about itself where no variable of this machine is set.
fn help(program: &str, verbs: &[String]) -> Result<String> {
    let mut command = Command::new(bin().join(program));
    let done = command.args(verbs).arg("--help").env_clear().env("COLUMNS", WIDTH).output();
    let done = done.with_context(|| format!("cannot start {program}"))?;
    ensure!(
        done.status.success(),
        "{program} {} --help ended with {}",
        verbs.join(" "),
        done.status
    );
    let text = String::from_utf8(done.stdout).context("help is no UTF-8")?;
    // Blanks at the ends of lines are what editors remove.
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    Ok(lines.join("\n"))
}

/// The subcommands that a help lists.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != COMMANDS).skip(1);
    let entries = lines.take_while(|line| line.is_empty() || line.starts_with(' '));
    let names =
        entries.filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_found_among_wrapped_lines() {
        let help = "Does it.\n\nUsage: x\n\nCommands:\n  lake       Look at\n             a lake\n  health     Ask\n  help       Print\n\nOptions:\n      --no\n";
        assert_eq!(subcommands(help), ["lake", "health"]);
        assert_eq!(subcommands("Usage: x\n"), Vec::<String>::new());
    }
}
