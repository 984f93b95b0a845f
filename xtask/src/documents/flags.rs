//! That the flags a document shows are there, whether or not its commands can be run.

use crate::run::output;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs whose flags are looked up.
const PROGRAMS: [&str; 4] = ["trainer", "host", "edge-agent", "eventhubs-local"];

/// What programs say of themselves.
#[derive(Debug)]
pub(super) struct Flags {
    bin: PathBuf,
    /// `--help` by program and verbs; none for what is no verb.
    help: BTreeMap<Vec<String>, Option<String>>,
}

impl Flags {
    pub(super) fn new(bin: &Path) -> Self {
        Self { bin: bin.to_owned(), help: BTreeMap::new() }
    }

    /// Looks up the flags of all commands in a block.
    pub(super) fn check(&mut self, block: &str) -> Result<()> {
        for line in block.replace("\\\n", " ").lines() {
            for command in commands(line) {
                self.look_up(&command)?;
            }
        }
        Ok(())
    }

    fn look_up(&mut self, words: &[&str]) -> Result<()> {
        let (mut verbs, mut rest) = (vec![words[0].to_owned()], &words[1..]);
        let mut help = self.help(&verbs).with_context(|| format!("`{}` does not run", words[0]))?;
        while let Some((word, after)) = rest.split_first().filter(|(word, _)| is_verb(word)) {
            verbs.push((*word).to_owned());
            let Some(more) = self.help(&verbs) else { break };
            (help, rest) = (more, after);
        }
        let flags = rest.iter().map(|word| word.split_once('=').map_or(*word, |(flag, _)| flag));
        for flag in flags.filter(|word| word.starts_with("--") && word.len() > 2) {
            let is_there = help.split([' ', ',', '\n']).any(|word| word == flag);
            ensure!(is_there, "`{}` has no flag {flag}", verbs.join(" "));
        }
        Ok(())
    }

    fn help(&mut self, verbs: &[String]) -> Option<String> {
        let bin = &self.bin;
        let ask = || {
            let program = if verbs[0] == "cargo xtask" { "xtask" } else { &verbs[0] };
            output(Command::new(bin.join(program)).args(&verbs[1..]).arg("--help")).ok()
        };
        self.help.entry(verbs.to_vec()).or_insert_with(ask).clone()
    }
}

fn is_verb(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
}

/// The commands of a line that are ours: program, and words up to a comment or another command.
fn commands(line: &str) -> Vec<Vec<&str>> {
    let words: Vec<&str> =
        line.split_whitespace().take_while(|word| !word.starts_with('#')).collect();
    let parts = words.split(|word| ["|", "||", "&&", "&", ";", "then", "do", "--"].contains(word));
    let ours = |part: &[&'_ str]| -> Option<usize> {
        let is_ours = |word: &&str| PROGRAMS.contains(&word.rsplit('/').next().unwrap_or(word));
        // Behind `sudo` or a setting, but not as the value of a flag.
        let place = part.iter().position(is_ours)?;
        part[..place].iter().all(|word| *word == "sudo" || word.contains('=')).then_some(place)
    };
    let mut found = Vec::new();
    for part in parts {
        if let ["cargo", "xtask", rest @ ..] = part {
            found.push([&["cargo xtask"], rest].concat());
        } else if let Some(place) = ours(part) {
            let program = part[place].rsplit('/').next().unwrap_or(part[place]);
            found.push([&[program], &part[place + 1..]].concat());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn commands_of_ours_are_found() {
        let line =
            "sudo -u x true && A=b target/release/host --listen x | edge-agent run & # trainer";
        assert_eq!(commands(line), [vec!["host", "--listen", "x"], vec!["edge-agent", "run"]]);
        assert_eq!(
            commands("cargo xtask test --only lake"),
            [["cargo xtask", "test", "--only", "lake"]]
        );
        assert!(commands("systemctl start host").is_empty());
    }
}
