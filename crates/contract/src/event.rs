//! Events: JSON objects, bare or as CloudEvents, read straight into an input row.
//!
//! Reading is strict where a mistake would be scored in silence (text where a number belongs) and
//! lenient where nothing can go wrong (fields that the schema does not name).

mod plain;

use crate::category::{self, fnv1a};
use crate::schema::{SINGLE_ENTITY, Schema};
use crate::verdict::identity_hash;
use base64::Engine as _;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use thiserror::Error;

/// Longest entity key, in bytes.
pub const ENTITY_BYTES_MAX: usize = 256;

/// An event as a detector's schema sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The entity it belongs to.
    pub entity: String,
    /// Event time in milliseconds since 1970, when the schema has one.
    pub time_ms: Option<i64>,
    /// One input row: numbers, category codes, NaN for what is missing.
    pub inputs: Vec<f64>,
    /// What identifies it beyond one delivery: its CloudEvents source and id, or entity, time and
    /// payload; `None` when neither is there, or when its reader is told to leave it out.
    pub identity: Option<[u8; 16]>,
}

/// Reads events by one schema.
#[derive(Clone, Debug)]
pub struct EventReader {
    schema: Schema,
    /// The fields that the schema names, in its order, and their places in there.
    fields: Vec<Field>,
    places: HashMap<String, usize, BuildHasherDefault<NameHasher>>,
    identifies: bool,
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    /// The name and the colon behind it, as they mostly stand in an event; nothing where the name alone
    /// may make it a CloudEvent, which is not told at a glance.
    label: Option<String>,
    role: Role,
}

/// Hashes names of fields, of which the table has only a schema's: nobody else can fill it.
#[derive(Clone, Copy, Debug, Default)]
struct NameHasher(u64);

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = self.0.rotate_left(5) ^ fnv1a(bytes);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Entity,
    Time,
    Number(usize),
    Category(usize),
}

/// The attributes of a CloudEvent that came outside its body (HTTP binary mode).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// `ce-id`.
    pub id: Option<String>,
    /// `ce-source`.
    pub source: Option<String>,
    /// `ce-subject`.
    pub subject: Option<String>,
    /// `ce-time`.
    pub time: Option<String>,
}

impl EventReader {
    /// A reader for `schema`.
    pub fn new(schema: &Schema) -> Self {
        let mut fields = Vec::new();
        if let Some(name) = &schema.entity {
            fields.push(Field::new(name, Role::Entity));
        }
        if let Some(name) = &schema.time {
            fields.push(Field::new(name, Role::Time));
        }
        for (index, name) in schema.fields().enumerate() {
            let role = if schema.is_categorical(index) {
                Role::Category(index)
            } else {
                Role::Number(index)
            };
            fields.push(Field::new(name, role));
        }
        let places = fields.iter().enumerate().map(|(place, field)| (field.name.clone(), place));
        Self { schema: schema.clone(), places: places.collect(), fields, identifies: true }
    }

    /// Whether [`Event::identity`] is wanted from now on, as it is at first: it is a hash over the
    /// whole event.
    pub fn identify(&mut self, wanted: bool) {
        self.identifies = wanted;
    }

    /// What the field of a name is, if the schema has it, and its place there.
    fn field(&self, name: &str) -> Option<(usize, Role)> {
        let place = *self.places.get(name)?;
        Some((place, self.fields[place].role))
    }

    /// Reads one event from the bytes of a JSON object, bare or a structured CloudEvent.
    pub fn read(&self, bytes: &[u8]) -> Result<Event, EventError> {
        self.read_any(bytes, None)
    }

    fn read_any(&self, bytes: &[u8], words: Words<'_>) -> Result<Event, EventError> {
        if words.is_none()
            && let Some(draft) = plain::read(self, bytes)
        {
            return draft.finish(bytes, &Attributes::default());
        }
        // The word is searched first so that the many bare events are read once, not twice.
        if contains(bytes, b"\"specversion\"") {
            match serde_json::from_slice::<Envelope<'_>>(bytes) {
                Ok(envelope) if envelope.specversion.is_some() => {
                    return self.read_cloud_event(&envelope, words);
                }
                // One that says it is a CloudEvent and is none must not pass for a bare event.
                Err(error) if says_cloud_event(bytes) => {
                    return Err(EventError::NotJson(error.to_string()));
                }
                _ => {}
            }
        }
        self.read_object(bytes, &Attributes::default(), words)
    }

    /// Reads one event and keeps its categories as they are written, in the order of the schema:
    /// an input row has their codes alone.
    pub fn read_with_words(
        &self,
        bytes: &[u8],
        attributes: Option<&Attributes>,
    ) -> Result<(Event, Vec<Option<String>>), EventError> {
        let mut words = vec![None; self.schema.categorical.len()];
        let event = match attributes {
            Some(attributes) => self.read_object(bytes, attributes, Some(&mut words)),
            None => self.read_any(bytes, Some(&mut words)),
        };
        Ok((event?, words))
    }

    /// Reads one event whose CloudEvents attributes came beside it.
    pub fn read_with(&self, bytes: &[u8], attributes: &Attributes) -> Result<Event, EventError> {
        self.read_object(bytes, attributes, None)
    }

    fn read_object(
        &self,
        bytes: &[u8],
        attributes: &Attributes,
        words: Words<'_>,
    ) -> Result<Event, EventError> {
        // Passed-over values are not looked into, but an event is UTF-8 as a whole or not at all.
        let text =
            std::str::from_utf8(bytes).map_err(|error| EventError::NotJson(error.to_string()))?;
        let mut draft = Draft::new(self, words);
        let mut json = serde_json::Deserializer::from_str(text);
        let read = (&mut draft).deserialize(&mut json).and_then(|()| json.end());
        match read {
            Ok(()) => draft.finish(bytes, attributes),
            Err(error) => Err(draft.error.take().unwrap_or(EventError::NotJson(error.to_string()))),
        }
    }

    fn read_cloud_event(
        &self,
        envelope: &Envelope<'_>,
        words: Words<'_>,
    ) -> Result<Event, EventError> {
        let attributes = Attributes {
            id: envelope.id.as_deref().map(str::to_owned),
            source: envelope.source.as_deref().map(str::to_owned),
            subject: envelope.subject.as_deref().map(str::to_owned),
            time: envelope.time.as_deref().map(str::to_owned),
        };
        match (envelope.data, &envelope.data_base64) {
            (Some(data), _) => self.read_object(data.get().as_bytes(), &attributes, words),
            (None, Some(base64)) => {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(base64.as_bytes())
                    .map_err(|error| EventError::NotJson(format!("data_base64: {error}")))?;
                self.read_object(&bytes, &attributes, words)
            }
            (None, None) => Err(EventError::NotAnObject),
        }
    }
}

impl Field {
    fn new(name: &str, role: Role) -> Self {
        let is_plain = name != plain::SPECVERSION;
        let label = is_plain.then(|| format!("{}:", serde_json::Value::from(name)));
        Self { name: name.to_owned(), label, role }
    }
}

/// Why an event got no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    /// Not readable as JSON.
    #[error("event is not JSON: {0}")]
    NotJson(String),
    /// JSON, but not an object.
    #[error(
        "event is not a JSON object: send one object of fields, bare or as a CloudEvent with data"
    )]
    NotAnObject,
    /// The entity is not there.
    #[error("event has no entity: field `{0}` is missing or empty")]
    NoEntity(String),
    /// The entity is too long.
    #[error("event's entity has {0} bytes: at most {ENTITY_BYTES_MAX} are accepted")]
    EntityTooLong(usize),
    /// The time is not there.
    #[error("event has no time: field `{0}` is missing")]
    NoTime(String),
    /// The time cannot be read.
    #[error("event's time `{value}` in field `{field}` cannot be read as {format}")]
    UnreadableTime {
        /// Field of the schema.
        field: String,
        /// What stood there, shortened.
        value: String,
        /// What the schema asks for.
        format: String,
    },
    /// Something else where a number belongs.
    #[error("field `{field}` holds {found} where a number belongs")]
    NotANumber {
        /// Field of the schema.
        field: String,
        /// What stood there, shortened.
        found: String,
    },
    /// A list or an object where a category belongs.
    #[error("field `{0}` holds a list or an object where a category belongs")]
    NotACategory(String),
    /// Far ahead of the clock.
    #[error("event's time lies {0} s ahead of its arrival, beyond the allowed skew")]
    FromTheFuture(i64),
    /// Larger than the bound.
    #[error("event has {bytes} bytes: at most {bytes_max} are accepted")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The setting.
        bytes_max: usize,
    },
}

impl EventError {
    /// A word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "not-json",
            Self::NotAnObject => "not-an-object",
            Self::NoEntity(_) => "no-entity",
            Self::EntityTooLong(_) => "entity-too-long",
            Self::NoTime(_) => "no-time",
            Self::UnreadableTime { .. } => "unreadable-time",
            Self::NotANumber { .. } => "not-a-number",
            Self::NotACategory(_) => "not-a-category",
            Self::FromTheFuture(_) => "from-the-future",
            Self::TooLarge { .. } => "too-large",
        }
    }
}

/// The object of fields of an event that was read before: the data of a structured CloudEvent, else
/// the whole.
pub fn payload(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !contains(bytes, b"\"specversion\"") {
        return Cow::Borrowed(bytes);
    }
    match serde_json::from_slice::<Envelope<'_>>(bytes) {
        Ok(Envelope { specversion: Some(_), data: Some(data), .. }) => {
            Cow::Borrowed(data.get().as_bytes())
        }
        Ok(Envelope { specversion: Some(_), data_base64: Some(base64), .. }) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(base64.as_bytes());
            decoded.map_or(Cow::Borrowed(bytes), Cow::Owned)
        }
        _ => Cow::Borrowed(bytes),
    }
}

/// Whether an object has an attribute `specversion`, whatever else is wrong with it.
fn says_cloud_event(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Says {
        specversion: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Says>(bytes).is_ok_and(|says| says.specversion.is_some())
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    specversion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    subject: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<Cow<'a, str>>,
}

/// Where categories are kept as they are written, if anybody wants them.
type Words<'w> = Option<&'w mut Vec<Option<String>>>;

/// An event half read.
struct Draft<'r> {
    words: Words<'r>,
    reader: &'r EventReader,
    entity: Option<String>,
    time_ms: Option<i64>,
    inputs: Vec<f64>,
    error: Option<EventError>,
}

impl<'r> Draft<'r> {
    fn new(reader: &'r EventReader, words: Words<'r>) -> Self {
        let inputs = vec![f64::NAN; reader.schema.width()];
        Self { words, reader, entity: None, time_ms: None, inputs, error: None }
    }

    fn set(&mut self, name: &str, role: Role, value: &Scalar<'_>) -> Result<(), EventError> {
        match (role, value) {
            (_, Scalar::Null) => {}
            (Role::Entity, value) => self.entity = value.text().map(Cow::into_owned),
            (Role::Time, value) => self.time_ms = Some(self.read_time(name, value)?),
            (Role::Number(index), value) => {
                self.inputs[index] = value.number().ok_or_else(|| EventError::NotANumber {
                    field: name.to_owned(),
                    found: value.describe(),
                })?;
            }
            (Role::Category(index), value) => {
                let text = value.text().ok_or_else(|| EventError::NotACategory(name.to_owned()))?;
                // The empty text is a missing value, as it is in a CSV cell.
                if !text.is_empty() {
                    self.inputs[index] = category::code(&text);
                    let place = index - self.reader.schema.numeric.len();
                    if let Some(word) = self.words.as_mut().and_then(|words| words.get_mut(place)) {
                        *word = Some(text.into_owned());
                    }
                }
            }
        }
        Ok(())
    }

    fn read_time(&self, field: &str, value: &Scalar<'_>) -> Result<i64, EventError> {
        let format = self.reader.schema.time_format;
        let time = match value {
            Scalar::Text(text) => format.read_text(text),
            Scalar::Bool(_) => None,
            value => value.number().and_then(|number| format.read_number(number)),
        };
        time.ok_or_else(|| EventError::UnreadableTime {
            field: field.to_owned(),
            value: value.describe(),
            format: format.as_str().to_owned(),
        })
    }

    fn finish(mut self, bytes: &[u8], attributes: &Attributes) -> Result<Event, EventError> {
        let schema = &self.reader.schema;
        let entity = match &schema.entity {
            None => SINGLE_ENTITY.to_owned(),
            Some(field) => self
                .entity
                .take()
                .or_else(|| attributes.subject.clone())
                .filter(|entity| !entity.is_empty())
                .ok_or_else(|| EventError::NoEntity(field.clone()))?,
        };
        if entity.len() > ENTITY_BYTES_MAX {
            return Err(EventError::EntityTooLong(entity.len()));
        }
        if let (Some(field), None) = (&schema.time, self.time_ms) {
            let text =
                attributes.time.as_deref().ok_or_else(|| EventError::NoTime(field.clone()))?;
            let time = crate::time::TimeFormat::Rfc3339.read_text(text);
            self.time_ms = Some(time.ok_or_else(|| EventError::UnreadableTime {
                field: "time".into(),
                value: shorten(text),
                format: "rfc3339".into(),
            })?);
        }
        let identity = match (&attributes.source, &attributes.id) {
            _ if !self.reader.identifies => None,
            (source, Some(id)) => {
                let source = source.as_deref().unwrap_or_default();
                Some(identity_hash(&[source.as_bytes(), id.as_bytes()]))
            }
            // Without a time, equal readings one after the other are the normal case and no sign
            // of a second delivery.
            (_, None) => self
                .time_ms
                .map(|time| identity_hash(&[entity.as_bytes(), &time.to_le_bytes(), bytes])),
        };
        Ok(Event { entity, time_ms: self.time_ms, inputs: self.inputs, identity })
    }
}

impl<'de> DeserializeSeed<'de> for &mut Draft<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Draft<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(ScalarSeed)? {
            let Scalar::Text(name) = name else { continue };
            match self.reader.field(&name) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some((_, role)) => {
                    let value = map.next_value_seed(ScalarSeed)?;
                    if let Err(error) = self.set(&name, role, &value) {
                        self.error = Some(error);
                        return Err(serde::de::Error::custom("unusable value"));
                    }
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.not_an_object()
    }
    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.not_an_object()
    }
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.not_an_object()
    }
    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.not_an_object()
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.not_an_object()
    }
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.not_an_object()
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.not_an_object()
    }
}

impl Draft<'_> {
    fn not_an_object<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.error = Some(EventError::NotAnObject);
        Err(E::custom("not an object"))
    }
}

/// A JSON value without its inside.
enum Scalar<'a> {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(Cow<'a, str>),
    Nested,
}

impl Scalar<'_> {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            Self::Signed(value) => Some(*value as f64),
            Self::Unsigned(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Null | Self::Text(_) | Self::Nested => None,
        }
    }

    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Bool(value) => Some(value.to_string().into()),
            Self::Signed(value) => Some(value.to_string().into()),
            Self::Unsigned(value) => Some(value.to_string().into()),
            Self::Float(value) => Some(value.to_string().into()),
            Self::Null | Self::Nested => None,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Nested => "a list or an object".into(),
            Self::Text(text) => format!("\"{}\"", shorten(text)),
            other => other.text().unwrap_or_default().into_owned(),
        }
    }
}

struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Signed(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Unsigned(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Float(value))
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Scalar<'de>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nested)
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> EventReader {
        EventReader::new(&Schema {
            entity: Some("card".into()),
            time: Some("time".into()),
            numeric: vec!["amount".into()],
            categorical: vec!["country".into()],
            ..Schema::default()
        })
    }

    #[test]
    fn a_bare_event_and_its_cloud_event_give_the_same_row() {
        let bare = br#"{"card":"c1","time":"1970-01-01T00:00:01Z","amount":2.5,"country":"DE","other":[1,{"x":2}]}"#;
        let cloud = br#"{"specversion":"1.0","id":"7","source":"/pos","type":"t","data":{"card":"c1","time":"1970-01-01T00:00:01Z","amount":2.5,"country":"DE"}}"#;
        let (bare, cloud) = (reader().read(bare).unwrap(), reader().read(cloud).unwrap());
        assert_eq!(
            (&bare.entity, bare.time_ms, &bare.inputs),
            (&cloud.entity, cloud.time_ms, &cloud.inputs)
        );
        assert_eq!(bare.inputs, [2.5, category::code("DE")]);
        assert_ne!(bare.identity, cloud.identity);
        assert!(cloud.identity.is_some());
    }

    #[test]
    fn subject_and_time_of_a_cloud_event_stand_in() {
        let event = reader()
            .read(br#"{"specversion":"1.0","id":"7","source":"/pos","type":"t","subject":"c9","time":"1970-01-01T00:00:02Z","data":{"amount":1}}"#)
            .unwrap();
        assert_eq!((event.entity.as_str(), event.time_ms), ("c9", Some(2000)));
        assert!(event.inputs[1].is_nan(), "a missing category is a missing value");
    }

    #[test]
    fn bad_events_are_told_apart() {
        let cases: [(&[u8], &str); 14] = [
            (b"", "not-json"),
            (br#"{"specversion":"1.0","id":7,"data":{"card":"c"},"card":"c"}"#, "not-json"),
            (b"{\"other\":\"\xff\"}", "not-json"),
            (b"{\"card\":", "not-json"),
            (b"{} x", "not-json"),
            (b"[1,2]", "not-an-object"),
            (b"\"text\"", "not-an-object"),
            (b"{}", "no-entity"),
            (br#"{"card":""}"#, "no-entity"),
            (br#"{"card":"c"}"#, "no-time"),
            (br#"{"card":"c","time":"soon"}"#, "unreadable-time"),
            (br#"{"card":"c","time":"1970-01-01","amount":"12"}"#, "not-a-number"),
            (br#"{"card":"c","time":"1970-01-01","amount":1e999}"#, "not-json"),
            (br#"{"card":"c","time":"1970-01-01","country":["DE"]}"#, "not-a-category"),
        ];
        for (bytes, reason) in cases {
            let error = reader().read(bytes).unwrap_err();
            assert_eq!(error.reason(), reason, "{}: {error}", String::from_utf8_lossy(bytes));
        }
    }

    /// A colon without a name before it was once taken for that field.
    #[test]
    fn a_field_called_specversion_is_read_as_any_other_and_never_without_its_name() {
        let schema = Schema {
            numeric: vec!["amount".into()],
            categorical: vec!["specversion".into()],
            ..Schema::default()
        };
        let reader = EventReader::new(&schema);
        for text in [
            r#"{"amount":1,:"1.0"}"#,
            r#"{:"1.0","amount":1}"#,
            r#"{"amount":1,"specversion":null}"#,
        ] {
            let fast = bits(reader.read(text.as_bytes()));
            assert_eq!(fast, bits(read_slowly(&reader, text.as_bytes())), "{text}");
            assert_eq!(fast.is_err(), text.contains(":\"1.0\""), "{text}: {fast:?}");
        }
    }

    /// Reads an event in the general way alone.
    fn read_slowly(reader: &EventReader, bytes: &[u8]) -> Result<Event, EventError> {
        let mut words = vec![None; reader.schema.categorical.len()];
        reader.read_any(bytes, Some(&mut words))
    }

    /// Equal to the bit: NaN stands for what is missing.
    fn bits(read: Result<Event, EventError>) -> Result<(Event, Vec<u64>), EventError> {
        read.map(|mut event| {
            let bits = std::mem::take(&mut event.inputs).into_iter().map(f64::to_bits).collect();
            (event, bits)
        })
    }

    /// Pieces that events, and what is nearly one, are made of.
    const PIECES: [&str; 46] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\"card\"",
        "\"time\"",
        "\"amount\"",
        "\"country\"",
        "\"other\"",
        "\"specversion\"",
        "\"id\"",
        "\"data\"",
        "\"1970-01-01T00:00:01Z\"",
        "\"DE\"",
        "\"gr\u{fc}\u{df}e\"",
        "\"\\u0041\"",
        "\"\\n\"",
        "\"\u{1}\"",
        "\"\u{7f}\"",
        "\"\"",
        "null",
        "true",
        "false",
        "nul",
        "0",
        "-0",
        "-",
        "01",
        "1.",
        ".5",
        "1e5",
        "1E-7",
        "1e",
        "1e999",
        "-1e999",
        "1e-999",
        "12345678901234567890123",
        "9007199254740993",
        "0.1234567890123456789",
        "1797693134862315708145274237317043567980705e267",
        " ",
        "\t",
        "\n",
    ];

    /// A stack is not deep enough for what a sender can write in a megabyte.
    #[test]
    fn nesting_inside_a_field_is_passed_over_however_deep_it_is() {
        const DEPTH: usize = 500_000;
        let arrays = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
        let objects = format!("{}1{}", "{\"x\":".repeat(DEPTH), "}".repeat(DEPTH));
        for nested in [&arrays, &objects] {
            for (field, reason) in [
                ("amount", Some("not-a-number")),
                ("country", Some("not-a-category")),
                ("card", Some("no-entity")),
                ("time", Some("unreadable-time")),
                ("other", None),
            ] {
                let mut fields = vec![("card", "\"c\""), ("time", "\"1970-01-01\"")];
                fields.retain(|(name, _)| *name != field);
                fields.push((field, nested));
                let fields = fields.iter().map(|(name, value)| format!("\"{name}\":{value}"));
                let event = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
                let found = reader().read(event.as_bytes()).err().map(|error| error.reason());
                assert_eq!(found, reason, "{field}");
                // The same as a CloudEvent, and with its end missing.
                let start = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"#;
                let found = reader().read(format!("{start}{event}}}").as_bytes());
                assert_eq!(found.err().map(|error| error.reason()), reason, "{field}");
                let half = &event[..event.len() - 1 - DEPTH / 2];
                assert_eq!(reader().read(half.as_bytes()).unwrap_err().reason(), "not-json");
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(4000))]
        #[test]
        fn plain_events_are_read_as_all_others(
            pieces in proptest::collection::vec(0..PIECES.len(), 0..24),
            members in proptest::collection::vec((6..22usize, 15..PIECES.len()), 0..7),
            blank in 0..3usize,
        ) {
            let reader = reader();
            let blank = ["", " ", "\r\n\t"][blank];
            let member = |(name, value): &(usize, usize)| {
                format!("{}{blank}:{blank}{}", PIECES[*name], PIECES[*value])
            };
            let members: Vec<String> = members.iter().map(member).collect();
            let whole = format!("{blank}{{{blank}{}{blank}}}", members.join(&format!("{blank},{blank}")));
            let rubbish: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
            for text in [&whole, &rubbish, &format!("{whole}{rubbish}"), &whole[..whole.len() - 1]] {
                let fast = bits(reader.read(text.as_bytes()));
                proptest::prop_assert_eq!(&fast, &bits(read_slowly(&reader, text.as_bytes())), "{}", text);
            }
        }

        #[test]
        fn plain_numbers_have_the_bits_of_the_general_way(bits in proptest::num::u64::ANY, decimals in 0usize..20) {
            let value = f64::from_bits(bits);
            proptest::prop_assume!(value.is_finite());
            let small = (value.to_bits() >> 11) as f64 / 1e9;
            for text in [format!("{value:e}"), format!("{value}"), format!("{small:.decimals$}"), format!("{bits}")] {
                let event = format!("{{\"card\":\"c\",\"time\":\"1970-01-01\",\"amount\":{text}}}");
                let (fast, slow) = (reader().read(event.as_bytes()), read_slowly(&reader(), event.as_bytes()));
                proptest::prop_assert_eq!(self::bits(fast), self::bits(slow), "{}", text);
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            drop(reader().read(&bytes));
        }
    }
}
