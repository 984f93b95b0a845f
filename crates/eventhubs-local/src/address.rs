//! The addresses that links attach to. Does not know which hubs there are.

/// The path of an address or resource: without scheme and host, in lower case, without slashes
/// at its ends or empty parts.
pub(crate) fn path_of(address: &str) -> String {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_host, path)| path),
        None => address,
    };
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("/").to_lowercase()
}

/// Whether `scope` is the path itself or one above it.
pub(crate) fn covers(scope: &str, path: &str) -> bool {
    match path.strip_prefix(scope) {
        Some(rest) => scope.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// What an address names. Names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Where tokens are put.
    Cbs,
    /// Where properties are asked for.
    Management,
    /// Where events are sent; to the partition if there is one.
    Hub { hub: String, partition: Option<String> },
    /// Where events come from.
    Partition { hub: String, group: String, partition: String },
}

impl Node {
    /// Reads a path as [`path_of`] gives it; `None` when it can be no node.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let parts: Vec<_> = path.split('/').collect();
        match *parts {
            ["$cbs"] => Some(Self::Cbs),
            ["$management"] | [_, "$management"] => Some(Self::Management),
            [hub] if !hub.is_empty() => Some(Self::Hub { hub: hub.to_owned(), partition: None }),
            [hub, "partitions", partition] => {
                Some(Self::Hub { hub: hub.to_owned(), partition: Some(partition.to_owned()) })
            }
            [hub, "consumergroups", group, "partitions", partition] => Some(Self::Partition {
                hub: hub.to_owned(),
                group: group.to_owned(),
                partition: partition.to_owned(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_host() {
        let hub = |partition: Option<&str>| {
            let partition = partition.map(str::to_owned);
            Some(Node::Hub { hub: "events".to_owned(), partition })
        };
        for (address, expected) in [
            ("$cbs", Some(Node::Cbs)),
            ("$management", Some(Node::Management)),
            ("Events/$management", Some(Node::Management)),
            ("Events", hub(None)),
            ("amqps://127.0.0.1:5672/events/", hub(None)),
            ("amqps://h/events/Partitions/3", hub(Some("3"))),
            ("events/Publishers/me", None),
            ("amqps://h", None),
            ("", None),
            (
                "amqps://h/events/ConsumerGroups/$Default/Partitions/0",
                Some(Node::Partition {
                    hub: "events".to_owned(),
                    group: "$default".to_owned(),
                    partition: "0".to_owned(),
                }),
            ),
        ] {
            assert_eq!(Node::parse(&path_of(address)), expected, "{address}");
        }
    }

    #[test]
    fn a_scope_covers_what_lies_below_it() {
        assert!(covers("", "events"));
        assert!(covers("events", "events"));
        assert!(covers("events", "events/partitions/0"));
        assert!(!covers("events", "events2"));
        assert!(!covers("events/partitions/0", "events"));
    }
}
