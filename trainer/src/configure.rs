//! `trainer configure`: from Terraform's outputs to the files of variables that the programs read.

use crate::output::{print, tell};
use crate::usage::Usage;
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Outputs of `infra/`, and the files that they become.
const FILES: [(&str, &str); 3] = [
    ("host_environment", "host.env"),
    ("trainer_environment", "trainer.env"),
    ("edge_agent_environment", "edge-agent.env"),
];
/// Longest text of outputs.
const OUTPUTS_BYTES_MAX: u64 = 16 << 20;

/// Write host.env, trainer.env and edge-agent.env from `terraform output -json` on standard input.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder for the files.
    #[arg(long, default_value = ".")]
    out: PathBuf,
}

/// `trainer configure`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut text = String::new();
    let input = std::io::stdin().lock();
    input
        .take(OUTPUTS_BYTES_MAX)
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    let files = files(&text)?;
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot create {}", arguments.out.display()))?;
    for (name, lines) in files {
        let path = arguments.out.join(name);
        write(&path, &lines).with_context(|| format!("cannot write {}", path.display()))?;
        print(&path.display().to_string());
    }
    tell("read one with: set -a; . ./trainer.env; set +a");
    Ok(())
}

/// The files' names and their lines.
fn files(text: &str) -> Result<Vec<(&'static str, String)>, Usage> {
    let reason = "give it what `terraform output -json` prints";
    let outputs: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
        Usage(format!("standard input is no outputs of Terraform ({error}): {reason}"))
    })?;
    let mut files = Vec::new();
    for (output, file) in FILES {
        let variables = outputs.get(output).and_then(|output| output["value"].as_object());
        let variables = variables.ok_or_else(|| {
            Usage(format!("the outputs have no map `{output}`: {reason} in infra/envs/dev or prod"))
        })?;
        files.push((file, lines(output, variables)?));
    }
    Ok(files)
}

fn lines(output: &str, variables: &Map<String, Value>) -> Result<String, Usage> {
    let mut lines = String::new();
    for (name, value) in variables {
        let is_name = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
        let value = match value {
            Value::String(text) if is_name && !text.contains(['\n', '\r', '\0']) => text,
            // An option that is off has no value.
            Value::Null if is_name => continue,
            _ => {
                return Err(Usage(format!(
                    "output `{output}` has `{name}`, which is no variable with a text of one line"
                )));
            }
        };
        lines += name;
        lines += "=";
        lines += &quoted(value);
        lines += "\n";
    }
    Ok(lines)
}

/// A value as a shell reads it. Most need no quotes, and then docker's `--env-file` takes them too.
fn quoted(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.,:/@%+=$".contains(&byte);
    if value.bytes().all(|byte| is_plain(byte) && byte != b'$') {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

/// Nobody else need read where things are.
fn write(path: &Path, lines: &str) -> std::io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(lines.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(value: &str) -> String {
        let map = |name: &str| format!(r#""{name}":{{"sensitive":false,"value":{value}}}"#);
        format!("{{{},{},{}}}", map(FILES[0].0), map(FILES[1].0), map(FILES[2].0))
    }

    #[test]
    fn each_output_becomes_a_file_that_a_shell_reads() {
        let text = outputs(
            r#"{"TWINGE_LAKE":"abfss://lake@a.dfs.core.windows.net","OFF":null,"GROUP":"$Default","NOTE":"it's"}"#,
        );
        let files = files(&text).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["host.env", "trainer.env", "edge-agent.env"]);
        let mut lines: Vec<&str> = files[0].1.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "GROUP='$Default'",
                r"NOTE='it'\''s'",
                "TWINGE_LAKE=abfss://lake@a.dfs.core.windows.net"
            ]
        );
    }

    #[test]
    fn what_is_no_outputs_is_told() {
        for (text, word) in [
            ("nonsense", "terraform output -json"),
            ("{}", "host_environment"),
            (&outputs(r#"{"lower":"x"}"#), "`lower`"),
            (&outputs(r#"{"A":"two\nlines"}"#), "one line"),
            (&outputs("3"), "no map"),
        ] {
            let error = files(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
