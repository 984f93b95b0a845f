//! What programs say of mistakes, told by really making them.
//!
//! The mistakes are in `mistakes.toml`; here they are made, and what differs from machine to machine
//! is taken out of the answers.

mod placeholders;
mod workshop;

use anyhow::{Context, Result, ensure};
use placeholders::{Addresses, without_chance};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Output;
use workshop::{Content, Workshop};

/// Fewest mistakes that are made: a list that is cut off must not pass for a whole one.
const MISTAKES_MIN: usize = 120;

/// The list of mistakes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    /// Commands that make what the mistakes need.
    setup: Vec<String>,
    mistake: Vec<Mistake>,
    request: Vec<Request>,
}

/// A command that cannot succeed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistake {
    group: String,
    what: String,
    run: String,
    /// Files that are written first.
    #[serde(default)]
    files: BTreeMap<String, Content>,
    /// Commands that go before, and succeed.
    #[serde(default)]
    before: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// A request to a host that cannot succeed, or an event that gets no verdict there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    group: String,
    what: String,
    /// Method and path.
    send: Option<String>,
    body: Option<Content>,
    origin: Option<String>,
    event: Option<String>,
}

/// A mistake and what was said of it, as Markdown.
struct Told {
    group: String,
    what: String,
    text: String,
}

/// The page.
pub(super) fn page() -> Result<String> {
    let book: Book = toml::from_str(include_str!("mistakes.toml")).context("in mistakes.toml")?;
    let count = book.mistake.len() + book.request.len();
    ensure!(count >= MISTAKES_MIN, "only {count} mistakes are made, and {MISTAKES_MIN} were");
    let workshop = Workshop::open(&book.setup)?;
    let (mut told, mut troubles) = (Vec::new(), Vec::new());
    let mut note = |what: &str, result: Result<Told>| match result {
        Ok(one) => told.push(one),
        Err(error) => troubles.push(format!("{what}: {error:#}")),
    };
    for mistake in &book.mistake {
        note(&mistake.what, make(&workshop, mistake));
    }
    for request in &book.request {
        note(&request.what, send(&workshop, request));
    }
    ensure!(troubles.is_empty(), "{}", troubles.join("\n"));
    Ok(written(&told))
}

fn written(told: &[Told]) -> String {
    let mut page = format!(
        "# Errors\n\n\
        What the programs say of {} mistakes: what failed, where, why, and what to do; where the operating system \
        says why, that is what to mend. Exit code 2 is a mistake in flags or files of settings, 1 one that showed \
        later, and 3 is that of `edge-agent status` without an agent. Programs that run write logs; of them the \
        errors stand here. Digests, ids of keys, times and sizes are replaced by words.\n",
        told.len()
    );
    let mut group = "";
    for told in told {
        if told.group != group {
            group = &told.group;
            write!(page, "\n## {group}\n").expect("a text takes everything");
        }
        write!(page, "\n### {}\n\n{}", told.what, told.text).expect("a text takes everything");
    }
    page
}

/// Makes a mistake.
fn make(workshop: &Workshop, mistake: &Mistake) -> Result<Told> {
    let mut text = String::new();
    for (name, content) in &mistake.files {
        workshop.write(name, content)?;
        if let (Content::Text(content), true) =
            (content, name.rsplit_once('.').is_some_and(|(_, end)| end == "toml"))
        {
            write!(text, "`{name}`:\n\n```text\n{}\n```\n\n", content.trim_end())?;
        }
    }
    for command in &mistake.before {
        workshop.succeed(command)?;
    }
    let Addresses { host, agent } = workshop.addresses();
    let command = mistake.run.replace("{host}", host).replace("{agent}", agent);
    let output = workshop.run(&command, &mistake.env)?;
    ensure!(!output.status.success(), "`{}` succeeds: it is no mistake any more", mistake.run);
    let code = output.status.code().context("it was killed")?;
    let variables: Vec<_> =
        mistake.env.iter().map(|(name, value)| format!("{name}={value} ")).collect();
    let said = without_chance(&said(&output), workshop.addresses());
    ensure!(!said.is_empty(), "`{}` fails without a word", mistake.run);
    let command = without_chance(&command, workshop.addresses());
    write!(text, "```text\n$ {}{command}\n{said}\nexit code {code}\n```\n", variables.concat())?;
    Ok(Told { group: mistake.group.clone(), what: mistake.what.clone(), text })
}

/// What a program says: on standard error, without what is no error; else on standard output.
fn said(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<String> = errors.lines().filter_map(error_of).collect();
    let said = lines.join("\n");
    if said.trim().is_empty() {
        return String::from_utf8_lossy(&output.stdout).trim().to_owned();
    }
    said.trim().to_owned()
}

/// A line of standard error; of a log's lines, the message of an error.
fn error_of(line: &str) -> Option<String> {
    if let Ok(entry) = serde_json::from_str::<Value>(line)
        && let Some(level) = entry["level"].as_str()
    {
        let message = entry["fields"]["message"].as_str()?;
        return (level == "ERROR").then(|| format!("ERROR {message}"));
    }
    (!line.starts_with("note: ")).then(|| line.trim_end().to_owned())
}

/// Sends a request that is refused, or an event that becomes a dead letter.
fn send(workshop: &Workshop, request: &Request) -> Result<Told> {
    let text = match (&request.send, &request.event) {
        (Some(send), None) => {
            let body = request.body.as_ref().map(|body| workshop.bytes(body)).transpose()?;
            let answer = workshop.send(
                send,
                body,
                request.origin.as_deref().map(|origin| ("origin", origin)),
            )?;
            ensure!(answer.status >= 400, "`{send}` is answered with {}", answer.status);
            let shown = match &request.body {
                Some(Content::Text(body)) if !body.is_empty() => format!("\n{body}"),
                Some(Content::Lines { line, times, .. }) => format!("\n{line}, {times} times"),
                _ => String::new(),
            };
            let origin = request.origin.as_ref().map(|origin| format!("\nOrigin: {origin}"));
            let origin = origin.unwrap_or_default();
            format!(
                "```text\n{send}{origin}{shown}\n\n{} {}\n```\n",
                answer.status,
                answer.body.trim()
            )
        }
        (None, Some(event)) => {
            let letter = workshop.dead_letter(event)?;
            let word = |key: &str| letter["data"][key].as_str().unwrap_or_default().to_owned();
            format!("```text\n{event}\n\n{}: {}\n```\n", word("reason"), word("message"))
        }
        _ => anyhow::bail!("give either `send` or `event`"),
    };
    let text = without_chance(&text, workshop.addresses());
    Ok(Told { group: request.group.clone(), what: request.what.clone(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_errors_stay_and_notes_go() {
        let log = r#"{"level":"ERROR","fields":{"message":"no"}}"#;
        assert_eq!(error_of(log).unwrap(), "ERROR no");
        assert_eq!(error_of(&log.replace("ERROR", "INFO")), None);
        assert_eq!(error_of("note: a column"), None);
        assert_eq!(error_of("error: no  ").unwrap(), "error: no");
    }

    #[test]
    fn mistakes_are_readable_and_have_names_of_their_own() {
        let book: Book = toml::from_str(include_str!("mistakes.toml")).unwrap();
        let of_mistakes = book.mistake.iter().map(|mistake| (&mistake.group, &mistake.what));
        let of_requests = book.request.iter().map(|request| (&request.group, &request.what));
        let mut names: Vec<_> = of_mistakes.chain(of_requests).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "a name is there twice");
    }
}
