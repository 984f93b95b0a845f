//! From a message's topic to what its event lacks: an entity, fields, the name of a bare value.
//!
//! A pattern such as `plant/{line}/{machine}/{signal}` names levels of a topic. It does not know
//! brokers, nor what a detector makes of the event.

use serde::Deserialize;
use std::collections::BTreeMap;
use thiserror::Error;
use twinge_contract::event::Attributes;
use twinge_stream::Incoming;

/// Longest pattern, in levels.
const LEVELS_MAX: usize = 32;

/// Topics of the broker that events come under.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopicSettings {
    /// Levels, of which `{name}` stands for any, `{name*}` at the end for all that follow, and `+`
    /// and `#` for what nobody wants to name.
    pattern: String,
    /// The entity of an event that names none, such as `{line}/{machine}` [default: the level called
    /// `entity`].
    entity: Option<String>,
    /// Levels that become fields of the event, unless it has such itself.
    #[serde(default)]
    fields: Vec<String>,
    /// The field of a payload that is a bare value, such as `{signal}` or `temperature`.
    value: Option<String>,
    /// An event without a time came when it arrived. It is then known by its place alone: one that
    /// a broker delivers twice counts twice.
    #[serde(default)]
    time_of_arrival: bool,
    /// Whether messages count that a broker kept from before.
    #[serde(default)]
    retained: bool,
}

/// A pattern that was found to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    levels: Vec<Level>,
    entity: Option<Template>,
    fields: Vec<String>,
    value: Option<Template>,
    time_of_arrival: bool,
    /// Whether messages count that a broker kept from before.
    pub(crate) retained: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Exactly(String),
    One(Option<String>),
    Rest(Option<String>),
}

/// A text with `{names}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Name(String),
}

/// Why a pattern is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum TopicError {
    #[error(
        "pattern `{0}`: a level is empty, half a placeholder or half a wildcard; write plant/{{line}}/+/telemetry"
    )]
    Level(String),
    #[error("pattern `{0}`: nothing may follow `#` or a placeholder with a star")]
    AfterRest(String),
    #[error("pattern `{0}` has more than {LEVELS_MAX} levels")]
    TooLong(String),
    #[error("pattern `{pattern}` names `{name}` twice")]
    Twice { pattern: String, name: String },
    #[error("`{text}` has a brace without its other half")]
    Brace { text: String },
    #[error("`{name}` is no level of pattern `{pattern}`: name one of its placeholders")]
    Unknown { pattern: String, name: String },
    #[error("a finding has no `{{{name}}}`: it has {{{known}}}")]
    NoName { name: String, known: String },
}

impl Template {
    /// Reads a text in which names stand in braces.
    pub(crate) fn parse(text: &str) -> Result<Self, TopicError> {
        let broken = || TopicError::Brace { text: text.to_owned() };
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(broken)?;
            if before.contains('}') || name.is_empty() || name.contains('{') {
                return Err(broken());
            }
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Name(name.to_owned()));
            rest = behind;
        }
        if rest.contains('}') {
            return Err(broken());
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// The names in it.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The whole text, where no name is in it.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.0[..] {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What stands before the first name.
    pub(crate) fn leading_text(&self) -> &str {
        match self.0.first() {
            Some(Piece::Text(text)) => text,
            Some(Piece::Name(_)) | None => "",
        }
    }

    /// The text with values in place of names; a name without a value leaves nothing.
    pub(crate) fn fill<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            text.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Name(name) => value(name).unwrap_or_default(),
            });
        }
        text
    }
}

impl Topic {
    /// Checks settings.
    pub(crate) fn new(settings: &TopicSettings) -> Result<Self, TopicError> {
        let pattern = &settings.pattern;
        let levels: Vec<Level> = pattern
            .split('/')
            .map(|level| Level::parse(level, pattern))
            .collect::<Result<_, _>>()?;
        if levels.len() > LEVELS_MAX {
            return Err(TopicError::TooLong(pattern.clone()));
        }
        if levels[..levels.len() - 1].iter().any(|level| matches!(level, Level::Rest(_))) {
            return Err(TopicError::AfterRest(pattern.clone()));
        }
        let mut names: Vec<&str> = levels.iter().filter_map(Level::name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(TopicError::Twice { pattern: pattern.clone(), name: twice[0].to_owned() });
        }
        let template = |text: &Option<String>| text.as_deref().map(Template::parse).transpose();
        let own = names.contains(&"entity").then(|| "{entity}".to_owned());
        let entity = template(&settings.entity.clone().or(own))?;
        let value = template(&settings.value)?;
        let used = entity.iter().chain(&value).flat_map(Template::names);
        let used = used.chain(settings.fields.iter().map(String::as_str));
        for name in used {
            if !names.contains(&name) {
                let (pattern, name) = (pattern.clone(), name.to_owned());
                return Err(TopicError::Unknown { pattern, name });
            }
        }
        let TopicSettings { fields, time_of_arrival, retained, .. } = settings.clone();
        Ok(Self { levels, entity, fields, value, time_of_arrival, retained })
    }

    /// What a broker is asked for.
    pub(crate) fn filter(&self) -> String {
        let level = |level: &Level| match level {
            Level::Exactly(text) => text.clone(),
            Level::One(_) => "+".to_owned(),
            Level::Rest(_) => "#".to_owned(),
        };
        self.levels.iter().map(level).collect::<Vec<_>>().join("/")
    }

    /// The named levels of a topic, if it fits.
    pub(crate) fn matches<'a>(&'a self, topic: &'a str) -> Option<BTreeMap<&'a str, &'a str>> {
        let mut names = BTreeMap::new();
        let mut rest = Some(topic);
        for level in &self.levels {
            if let Level::Rest(name) = level {
                if let (Some(name), Some(rest)) = (name, rest) {
                    names.insert(name.as_str(), rest);
                }
                return Some(names);
            }
            let (here, behind) = match rest? {
                text if text.contains('/') => {
                    let (here, behind) = text.split_once('/')?;
                    (here, Some(behind))
                }
                text => (text, None),
            };
            match level {
                Level::Exactly(text) if text != here => return None,
                Level::One(Some(name)) => drop(names.insert(name.as_str(), here)),
                _ => {}
            }
            rest = behind;
        }
        rest.is_none().then_some(names)
    }

    /// The event of a message under a topic with these named levels. `attributes` came beside it,
    /// `now` is RFC 3339.
    pub(crate) fn event(
        &self,
        names: &BTreeMap<&str, &str>,
        payload: Vec<u8>,
        attributes: Option<Attributes>,
        now: impl FnOnce() -> String,
    ) -> Incoming {
        let of = |name: &str| names.get(name).copied();
        let bytes = match &self.value {
            Some(value) if is_bare_value(&payload) => wrap(&value.fill(of), &payload),
            _ => payload,
        };
        let bytes = self.with_fields(names, bytes);
        // A structured CloudEvent says all of this itself, and is read as one where nothing stands
        // beside it.
        if attributes.is_none() && contains(&bytes, b"\"specversion\"") {
            return Incoming { attributes: None, bytes };
        }
        let entity = self.entity.as_ref().map(|entity| entity.fill(of));
        let mut attributes = attributes.unwrap_or_default();
        if attributes.subject.is_none() {
            attributes.subject = entity;
        }
        if self.time_of_arrival && attributes.time.is_none() {
            attributes.time = Some(now());
        }
        let says_nothing = attributes == Attributes::default();
        Incoming { attributes: (!says_nothing).then_some(attributes), bytes }
    }

    /// Levels as fields at the beginning of the object, so that the event's own of that name, which
    /// come later, count.
    fn with_fields(&self, names: &BTreeMap<&str, &str>, bytes: Vec<u8>) -> Vec<u8> {
        if self.fields.is_empty() {
            return bytes;
        }
        let Some(inside) = bytes.trim_ascii_start().strip_prefix(b"{") else { return bytes };
        let mut object = vec![b'{'];
        for field in &self.fields {
            let value = names.get(field.as_str()).copied().unwrap_or_default();
            object.extend(json(field));
            object.push(b':');
            object.extend(json(value));
            object.push(b',');
        }
        if inside.trim_ascii_start().first() == Some(&b'}') {
            object.pop();
        }
        object.extend_from_slice(inside);
        object
    }
}

impl Level {
    fn parse(level: &str, pattern: &str) -> Result<Self, TopicError> {
        let broken = || TopicError::Level(pattern.to_owned());
        if let Some(name) = level.strip_prefix('{') {
            let name = name.strip_suffix('}').ok_or_else(broken)?;
            let (name, is_rest) = match name.strip_suffix('*') {
                Some(name) => (name, true),
                None => (name, false),
            };
            if name.is_empty() || name.contains(['{', '}', '*']) {
                return Err(broken());
            }
            let name = Some(name.to_owned());
            return Ok(if is_rest { Self::Rest(name) } else { Self::One(name) });
        }
        match level {
            "+" => Ok(Self::One(None)),
            "#" => Ok(Self::Rest(None)),
            _ if level.contains(['{', '}', '+', '#', '\0']) => Err(broken()),
            _ => Ok(Self::Exactly(level.to_owned())),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::One(name) | Self::Rest(name) => name.as_deref(),
            Self::Exactly(_) => None,
        }
    }
}

/// Whether a payload is a number, a truth value or a text, in JSON's writing.
fn is_bare_value(payload: &[u8]) -> bool {
    match payload.trim_ascii().first() {
        None | Some(b'{' | b'[') => false,
        Some(_) => serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok(),
    }
}

fn wrap(field: &str, payload: &[u8]) -> Vec<u8> {
    let mut object = vec![b'{'];
    object.extend(json(field));
    object.push(b':');
    object.extend_from_slice(payload.trim_ascii());
    object.push(b'}');
    object
}

fn json(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).expect("a text is JSON")
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(toml: &str) -> Topic {
        Topic::new(&toml_settings(toml)).unwrap()
    }

    fn toml_settings(text: &str) -> TopicSettings {
        let mut document = twinge_stream::document::Document::default();
        document.put_over("t", &format!("{{{text}}}")).unwrap();
        document.take("t").unwrap().unwrap()
    }

    fn event(topic: &Topic, name: &str, payload: &str) -> Incoming {
        let names = topic.matches(name).unwrap();
        topic.event(&names, payload.as_bytes().to_vec(), None, || "now".into())
    }

    fn subject(incoming: &Incoming) -> Option<&str> {
        incoming.attributes.as_ref().and_then(|attributes| attributes.subject.as_deref())
    }

    #[test]
    fn levels_are_named_and_filters_follow() {
        let two = topic(r#"pattern = "plant/{line}/{machine}/t", entity = "{line}/{machine}""#);
        assert_eq!(two.filter(), "plant/+/+/t");
        assert_eq!(subject(&event(&two, "plant/a/b/t", "{}")), Some("a/b"));
        for other in ["plant/a/b", "plant/a/b/t/u", "plant/a/b/u", "plan/a/b/t"] {
            assert_eq!(two.matches(other), None, "{other}");
        }
        let rest = topic(r#"pattern = "s/{entity*}""#);
        assert_eq!(
            (rest.filter().as_str(), rest.matches("s/x/y").unwrap()["entity"]),
            ("s/#", "x/y")
        );
        let wild = topic("pattern = '+/#'");
        assert_eq!(wild.filter(), "+/#");
        assert_eq!(event(&wild, "a/b", "{}").attributes, None);
    }

    #[test]
    fn bare_values_and_levels_become_fields() {
        let bare =
            topic(r#"pattern = "{site}/{entity}/{signal}", value = "{signal}", fields = ["site"]"#);
        let wrapped = event(&bare, "s1/pump/flow", " 21.5\n");
        assert_eq!(wrapped.bytes, br#"{"site":"s1","flow":21.5}"#);
        assert_eq!(subject(&wrapped), Some("pump"));
        assert_eq!(event(&bare, "s1/p/f", "{}").bytes, br#"{"site":"s1"}"#);
        let own = event(&bare, "s1/p/f", r#"{"site":"own"}"#).bytes;
        assert_eq!(own, br#"{"site":"s1","site":"own"}"#, "the last one counts");
        assert_eq!(
            event(&bare, "s1/p/f", "21,5").bytes,
            b"21,5",
            "not JSON: a dead letter will tell"
        );
    }

    #[test]
    fn cloud_events_speak_for_themselves() {
        let timed = topic(r#"pattern = "{entity}", time_of_arrival = true"#);
        let structured = r#"{"specversion":"1.0","id":"1","data":{}}"#;
        assert_eq!(event(&timed, "e", structured).attributes, None);
        let names = timed.matches("e").unwrap();
        let binary = Attributes { id: Some("7".into()), ..Attributes::default() };
        let incoming = timed.event(&names, b"{}".to_vec(), Some(binary), || "now".into());
        let attributes = incoming.attributes.unwrap();
        assert_eq!(attributes.id.as_deref(), Some("7"));
        assert_eq!(attributes.time.as_deref(), Some("now"));
        assert_eq!(attributes.subject.as_deref(), Some("e"));
    }

    #[test]
    fn patterns_that_are_none_are_told() {
        for (text, part) in [
            (r#"pattern = "a/{b""#, "half a placeholder"),
            (r#"pattern = "a/b+""#, "half a placeholder"),
            (r#"pattern = "a/{b*}/c""#, "nothing may follow"),
            (r#"pattern = "{a}/{a}""#, "twice"),
            (r#"pattern = "{a}", entity = "{b}""#, "no level"),
            (r#"pattern = "{a}", fields = ["b"]"#, "no level"),
            (r#"pattern = "{a}", value = "{a""#, "brace"),
        ] {
            let error = Topic::new(&toml_settings(text)).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
