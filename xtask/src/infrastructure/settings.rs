//! Terraform's outputs must be settings of the programs: each is started with them, to check.

use crate::run::{output, root, succeed};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Variables that say who a program is to Azure, which its libraries read.
const OF_AZURE: [&str; 2] = ["AZURE_CLIENT_ID", "MLFLOW_TRACKING_URI"];

/// Checks the outputs of both environments, and what else runs in Azure.
pub(super) fn check(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    output(trainer().args(["trust", "init", "--out"]).arg(directory.join("keys")))?;
    for environment in ["dev", "prod"] {
        let outputs = root().join(format!("infra/tests/outputs/{environment}.json"));
        let files = directory.join(environment);
        let mut configure = trainer();
        configure.arg("configure").arg("--out").arg(&files).stdin(File::open(&outputs)?);
        let told = configure.output()?;
        let reason = String::from_utf8_lossy(&told.stderr);
        ensure!(told.status.success(), "{} is not usable: {reason}", outputs.display());
        let read = |name: &str| variables(&fs::read_to_string(files.join(name))?);
        start(&["host", "--check"], &read("host.env")?, directory)?;
        start(&["edge-agent", "run", "--check"], &read("edge-agent.env")?, directory)?;
        known_to_trainer(&read("trainer.env")?)?;
    }
    let programs = fs::read_to_string(root().join("infra/tests/programs.json"))?;
    let programs: Value = serde_json::from_str(&programs).context("programs.json is no JSON")?;
    let programs = programs.as_object().context("programs.json has no programs")?;
    for (name, program) in programs.iter().filter(|(_, program)| program.is_object()) {
        one(program, directory).with_context(|| format!("{name} of programs.json does not fit"))?;
    }
    Ok(())
}

/// A program that runs in Azure besides hosts. Verbs are only asked whether they have these flags.
fn one(program: &Value, directory: &Path) -> Result<()> {
    let name = program["program"].as_str().context("it names no program")?;
    let words: Vec<&str> =
        program["arguments"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let variables: Vec<(String, String)> = program["variables"]
        .as_object()
        .context("it has no variables")?
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    if name == "host" && words.is_empty() {
        return start(&["host", "--check"], &variables, directory);
    }
    if name == "trainer" {
        known_to_trainer(&variables)?;
    }
    let help: Vec<&str> = words.iter().copied().take_while(|word| !word.starts_with('-')).collect();
    let told = output(Command::new(bin(name)).args(&help).arg("--help"))?;
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        ensure!(told.contains(flag), "{name} {} has no {flag}", help.join(" "));
    }
    Ok(())
}

/// Starts a program with nothing but these variables, to check.
fn start(words: &[&str], variables: &[(String, String)], directory: &Path) -> Result<()> {
    let secret = directory.join("uplink.secret");
    let is_iothub =
        variables.iter().any(|(name, value)| name.ends_with("__KIND") && value == "iothub");
    // Made up, and nobody's.
    let place = if is_iothub {
        "HostName=a.azure-devices.net;DeviceId=d"
    } else {
        "Endpoint=sb://a.servicebus.windows.net/;SharedAccessKeyName=send"
    };
    fs::write(&secret, format!("{place};SharedAccessKey=bm90IGEga2V5\n"))?;
    let mut command = Command::new(bin(words[0]));
    command.args(&words[1..]).env_clear().stdin(Stdio::null());
    for (name, value) in variables {
        // Paths of the image are not there.
        let here = match name.as_str() {
            "TWINGE_TRUST" => directory.join("keys/root.json").display().to_string(),
            "TWINGE_STATE" => directory.join("state").display().to_string(),
            "TWINGE_UPLINK__CONNECTION_STRING_FILE" => secret.display().to_string(),
            _ => value.clone(),
        };
        command.env(name, here);
    }
    succeed(&mut command).with_context(|| format!("{} refuses its settings", words.join(" ")))
}

/// Each variable is one that some verb of the trainer reads.
fn known_to_trainer(variables: &[(String, String)]) -> Result<()> {
    let mut told = String::new();
    for verb in ["retrain", "send", "publish", "status"] {
        told += &output(trainer().args([verb, "--help"]))?;
    }
    for (name, _) in variables {
        // The folder of keys and runs is read without a flag.
        let is_known = told.contains(&format!("[env: {name}=")) || name == "TWINGE_HOME";
        ensure!(
            is_known || OF_AZURE.contains(&name.as_str()),
            "no verb of the trainer reads {name}"
        );
    }
    Ok(())
}

fn variables(lines: &str) -> Result<Vec<(String, String)>> {
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').with_context(|| format!("no variable: {line}"))?;
        Ok((name.to_owned(), value.trim_matches('\'').to_owned()))
    };
    lines.lines().map(pair).collect()
}

fn bin(name: &str) -> PathBuf {
    root().join("target/debug").join(name)
}

fn trainer() -> Command {
    let mut trainer = Command::new(bin("trainer"));
    trainer.env_remove("TWINGE_REGISTRY");
    trainer
}
