//! Where secrets come from: never from the settings themselves. Does not know what they open.

use std::fmt;
use std::path::PathBuf;

/// A text that no log, error or `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that sends it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

/// A place that holds a secret. It is read anew whenever the secret is needed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    File(PathBuf),
    Variable(String),
}

impl SecretSource {
    /// The secret without the line end behind it. An error names the place and shows no secret.
    pub(crate) fn read(&self) -> Result<Secret, String> {
        let text = match self {
            Self::File(path) => std::fs::read_to_string(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
            Self::Variable(name) => std::env::var(name).map_err(|_why| {
                format!("the environment variable {name} is not set, or not text")
            })?,
        };
        match text.trim() {
            "" => Err(format!("{self} is empty")),
            // A header cannot carry more lines, and an error about it would show them.
            text if text.contains(char::is_control) => {
                Err(format!("{self} has more than one line"))
            }
            text => Ok(Secret::new(text)),
        }
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{}", path.display()),
            Self::Variable(name) => write!(formatter, "the environment variable {name}"),
        }
    }
}
