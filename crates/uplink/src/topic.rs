//! Topics made from records. Knows no broker.

use std::fmt::Write as _;

use crate::event::Attributes;

/// A pattern such as `twinge/{device}/verdicts/{entity}`, cut at its placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicPattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Device,
    Detector,
    Entity,
    Kind,
}

impl TopicPattern {
    /// Reads a pattern; an error says what is wrong with it.
    pub(crate) fn parse(pattern: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = pattern;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or("has a { without a }")?;
            pieces.push(Piece::Text(text.to_owned()));
            pieces.push(match name {
                "device" => Piece::Device,
                "detector" => Piece::Detector,
                "entity" => Piece::Entity,
                "kind" => Piece::Kind,
                _ => return Err(format!(
                    "has the placeholder {{{name}}}; use {{device}}, {{detector}}, {{entity}} or {{kind}}"
                )),
            });
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        let is_wrong =
            |text: &str| text.contains(['}', '+', '#']) || text.contains(char::is_control);
        if pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if is_wrong(text))) {
            return Err("holds a wildcard, a lone } or a control character".to_owned());
        }
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        if pieces.is_empty() { Err("is empty".to_owned()) } else { Ok(Self(pieces)) }
    }

    /// The topic of a record. What a placeholder stands for is always one level.
    pub(crate) fn topic(
        &self,
        device: &str,
        key: Option<&str>,
        attributes: &Attributes<'_>,
    ) -> String {
        let mut topic = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => topic.push_str(text),
                Piece::Device => push_level(&mut topic, device),
                Piece::Detector => push_level(&mut topic, attributes.detector()),
                Piece::Entity => {
                    push_level(&mut topic, key.or(attributes.subject()).unwrap_or_default());
                }
                Piece::Kind => push_level(&mut topic, attributes.kind_name()),
            }
        }
        topic
    }
}

/// Escapes what a level cannot hold as in URLs, `%` itself so that nothing is ambiguous, and a `$`
/// at the start of the topic, where brokers keep their own. Nothing at all becomes `-`.
fn push_level(topic: &mut String, text: &str) {
    if text.is_empty() {
        return topic.push('-');
    }
    for character in text.chars() {
        let is_wrong = matches!(character, '/' | '+' | '#' | '%') || character.is_control();
        if is_wrong || character == '$' && topic.is_empty() {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                write!(topic, "%{byte:02X}").expect("a String takes everything");
            }
        } else {
            topic.push(character);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_escaped() {
        let record =
            br#"{"type":"io.twinge.verdict.v1","source":"/twinge/pump-pressure","subject":"s"}"#;
        let attributes = Attributes::read(record).unwrap();
        for (pattern, key, expected) in [
            ("twinge/{device}/verdicts/{entity}", Some("p1"), "twinge/gw/verdicts/p1"),
            ("{kind}/{detector}", None, "verdict/pump-pressure"),
            ("t/{entity}", None, "t/s"),
            ("t/{entity}", Some("a/b+c#d%\0\u{85}"), "t/a%2Fb%2Bc%23d%25%00%C2%85"),
            ("t/{entity}", Some(""), "t/-"),
            ("{entity}", Some("$SYS"), "%24SYS"),
            ("t/{entity}", Some("$x ö"), "t/$x ö"),
        ] {
            let pattern = TopicPattern::parse(pattern).unwrap();
            assert_eq!(pattern.topic("gw", key, &attributes), expected);
        }
    }

    #[test]
    fn a_wrong_pattern_is_told() {
        for (pattern, told) in [
            ("", "is empty"),
            ("a/{entiy}", "{entiy}; use {device}"),
            ("a/{entity", "without a }"),
            ("a/}", "lone }"),
            ("a/#", "wildcard"),
            ("+/{entity}", "wildcard"),
            ("a\n", "control"),
        ] {
            assert!(TopicPattern::parse(pattern).unwrap_err().contains(told), "{pattern}");
        }
    }
}
