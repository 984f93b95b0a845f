//! The program of an action: what its words may hold, what it gets to see of this process, and for
//! how long it runs.
//!
//! Values come from whoever sends events. They reach a program as single arguments, as variables
//! and on standard input; never as a program, an option or a piece of script.

use crate::topics::{Template, TopicError};
use anyhow::{Context, ensure};
use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// What a program needs of its surroundings to find others, its user and its language.
const INHERITED: &[&str] = if cfg!(windows) {
    &["PATH", "PATHEXT", "SYSTEMROOT", "COMSPEC", "USERPROFILE", "TEMP", "TMP", "TZ"]
} else {
    &["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"]
};

/// Programs that take a word after an option for a program of their language.
const INTERPRETERS: [&str; 15] = [
    "sh",
    "bash",
    "dash",
    "ash",
    "zsh",
    "ksh",
    "mksh",
    "fish",
    "python",
    "perl",
    "ruby",
    "node",
    "php",
    "lua",
    "osascript",
];

/// Letters of such options, in any of them: `-c`, and also `-euc`.
const CODE_LETTERS: [char; 5] = ['c', 'e', 'E', 'p', 'r'];

/// Letters of options that another word belongs to, as in `bash -o pipefail -c`.
const VALUE_LETTERS: [char; 4] = ['o', 'O', 'W', 'X'];

/// Programs that make one text of all their arguments and take that for a program.
const JOINERS: [&str; 4] = ["cmd", "powershell", "pwsh", "ssh"];

/// A program and its arguments, in which names stand for values.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine {
    words: Vec<Template>,
    /// Names of variables that the program gets beside those that every program does.
    environment: Vec<String>,
}

impl CommandLine {
    /// Checks the words of a command, of which `parse` makes templates, and the names of variables
    /// that are handed on.
    ///
    /// # Errors
    /// A word that is no template, a program that a value would choose, a value in a piece of
    /// script, a name that no variable can have.
    pub(crate) fn new(
        words: &[String],
        environment: &[String],
        parse: impl Fn(&String) -> Result<Template, TopicError>,
    ) -> anyhow::Result<Self> {
        for name in environment {
            ensure!(
                !name.is_empty() && !name.contains(['=', '\0']),
                "environment holds `{name}`: give names of variables, without values"
            );
        }
        let words: Vec<Template> = words.iter().map(parse).collect::<Result<_, _>>()?;
        let program = words.first().context("command has no program")?;
        ensure!(
            program.text().is_some(),
            "command names its program by a placeholder: write the program itself, whoever \
             sends events must not choose it"
        );
        if let Some(word) = scripted(&words) {
            anyhow::bail!(
                "command has the placeholder `{{{word}}}` in what a shell or an \
                 interpreter takes for script: use the variable TWINGE_{} there, or standard input",
                word.to_uppercase()
            );
        }
        Ok(Self { words, environment: environment.to_vec() })
    }

    /// Runs the program without a shell; it gets `input` on standard input and `values` as
    /// variables, each under its name after `TWINGE_`. It is killed after `timeout`.
    pub(crate) async fn run(
        &self,
        values: &HashMap<&'static str, String>,
        input: &[u8],
        timeout: Duration,
    ) -> Result<(), String> {
        let words = self.fill(values)?;
        let (program, arguments) = words.split_first().ok_or("no program")?;
        let own =
            values.iter().map(|(name, value)| (format!("TWINGE_{}", name.to_uppercase()), value));
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(self.inherited())
            .envs(own)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let mut stdin = child.stdin.take();
        let work = async {
            if let Some(stdin) = &mut stdin {
                // A program need not read what it is given.
                drop(stdin.write_all(input).await);
            }
            drop(stdin);
            child.wait().await
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("{program} ended with {status}")),
            Ok(Err(error)) => Err(format!("{program}: {error}")),
            Err(_elapsed) => Err(format!("{program} was killed after {timeout:?}")),
        }
    }

    /// The words with their values. After a `--` nothing is an option, as whoever wrote it says.
    fn fill(&self, values: &HashMap<&'static str, String>) -> Result<Vec<String>, String> {
        let value = |name: &str| values.get(name).map(String::as_str);
        let mut words = Vec::with_capacity(self.words.len());
        let mut may_be_option = true;
        for word in &self.words {
            let filled = word.fill(value);
            may_be_option &= word.text() != Some("--");
            if may_be_option && word.leading_text().is_empty() && filled.starts_with('-') {
                return Err(format!(
                    "not run: `{filled}` begins with a dash, and the program could take it for an \
                     option; put a word of its own before it, as --entity={{entity}}, or `--`"
                ));
            }
            words.push(filled);
        }
        Ok(words)
    }

    /// Not all of this process's variables: some of them are secrets of brokers and clouds.
    fn inherited(&self) -> impl Iterator<Item = (String, std::ffi::OsString)> {
        let names = INHERITED.iter().copied().chain(self.environment.iter().map(String::as_str));
        names.filter_map(|name| Some((name.to_owned(), std::env::var_os(name)?)))
    }
}

/// The first name whose value an interpreter would take for a program.
fn scripted(words: &[Template]) -> Option<&str> {
    // Also behind another program, as in `env sh -c`.
    words.iter().enumerate().find_map(|(place, word)| {
        let program = program_name(word.text()?);
        let arguments = &words[place + 1..];
        match program.as_str() {
            joiner if JOINERS.contains(&joiner) => {
                arguments.iter().flat_map(Template::names).next()
            }
            name if INTERPRETERS.contains(&name) => code(arguments),
            _ => None,
        }
    })
}

/// The first name in an option that takes a program, or in the word after it. What follows are
/// arguments of that program, which sees them as what they are.
fn code(arguments: &[Template]) -> Option<&str> {
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let option = word.leading_text();
        if !option.starts_with(['-', '+']) {
            return None;
        }
        if let Some(name) = word.names().next() {
            return Some(name);
        }
        let takes_code = match option.strip_prefix("--") {
            Some(long) => ["eval", "command", "print"].contains(&long),
            None => option.contains(CODE_LETTERS),
        };
        if takes_code {
            return words.next()?.names().next();
        }
        if option.ends_with(VALUE_LETTERS) {
            words.next();
        }
    }
    None
}

/// `python` of `/usr/bin/python3.12`.
fn program_name(word: &str) -> String {
    let name = word.rsplit(['/', '\\']).next().unwrap_or_default().to_ascii_lowercase();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str], environment: &[&str]) -> anyhow::Result<CommandLine> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        CommandLine::new(&owned(words), &owned(environment), |text| Template::parse(text))
    }

    fn values(entity: &str) -> HashMap<&'static str, String> {
        HashMap::from([("entity", entity.to_owned())])
    }

    #[tokio::test]
    async fn a_program_gets_the_finding_and_does_not_outlive_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("seen");
        let entity = values("p; rm -rf");
        let script = format!("cat > {0}; echo \"$TWINGE_ENTITY\" >> {0}", file.display());
        let run = async |words: &[&str], timeout| {
            command(words, &[]).unwrap().run(&entity, b"{\"x\":1}", timeout).await
        };
        run(&["sh", "-c", &script], Duration::from_secs(20)).await.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"x\":1}p; rm -rf\n");
        let error = run(&["sleep", "60"], Duration::from_millis(50)).await.unwrap_err();
        assert!(error.contains("killed"), "{error}");
        let error = run(&["/no/such/program"], Duration::from_secs(1)).await.unwrap_err();
        assert!(error.contains("start"), "{error}");
    }

    #[test]
    fn a_value_is_no_option() {
        let fill = |words: &[&str], entity| command(words, &[]).unwrap().fill(&values(entity));
        for entity in ["-rf", "--config=/tmp/x", "-"] {
            let error = fill(&["alarm", "{entity}"], entity).unwrap_err();
            assert!(error.contains(entity) && error.contains("--entity={entity}"), "{error}");
            for words in [["alarm", "--entity={entity}"], ["alarm", "at-{entity}"]] {
                assert_eq!(fill(&words, entity).unwrap()[1], words[1].replace("{entity}", entity));
            }
            assert_eq!(fill(&["alarm", "--", "{entity}"], entity).unwrap()[2], entity);
        }
        assert_eq!(fill(&["alarm", "{entity}"], "pump-7 -rf").unwrap()[1], "pump-7 -rf");
    }

    #[test]
    fn a_value_is_no_script_and_no_program() {
        let scripts: [&[&str]; 11] = [
            &["sh", "-c", "alarm {entity}"],
            &["/bin/bash", "-o", "pipefail", "-euc", "alarm {entity}", "x"],
            &["env", "A=b", "dash", "-c", "{entity}"],
            &["busybox", "sh", "-c", "{entity}"],
            &["python3.12", "-c", "print('{entity}')"],
            &["perl", "-e{entity}"],
            &["node", "--eval", "{entity}"],
            &["C:\\Windows\\System32\\cmd.exe", "/c", "alarm", "{entity}"],
            &["PowerShell.exe", "-File", "alarm.ps1", "{entity}"],
            &["ssh", "host", "alarm", "{entity}"],
            &["{entity}", "x"],
        ];
        for words in scripts {
            let error = command(words, &[]).unwrap_err().to_string();
            assert!(error.contains("placeholder"), "{words:?}: {error}");
        }
        let arguments: [&[&str]; 6] = [
            &["/usr/local/bin/alarm", "{entity}"],
            &["alarm", "-c", "{entity}"],
            &["sh", "-c", "alarm \"$1\"", "sh", "{entity}"],
            &["bash", "-e", "alarm.sh", "-c", "{entity}"],
            &["python3", "-W", "ignore", "alarm.py", "-e", "{entity}"],
            &["sh", "-c", "echo $TWINGE_ENTITY"],
        ];
        for words in arguments {
            assert!(command(words, &[]).is_ok(), "{words:?}");
        }
    }

    /// Cargo gives its tests variables as good as any secret.
    #[tokio::test]
    async fn a_program_sees_no_variable_that_it_was_not_given() {
        const OWN: &str = "CARGO_MANIFEST_DIR";
        assert!(std::env::var_os(OWN).is_some(), "without it, nothing is tested");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("seen");
        let script = format!("env > {}", file.display());
        for (environment, is_seen) in [(&[][..], false), (&[OWN], true)] {
            let command = command(&["sh", "-c", &script], environment).unwrap();
            command.run(&values("pump"), b"", Duration::from_secs(20)).await.unwrap();
            let seen = std::fs::read_to_string(&file).unwrap();
            let has = |name: &str| seen.lines().any(|line| line.starts_with(&format!("{name}=")));
            assert_eq!(has(OWN), is_seen, "{seen}");
            assert!(has("TWINGE_ENTITY") && has("PATH"), "{seen}");
        }
        for name in ["", "A=b", "A\0"] {
            let error = command(&["alarm"], &[name]).unwrap_err().to_string();
            assert!(error.contains("without values"), "{error}");
        }
    }
}
