//! The JSON Schemas of what goes in and comes out, field by field.

use super::{cell, folder};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::fs;

/// Files of the folder, in the order of the page.
const SCHEMAS: [&str; 5] = ["event", "cloud-event", "verdict", "dead-letter", "audit"];

/// The page.
pub(super) fn page() -> Result<String> {
    let mut page = "# Schemas\n\n\
        What goes in and what comes out, as JSON Schema of draft 2020-12. Records of the code are validated against \
        these files by a test. A member that a schema does not name may be there in an event, and is not in a record.\n"
        .to_owned();
    for name in SCHEMAS {
        let file = format!("{name}.schema.json");
        let text = fs::read_to_string(folder().join(&file))
            .with_context(|| format!("cannot read {file}"))?;
        let schema: Value =
            serde_json::from_str(&text).with_context(|| format!("{file} is no JSON"))?;
        let text = |key: &str| schema[key].as_str().with_context(|| format!("{file} has no {key}"));
        write!(page, "\n## {}\n\n{} ([{file}]({file}))\n", text("title")?, text("description")?)?;
        if schema.get("properties").is_some() {
            page.push_str("\n| Member | Type | Always there | What it says |\n|---|---|---|---|\n");
            add(&mut page, &schema, "").with_context(|| format!("in {file}"))?;
        }
        if let Some(examples) = schema["examples"].as_array() {
            for example in examples {
                write!(page, "\n```json\n{}\n```\n", serde_json::to_string_pretty(example)?)?;
            }
        }
    }
    Ok(page)
}

/// Rows of an object's members and, behind each, of those within it.
fn add(page: &mut String, schema: &Value, before: &str) -> Result<()> {
    let empty = Map::new();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let members = schema["properties"].as_object().unwrap_or(&empty);
    // An object comes behind what stands beside it.
    let (deep, flat): (Vec<_>, Vec<_>) = members.iter().partition(|(_, member)| {
        member.get("properties").is_some() || member.get("items").is_some()
    });
    for (name, member) in flat.into_iter().chain(deep) {
        let path = format!("{before}{name}");
        let told =
            member["description"].as_str().with_context(|| format!("{path} has no description"))?;
        let always = if required.contains(&name.as_str()) { "yes" } else { "no" };
        writeln!(page, "| `{path}` | {} | {always} | {} |", words(member, &path)?, cell(told))?;
        add(page, member, &format!("{path}."))?;
        add(page, &member["items"], &format!("{path}[]."))?;
    }
    Ok(())
}

/// A member's type in words.
fn words(member: &Value, path: &str) -> Result<String> {
    if let Some(constant) = member.get("const") {
        return Ok(format!("`{constant}`"));
    }
    if let Some(choice) = member["enum"].as_array() {
        let words: Vec<_> = choice.iter().map(|word| format!("`{word}`")).collect();
        return Ok(format!("one of {}", words.join(", ")));
    }
    if let Some(other) = member["$ref"].as_str() {
        let name = other.trim_end_matches(".schema.json");
        return Ok(format!("[a {name}]({other})"));
    }
    let word = |name: &str| {
        Ok(match name {
            "string" => match member["format"].as_str() {
                Some("date-time") => "time, RFC 3339",
                _ if member["contentEncoding"] == "base64" => "bytes, base64",
                _ => "text",
            },
            "number" => "number",
            "integer" => "whole number",
            "boolean" => "true or false",
            "array" => "list",
            "object" => "object",
            "null" => "null",
            other => bail!("{path} is of type {other}: teach it here"),
        })
    };
    match &member["type"] {
        Value::String(name) => Ok(word(name)?.to_owned()),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).map(word);
            Ok(names.collect::<Result<Vec<_>>>()?.join(" or "))
        }
        _ => Ok("anything".into()),
    }
}
