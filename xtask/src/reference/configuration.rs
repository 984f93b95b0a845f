//! Every key of every configuration file, out of the structs that serde fills.
//!
//! A default stands in the source as a literal, or its doc comment tells it as `[default: ...]`, as
//! those of flags do. A key without a doc comment means what the flag of its name means.

mod value;

use super::cell;
use super::source::{Found, Sources, derives, doc, serde};
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use syn::{Fields, Item, ItemStruct};
use value::Value;

/// A part of the page.
struct Chapter {
    title: &'static str,
    text: &'static str,
    tables: &'static [Root],
}

/// A table that a program reads, and the struct that it is read into.
struct Root {
    /// As it stands in brackets; empty for the file itself.
    name: &'static str,
    /// Whether there may be several.
    repeated: bool,
    file: &'static str,
    structure: &'static str,
}

const fn one(name: &'static str, file: &'static str, structure: &'static str) -> Root {
    Root { name, repeated: false, file, structure }
}

const fn several(name: &'static str, file: &'static str, structure: &'static str) -> Root {
    Root { name, repeated: true, file, structure }
}

const CHAPTERS: [Chapter; 4] = [
    Chapter {
        title: "detector.toml",
        text: "What `trainer train --config` and `trainer retrain --config` read. `trainer train` without it guesses one \
               from the data and prints it.",
        tables: &[
            one("", "crates/fit/src/config.rs", "Config"),
            one("retrain", "trainer/src/retrain/settings.rs", "RetrainSettings"),
        ],
    },
    Chapter {
        title: "Host and edge agent",
        text: "What `--config` of both programs reads. A flag goes over the file, and so does a variable; of a table, \
               `--set mqtt.broker=mqtt://127.0.0.1` and `TWINGE_MQTT__BROKER` set one key.",
        tables: &[one("", "crates/stream/src/settings.rs", "Settings")],
    },
    Chapter {
        title: "Tables of the host",
        text: "They stand in the same file.",
        tables: &[
            one("alerts", "crates/alerts/src/settings.rs", "AlertSettings"),
            one("console", "host/src/console/mod.rs", "Table"),
            one("devices", "host/src/devices.rs", "Table"),
            one("eventhubs", "host/src/hub/settings.rs", "Table"),
            one("lake", "host/src/lake/mod.rs", "Table"),
        ],
    },
    Chapter {
        title: "Tables of the edge agent",
        text: "They stand in the same file. `edge-agent check --config agent.toml` tells whether all of it can be used.",
        tables: &[
            one("mqtt", "crates/mqtt/src/settings.rs", "Settings"),
            several("mqtt.topic", "edge-agent/src/topics.rs", "TopicSettings"),
            several("modbus", "crates/modbus/src/settings.rs", "Settings"),
            one("uplink", "crates/uplink/src/settings.rs", "Settings"),
            one("spool", "edge-agent/src/settings.rs", "SpoolSettings"),
            several("action", "edge-agent/src/action.rs", "ActionSettings"),
        ],
    },
];

/// Keys of the agent that are no tables and that no struct holds: name, and the file and name of what
/// tells of them.
const AGENT_KEYS: [(&str, &str, &str); 2] = [
    ("forward", "crates/forward/src/forward.rs", "Forward"),
    ("sample", "edge-agent/src/settings.rs", "SAMPLE"),
];

/// Flags that mean a key of another name: table, key, flag.
const FLAGS: [(&str, &str, &str); 4] = [
    ("eventhubs", "threads", "hub_threads"),
    ("console", "listen", "console"),
    ("devices", "listen", "device_rights_listen"),
    ("lake", "place", "lake"),
];

/// The page.
pub(super) fn page() -> Result<String> {
    let sources = Sources::default();
    let mut page = "# Configuration\n\n\
        Every key of every configuration file. All of them are TOML; a key that is not known is an error that \
        names the nearest one that is. *needed* says that there is no default, and – that a key which is left \
        out has no effect.\n"
        .to_owned();
    for chapter in &CHAPTERS {
        write!(page, "\n## {}\n\n{}\n", chapter.title, chapter.text)?;
        for table in tables(&sources, chapter.tables)? {
            page.push_str(&section(&sources, &table)?);
        }
        if chapter.tables.iter().any(|root| root.name == "action") {
            page.push_str(&agent_keys(&sources)?);
        }
    }
    Ok(page)
}

/// A table of a file, found.
struct Table {
    name: String,
    repeated: bool,
    found: Found,
}

impl Table {
    fn structure(&self) -> Result<&ItemStruct> {
        match &self.found.item {
            Item::Struct(structure) => Ok(structure),
            _ => bail!("[{}] is no struct", self.name),
        }
    }

    /// The name of a table in it.
    fn inner(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// A key of a table.
struct Key {
    name: String,
    words: String,
    default: String,
    text: String,
    /// What each of the values means, where they are few.
    values: Vec<(String, String)>,
}

/// The tables of some roots, each followed by those within it.
fn tables(sources: &Sources, roots: &[Root]) -> Result<Vec<Table>> {
    let mut found = Vec::new();
    for root in roots {
        let path = syn::parse_str(root.structure)?;
        let item = sources.resolve(Path::new(root.file), &path)?;
        reach(
            sources,
            Table { name: root.name.into(), repeated: root.repeated, found: item },
            &mut found,
        )?;
    }
    Ok(found)
}

fn reach(sources: &Sources, table: Table, found: &mut Vec<Table>) -> Result<()> {
    let mut within = Vec::new();
    for field in fields(table.structure()?)? {
        if let Some((inner, repeated)) = value::table_of(sources, &table.found.file, field.ty)? {
            within.push(Table { name: table.inner(&field.name), repeated, found: inner });
        }
    }
    found.push(table);
    within.into_iter().try_for_each(|inner| reach(sources, inner, found))
}

/// A field that serde fills.
struct Field<'a> {
    name: String,
    ident: &'a syn::Ident,
    ty: &'a syn::Type,
    /// The function that gives its default, or nothing for its type's.
    default: Option<String>,
    text: String,
}

/// The fields that serde fills, as they are called in a file.
fn fields(structure: &ItemStruct) -> Result<Vec<Field<'_>>> {
    let Fields::Named(fields) = &structure.fields else {
        bail!("{} has fields without names", structure.ident)
    };
    let container = serde(&structure.attrs)?;
    let mut found = Vec::new();
    for field in &fields.named {
        let told = serde(&field.attrs)?;
        if told.contains_key("skip") || told.contains_key("skip_deserializing") {
            continue;
        }
        ensure!(
            !told.contains_key("flatten"),
            "{} flattens a field: teach it here",
            structure.ident
        );
        let ident = field.ident.as_ref().context("a field without a name")?;
        let renamed =
            container.get("rename_all").map(|rule| value::rename(&ident.to_string(), rule));
        let name = told.get("rename").cloned().or(renamed).unwrap_or_else(|| ident.to_string());
        let mut text = doc(&field.attrs);
        if let Some(alias) = told.get("alias") {
            write!(text, " May be called `{alias}` too.")?;
        }
        found.push(Field {
            name,
            ident,
            ty: &field.ty,
            default: told.get("default").cloned(),
            text,
        });
    }
    Ok(found)
}

/// The part of the page that tells of a table.
fn section(sources: &Sources, table: &Table) -> Result<String> {
    let structure = table.structure()?;
    let heading = match (table.name.as_str(), table.repeated) {
        ("", _) => "The file itself".to_owned(),
        (name, true) => format!("`[[{name}]]`"),
        (name, false) => format!("`[{name}]`"),
    };
    let paragraphs = doc(&structure.attrs);
    let paragraphs: Vec<_> =
        paragraphs.split("\n\n").map(|text| plain(text).replace('\n', " ")).collect();
    let about = paragraphs.join("\n\n");
    ensure!(!about.is_empty(), "{} has no doc comment", structure.ident);
    let keys = keys(sources, table)?;
    let mut section = format!("\n### {heading}\n\n{about}\n\n");
    section.push_str(&rows(&keys)?);
    Ok(section)
}

fn rows(keys: &[Key]) -> Result<String> {
    let mut rows = "| Key | Type | Default | What it says |\n|---|---|---|---|\n".to_owned();
    for key in keys {
        let default = cell(&key.default);
        writeln!(
            rows,
            "| `{}` | {} | {default} | {} |",
            key.name,
            cell(&key.words),
            cell(&key.text)
        )?;
    }
    for key in keys.iter().filter(|key| key.values.iter().any(|(_, text)| !text.is_empty())) {
        write!(rows, "\nValues of `{}`:\n\n", key.name)?;
        for (value, text) in &key.values {
            writeln!(rows, "- `{value}`: {}", cell(&plain(text)))?;
        }
    }
    Ok(rows)
}

fn keys(sources: &Sources, table: &Table) -> Result<Vec<Key>> {
    let structure = table.structure()?;
    let container = serde(&structure.attrs)?;
    let file = &table.found.file;
    let mut keys = Vec::new();
    for field in fields(structure)? {
        let place = || format!("key {} of [{}] in {}", field.name, table.name, file.display());
        let is_table = value::table_of(sources, file, field.ty)?.is_some();
        let flag = flag(sources, table, &field.name).with_context(place)?.filter(|_| !is_table);
        let own = Some(field.text.clone()).filter(|text| !text.is_empty());
        let text = own.or_else(|| flag.as_ref().map(|flag| flag.text.clone()));
        let text = text.with_context(|| format!("{} has no doc comment", place()))?;
        let (mut text, told) = split_default(&text);
        text = plain(&text);
        if let Some(flag) = &flag {
            write!(text, " Flag: `--{}`.", flag.name)?;
        }
        let words = value::words(sources, file, field.ty).with_context(place)?;
        let default = match (told, &field.default) {
            (Some(told), _) => Value::Told(told),
            (None, Some(function)) if function.is_empty() => {
                value::of_type(sources, file, field.ty)?
            }
            (None, Some(function)) => {
                value::of_function(sources, file, function).with_context(place)?
            }
            (None, None) if container.contains_key("default") => {
                if derives(&structure.attrs, "Default") {
                    value::of_type(sources, file, field.ty)?
                } else {
                    value::of_default(sources, file, &structure.ident, field.ident)
                        .with_context(place)?
                }
            }
            (None, None) if value::is_option(field.ty) => Value::Nothing,
            (None, None) => Value::Needed,
        };
        let values = value::values(sources, file, field.ty)?;
        keys.push(Key { name: field.name, words, default: default.shown(), text, values });
    }
    Ok(keys)
}

/// The agent's keys that stand beside its tables.
fn agent_keys(sources: &Sources) -> Result<String> {
    let mut keys = Vec::new();
    for (name, file, item) in AGENT_KEYS {
        let file = PathBuf::from(file);
        let ty: syn::Type = syn::parse_str(item)?;
        if item.chars().all(char::is_uppercase) {
            let (text, default) = value::of_constant(sources, &file, item)?;
            keys.push(Key {
                name: name.into(),
                words: "whole number".into(),
                default: default.shown(),
                text: plain(&text),
                values: Vec::new(),
            });
            continue;
        }
        let found = sources.resolve(&file, &syn::parse_str(item)?)?;
        let Item::Enum(choice) = &found.item else { bail!("{item} is no enum") };
        keys.push(Key {
            name: name.into(),
            words: value::words(sources, &file, &ty)?,
            default: value::of_type(sources, &file, &ty)?.shown(),
            text: plain(&doc(&choice.attrs)),
            values: value::values(sources, &file, &ty)?,
        });
    }
    Ok(format!(
        "\n### Keys beside the tables\n\nThey stand before the first table.\n\n{}",
        rows(&keys)?
    ))
}

/// A flag that means the same as a key.
struct Flag {
    name: String,
    text: String,
}

/// The flag of a key: of the same name, perhaps after the table's, among those of the same file.
fn flag(sources: &Sources, table: &Table, key: &str) -> Result<Option<Flag>> {
    let singular = table.name.trim_end_matches('s');
    let other = FLAGS.iter().find(|(name, of, _)| *name == table.name && *of == key);
    let mut names =
        vec![key.to_owned(), format!("{}_{key}", table.name), format!("{singular}_{key}")];
    if let Some((_, _, other)) = other {
        names = vec![(*other).to_owned()];
    }
    for item in &sources.file(&table.found.file)?.items {
        let Item::Struct(structure) = item else { continue };
        if !derives(&structure.attrs, "Args") {
            continue;
        }
        for field in &structure.fields {
            let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
            if names.contains(&ident) && table.found_beside_flags() {
                let text = doc(&field.attrs);
                return Ok(Some(Flag { name: ident.replace('_', "-"), text }));
            }
        }
    }
    ensure!(other.is_none(), "there is no flag {names:?}");
    Ok(None)
}

impl Table {
    /// Whether flags of the same file are flags of this table, and not of one around it.
    fn found_beside_flags(&self) -> bool {
        CHAPTERS.iter().flat_map(|chapter| chapter.tables).any(|root| root.name == self.name)
    }
}

/// A text without the default that it tells, and that default.
fn split_default(text: &str) -> (String, Option<String>) {
    let Some((before, rest)) = text.split_once("[default: ") else {
        return (text.to_owned(), None);
    };
    let Some((default, after)) = rest.split_once(']') else { return (text.to_owned(), None) };
    let sentence = before.trim_end();
    let end = if sentence.ends_with('.') || after.trim_start().starts_with('.') { "" } else { "." };
    let default = default.split_whitespace().collect::<Vec<_>>().join(" ");
    (format!("{sentence}{end}{after}").trim().to_owned(), Some(default))
}

/// A doc comment without links to items.
fn plain(text: &str) -> String {
    text.replace("[`", "`").replace("`]", "`")
}

/// Structs that refuse unknown keys and are no settings: what they are instead.
#[cfg(test)]
const OTHERS: [(&str, &str); 8] = [
    ("crates/contract/src/label.rs", "a label that is posted"),
    ("crates/contract/src/manifest.rs", "a part of a module"),
    ("crates/experiments/src/lease.rs", "a document of a store"),
    ("crates/experiments/src/run.rs", "a document of runs"),
    ("crates/experiments/src/tracker.rs", "a document of runs"),
    ("crates/mqtt/src/iothub.rs", "made by the uplink, whose keys it has"),
    ("crates/stream/src/lines/ledger.rs", "a file of the state directory"),
    ("trainer/src/labels.rs", "a line of a file of labels"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::source::rust_files;
    use std::collections::BTreeSet;

    fn is_refusing(item: &Item) -> bool {
        match item {
            Item::Struct(item) => serde(&item.attrs).unwrap().contains_key("deny_unknown_fields"),
            _ => false,
        }
    }

    #[test]
    fn every_table_is_reached() {
        let sources = Sources::default();
        let mut reached = BTreeSet::new();
        for chapter in &CHAPTERS {
            for table in tables(&sources, chapter.tables).unwrap() {
                let name = table.structure().unwrap().ident.to_string();
                reached.insert((table.found.file.clone(), name));
            }
        }
        let mut seen = 0;
        for folder in ["crates", "edge-agent/src", "host/src", "trainer/src"] {
            for file in rust_files(Path::new(folder)).unwrap() {
                if OTHERS.iter().any(|(other, _)| Path::new(other) == file) {
                    continue;
                }
                for item in
                    sources.file(&file).unwrap().items.iter().filter(|item| is_refusing(item))
                {
                    let Item::Struct(structure) = item else { continue };
                    let key = (file.clone(), structure.ident.to_string());
                    assert!(
                        reached.contains(&key),
                        "{key:?} is on no page: name it in CHAPTERS or OTHERS"
                    );
                    seen += 1;
                }
            }
        }
        assert!(seen > 20, "only {seen} tables were found");
    }
}
