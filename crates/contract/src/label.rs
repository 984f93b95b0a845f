//! What people say of verdicts: this one was right, that one a false alarm.

use crate::time::TimeFormat;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest text of a label, in bytes: a name, an id, an entity.
pub const LABEL_TEXT_BYTES_MAX: usize = 512;
/// Longest note, in bytes.
pub const LABEL_NOTE_BYTES_MAX: usize = 4096;

/// A word of somebody about a verdict, or about an entity at a time.
///
/// Either `verdict_id` is there, or `entity` and `time` are; [`Label::check`] sees to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The id of the verdict that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict_id: Option<String>,
    /// The entity that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The event time that it is about, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The detector, where `entity` and `time` do not say it alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector: Option<String>,
    /// What it was.
    pub label: LabelKind,
    /// Who says so.
    pub by: String,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What an event was, in somebody's judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabelKind {
    /// An anomaly, whether the verdict said so or not.
    Anomaly,
    /// The verdict said anomalous, and it was not.
    FalseAlarm,
    /// As usual.
    Normal,
}

impl LabelKind {
    /// The word in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anomaly => "anomaly",
            Self::FalseAlarm => "false-alarm",
            Self::Normal => "normal",
        }
    }

    /// Whether the event was an anomaly.
    pub fn is_anomaly(self) -> bool {
        self == Self::Anomaly
    }
}

impl Label {
    /// Refuses a label that says nothing usable.
    pub fn check(&self) -> Result<(), LabelError> {
        match (&self.verdict_id, &self.entity, &self.time) {
            (Some(id), _, _) if id.is_empty() => return Err(LabelError::Empty("verdict_id")),
            (Some(_), ..) | (None, Some(_), Some(_)) => {}
            _ => return Err(LabelError::NoSubject),
        }
        if let Some(time) = &self.time
            && TimeFormat::Rfc3339.read_text(time).is_none()
        {
            return Err(LabelError::Time(time.chars().take(64).collect()));
        }
        if self.by.trim().is_empty() {
            return Err(LabelError::Empty("by"));
        }
        let texts = [
            ("verdict_id", self.verdict_id.as_ref()),
            ("entity", self.entity.as_ref()),
            ("detector", self.detector.as_ref()),
            ("by", Some(&self.by)),
        ];
        for (field, text) in texts {
            within(field, text, LABEL_TEXT_BYTES_MAX)?;
        }
        within("note", self.note.as_ref(), LABEL_NOTE_BYTES_MAX)
    }

    /// The time that it is about, milliseconds since 1970.
    pub fn time_ms(&self) -> Option<i64> {
        TimeFormat::Rfc3339.read_text(self.time.as_deref()?)
    }

    /// What makes two labels words of one person about one thing: the later replaces the earlier.
    pub fn key(&self) -> LabelKey {
        let subject = match &self.verdict_id {
            Some(id) => Subject::Verdict(id.clone()),
            None => Subject::Place(
                self.detector.clone(),
                self.entity.clone().unwrap_or_default(),
                self.time_ms().unwrap_or_default(),
            ),
        };
        LabelKey { subject, by: self.by.clone() }
    }
}

/// What a label is about, and who says it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LabelKey {
    subject: Subject,
    by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Subject {
    Verdict(String),
    Place(Option<String>, String, i64),
}

fn within(field: &'static str, text: Option<&String>, most: usize) -> Result<(), LabelError> {
    match text {
        Some(text) if text.len() > most => {
            Err(LabelError::TooLong { field, bytes: text.len(), most })
        }
        _ => Ok(()),
    }
}

/// Why a label is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LabelError {
    /// It is about nothing.
    #[error("the label is about nothing: give `verdict_id`, or `entity` and `time`")]
    NoSubject,
    /// A text is empty.
    #[error("`{0}` is empty: fill it in")]
    Empty(&'static str),
    /// A time that cannot be read.
    #[error("`time` is {0:?}, which is no time: write it as 2026-01-31T12:00:00Z")]
    Time(String),
    /// A text is too long.
    #[error("`{field}` has {bytes} bytes and may have {most}: shorten it")]
    TooLong {
        /// The field.
        field: &'static str,
        /// Bytes it has.
        bytes: usize,
        /// Bytes it may have.
        most: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(json: &str) -> Label {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_label_is_about_a_verdict_or_an_entity_at_a_time() {
        let verdict = label(r#"{"verdict_id":"a1","label":"false-alarm","by":"ann"}"#);
        assert_eq!(verdict.check(), Ok(()));
        let place =
            label(r#"{"entity":"p1","time":"2026-01-31T12:00:00Z","label":"anomaly","by":"ann"}"#);
        assert_eq!(place.check(), Ok(()));
        assert!(place.label.is_anomaly() && !verdict.label.is_anomaly());
        for (json, error) in [
            (r#"{"label":"normal","by":"ann"}"#, LabelError::NoSubject),
            (r#"{"entity":"p1","label":"normal","by":"ann"}"#, LabelError::NoSubject),
            (r#"{"verdict_id":"","label":"normal","by":"ann"}"#, LabelError::Empty("verdict_id")),
            (r#"{"verdict_id":"a","label":"normal","by":" "}"#, LabelError::Empty("by")),
            (
                r#"{"entity":"p1","time":"noon","label":"normal","by":"ann"}"#,
                LabelError::Time("noon".into()),
            ),
        ] {
            assert_eq!(label(json).check(), Err(error), "{json}");
        }
        let long = Label { note: Some("x".repeat(5000)), ..verdict };
        assert!(matches!(long.check(), Err(LabelError::TooLong { field: "note", .. })));
    }

    #[test]
    fn one_person_has_one_word_about_one_thing() {
        let one = label(r#"{"verdict_id":"a1","label":"false-alarm","by":"ann"}"#);
        let other = label(r#"{"verdict_id":"a1","label":"anomaly","by":"ann","note":"sorry"}"#);
        assert_eq!(one.key(), other.key());
        assert_ne!(one.key(), Label { by: "bob".into(), ..one.clone() }.key());
        let utc =
            label(r#"{"entity":"p","time":"2026-01-31T12:00:00Z","label":"normal","by":"ann"}"#);
        let paris = label(
            r#"{"entity":"p","time":"2026-01-31T13:00:00+01:00","label":"normal","by":"ann"}"#,
        );
        assert_eq!(utc.key(), paris.key());
    }
}
