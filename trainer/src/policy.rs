//! `trainer policy`: how modules are rolled out on a channel.

use crate::channel::Whose;
use crate::output::{print, tell};
use crate::place::{Desk, Missing, Reader, block_on};
use crate::usage::Usage;
use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};
use twinge_rollout::{Policy, Stage};

/// Show how modules are rolled out on a channel, or set it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The policy to set, as TOML or JSON; what it leaves out has its default.
    #[arg(long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    whose: Whose,
}

/// `trainer policy`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let whose = &arguments.whose;
    match &arguments.file {
        Some(file) => {
            let policy = read(file)?;
            block_on(set(whose, &policy))
        }
        None => block_on(show(whose)),
    }
}

async fn show(whose: &Whose) -> Result<()> {
    let reader = Reader::open(&whose.place.source, Missing::Refuse).await?;
    let channel = &whose.place.channel;
    let found = reader.document(&whose.detector, channel).await?;
    let policy = if let Some((document, genuine)) = found {
        if let Err(error) = genuine {
            let error = anyhow::Error::from(error);
            tell(&format!("NOT BELIEVED, so devices do not follow it: {error:#}"));
        }
        document.policy
    } else {
        tell(&format!("there is no channel {}/{channel} yet: the default", whose.detector));
        Policy::default()
    };
    if whose.json {
        print(&serde_json::to_string_pretty(&policy)?);
    } else {
        print(toml::to_string(&policy).context("cannot write the policy as TOML")?.trim_end());
    }
    Ok(())
}

async fn set(whose: &Whose, policy: &Policy) -> Result<()> {
    let desk = Desk::open(&whose.place, Missing::Make).await?;
    let before = desk.registry().channel(&whose.detector, &desk.channel).await?;
    let before = before.map(|(_, channel)| channel);
    if before
        .as_ref()
        .is_some_and(|channel| channel.acting().is_some() && channel.policy != *policy)
    {
        let reason = "the policy decides where it goes on: wait until the rollout has ended, or \
                      `trainer stop` it";
        return Err(Usage(format!("a challenger acts on devices, and {reason}")).into());
    }
    let author = desk.author(&whose.detector);
    let set = desk.registry().set_policy(&whose.detector, &desk.channel, policy, &author).await;
    let channel = set.context("cannot set the policy")?;
    let blank = twinge_registry::Channel::new(whose.detector.clone(), desk.channel.clone());
    whose.finish(&desk, &before.unwrap_or(blank), &channel, "policy-set", None)
}

/// Reads a policy and checks it whole, so that no word of it is passed over in silence.
fn read(path: &Path) -> Result<Policy> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    let wrong = |reason: String| Usage(format!("{} is no policy: {reason}", path.display()));
    let is_json = text.trim_start().starts_with('{');
    let (given, policy) = if is_json {
        let given: Value = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        (given, serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?)
    } else {
        let given: Value = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        (given, toml::from_str::<Policy>(&text).map_err(|error| wrong(error.to_string()))?)
    };
    check_words(&given).map_err(wrong)?;
    policy.check().map_err(|error| wrong(error.to_string()))?;
    Ok(policy)
}

/// Finds a word that no policy has.
fn check_words(given: &Value) -> Result<(), String> {
    let known = serde_json::to_value(Policy::default()).map_err(|error| error.to_string())?;
    let stage = serde_json::to_value(Stage::default()).map_err(|error| error.to_string())?;
    let stages = given["stages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let at = |number: usize| format!("stages[{number}].");
    check_names("", given, &known)?;
    check_names("gate.", &given["gate"], &known["gate"])?;
    stages
        .iter()
        .enumerate()
        .try_for_each(|(number, given)| check_names(&at(number), given, &stage))
}

fn check_names(place: &str, given: &Value, known: &Value) -> Result<(), String> {
    let (Some(given), Some(known)) = (given.as_object(), known.as_object()) else { return Ok(()) };
    let Some(wrong) = given.keys().find(|name| !known.contains_key(*name)) else { return Ok(()) };
    let names: Vec<&str> = known.keys().map(String::as_str).collect();
    Err(format!("there is no `{place}{wrong}`: known here are {}", names.join(", ")))
}
