//! Where a receiver starts, as the few selectors say it that Event Hubs knows. Knows no log.

/// The first events that a receiver wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Only events that arrive after the receiver.
    Latest,
    /// Events whose offset is at least this, in bytes.
    Offset(i64),
    /// Events whose sequence number is at least this.
    Sequence(i64),
    /// Events enqueued at or after this time, in milliseconds since 1970-01-01T00:00:00Z.
    EnqueuedMs(i64),
}

/// Parses `amqp.annotation.x-opt-offset > '42'` and its like.
pub(crate) fn parse(selector: &str) -> Result<Start, String> {
    read(selector).ok_or_else(|| {
        format!(
            "the selector {selector:?} is none of amqp.annotation.x-opt-offset, \
             x-opt-sequence-number or x-opt-enqueued-time, then > or >=, then a number or \
             '@latest'"
        )
    })
}

fn read(selector: &str) -> Option<Start> {
    let rest = selector.trim().strip_prefix("amqp.annotation.")?;
    let (name, rest) = rest.split_at(rest.find([' ', '>'])?);
    let rest = rest.trim_start().strip_prefix('>')?;
    let (inclusive, value) = match rest.strip_prefix('=') {
        Some(value) => (true, value),
        None => (false, rest),
    };
    let value = unquoted(value.trim())?;
    if value.eq_ignore_ascii_case("@latest") {
        let has_latest = matches!(name, "x-opt-offset" | "x-opt-sequence-number");
        return has_latest.then_some(Start::Latest);
    }
    let least = value.parse::<i64>().ok()?.saturating_add(i64::from(!inclusive));
    match name {
        "x-opt-offset" => Some(Start::Offset(least)),
        "x-opt-sequence-number" => Some(Start::Sequence(least)),
        "x-opt-enqueued-time" | "x-opt-enqueuedtimeutc" => Some(Start::EnqueuedMs(least)),
        _ => None,
    }
}

fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('\'') {
        Some(value) => value.strip_suffix('\''),
        None => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_both_sdks_are_read() {
        for (selector, expected) in [
            ("amqp.annotation.x-opt-offset > '-1'", Start::Offset(0)),
            ("amqp.annotation.x-opt-offset > '@latest'", Start::Latest),
            ("amqp.annotation.x-opt-offset >= '@latest'", Start::Latest),
            ("amqp.annotation.x-opt-offset >'4096'", Start::Offset(4_097)),
            ("amqp.annotation.x-opt-offset >='4096'", Start::Offset(4_096)),
            ("amqp.annotation.x-opt-sequence-number >'12345'", Start::Sequence(12_346)),
            ("amqp.annotation.x-opt-sequence-number >= '12345'", Start::Sequence(12_345)),
            ("amqp.annotation.x-opt-sequence-number > 7", Start::Sequence(8)),
            ("amqp.annotation.x-opt-enqueued-time >'1700000000000'", {
                Start::EnqueuedMs(1_700_000_000_001)
            }),
        ] {
            assert_eq!(parse(selector), Ok(expected), "{selector}");
        }
    }

    #[test]
    fn other_selectors_are_refused() {
        for selector in [
            "",
            "amqp.annotation.x-opt-offset",
            "amqp.annotation.x-opt-offset < '5'",
            "amqp.annotation.x-opt-offset > 'five'",
            "amqp.annotation.x-opt-offset > '5",
            "amqp.annotation.x-opt-color > '5'",
            "amqp.annotation.x-opt-enqueued-time > '@latest'",
            "color = 'red'",
        ] {
            let refused = parse(selector).unwrap_err();
            assert!(refused.contains("x-opt-sequence-number"), "{refused}");
        }
    }
}
