//! A configuration document: a TOML file and what is put over it, handed out table by table.
//!
//! Every error names file, line and key, and for a key that does not exist the nearest that does.
//! It does not know what any key means.

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error, ValueDeserializer};

/// What variables begin with that set a key of a table, as in `TWINGE_MQTT__BROKER`.
const PREFIX: &str = "TWINGE_";

/// Parts of a key in a variable's name.
const SEPARATOR: &str = "__";

/// How far a word may be from another to pass for a slip of the hand, 1 being the same.
const LIKENESS_MIN: f64 = 0.7;

/// A document, less what was taken out of it.
#[derive(Debug, Default)]
pub struct Document {
    path: PathBuf,
    text: &'static str,
    table: DeTable<'static>,
}

impl Document {
    /// Reads the file, if there is one.
    pub fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(path, text)
    }

    fn parse(path: &Path, text: String) -> anyhow::Result<Self> {
        // Values point into the text; a program has one, and keeps it to its end.
        let text: &'static str = text.leak();
        let mut this = Self { path: path.to_owned(), text, table: DeTable::default() };
        let parsed = DeTable::parse(text).map(Spanned::into_inner);
        this.table = parsed.map_err(|error| this.explain(&error, None, &[]))?;
        Ok(this)
    }

    /// Puts a value over a key, such as `mqtt.broker`: a TOML value, or else a text.
    pub fn put_over(&mut self, key: &str, value: &str) -> anyhow::Result<()> {
        // Behind the end of the text, so that an error is not blamed on a line of the file.
        let nowhere = self.text.len() + 1..self.text.len() + 1;
        let text: &'static str = value.to_owned().leak();
        let parsed = DeValue::parse(text).map(Spanned::into_inner);
        let value = parsed.unwrap_or(DeValue::String(Cow::Borrowed(text)));
        let mut parts = key.split('.').peekable();
        let mut table = &mut self.table;
        while let Some(part) = parts.next() {
            if part.is_empty() {
                return Err(anyhow!("`{key}` is no key: write it as in mqtt.broker"));
            }
            let name = Spanned::new(nowhere.clone(), Cow::Owned(part.to_owned()));
            if parts.peek().is_none() {
                table.insert(name, Spanned::new(nowhere, value));
                return Ok(());
            }
            let inner = table.entry(name).or_insert_with(|| {
                Spanned::new(nowhere.clone(), DeValue::Table(DeTable::default()))
            });
            table = match inner.get_mut() {
                DeValue::Table(table) => table,
                _ => return Err(anyhow!("`{key}` cannot be set: `{part}` is no table")),
            };
        }
        Ok(())
    }

    /// Puts over it what variables say whose names hold two underscores.
    pub fn put_over_variables(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<()> {
        let mut of_tables: Vec<_> = variables
            .filter_map(|(name, value)| {
                let key = name.strip_prefix(PREFIX).filter(|key| key.contains(SEPARATOR))?;
                Some((key.replace(SEPARATOR, ".").to_lowercase(), value, name))
            })
            .collect();
        of_tables.sort();
        for (key, value, name) in of_tables {
            self.put_over(&key, &value).with_context(|| format!("variable {name}"))?;
        }
        Ok(())
    }

    /// Takes a key out and reads it; nothing where it is not there.
    pub fn take<T: DeserializeOwned>(&mut self, key: &str) -> anyhow::Result<Option<T>> {
        let Some(value) = self.table.remove(key) else { return Ok(None) };
        let read = T::deserialize(ValueDeserializer::from(value));
        read.map(Some).map_err(|error| self.explain(&error, Some(key), &[]))
    }

    /// Takes a key out of a table, and leaves the table without it.
    pub fn take_inner<T: DeserializeOwned>(
        &mut self,
        table: &str,
        key: &str,
    ) -> anyhow::Result<Option<T>> {
        let Some(inside) = self.table.get_mut(table) else { return Ok(None) };
        let DeValue::Table(inside) = inside.get_mut() else { return Ok(None) };
        let Some(value) = inside.remove(key) else { return Ok(None) };
        let read = T::deserialize(ValueDeserializer::from(value));
        read.map(Some).map_err(|error| self.explain(&error, Some(&format!("{table}.{key}")), &[]))
    }

    /// Reads all that nobody took; `others` are keys that would have been known as well.
    pub fn rest<T: DeserializeOwned>(&mut self, others: &[&str]) -> anyhow::Result<T> {
        let span = 0..self.text.len();
        let table = std::mem::take(&mut self.table);
        let read = T::deserialize(Deserializer::from(Spanned::new(span, table)));
        read.map_err(|error| self.explain(&error, None, others))
    }

    /// Sets some keys aside, to be taken later, once the rest was read.
    #[must_use]
    pub fn split_off(&mut self, keys: &[&str]) -> Self {
        let mut table = DeTable::default();
        for key in keys {
            if let Some((name, value)) = self.table.remove_entry(*key) {
                table.insert(name, value);
            }
        }
        Self { path: self.path.clone(), text: self.text, table }
    }

    fn explain(&self, error: &Error, table: Option<&str>, others: &[&str]) -> anyhow::Error {
        let place = match error.span() {
            Some(span) if span.start <= self.text.len() && !self.path.as_os_str().is_empty() => {
                let line = self.text[..span.start].matches('\n').count() + 1;
                format!("{}:{line}", self.path.display())
            }
            _ => "a flag or variable".to_owned(),
        };
        let table = table.map(|table| format!(" in [{table}]")).unwrap_or_default();
        match unknown(error.message()) {
            Some((wrong, known)) if error.message().starts_with("unknown variant") => {
                let choices = known.join(", ");
                anyhow!("{place}{table}: `{wrong}` is none of the choices: take one of {choices}")
            }
            Some((wrong, known)) => {
                let nearest = nearest(wrong, known.iter().copied().chain(others.iter().copied()));
                let advice = match nearest {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                anyhow!("{place}: there is no key `{wrong}`{table}: {advice}")
            }
            None => anyhow!("{place}{table}: {}", plain(error.message())),
        }
    }
}

/// What was expected, in a person's words and not in Rust's.
fn plain(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let words = match expected {
        "f64" | "f32" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => "a whole number",
        "a boolean" => "true or false",
        "a string" | "path string" => "a text in quotes",
        "a sequence" => "a list",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        other => other,
    };
    format!("{found}, expected {words}")
}

/// The key that is unknown and those that are known, from serde's words.
fn unknown(message: &str) -> Option<(&str, Vec<&str>)> {
    let quoted =
        message.strip_prefix("unknown field ").or(message.strip_prefix("unknown variant "));
    let mut words = quoted?.split('`').skip(1).step_by(2);
    let wrong = words.next()?;
    Some((wrong, words.collect()))
}

fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(wrong, known);
    let best = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS_MIN).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Common {
        state: Option<String>,
        listen: Option<String>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Broker {
        broker: String,
        keep_alive: u32,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        F32,
        F64,
    }

    fn document(text: &str) -> Document {
        Document::parse(Path::new("agent.toml"), text.to_owned()).unwrap()
    }

    #[test]
    fn tables_are_handed_out_and_the_rest_is_common() {
        let mut document = document("state = \"s\"\n[mqtt]\nbroker = \"b\"\nkeep_alive = 3\n");
        let mut own = document.split_off(&["mqtt", "modbus"]);
        let common: Common = document.rest(&["mqtt", "modbus"]).unwrap();
        assert_eq!(common.state.as_deref(), Some("s"));
        let broker: Broker = own.take("mqtt").unwrap().unwrap();
        assert_eq!((broker.broker.as_str(), broker.keep_alive), ("b", 3));
        assert_eq!(own.take::<Broker>("modbus").unwrap(), None);
    }

    #[test]
    fn errors_name_file_line_and_the_nearest_key() {
        let text = "state = \"s\"\n\n[mqtt]\nbrocker = \"b\"\n";
        let error = document(text).take::<Broker>("mqtt").unwrap_err().to_string();
        assert_eq!(
            error,
            "agent.toml:4: there is no key `brocker` in [mqtt]: did you mean `broker`?"
        );
        let error = document("mqttt = 1").rest::<Common>(&["mqtt"]).unwrap_err().to_string();
        assert!(
            error.contains("agent.toml:1") && error.contains("did you mean `mqtt`?"),
            "{error}"
        );
        let error = document("zzz = 1").rest::<Common>(&[]).unwrap_err().to_string();
        assert!(error.contains("known here: state, listen"), "{error}");
        let error =
            document("[mqtt]\nkeep_alive = \"x\"").take::<Broker>("mqtt").unwrap_err().to_string();
        assert!(error.starts_with("agent.toml:2 in [mqtt]: invalid type"), "{error}");
        let text = "[mqtt]\nkeep_alive = true";
        let error = document(text).take::<Broker>("mqtt").unwrap_err().to_string();
        assert!(error.ends_with("expected a whole number"), "{error}");
        let error = document("kind = \"f16\"").take::<Kind>("kind").unwrap_err().to_string();
        assert_eq!(
            error,
            "agent.toml:1 in [kind]: `f16` is none of the choices: take one of f32, f64"
        );
        let error = Document::parse(Path::new("a.toml"), "x = \n".into()).unwrap_err().to_string();
        assert!(error.starts_with("a.toml:1"), "{error}");
    }

    #[test]
    fn flags_and_variables_go_over_the_file() {
        let mut document = document("[mqtt]\nbroker = \"b\"\n");
        let variables =
            [("TWINGE_MQTT__KEEP_ALIVE", "7"), ("TWINGE_STATE", "no"), ("PATH", "x__y")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        document.put_over_variables(variables.into_iter()).unwrap();
        document.put_over("mqtt.broker", "mqtt://c:1").unwrap();
        let mut own = document.split_off(&["mqtt"]);
        let broker: Broker = own.take("mqtt").unwrap().unwrap();
        assert_eq!((broker.broker.as_str(), broker.keep_alive), ("mqtt://c:1", 7));
        document.put_over("mqtt.oops", "1").unwrap();
        let error = document.take::<Broker>("mqtt").unwrap_err().to_string();
        assert!(error.starts_with("a flag or variable: there is no key `oops`"), "{error}");
        assert!(document.put_over("a..b", "1").is_err());
    }
}
